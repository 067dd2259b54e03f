//! What the programs of a buildpack know: a scrubbed environment, and config vars as files.

use crate::error::CompileError;
use crate::job::Job;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Heroku Dev Center, "Buildpack API": what a build's PATH begins as.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of the machine a build may need to reach its registries and toolchains. Only the plain
/// command takes them from its own environment; a build dyno is told by the platform.
pub const FROM_MACHINE: [&str; 22] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_USERCONFIG",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// The environment of every program: nothing inherited, no config var. As seen in Heroku's builds.
pub(crate) fn scrubbed(job: &Job, log_file: &Path) -> BTreeMap<String, OsString> {
    let mut env = BTreeMap::from(
        [
            ("PATH", PATH.into()),
            ("HOME", job.home.clone().into()),
            ("STACK", job.buildpack_stack.clone().into()),
            ("SOURCE_VERSION", job.source_version.clone().into()),
            ("REQUEST_ID", job.request_id.clone().into()),
            ("BUILDPACK_LOG_FILE", log_file.into()),
            ("DYNO", "build.1".into()),
            ("SOURCE_DATE_EPOCH", job.source_date_epoch.to_string().into()),
        ]
        .map(|(name, value): (&str, OsString)| (name.to_owned(), value)),
    );
    env.extend(job.extra_env.iter().map(|(name, value)| (name.clone(), value.into())));
    env
}

/// `ENV_DIR`: one file a config var, its exact bytes and no newline, readable by the build alone.
pub(crate) fn write_env_dir(
    dir: &Path,
    env: &BTreeMap<String, String>,
) -> Result<(), CompileError> {
    let prepare = |source| CompileError::Prepare { path: dir.to_owned(), source };
    DirBuilder::new().mode(0o700).create(dir).map_err(prepare)?;
    for (name, value) in env {
        if !is_name(name) {
            return Err(CompileError::ConfigVar { name: name.clone() });
        }
        write_private(&dir.join(name), value.as_bytes()).map_err(prepare)?;
    }
    Ok(())
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// POSIX, "Environment Variables": what a shell can assign. Also what makes it a safe file name.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 255
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn config_vars_are_files_and_never_environment() {
        let room = tempfile::tempdir().unwrap();
        let job = Job {
            env: vars(&[("PATH", "/evil"), ("LD_PRELOAD", "x"), ("KEY", "a\nb\n")]),
            extra_env: vars(&[("SSL_CERT_FILE", "/ca.pem")]),
            ..Job::default()
        };
        let env = scrubbed(&job, Path::new("/log"));
        assert_eq!(env["PATH"], PATH);
        assert_eq!(env["SSL_CERT_FILE"], "/ca.pem");
        assert!(!env.contains_key("KEY") && !env.contains_key("LD_PRELOAD"));

        let dir = room.path().join("env");
        write_env_dir(&dir, &job.env).unwrap();
        assert_eq!(std::fs::read(dir.join("KEY")).unwrap(), b"a\nb\n");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 3);
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        for name in ["", "../x", "a/b", "A-B", "1A", "A B", "É", "."] {
            let room = tempfile::tempdir().unwrap();
            let result = write_env_dir(&room.path().join("env"), &vars(&[(name, "v")]));
            assert!(matches!(result, Err(CompileError::ConfigVar { .. })), "{name:?}");
        }
    }
}
