//! The readers of what others name and answer, for `fuzz/`: no part of the package's interface.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cooper_proto::pb;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::git::GitWanted;
use super::http::{HttpWanted, file_name};
use crate::signature::{verify_pgp, verify_ssh};

/// What git is given for a source.
#[derive(Debug)]
pub struct GitArguments {
    /// The repository.
    pub remote: String,
    /// Branch, tag or commit.
    pub reference: String,
    /// The beginning of the commit's name.
    pub checksum: String,
    /// The folder of it that is wanted.
    pub subdir: String,
}

/// Reads a git source; `None` where it is refused.
pub fn git_source<'a>(
    identifier: &str,
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<GitArguments> {
    let wanted = GitWanted::of(&source(identifier, attributes)).ok()?;
    Some(GitArguments {
        remote: wanted.address.remote,
        reference: wanted.reference,
        checksum: wanted.checksum,
        subdir: wanted.subdir,
    })
}

/// Names the file of an http source; `None` where the source is refused.
#[must_use]
pub fn http_file_name(url: &str, name: &str, disposition: Option<&str>) -> Option<String> {
    let attributes = [("http.filename", name)].into_iter();
    let wanted = HttpWanted::of(&source(url, attributes)).ok()?;
    Some(file_name(&wanted.url, &wanted.filename, disposition))
}

/// Reads what a registry asks for.
pub fn registry_challenges(header: &[u8]) -> usize {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    crate::distribution::challenges(&headers).len()
}

/// Whether packets, once armored, are a signature over `signed` by keys that are given in the same way: by OpenPGP keys or
/// by an ssh key.
#[must_use]
pub fn is_signed(signed: &[u8], signature: &[u8], keys: &[u8]) -> bool {
    let armored = |kind: &str, bytes: &[u8]| {
        let body = BASE64_STANDARD.encode(bytes);
        format!("-----BEGIN {kind}-----\n\n{body}\n-----END {kind}-----\n").into_bytes()
    };
    let pgp = armored("PGP SIGNATURE", signature);
    let ring = armored("PGP PUBLIC KEY BLOCK", keys);
    let ssh = armored("SSH SIGNATURE", signature);
    let now = 1 << 40;
    verify_pgp(signed, &pgp, &ring, false, now).is_ok()
        || verify_pgp(signed, &pgp, &ring, true, now).is_ok()
        || verify_ssh(signed, &ssh, keys).is_ok()
}

fn source<'a>(
    identifier: &str,
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
) -> pb::SourceOp {
    pb::SourceOp {
        identifier: identifier.to_owned(),
        attrs: attributes
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}
