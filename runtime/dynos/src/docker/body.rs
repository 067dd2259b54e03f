//! A start as the daemon wants it told, and what its labels say when it is found again. Pure.

use super::daemon::INSTANCE;
use super::layer;
use crate::containers::{MountSource, Start, Stdio};
use crate::native::launch;
use crate::spec::{DynoId, DynoSpec};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub(super) const DYNO: &str = "lathe.dyno";
const SPEC: &str = "lathe.spec";
const LABELS: &str = "lathe.labels";

/// How much of a dyno's output the daemon keeps while nobody reads.
const LOG_FILE: &str = "8m";
const LOG_FILES: &str = "2";

/// A terminal's size is told after its start: nothing may look at it before.
const AWAIT_SIZE: &str = r#"for _ in {1..500}; do
  [ "$(stty size 2>/dev/null)" = "0 0" ] || break
  sleep 0.01
done
"#;

/// Where a container is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) instance: &'a str,
    pub(super) image: &'a str,
    pub(super) network: &'a str,
    /// A group of ours, as a path from the root of each hierarchy.
    pub(super) cgroup: &'a str,
    pub(super) resolvers: &'a [String],
}

/// Why a start cannot be told to a daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unsupported(pub(super) &'static str);

pub(super) fn container_name(instance: &str, id: DynoId) -> String {
    format!("lathe-{instance}-{id}")
}

pub(super) fn body(start: &Start, place: Place<'_>) -> Result<ContainerCreateBody, Unsupported> {
    if !start.extra_fds.is_empty() {
        return Err(Unsupported("pass descriptors through the Docker daemon"));
    }
    if start.argv.is_some() {
        // Only a shell can wait until it may begin.
        return Err(Unsupported("execute a program without a shell through the Docker daemon"));
    }
    let terminal = matches!(start.stdio, Stdio::Terminal { .. });
    let attached = !matches!(start.stdio, Stdio::Logged);
    let mut arguments = launch::arguments(None, &start.spec.command);
    if let Some(script) = arguments.get_mut(2) {
        let await_size = if terminal { AWAIT_SIZE } else { "" };
        script.insert_str(0, &[layer::AWAIT, await_size].concat());
    }
    let environment = launch::environment(&start.spec, terminal);
    Ok(ContainerCreateBody {
        image: Some(place.image.to_owned()),
        // A slug's files are root's, and a dyno may write to its own copy of them: root it is, but
        // one without any capability.
        user: Some("0:0".to_owned()),
        entrypoint: Some(arguments),
        cmd: Some(Vec::new()),
        env: Some(environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: Some("/app".to_owned()),
        labels: Some(labels(start, place.instance)),
        tty: Some(terminal),
        open_stdin: Some(attached),
        stdin_once: Some(attached),
        attach_stdin: Some(attached),
        attach_stdout: Some(attached),
        attach_stderr: Some(attached),
        host_config: Some(host(start, place)?),
        ..ContainerCreateBody::default()
    })
}

fn host(start: &Start, place: Place<'_>) -> Result<HostConfig, Unsupported> {
    let class = &start.spec.class;
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let log = HashMap::from([
        ("max-size".to_owned(), LOG_FILE.to_owned()),
        ("max-file".to_owned(), LOG_FILES.to_owned()),
        ("compress".to_owned(), "false".to_owned()),
    ]);
    Ok(HostConfig {
        binds: Some(binds(start)?),
        cgroup_parent: Some(place.cgroup.to_owned()),
        // The group of ours has the same limits; here they make the kernel blame the right one.
        memory: Some(bytes(class.memory_bytes)),
        memory_swap: Some(bytes(class.memory_bytes.saturating_add(class.swap_bytes))),
        pids_limit: Some(class.pids_max.into()),
        network_mode: Some(place.network.to_owned()),
        dns: Some(place.resolvers.to_vec()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        oom_score_adj: Some(500),
        init: Some(true),
        // What it may write to is mounted over it: `layer`.
        readonly_rootfs: Some(true),
        log_config: Some(HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(log) }),
        ..HostConfig::default()
    })
}

fn binds(start: &Start) -> Result<Vec<String>, Unsupported> {
    let bind = |mount: &crate::containers::Mount| match &mount.source {
        MountSource::Image { .. } => {
            Err(Unsupported("mount a file-system image through the Docker daemon"))
        }
        MountSource::Path(path) => {
            let mode = if mount.writable { "rw" } else { "ro" };
            match (plain(path), plain(&mount.target)) {
                (Some(path), Some(target)) => Ok(format!("{path}:{target}:{mode}")),
                _ => Err(Unsupported("mount a path with a colon through the Docker daemon")),
            }
        }
    };
    start.mounts.iter().map(bind).collect()
}

/// A colon separates the parts of a bind.
fn plain(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(':'))
}

