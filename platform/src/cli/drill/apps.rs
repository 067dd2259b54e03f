//! The apps of a drill: each answers with its own name, so that it shows who was asked.

use super::DrillError;
use crate::cli::client::Client;
use crate::cli::env::Access;
use crate::cli::say::say;
use crate::cli::tour::Sample;
use crate::state::system;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(super) const NAMES: [&str; 2] = ["ada", "grace"];
/// Web dynos of each.
const DYNOS: usize = 2;
/// Of all together.
const COUNT: usize = NAMES.len() * DYNOS;

pub(super) fn show_lost(dynos: &[String]) {
    say!("dynos            {COUNT:>8}  {} of them another one now", dynos.len());
    for dyno in dynos {
        say!("{:27}{dyno}", "");
    }
}

/// How the page of an app begins, whichever of its dynos has made it.
pub(super) fn greeting(app: &str) -> String {
    format!("Hello, {app}, from web.")
}

pub(super) struct Apps {
    client: Client,
}

impl Apps {
    /// Makes, pushes and scales them; `room` holds their repositories.
    pub(super) async fn make(access: &Access, room: &Path) -> Result<Self, DrillError> {
        let authority = room.join("authority.pem");
        fs::write(&authority, &access.authority).map_err(DrillError::at("write a file"))?;
        let client = Client::of(access)?;
        let port = access.endpoints.api_tls.port();
        for app in NAMES {
            let room = room.join(app);
            client.post("/apps", &json!({ "name": app })).await?;
            let vars = format!("/apps/{app}/config-vars");
            client.call(Method::PATCH, &vars, &json!({ "NAME": app })).await?;
            let sample = Sample::make(&room, app, port, &access.token, &authority).await?;
            let said = room.join("push.log");
            let log = fs::File::create(&said).map_err(DrillError::at("write a file"))?;
            if let Err(error) = sample.push(log.into()).await {
                eprint!("{}", fs::read_to_string(&said).unwrap_or_default());
                return Err(error.into());
            }
            let web = format!("/apps/{app}/formation/web");
            client.call(Method::PATCH, &web, &json!({ "quantity": DYNOS })).await?;
        }
        Ok(Self { client })
    }

    /// The name of every dyno by its id, which another one in its place does not have; none unless all
    /// are up.
    pub(super) async fn up(&self) -> Result<Option<BTreeMap<String, String>>, DrillError> {
        let mut all = BTreeMap::new();
        for app in NAMES {
            let path = format!("/apps/{app}/dynos");
            let dynos = self.client.call(Method::GET, &path, &Value::Null).await?;
            for dyno in dynos.as_array().into_iter().flatten().filter(|dyno| dyno["state"] == "up")
            {
                let text = |key: &str| dyno[key].as_str().unwrap_or_default().to_owned();
                all.insert(text("id"), format!("{app} {}", text("name")));
            }
        }
        Ok((all.len() == COUNT).then_some(all))
    }

    /// The platform's own processes, each with the release of app `lathe` that it is of.
    pub(super) async fn parts(&self) -> Result<BTreeMap<String, u64>, DrillError> {
        let path = format!("/apps/{}/dynos", system::NAME);
        let parts = self.client.call(Method::GET, &path, &Value::Null).await?;
        let part = |part: &Value| {
            Some((part["name"].as_str()?.to_owned(), part["release"]["version"].as_u64()?))
        };
        Ok(parts.as_array().into_iter().flatten().filter_map(part).collect())
    }
}
