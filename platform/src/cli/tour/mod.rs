//! What a user does with a platform, done to it from outside: an app is made, pushed, asked, changed
//! and removed. `lathe demo` shows the beginning of it, `lathe selftest` does all.

mod oneoff;
mod sample;

pub(super) use sample::Sample;

use super::client::{self, Client, ClientError, loopback};
use super::env::Access;
use super::remote::RemoteError;
use http::Method;
use oneoff::RendezvousError;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What the one-off ends with: no program does so by accident.
const EXIT_STATUS: u8 = 42;
/// Lines travel through the log hub in their own time, and new dynos boot in theirs.
const PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(200);
const LOG_LINES: u32 = 20;
/// How the sample's page begins.
const GREETING: &str = "Hello, world, from web.1";
const CONFIGURED: &str = "Hello, selftest, from web.1";

/// Why a tour could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the API does not do it")]
    Client(#[from] ClientError),
    #[error("the sample cannot be pushed")]
    Sample(#[from] RemoteError),
    #[error("the one-off dyno cannot be met")]
    Rendezvous(#[from] RendezvousError),
    #[error("the app answers {status}: {body:?}, not {wanted}")]
    Answer { status: u16, body: String, wanted: &'static str },
    #[error("the one-off dyno ended with {found:?}, not with {EXIT_STATUS}")]
    ExitStatus { found: Option<u8> },
    #[error("the request is not in the logs after {} seconds", PATIENCE.as_secs())]
    Logs,
    #[error("a push that cannot serve was accepted")]
    Accepted,
    #[error("the app has no release to go back to")]
    NoRelease,
}

impl TourError {
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Sample(_) => "See what git said above.".into(),
            Self::Write { .. } => "Check the disk.".into(),
            _ => "Again with LATHE_LOG=info says more; `lathe doctor` checks the machine.".into(),
        }
    }
}

/// An app on its way through the platform.
pub(super) struct Tour {
    client: Client,
    sample: Sample,
    app: String,
    domain: String,
}

impl Tour {
    /// `room` holds the sample's repository and what git needs.
    pub(super) async fn begin(
        access: &Access,
        domain: &str,
        room: &Path,
    ) -> Result<Self, TourError> {
        let authority = room.join("authority.pem");
        fs::write(&authority, &access.authority)
            .map_err(|source| TourError::Write { path: authority.clone(), source })?;
        let client = Client::of(access)?;
        let app = format!("hello-{:06x}", uuid::Uuid::new_v4().as_u128() & 0xff_ffff);
        let port = access.endpoints.api_tls.port();
        let sample = Sample::make(room, &app, port, &access.token, &authority).await?;
        Ok(Self { client, sample, app, domain: domain.to_owned() })
    }

    pub(super) fn app(&self) -> &str {
        &self.app
    }

    pub(super) async fn create(&self) -> Result<(), TourError> {
        self.client.post("/apps", &json!({ "name": self.app })).await?;
        Ok(())
    }

    /// What git says goes to `said`.
    pub(super) async fn push(&self, said: Stdio) -> Result<(), TourError> {
        Ok(self.sample.push(said).await?)
    }

    /// The page, which has to be the sample's.
    pub(super) async fn request(&self) -> Result<String, TourError> {
        self.page(GREETING).await
    }

    pub(super) fn command() -> String {
        format!("bash -c 'echo $DYNO on $(uname -s); exit {EXIT_STATUS}'")
    }

    /// The output of [`Tour::command`] in a one-off dyno, and its exit status.
    pub(super) async fn run(&self) -> Result<(String, u8), TourError> {
        match oneoff::run(&self.client, &self.app, &Self::command()).await? {
            (output, Some(EXIT_STATUS)) => Ok((output, EXIT_STATUS)),
            (_, found) => Err(TourError::ExitStatus { found }),
        }
    }

    /// The last lines of the app, as soon as the router's line of our request is among them.
    pub(super) async fn logs(&self) -> Result<Vec<String>, TourError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let session = json!({ "lines": LOG_LINES, "tail": false });
            let path = format!("/apps/{}/log-sessions", self.app);
            let session = self.client.post(&path, &session).await?;
            let url = session["logplex_url"].as_str().unwrap_or_default();
            let text = self.client.get_text(url).await?;
            if text.contains("heroku[router]") {
                return Ok(text.lines().map(str::to_owned).collect());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(TourError::Logs)
    }

    /// A config var reaches the app by a release of its own.
    pub(super) async fn configure(&self) -> Result<(), TourError> {
        let path = format!("/apps/{}/config-vars", self.app);
        self.client.call(Method::PATCH, &path, &json!({ "NAME": "selftest" })).await?;
        self.until(CONFIGURED).await
    }

    /// What does not boot is refused, and what served before goes on.
    pub(super) async fn break_it(&self) -> Result<(), TourError> {
        self.sample.change("Procfile", "web: exit 1\n").await?;
        match self.sample.push(Stdio::null()).await {
            Err(RemoteError::Git { .. }) => {}
            pushed => {
                pushed?;
                return Err(TourError::Accepted);
            }
        }
        self.page(CONFIGURED).await.map(drop)
    }

    /// The release of the push comes back, with the config it had.
    pub(super) async fn roll_back(&self) -> Result<(), TourError> {
        let path = format!("/apps/{}/releases", self.app);
        let releases = self.client.call(Method::GET, &path, &Value::Null).await?;
        let pushed = releases.as_array().into_iter().flatten().find(|r| !r["slug"].is_null());
        let version = pushed.and_then(|release| release["version"].as_u64());
        let version = version.ok_or(TourError::NoRelease)?;
        self.client.post(&path, &json!({ "release": version.to_string() })).await?;
        self.until(GREETING).await
    }

    /// It is gone, and so is what it served.
    pub(super) async fn destroy(&self) -> Result<(), TourError> {
        let path = format!("/apps/{}", self.app);
        self.client.call(Method::DELETE, &path, &Value::Null).await?;
        patiently(async || match self.get().await? {
            (404, _) => Ok(()),
            (status, body) => Err(TourError::Answer { status, body, wanted: "404" }),
        })
        .await
    }

    /// Until the page begins so, while new dynos take over from old ones.
    async fn until(&self, wanted: &'static str) -> Result<(), TourError> {
        patiently(async || self.page(wanted).await.map(drop)).await
    }

    async fn page(&self, wanted: &'static str) -> Result<String, TourError> {
        match self.get().await? {
            (200, body) if body.starts_with(wanted) => Ok(body),
            (status, body) => Err(TourError::Answer { status, body, wanted }),
        }
    }

    async fn get(&self) -> Result<(u16, String), TourError> {
        let router = loopback(self.client.endpoints().router);
        Ok(client::get_app(router, &self.app, &self.domain).await?)
    }
}

/// Asks again for as long as something else is answered: what was changed is there a moment later.
async fn patiently(mut ask: impl AsyncFnMut() -> Result<(), TourError>) -> Result<(), TourError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(TourError::Answer { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PAUSE).await;
            }
            answered => return answered,
        }
    }
}
