//! An app made without git: its slug is uploaded and released.

use crate::{Platform, request};
use serde_json::{Value, json};
use std::process::Command;

impl Platform {
    /// Makes the app if there is none and releases these files with these process types.
    pub fn release(&self, app: &str, process_types: &Value, files: &[(&str, &str)]) {
        let made = self.api("POST", "/apps", &json!({"name": app})).0;
        assert!([201, 422].contains(&made), "{app} cannot be made: {made}");
        let described = json!({"process_types": process_types});
        let slug = self.post(&format!("/apps/{app}/slugs"), &described);
        let url = slug["blob"]["url"].as_str().unwrap().split_once("://").unwrap().1;
        let path = &url[url.find('/').unwrap()..];
        let address = self.address("api_plain");
        let put = request(address, "PUT", "localhost", path, &[], &archive(files)).unwrap();
        assert_eq!(put.status, 200, "{}", put.body);
        self.post(&format!("/apps/{app}/releases"), &json!({"slug": slug["id"]}));
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
        std::fs::write(path, text).unwrap();
    }
    let tar = Command::new("tar").args(["-czf", "-", "-C"]).arg(dir.path()).arg(".").output();
    tar.unwrap().stdout
}
