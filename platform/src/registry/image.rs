//! An image as its manifest and configuration say it: a slug on a stack. Pure.

use super::form::Form;
use crate::stack::Layer;
use crate::state::model::Slug;
use lathe_dynos::docker::words;
use lathe_slug::{DiffId, SlugId};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Where an app listens unless whoever runs the image says otherwise, as in a dyno.
const PORT: u16 = 5000;
/// What entries of slugs and stacks are from.
const CREATED: &str = "1980-01-01T00:00:01Z";

/// A slug that is stored, and its stack's layer.
#[derive(Clone, Debug)]
pub(super) struct Image<'a> {
    slug: &'a Slug,
    digest: SlugId,
    diff_id: DiffId,
    stack: &'a Layer,
}

/// Bytes and their name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Document {
    /// SHA-256, in hexadecimal.
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
}

impl Document {
    fn of(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        let digest = SlugId::from_digest(Sha256::digest(&bytes).into()).to_string();
        Self { digest, bytes }
    }
}

impl<'a> Image<'a> {
    /// None while the slug's blob has not come.
    pub(super) fn of(slug: &'a Slug, stack: &'a Layer) -> Option<Self> {
        Some(Self { slug, digest: slug.digest?, diff_id: slug.diff_id?, stack })
    }

    /// The same for both forms. Nothing in it is secret: config vars are not.
    pub(super) fn config(&self) -> Document {
        let web = self.slug.command("web");
        let mut entry = words(web.unwrap_or("bash"));
        let command = entry.pop();
        let layer = |by: &str| json!({ "created": CREATED, "created_by": by });
        Document::of(&json!({
            "architecture": architecture(),
            "os": "linux",
            "created": CREATED,
            "config": {
                "Entrypoint": entry,
                "Cmd": [command],
                "Env": [
                    "PATH=/usr/local/bin:/usr/bin:/bin",
                    "HOME=/app",
                    format!("PORT={PORT}"),
                ],
                "WorkingDir": "/app",
                "ExposedPorts": { format!("{PORT}/tcp"): {} },
                "Labels": { "org.opencontainers.image.revision": self.slug.commit },
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": [
                    format!("sha256:{}", self.stack.diff_id),
                    format!("sha256:{}", self.diff_id),
                ],
            },
            "history": [layer("stack"), layer("slug")],
        }))
    }

    pub(super) fn manifest(&self, form: Form) -> Document {
        let config = self.config();
        let part = |kind: &str, bytes: u64, digest: &str| json!({ "mediaType": kind, "size": bytes, "digest": format!("sha256:{digest}") });
        let length = config.bytes.len() as u64;
        Document::of(&json!({
            "schemaVersion": 2,
            "mediaType": form.manifest(),
            "config": part(form.config(), length, &config.digest),
            "layers": [
                part(form.layer(), self.stack.bytes, &self.stack.digest),
                part(form.layer(), self.slug.bytes, &self.digest.to_string()),
            ],
        }))
    }
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn slug(web: &[(&str, &str)]) -> Slug {
        let own = |(name, command): &(&str, &str)| ((*name).to_owned(), (*command).to_owned());
        Slug {
            id: "1".into(),
            app: "2".into(),
            digest: Some("aa".repeat(32).parse().unwrap()),
            diff_id: Some("bb".repeat(32).parse().unwrap()),
            bytes: 7,
            commit: Some("c0ffee".into()),
            stack: "dd".repeat(32),
            process_types: web.iter().map(own).collect(),
            buildpacks: Vec::new(),
            config_defaults: [("SECRET".to_owned(), "hush".to_owned())].into(),
            inputs: None,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn layer() -> Layer {
        let (digest, diff_id) = ("ee".repeat(32), "ff".repeat(32));
        Layer { digest, diff_id, bytes: 9, path: "/layer".into() }
    }

    #[test]
    fn a_manifest_names_what_it_is_made_of_in_order() {
        let (slug, layer) = (slug(&[("web", "serve $PORT")]), layer());
        let image = Image::of(&slug, &layer).unwrap();
        let config = image.config();
        for form in Form::ALL {
            let manifest: Value = serde_json::from_slice(&image.manifest(form).bytes).unwrap();
            assert_eq!(manifest["mediaType"], form.manifest());
            assert_eq!(manifest["config"]["digest"], format!("sha256:{}", config.digest));
            assert_eq!(manifest["config"]["size"], config.bytes.len());
            let layers: Vec<_> = manifest["layers"].as_array().unwrap().iter().collect();
            assert_eq!(layers.len(), 2);
            assert_eq!(layers[0]["digest"], format!("sha256:{}", layer.digest));
            assert_eq!((&layers[0]["size"], &layers[1]["size"]), (&json!(9), &json!(7)));
            assert_eq!(layers[1]["mediaType"], form.layer());
        }
    }

    #[test]
    fn a_container_starts_as_a_dyno_would_and_holds_no_config() {
        let (slug, layer) = (slug(&[("worker", "work"), ("web", "serve $PORT")]), layer());
        let config = Image::of(&slug, &layer).unwrap().config();
        let said: Value = serde_json::from_slice(&config.bytes).unwrap();
        assert_eq!(said["config"]["Cmd"], json!(["serve $PORT"]));
        assert_eq!(said["config"]["Entrypoint"][0], "bash");
        assert_eq!(said["rootfs"]["diff_ids"][1], format!("sha256:{}", "bb".repeat(32)));
        assert!(!String::from_utf8(config.bytes).unwrap().contains("hush"));
    }

    #[test]
    fn without_a_blob_there_is_no_image() {
        let mut slug = slug(&[]);
        slug.digest = None;
        assert!(Image::of(&slug, &layer()).is_none());
    }
}
