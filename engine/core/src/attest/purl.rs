//! Package URLs of images (<https://github.com/package-url/purl-spec>), as BuildKit writes them.

use cooper_proto::reference::Reference;
use cooper_proto::{pb, platform};

/// Where an image is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImagePlace {
    /// A registry.
    Registry,
    /// A layout of files.
    Layout,
}

/// The package URL of an image; `None` for what is no reference.
#[must_use]
pub fn image_purl(
    place: ImagePlace,
    reference: &str,
    platform: Option<&pb::Platform>,
    more: &[(&str, &str)],
) -> Option<String> {
    let reference: Reference = reference.parse().ok()?;
    let kind = match place {
        ImagePlace::Registry => "docker",
        ImagePlace::Layout => "oci",
    };
    let name = reference.clone().without_tag_and_digest().familiar();
    let mut text = format!("pkg:{kind}/");
    let escaped: Vec<String> = name.split('/').map(in_query).collect();
    text.push_str(&escaped.join("/"));
    let mut qualifiers = Vec::new();
    match reference.digest() {
        Some(digest) => qualifiers.push(("digest", digest.to_string())),
        None if reference.tag().is_none() => text.push_str("@latest"),
        None => {}
    }
    if let Some(tag) = reference.tag() {
        text.push('@');
        text.push_str(&in_path(tag));
    }
    if let Some(platform) = platform {
        let normal = platform::normalize(platform);
        qualifiers.push(("platform", platform::format(&normal)));
    }
    let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
    qualifiers.extend(more);
    for (index, (key, value)) in qualifiers.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&format!("{key}={}", in_path(value)));
    }
    Some(text)
}

/// As Go's `url.QueryEscape`.
fn in_query(text: &str) -> String {
    escaped(text, &[]).replace("%20", "+")
}

/// As Go's `url.PathEscape`.
fn in_path(text: &str) -> String {
    escaped(text, b"$&+:=@")
}

fn escaped(text: &str, plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte if plain.contains(&byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_buildkits_package_url() {
        let amd64 = pb::Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            ..pb::Platform::default()
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        let purl = |place, reference: &str, platform| image_purl(place, reference, platform, &[]);
        for (reference, platform, want) in [
            (
                "docker.io/library/busybox:latest",
                Some(&amd64),
                "pkg:docker/busybox@latest?platform=linux%2Famd64".to_owned(),
            ),
            ("busybox", None, "pkg:docker/busybox@latest".to_owned()),
            (
                "localhost:5000/a/b:v1",
                None,
                "pkg:docker/localhost%3A5000/a/b@v1".to_owned(),
            ),
            (
                &format!("busybox:1@{digest}"),
                Some(&amd64),
                format!("pkg:docker/busybox@1?digest={digest}&platform=linux%2Famd64"),
            ),
            (
                &format!("a/b@{digest}"),
                None,
                format!("pkg:docker/a/b?digest={digest}"),
            ),
        ] {
            let found = purl(ImagePlace::Registry, reference, platform);
            assert_eq!(found, Some(want), "{reference}");
        }
        let blob = image_purl(ImagePlace::Layout, "foo", None, &[("ref_type", "blob")]);
        assert_eq!(blob.as_deref(), Some("pkg:oci/foo@latest?ref_type=blob"));
        assert_eq!(purl(ImagePlace::Registry, "A B", None), None);
    }
}
