//! Why there is no configuration, and where the value that is at fault came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, for whoever has to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    File(PathBuf),
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("the environment"),
            Self::Flag => f.write_str("a flag"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the value {value:?} of {name}, from {origin}, is not usable")]
    Value { name: String, value: String, origin: Origin, remedy: String },
    #[error("the setting {name}, from {origin}, does not exist")]
    Unknown { name: String, origin: Origin, nearest: String },
    #[error("the value of {name}, from {origin}, is not text, number, true, false or a list")]
    Shape { name: String, origin: Origin },
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a dyno class in {} is not usable", path.display())]
    Class {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("the setting {name} names the dyno class {class}, which does not exist")]
    NoClass { name: &'static str, class: String },
    #[error("the configuration file {} is not TOML", path.display())]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl ConfigError {
    /// What whoever set it can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Value { remedy, .. } => remedy.clone(),
            Self::Unknown { nearest, .. } => {
                format!("The nearest setting is {nearest}; `lathe settings` lists them all.")
            }
            Self::Shape { name, .. } => format!("Write {name} = \"…\"; see `lathe settings`."),
            Self::Read { .. } => "Check the path and that you may read it.".into(),
            Self::Syntax { .. } | Self::Class { .. } => "Mend the line that is named.".into(),
            Self::NoClass { .. } => {
                "Name one such as standard-1x, or add it as [classes.NAME] to the file.".into()
            }
        }
    }
}
