//! The names under which a Docker daemon finds dynos' images in our registry.

use lathe_dynos::docker::{Credentials, Image, Images};
use lathe_dynos::spec::DynoSpec;
use lathe_slug::SlugId;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use uuid::Uuid;

/// A slug on a stack as an image's tag, `<slug>.<stack>`: it stands for the same image for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlugTag {
    pub slug: SlugId,
    /// The name of the stack's directory: the beginning of its digest.
    pub stack: String,
}

impl fmt::Display for SlugTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slug, self.stack)
    }
}

impl FromStr for SlugTag {
    type Err = NoSlugTag;

    fn from_str(text: &str) -> Result<Self, NoSlugTag> {
        let (slug, stack) = text.split_once('.').ok_or(NoSlugTag)?;
        let is_digest = !stack.is_empty() && stack.bytes().all(|byte| byte.is_ascii_hexdigit());
        let slug = slug.parse().ok().filter(|_| is_digest).ok_or(NoSlugTag)?;
        Ok(Self { slug, stack: stack.to_owned() })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not the tag of a slug on a stack")]
pub struct NoSlugTag;

impl SlugTag {
    fn of(spec: &DynoSpec) -> Option<Self> {
        let stack = spec.stack.parent().and_then(Path::file_name)?.to_str()?;
        Some(Self { slug: spec.slug?, stack: stack.to_owned() })
    }
}

/// Our registry as the daemon sees it.
#[derive(Clone)]
pub struct AppImages {
    /// `127.0.0.1:8480`.
    registry: String,
    key: String,
}

impl AppImages {
    /// The user by whose name the daemon asks.
    pub const USER: &str = "lathe-engine";

    /// A key of its own for each life of the platform.
    pub fn new(registry: String) -> Self {
        Self { registry, key: Uuid::new_v4().simple().to_string() }
    }

    /// Opens the images of every app to whoever has it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for AppImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppImages").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Images for AppImages {
    fn image(&self, spec: &DynoSpec) -> Option<Image> {
        let tag = SlugTag::of(spec)?;
        Some(Image {
            reference: format!("{}/{}:{tag}", self.registry, spec.app.as_str()),
            credentials: Some(Credentials {
                user: Self::USER.to_owned(),
                password: self.key.clone(),
            }),
        })
    }

    fn is_ours(&self, reference: &str) -> bool {
        let below = reference.strip_prefix(&self.registry).and_then(|rest| rest.strip_prefix('/'));
        let tag = below.and_then(|name| name.rsplit_once(':')).map(|(_, tag)| tag);
        tag.is_some_and(|tag| tag.parse::<SlugTag>().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_slug_and_stack() {
        let slug = "ab".repeat(32);
        let tag: SlugTag = format!("{slug}.0123456789abcdef").parse().unwrap();
        assert_eq!(tag.to_string(), format!("{slug}.0123456789abcdef"));
        for wrong in ["v1", "latest", "", ".", &slug, &format!("{slug}."), &format!("{slug}.x")] {
            assert!(wrong.parse::<SlugTag>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_was_pulled_for_dynos_is_ours() {
        let images = AppImages::new("127.0.0.1:1".into());
        let tag = format!("{}.01", "ab".repeat(32));
        for (reference, ours) in [
            (format!("127.0.0.1:1/app:{tag}"), true),
            (format!("127.0.0.1:10/app:{tag}"), false),
            (format!("example.com/app:{tag}"), false),
            ("127.0.0.1:1/app:v1".into(), false),
            ("debian:12".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(images.is_ours(&reference), ours, "{reference}");
        }
    }
}
