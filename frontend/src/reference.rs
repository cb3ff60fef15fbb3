//! Image references: `busybox` is `docker.io/library/busybox:latest`.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

const LONGEST_NAME: usize = 255;

/// A normalised reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let domain = r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?";
    let part = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
    let tag = r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}";
    let digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}";
    Regex::new(&format!(
        "^(?:({domain})/)?({part}(?:/{part})*)(?::({tag}))?(?:@({digest}))?$"
    ))
    .expect("the pattern is a constant and compiles")
});

impl Reference {
    /// Reads a reference as a user writes it and completes domain and namespace, not the tag.
    ///
    /// # Errors
    /// A message in the words of Docker.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            ));
        }
        let (domain, rest) = split_domain(text);
        let repository = rest.split(':').next().unwrap_or_default();
        if repository != repository.to_lowercase() {
            return Err(format!(
                "invalid reference format: repository name ({repository}) must be lowercase"
            ));
        }
        let whole = format!("{domain}/{rest}");
        let found = PATTERN.captures(&whole).ok_or("invalid reference format")?;
        let group = |at: usize| found.get(at).map(|text| text.as_str().to_owned());
        let reference = Self {
            domain: group(1).ok_or("invalid reference format")?,
            path: group(2).unwrap_or_default(),
            tag: group(3),
            digest: group(4),
        };
        if reference.domain.len() + 1 + reference.path.len() > LONGEST_NAME {
            return Err(format!(
                "repository name must not be more than {LONGEST_NAME} characters"
            ));
        }
        match reference.digest.as_deref().map(check_digest) {
            Some(Err(why)) => Err(why),
            _ => Ok(reference),
        }
    }

    /// The same with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn tagged(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same with another digest.
    #[must_use]
    pub fn with_digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }

    /// The digest, if it has one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// As a user would write it: without the default domain and namespace.
    #[must_use]
    pub fn familiar(&self) -> String {
        let name = if self.domain != "docker.io" {
            format!("{}/{}", self.domain, self.path)
        } else {
            match self.path.strip_prefix("library/") {
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                _ => self.path.clone(),
            }
        };
        self.suffixed(name)
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(format!("{}/{}", self.domain, self.path)))
    }
}

fn split_domain(text: &str) -> (&str, String) {
    let Some((first, rest)) = text.split_once('/') else {
        return ("docker.io", format!("library/{text}"));
    };
    let (domain, path) = match first {
        "localhost" => (first, rest),
        "index.docker.io" => ("docker.io", rest),
        _ if first.contains(['.', ':']) || first != first.to_lowercase() => (first, rest),
        _ => ("docker.io", text),
    };
    if domain == "docker.io" && !path.contains('/') {
        (domain, format!("library/{path}"))
    } else {
        (domain, path.to_owned())
    }
}

fn check_digest(digest: &str) -> Result<(), String> {
    let (algorithm, hex) = digest.split_once(':').unwrap_or((digest, ""));
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm".to_owned()),
    };
    if hex.len() != length {
        return Err("invalid checksum digest length".to_owned());
    }
    if hex.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("invalid checksum digest format".to_owned());
    }
    Ok(())
}

/// Whether `text` is a digest of a kind that is known.
///
/// # Errors
/// Why it is not.
pub(crate) fn digest(text: &str) -> Result<(), String> {
    let (_, hex) = text
        .split_once(':')
        .ok_or("invalid checksum digest format")?;
    if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("invalid checksum digest format".to_owned());
    }
    check_digest(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (text, want) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("a/b:c", "docker.io/a/b:c"),
            ("index.docker.io/x", "docker.io/library/x:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("host:5000/x/y", "host:5000/x/y:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().tagged().to_string(), want);
        }
        let digest = format!("sha256:{}", "0".repeat(64));
        let both = Reference::parse(&format!("x:y@{digest}")).unwrap().tagged();
        assert_eq!(both.to_string(), format!("docker.io/library/x:y@{digest}"));
        assert_eq!(both.familiar(), format!("x:y@{digest}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "A",
            "a b",
            "a:",
            "a@sha256:00",
            "-a",
            "a//b",
            "a/B",
            &"0".repeat(64),
            "a@md5:0123456789abcdef0123456789abcdef",
        ] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
        assert!(
            Reference::parse("Foo")
                .unwrap_err()
                .contains("must be lowercase")
        );
    }
}
