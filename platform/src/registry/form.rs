//! The two languages in which an image is described, and which of them a client understands. Pure.

/// Whose media types a manifest has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// "Image Manifest Version 2, Schema 2".
    Docker,
    /// "OCI Image Format Specification".
    Oci,
}

impl Form {
    pub(super) const ALL: [Self; 2] = [Self::Docker, Self::Oci];

    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    pub(super) fn config(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        }
    }

    pub(super) fn layer(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }

    /// The first of ours that `Accept` names; Docker's when it names none, since a client that says
    /// nothing is an old one.
    pub(super) fn accepted<'a>(headers: impl Iterator<Item = &'a str>) -> Self {
        let named = headers.flat_map(|header| header.split(','));
        let kinds = named.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let mut ours =
            kinds.filter_map(|kind| Self::ALL.into_iter().find(|f| f.manifest() == kind));
        ours.next().unwrap_or(Self::Docker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_understands() {
        let docker = Form::Docker.manifest();
        let oci = Form::Oci.manifest();
        for (headers, expected) in [
            (vec![], Form::Docker),
            (vec!["*/*"], Form::Docker),
            (vec![oci], Form::Oci),
            (vec![docker, oci], Form::Docker),
            (vec!["application/json, application/vnd.oci.image.manifest.v1+json;q=0.5"], Form::Oci),
        ] {
            assert_eq!(Form::accepted(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
