//! `lathe settings`: every setting with its value in force.

use crate::config::{Config, SETTINGS};

pub(super) fn list(config: &Config) {
    for setting in SETTINGS {
        println!("{} = {}", setting.key, (setting.show)(config));
        println!("       {}; {}", setting.about, setting.variable());
    }
    println!("build.env.NAME");
    println!("       an environment variable of builds; LATHE_BUILD_ENV_NAME");
    for (name, value) in &config.build.env {
        println!("build.env.{name} = {value}");
    }
}
