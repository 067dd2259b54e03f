//! The last steps of a build: its slug becomes a release, and the release serves, or does not.

use super::transcript::Transcript;
use super::{BuildError, Request, Shared};
use crate::control;
use crate::state::model::{Build, Inputs, Release, ReleaseStatus, UsedBuildpack};
use crate::state::releases::Change;
use crate::state::slugs::NewSlug;
use crate::state::{apps, builds, releases, slugs};
use crate::steps;
use lathe_compiler::Compiled;
use lathe_logs::AppId;
use lathe_slug::Manifest;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// Of a commit id, as Heroku shows it.
const SHORT_VERSION: usize = 8;

impl Shared {
    /// Slug, release and the build's success in one transaction: none is ever seen without the others.
    pub(super) async fn release(
        &self,
        build: &Build,
        request: &Request,
        compiled: Compiled,
        manifest: Manifest,
    ) -> Result<Release, BuildError> {
        let version = short(&request.source_version);
        let description = format!("Deploy {version}");
        let new = NewSlug {
            digest: Some(manifest.id),
            diff_id: Some(manifest.diff_id),
            bytes: manifest.bytes,
            commit: Some(request.source_version.clone()),
            stack: build.stack.clone(),
            process_types: compiled.process_types,
            buildpacks: compiled.buildpacks.into_iter().map(used).collect(),
            config_defaults: compiled.config_vars,
            inputs: Some(Inputs {
                lathe: env!("CARGO_PKG_VERSION").into(),
                build_stack: self.services.stacks.build.digest.clone(),
                source: compiled.inputs.source,
                locks: compiled.inputs.locks,
            }),
        };
        let (id, app, account) =
            (build.id.clone(), request.app.id.clone(), request.account.clone());
        let release = self.services.store.write(move |tx| {
            // As it is now: it may have been changed, or destroyed, while the build ran.
            let app = apps::by_id(tx, &app)?;
            let slug = slugs::insert(tx, &app.id, &new)?;
            let slug_id = slug.id.clone();
            let change = Change { description, slug: Some(slug), config: None };
            let release = releases::append(tx, &app, &account, change)?;
            builds::succeed(tx, &id, &slug_id, &release.id, &new.buildpacks)?;
            Ok(release)
        });
        let release = release.await.map_err(BuildError::State)?;
        steps::passed("release recorded");
        let account = &request.account.email;
        self.say(&request.app, &format!("Deploy {version} by user {account}"));
        self.say(&request.app, &format!("Release v{} created by user {account}", release.version));
        self.say(&request.app, "Build succeeded");
        Ok(release)
    }

    /// What comes of a version of the platform that has passed its rehearsal.
    fn outlook(&self, version: u32) -> String {
        let seconds = self.services.config.upgrade.probation.as_secs();
        format!(
            "       v{version} is put on trial for {seconds} s in the place of this platform,\n\
             \x20      which takes over again if it is no good:\n\
             \x20      heroku releases -a lathe says what has become of it.\n"
        )
    }

    /// Waits for the release to serve. A pusher who goes away now changes nothing any more.
    pub(super) async fn launch(
        &self,
        request: &Request,
        release: Release,
        transcript: &mut Transcript,
        cancel: &CancellationToken,
    ) -> Result<Release, BuildError> {
        let version = release.version;
        transcript.say(&format!("-----> Launching...\n       Released v{version}\n"));
        // This platform does not see how a release of itself ends: it ends before.
        let settles = async {
            if request.app.system {
                control::boots(&self.services, &request.app.id, version).await
            } else {
                control::settled(&self.services, &request.app.id, version).await
            }
        };
        let settled = tokio::select! {
            settled = settles => settled,
            () = cancel.cancelled() => return Ok(release),
            () = self.closing.cancelled() => return Ok(release),
        };
        let settled = settled.map_err(BuildError::State)?;
        steps::passed("release live");
        if settled.status == ReleaseStatus::Pending {
            transcript.say(&self.outlook(version));
            return Ok(settled);
        }
        let overtaken = settled.version != version;
        let version = settled.version;
        if overtaken {
            transcript.say(&format!(
                "       v{version} ({}) came after it and runs the same slug\n",
                settled.description
            ));
        }
        if settled.status != ReleaseStatus::Succeeded {
            let reason = settled.failure.unwrap_or_default();
            return Err(BuildError::NotLive { version, reason });
        }
        self.services.routed.to(&AppId::new(&request.app.id), version).await;
        let config = &self.services.config;
        let url = url(&request.app.name, &config.apps_domain, self.services.endpoints.router);
        transcript.say(&format!("       {url} deployed to Lathe\n\nVerifying deploy... done.\n"));
        Ok(settled)
    }
}

fn used(buildpack: lathe_compiler::UsedBuildpack) -> UsedBuildpack {
    let lathe_compiler::UsedBuildpack { name, url, commit, digest, pinned, report } = buildpack;
    // The API names a buildpack by its URL; a built-in one has only its name.
    UsedBuildpack { url: url.unwrap_or_else(|| name.clone()), name, commit, digest, pinned, report }
}

/// A commit by its first digits; anything else as it is.
fn short(version: &str) -> &str {
    let is_commit = version.len() == 40 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit { version.get(..SHORT_VERSION).unwrap_or(version) } else { version }
}

fn url(app: &str, domain: &str, router: SocketAddr) -> String {
    match router.port() {
        80 => format!("http://{app}.{domain}/"),
        port => format!("http://{app}.{domain}:{port}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_addresses_as_people_read_them() {
        assert_eq!(short(&"0123456789abcdef".repeat(3)[..40]), "01234567");
        assert_eq!(short("v1.3.0"), "v1.3.0");
        let at = |port| SocketAddr::from(([0, 0, 0, 0], port));
        assert_eq!(url("a", "localhost", at(8080)), "http://a.localhost:8080/");
        assert_eq!(url("a", "example.org", at(80)), "http://a.example.org/");
    }
}
