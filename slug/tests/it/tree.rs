//! Small trees on disk, made from a description and read back into one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// What is at a path; parents are implied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File {
        content: Vec<u8>,
        executable: bool,
    },
    Folder,
    Symlink(String),
    /// Another name of the file at this path.
    HardLink(String),
}

pub(crate) type Description = BTreeMap<String, Node>;

pub(crate) fn file(content: &str) -> Node {
    Node::File { content: content.into(), executable: false }
}

pub(crate) fn program(content: &str) -> Node {
    Node::File { content: content.into(), executable: true }
}

pub(crate) fn describe<const N: usize>(nodes: [(&str, Node); N]) -> Description {
    nodes.into_iter().map(|(path, node)| (path.to_string(), node)).collect()
}

pub(crate) fn build<'a>(root: &Path, nodes: impl Iterator<Item = (&'a String, &'a Node)>) {
    let mut hard_links = Vec::new();
    for (path, node) in nodes {
        let at = root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match node {
            Node::Folder => fs::create_dir_all(&at).unwrap(),
            Node::Symlink(target) => symlink(target, &at).unwrap(),
            Node::HardLink(target) => hard_links.push((root.join(target), at)),
            Node::File { content, executable } => {
                fs::write(&at, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
    for (target, at) in hard_links {
        fs::hard_link(target, at).unwrap();
    }
}

/// Every path below `root`; of files with several names, the first in order is the file.
pub(crate) fn read(root: &Path) -> Description {
    let mut found = Description::new();
    let mut inodes = BTreeMap::new();
    read_folder(root, "", &mut found, &mut inodes);
    found
}

fn read_folder(
    folder: &Path,
    prefix: &str,
    found: &mut Description,
    inodes: &mut BTreeMap<u64, String>,
) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let metadata = entry.path().symlink_metadata().unwrap();
        let node = if metadata.is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), found, inodes);
            Node::Folder
        } else if metadata.is_symlink() {
            Node::Symlink(fs::read_link(entry.path()).unwrap().to_str().unwrap().into())
        } else if let Some(first) = inodes.get(&metadata.ino()) {
            Node::HardLink(first.clone())
        } else {
            inodes.insert(metadata.ino(), path.clone());
            let executable = metadata.mode() & 0o100 != 0;
            Node::File { content: fs::read(entry.path()).unwrap(), executable }
        };
        found.insert(path, node);
    }
}
