//! Names of images: `[domain/]path[:tag][@digest]`.
//!
//! Source of the rules: the `distribution/reference` package that Docker uses.

use std::{fmt, str::FromStr};

use crate::digest::{Digest, ParseDigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_NAME: usize = 255;

/// An image's name in full: `debian` is `docker.io/library/debian`.
///
/// # Shape
/// Always well formed; parsing normalizes. Displayed in full, as the registry and the
/// local store know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no [`Reference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// It is 64 hexadecimal characters, which would be confused with an image's id.
    #[error("{0:?} cannot name an image: 64 hexadecimal characters are an image's id")]
    Identifier(String),
    /// The repository has upper-case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The registry's name has a character or form that host names do not have.
    #[error("invalid reference format: {domain:?} in {whole:?} is no registry")]
    Domain {
        /// The registry's name.
        domain: String,
        /// The whole text.
        whole: String,
    },
    /// The repository's path has a wrong form.
    #[error("invalid reference format: {path:?} in {whole:?} is no repository")]
    Path {
        /// The path.
        path: String,
        /// The whole text.
        whole: String,
    },
    /// The tag has a wrong form.
    #[error("invalid reference format: {tag:?} in {whole:?} is no tag")]
    Tag {
        /// The tag.
        tag: String,
        /// The whole text.
        whole: String,
    },
    /// The digest has a wrong form.
    #[error("invalid reference format: the digest in {whole:?}: {cause}")]
    Digest {
        /// The whole text.
        whole: String,
        /// What is wrong.
        cause: ParseDigestError,
    },
    /// The name is too long.
    #[error("invalid reference format: a repository's name has at most {MAX_NAME} characters")]
    TooLong,
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = || text.chars().take(MAX_NAME * 2).collect::<String>();
        if text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(ParseReferenceError::Identifier(text.into()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => match digest.parse() {
                Ok(digest) => (name, Some(digest)),
                Err(cause) => {
                    let whole = whole();
                    return Err(ParseReferenceError::Digest { whole, cause });
                }
            },
            None => (text, None),
        };
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest.as_str(), None),
        };
        if path.chars().any(char::is_uppercase) {
            return Err(ParseReferenceError::Uppercase(path.into()));
        }
        if !is_domain(domain) {
            let domain = domain.into();
            let whole = whole();
            return Err(ParseReferenceError::Domain { domain, whole });
        }
        if !path.split('/').all(is_path_component) {
            let path = path.into();
            let whole = whole();
            return Err(ParseReferenceError::Path { path, whole });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            let tag = tag.into();
            let whole = whole();
            return Err(ParseReferenceError::Tag { tag, whole });
        }
        if path.len() > MAX_NAME {
            return Err(ParseReferenceError::TooLong);
        }
        Ok(Self {
            domain: domain.into(),
            path: path.into(),
            tag: tag.map(String::from),
            digest,
        })
    }
}

impl Reference {
    /// The registry, for example `docker.io`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry, for example `library/debian`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Registry and repository, for example `docker.io/library/debian`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The host to ask, which for Docker Hub differs from the registry's name.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.domain == DEFAULT_DOMAIN {
            "registry-1.docker.io"
        } else {
            &self.domain
        }
    }

    /// The same name with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// The same name with this digest.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The same name without tag and digest.
    #[must_use]
    pub fn without_tag_and_digest(mut self) -> Self {
        self.tag = None;
        self.digest = None;
        self
    }

    /// The name as people write it: `debian` for `docker.io/library/debian`. In full where the short form would be that
    /// of another image, as for `docker.io/a.b/c`.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.to_string();
        }
        let name = match self.path.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.path,
        };
        let short = self.with_tag_and_digest(name.to_owned());
        match short.parse::<Self>() {
            Ok(same) if same == *self => short,
            _ => self.to_string(),
        }
    }

    fn with_tag_and_digest(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.with_tag_and_digest(self.name()))
    }
}

/// What stands before the first slash is a registry when it could not be a user's name.
fn split_domain(name: &str) -> (&str, String) {
    let (domain, rest) = match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        (domain, format!("{OFFICIAL}{rest}"))
    } else {
        (domain, rest.into())
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        let valid = |c: char| c.is_ascii_hexdigit() || c == ':';
        if address.is_empty() || !address.chars().all(valid) {
            return false;
        }
        (None, port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (Some(&text[..end]), &text[end..])
    };
    let port_is_valid = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()));
    port_is_valid && host.is_none_or(|host| host.split('.').all(is_domain_component))
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|s| matches!(s, "" | "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word)
        && text.len() <= 128
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_and_shortened_as_docker_does() {
        for (text, full, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            (
                "index.docker.io/debian",
                "docker.io/library/debian",
                "debian",
            ),
            ("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1"),
            ("library/debian", "docker.io/library/debian", "debian"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("a/b", "docker.io/a/b", "a/b"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("localhost:5000/a", "localhost:5000/a", "localhost:5000/a"),
            ("Host/a", "Host/a", "Host/a"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000/a:b"),
            (
                "q.io/a.b_c__d---e/f:V1.-_",
                "q.io/a.b_c__d---e/f:V1.-_",
                "q.io/a.b_c__d---e/f:V1.-_",
            ),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
        let both: Reference = format!("a:1@{DIGEST}").parse().unwrap();
        assert_eq!(both.tag(), Some("1"));
        assert_eq!(both.digest().unwrap().as_str(), DIGEST);
        assert_eq!(both.clone().with_default_tag(), both);
        assert_eq!(
            "a".parse::<Reference>().unwrap().with_default_tag().tag(),
            Some("latest")
        );
    }

    #[test]
    fn the_short_form_of_a_name_is_never_that_of_another() {
        let id = &DIGEST[7..];
        for (text, familiar) in [
            ("docker.io/library/debian", "debian"),
            ("docker.io/user/app:1", "user/app:1"),
            ("docker.io/a.b/c", "docker.io/a.b/c"),
            ("docker.io/localhost/c", "docker.io/localhost/c"),
            ("quay.io/a/b", "quay.io/a/b"),
            (
                &format!("docker.io/library/{id}"),
                &format!("docker.io/library/{id}"),
            ),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().familiar(), familiar);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let id = &DIGEST[7..];
        for text in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "a:",
            "a:-b",
            "a:b:c",
            "a..b",
            "a._b",
            "a___b",
            "-a",
            "a-",
            "../a",
            "a/../b",
            "http://a/b",
            "a b",
            "a\n",
            "-x.io/a",
            "x.io:/a",
            "x.io:p/a",
            "[::1/a",
            "[g]/a",
            "a@sha256:1",
            "a@",
            "é",
            id,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!("a".repeat(300).parse::<Reference>().is_err());
        assert!(
            format!("a:{}", "b".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn the_parser_takes_any_text(text in ".*") {
            let _ = text.parse::<Reference>();
        }

        #[test]
        fn full_form_reads_back(text in "[a-zA-Z0-9.:/_-]{1,40}(:[a-z0-9]{1,5})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
