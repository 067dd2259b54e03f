//! An app made without git: its slug is uploaded and released.

use crate::{Platform, request};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

impl Platform {
    /// Makes the app if there is none and releases these files with these process types; gives the
    /// number of the release.
    pub fn release(&self, app: &str, process_types: &Value, files: &[(&str, &str)]) -> u64 {
        let slug = self.upload(app, process_types, files);
        let release = self.post(&format!("/apps/{app}/releases"), &json!({"slug": slug["id"]}));
        release["version"].as_u64().unwrap()
    }

    /// Makes the app if there is none and uploads a slug; gives what the API says of it then.
    pub fn upload(&self, app: &str, process_types: &Value, files: &[(&str, &str)]) -> Value {
        let made = self.api("POST", "/apps", &json!({"name": app})).0;
        assert!([201, 422].contains(&made), "{app} cannot be made: {made}");
        let described = json!({"process_types": process_types});
        let slug = self.post(&format!("/apps/{app}/slugs"), &described);
        let url = slug["blob"]["url"].as_str().unwrap().split_once("://").unwrap().1;
        let path = &url[url.find('/').unwrap()..];
        let address = self.address("api_plain");
        let put = request(address, "PUT", "localhost", path, &[], &archive(files)).unwrap();
        assert_eq!(put.status, 200, "{}", put.body);
        self.api(
            "GET",
            &format!("/apps/{app}/slugs/{}", slug["id"].as_str().unwrap()),
            &Value::Null,
        )
        .1
    }

    /// A call that has to succeed; gives the answer's JSON.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.api("POST", path, body);
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }
}

/// A gzip tar of files below `./app`.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("app").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let tar = Command::new("tar").args(["-czf", "-", "-C"]).arg(dir.path()).arg(".").output();
    tar.unwrap().stdout
}
