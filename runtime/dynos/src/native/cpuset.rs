//! Which CPUs the dynos run on: some have CPUs to themselves, all others share the rest.
//!
//! Version 1: those that share are in one group, so that a CPU is set aside by one write; a dyno
//! with CPUs of its own has a group of its own. Version 2: each dyno's own group says it.

use super::berths::BerthId;
use super::cgroup::{Mounts, remove, set};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

const SHARED: &str = "shared";

#[derive(Debug)]
pub(super) struct CpuSets {
    tree: Tree,
    /// All that dynos may run on.
    all: BTreeSet<u32>,
}

#[derive(Debug)]
enum Tree {
    V1(PathBuf),
    V2(PathBuf),
    /// The kernel has none: CPUs can only be weighed and capped.
    Absent,
}

impl CpuSets {
    /// Finds the hierarchy and makes the engine's group `name` in it.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let mounts = Mounts::parse(&fs::read_to_string("/proc/self/mounts")?);
        if let Some(root) = mounts.v1.get("cpuset") {
            let group = root.join(name);
            for (parent, child) in
                [(root.clone(), group.clone()), (group.clone(), group.join(SHARED))]
            {
                fs::create_dir_all(&child)?;
                // A new group has neither, and without both nobody may join it.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    set(&child.join(file), fs::read_to_string(parent.join(file))?.trim())?;
                }
            }
            let all = parse(&fs::read_to_string(group.join("cpuset.cpus"))?);
            return Ok(Self { tree: Tree::V1(group), all });
        }
        if let Some(root) = mounts.unified {
            let offered = fs::read_to_string(root.join("cgroup.controllers"))?;
            if offered.split_whitespace().any(|controller| controller == "cpuset") {
                let group = root.join(name);
                fs::create_dir_all(&group)?;
                for directory in [&root, &group] {
                    set(&directory.join("cgroup.subtree_control"), "+cpuset")?;
                }
                let all = parse(&fs::read_to_string(group.join("cpuset.cpus.effective"))?);
                return Ok(Self { tree: Tree::V2(group), all });
            }
        }
        Ok(Self { tree: Tree::Absent, all: BTreeSet::new() })
    }

    /// How many CPUs could be set aside.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// So many CPUs that nobody has, the last first: the kernel's own work is mostly on the first.
    pub(super) fn pick(&self, taken: &BTreeSet<u32>, count: u32) -> Option<Vec<u32>> {
        let count = usize::try_from(count).ok()?;
        let free = self.all.iter().rev().filter(|cpu| !taken.contains(cpu));
        let free: Vec<u32> = free.take(count).copied().collect();
        (free.len() == count).then_some(free)
    }

    /// Version 1: the group of those who share their CPUs, in which every berth begins.
    pub(super) fn shared(&self) -> Option<PathBuf> {
        match &self.tree {
            Tree::V1(group) => Some(group.join(SHARED)),
            Tree::V2(_) | Tree::Absent => None,
        }
    }

    /// Gives a starting dyno its CPUs. Version 1: the group that it has to join when it has some
    /// of its own.
    pub(super) fn enter(
        &self,
        id: BerthId,
        own: &[u32],
        taken: &BTreeSet<u32>,
    ) -> io::Result<Option<PathBuf>> {
        match &self.tree {
            Tree::Absent => Ok(None),
            Tree::V1(_) if own.is_empty() => Ok(None),
            Tree::V1(group) => {
                let child = group.join(id.to_string());
                fs::create_dir(&child)?;
                set(
                    &child.join("cpuset.mems"),
                    fs::read_to_string(group.join("cpuset.mems"))?.trim(),
                )?;
                set(&child.join("cpuset.cpus"), &list(own))?;
                Ok(Some(child))
            }
            // It has what its parent has.
            Tree::V2(_) if own.is_empty() && taken.is_empty() => Ok(None),
            Tree::V2(group) => {
                let cpus = if own.is_empty() { list(&self.rest(taken)) } else { list(own) };
                set(&group.join(id.to_string()).join("cpuset.cpus"), &cpus)?;
                Ok(None)
            }
        }
    }

    /// Keeps all that share off the CPUs that are `taken`; when none is left they run everywhere,
    /// with their weight.
    pub(super) fn share(&self, taken: &BTreeSet<u32>, sharing: &[BerthId]) -> io::Result<()> {
        match &self.tree {
            Tree::Absent => Ok(()),
            Tree::V1(group) => {
                set(&group.join(SHARED).join("cpuset.cpus"), &list(&self.rest(taken)))
            }
            Tree::V2(group) => sharing.iter().try_for_each(|id| {
                let file = group.join(id.to_string()).join("cpuset.cpus");
                match set(&file, &list(&self.rest(taken))) {
                    // It has ended meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                }
            }),
        }
    }

    fn rest(&self, taken: &BTreeSet<u32>) -> Vec<u32> {
        let rest: Vec<u32> = self.all.difference(taken).copied().collect();
        if rest.is_empty() { self.all.iter().copied().collect() } else { rest }
    }

    /// Removes a dyno's own group, if it has one here alone.
    pub(super) fn leave(&self, id: BerthId) -> io::Result<()> {
        match &self.tree {
            Tree::V1(group) => remove(&group.join(id.to_string())),
            Tree::V2(_) | Tree::Absent => Ok(()),
        }
    }

    /// Berths of dynos that have a group here alone.
    pub(super) fn held(&self) -> io::Result<Vec<BerthId>> {
        let Tree::V1(group) = &self.tree else { return Ok(Vec::new()) };
        let mut ids = Vec::new();
        for entry in fs::read_dir(group)? {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse().ok()).map(BerthId));
        }
        Ok(ids)
    }

    /// Removes the engine's own groups.
    pub(super) fn close(&self) -> io::Result<()> {
        match &self.tree {
            Tree::V1(group) => remove(&group.join(SHARED)).and_then(|()| remove(group)),
            Tree::V2(_) | Tree::Absent => Ok(()),
        }
    }
}

