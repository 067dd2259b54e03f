//! `lathe settings`: every setting with its value in force.

use super::say::say;
use crate::config::{Config, SETTINGS};

pub(super) fn list(config: &Config) {
    for setting in SETTINGS {
        say!("{} = {}", setting.key, (setting.show)(config));
        say!("       {}; {}", setting.about, setting.variable());
    }
    say!("build.env.NAME");
    say!("       an environment variable of builds; LATHE_BUILD_ENV_NAME");
    for (name, value) in &config.build.env {
        say!("build.env.{name} = {value}");
    }
}
