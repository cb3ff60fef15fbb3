//! Addresses of repositories in the one form that provenance has them in.

use cooper_core::patterns::path_inside;

/// A repository's address without a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GitAddress {
    /// With reference and folder, after `#` and `:`.
    pub(super) whole: String,
    /// With the reference alone.
    pub(super) repository: String,
}

/// An address with what its query or fragment says put into the fragment; `None` for what is no repository.
pub(super) fn in_fragments(address: &str) -> Option<GitAddress> {
    let (place, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    if !is_repository(place) {
        return None;
    }
    let (mut reference, mut folder) = match fragment.split_once(':') {
        Some((reference, folder)) => (reference.to_owned(), folder.to_owned()),
        None => (fragment.to_owned(), String::new()),
    };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let prefixed = |prefix: &str| match value.starts_with(prefix) {
            true => value.to_owned(),
            false => format!("{prefix}{value}"),
        };
        match key {
            "ref" => value.clone_into(&mut reference),
            "tag" => reference = prefixed("refs/tags/"),
            "branch" => reference = prefixed("refs/heads/"),
            "subdir" => value.clone_into(&mut folder),
            _ => {}
        }
    }
    let folder = path_inside(&folder);
    let with = |folder: &str| {
        let mut text = place.to_owned();
        if !(reference.is_empty() && folder.is_empty()) {
            text.push('#');
            text.push_str(&reference);
        }
        if !folder.is_empty() {
            text.push(':');
            text.push_str(folder);
        }
        text
    };
    Some(GitAddress {
        whole: with(&folder),
        repository: with(""),
    })
}

/// As the Dockerfile frontend tells a repository from a file by URL.
fn is_repository(place: &str) -> bool {
    match place.split_once("://") {
        Some(("http" | "https", rest)) => rest.ends_with(".git"),
        Some(("git" | "ssh", _)) => true,
        Some(_) => false,
        None => place.starts_with("github.com/") || (place.contains('@') && place.contains(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_fragments() {
        for (address, whole, repository) in [
            (
                "http://h/.git#v1:src",
                "http://h/.git#v1:src",
                "http://h/.git#v1",
            ),
            ("https://h/a.git", "https://h/a.git", "https://h/a.git"),
            (
                "https://h/a.git?tag=v1&subdir=/a/../b",
                "https://h/a.git#refs/tags/v1:b",
                "https://h/a.git#refs/tags/v1",
            ),
            ("git@h:a/b.git#:x", "git@h:a/b.git#:x", "git@h:a/b.git"),
        ] {
            let found = in_fragments(address).unwrap();
            assert_eq!(
                (found.whole.as_str(), found.repository.as_str()),
                (whole, repository)
            );
        }
        for address in ["https://h/a.tar", "input:x", "docker-image://a@b:c"] {
            assert_eq!(in_fragments(address), None, "{address}");
        }
    }
}