/// The kernel's list, `0-2,5`.
fn parse(text: &str) -> BTreeSet<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn list(cpus: &[u32]) -> String {
    let mut cpus = cpus.to_vec();
    cpus.sort_unstable();
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn sets(dir: &Path, v2: bool) -> CpuSets {
        let group = dir.to_owned();
        let tree = if v2 { Tree::V2(group) } else { Tree::V1(group) };
        CpuSets { tree, all: parse("0-3") }
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        for (text, cpus) in [("0-2,5\n", vec![0, 1, 2, 5]), ("3", vec![3]), ("\n", vec![])] {
            assert_eq!(parse(text).into_iter().collect::<Vec<_>>(), cpus);
        }
    }

    #[test]
    fn cpus_are_set_aside_from_the_end_and_never_twice() {
        let sets = sets(Path::new("/nowhere"), false);
        let mut taken = BTreeSet::new();
        for (count, picked) in
            [(2, Some(vec![3, 2])), (3, None), (1, Some(vec![1])), (1, Some(vec![0])), (1, None)]
        {
            let found = sets.pick(&taken, count);
            assert_eq!(found, picked);
            taken.extend(found.unwrap_or_default());
        }
    }

    #[test]
    fn those_that_share_have_the_rest_or_if_there_is_none_everything() {
        let dir = tempfile::tempdir().unwrap();
        let id = BerthId(uuid::Uuid::new_v4());
        let dyno = dir.path().join(id.to_string());
        for (v2, file) in [(false, dir.path().join(SHARED)), (true, dyno)] {
            fs::create_dir_all(&file).unwrap();
            fs::write(file.join("cpuset.cpus"), "").unwrap();
            for (taken, cpus) in
                [(vec![2, 3], "0,1"), (vec![0, 1, 2, 3], "0,1,2,3"), (vec![], "0,1,2,3")]
            {
                fs::write(file.join("cpuset.cpus"), "").unwrap();
                sets(dir.path(), v2).share(&taken.into_iter().collect(), &[id]).unwrap();
                assert_eq!(fs::read_to_string(file.join("cpuset.cpus")).unwrap(), cpus);
            }
        }
    }
}
