//! A log line: who said what, when.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The app a line belongs to: the platform's stable app id (a UUID in text form), opaque here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AppId(pub Arc<str>);

impl AppId {
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(Arc::from(id.as_ref()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Heroku's two sources: what the app itself wrote, and what the platform says about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    App,
    Heroku,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Heroku => "heroku",
        }
    }
}

/// One line, without its line end; on the way in also several, with line feeds between them. `process` is the part in brackets: `web.1`, `router`, `api`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub app: AppId,
    pub time: Timestamp,
    pub source: Source,
    pub process: Arc<str>,
    pub text: Bytes,
}