fn labels(start: &Start, instance: &str) -> HashMap<String, String> {
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    HashMap::from([
        (INSTANCE.to_owned(), instance.to_owned()),
        (DYNO.to_owned(), start.id.to_string()),
        (SPEC.to_owned(), text(serde_json::to_string(&start.spec))),
        (LABELS.to_owned(), text(serde_json::to_string(&start.labels))),
    ])
}

/// What `labels` wrote; none for a container that is no dyno.
pub(super) fn read(
    labels: &HashMap<String, String>,
) -> Option<(DynoId, DynoSpec, BTreeMap<String, String>)> {
    let id = DynoId(labels.get(DYNO)?.parse().ok()?);
    let spec = serde_json::from_str(labels.get(SPEC)?).ok()?;
    Some((id, spec, serde_json::from_str(labels.get(LABELS)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Mount;

    fn start() -> Start {
        let mut spec = crate::fake::spec("web.1");
        spec.env = BTreeMap::from([("PORT".to_owned(), "1".to_owned())]);
        Start {
            id: DynoId::random(),
            spec,
            labels: BTreeMap::from([("lathe.slot".to_owned(), "a/b".to_owned())]),
            stdio: Stdio::Logged,
            mounts: Vec::new(),
            extra_fds: Vec::new(),
            argv: None,
        }
    }

    const PLACE: Place<'_> = Place {
        instance: "abc",
        image: "image:1",
        network: "lathe-abc",
        cgroup: "/lathe-abc-docker/1",
        resolvers: &[],
    };

    #[test]
    fn a_container_is_found_again_as_it_was_started() {
        let start = start();
        let body = body(&start, PLACE).unwrap();
        let (id, spec, labels) = read(&body.labels.unwrap()).unwrap();
        assert_eq!((id, spec, labels), (start.id, start.spec, start.labels));
        assert_eq!(read(&HashMap::new()), None);
    }

    #[test]
    fn nothing_is_granted_and_the_platform_has_the_last_word() {
        let body = body(&start(), PLACE).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!((host.privileged, host.cap_add), (None, None));
        assert_eq!(host.readonly_rootfs, Some(true));
        let env = body.env.unwrap();
        assert!(env.contains(&"PORT=5000".to_owned()) && !env.contains(&"PORT=1".to_owned()));
    }

    #[test]
    fn what_a_daemon_cannot_do_is_refused() {
        let mut start = start();
        start.mounts = vec![Mount {
            source: MountSource::Path("/a:b".into()),
            target: "/b".into(),
            writable: true,
        }];
        assert!(body(&start, PLACE).is_err());
        start.mounts[0].source = MountSource::Path("/a".into());
        let host = body(&start, PLACE).unwrap().host_config.unwrap();
        assert_eq!(host.binds, Some(vec!["/a:/b:rw".to_owned()]));
        start.mounts[0].source = MountSource::Image { path: "/a".into(), bytes: 1 };
        assert!(body(&start, PLACE).is_err());
        start.mounts.clear();
        start.argv = Some(vec!["true".to_owned()]);
        assert!(body(&start, PLACE).is_err());
    }
}
