use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use cooper_core::model::{Failure, FailureKind};

use super::fetch::Objects;
use crate::signature::{PGP_ARMOR, SSH_ARMOR, verify_pgp, verify_ssh};

/// How a commit must be signed (parity sheet B3, `git.sig.*`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Signed {
    /// Armored OpenPGP keys, or a line with an ssh key.
    pub(super) keys: String,
    /// Whether the key must hold still.
    pub(super) reject_expired: bool,
    /// Whether it is the tag that must be signed.
    pub(super) require_tag: bool,
    /// Whether a tag's signature does not count.
    pub(super) ignore_tag: bool,
}

impl Signed {
    /// Checks the signature of a tag, or else of its commit.
    ///
    /// # Errors
    /// `Denied` when there is none that counts.
    ///
    /// # Units
    /// `now` is in seconds since 1970.
    pub(super) fn check(&self, found: &Objects, now: u64) -> Result<(), Failure> {
        let tag = found.tag.as_ref().filter(|_| !self.ignore_tag);
        let of_tag = tag.map(|(bytes, _)| self.check_one(&Parts::of_tag(bytes), now));
        match of_tag {
            Some(Ok(())) => return Ok(()),
            Some(Err(failure)) if self.require_tag => return Err(failure),
            None if self.require_tag => {
                return Err(denied("signed tag required but no signed tag found"));
            }
            _ => {}
        }
        self.check_one(&Parts::of_commit(&found.commit)?, now)
    }

    fn check_one(&self, parts: &Parts, now: u64) -> Result<(), Failure> {
        if parts.signature.is_empty() {
            return Err(denied("git object is not signed"));
        }
        let keys = self.keys.as_bytes();
        let checked = if parts.signature.starts_with(PGP_ARMOR.as_bytes()) {
            let (signed, signature) = (parts.signed.as_slice(), &parts.signature);
            verify_pgp(signed, signature, keys, self.reject_expired, now)
        } else if parts.signature.starts_with(SSH_ARMOR.as_bytes()) {
            verify_ssh(&parts.signed, &parts.signature, keys)
        } else {
            return Err(denied("git object has a signature of an unknown kind"));
        };
        checked.map_err(|error| {
            let mut failure = Failure::from(error);
            let said = &failure.message;
            failure.message = format!("failed to verify the signature of a git object: {said}");
            failure
        })
    }
}

/// An object's signature and what it is over.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Parts {
    /// A tag's signature stands at its end.
    fn of_tag(bytes: &[u8]) -> Self {
        let starts = |line: &[u8]| {
            [PGP_ARMOR, SSH_ARMOR]
                .iter()
                .any(|it| line.trim_ascii_end() == it.as_bytes())
        };
        let mut at = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if starts(line) {
                break;
            }
            at += line.len();
        }
        let (signed, signature) = bytes.split_at(at);
        Self {
            signed: signed.to_vec(),
            signature: signature.to_vec(),
        }
    }

    /// A commit's signature is one of its headers, whose further lines begin with a blank.
    fn of_commit(bytes: &[u8]) -> Result<Self, Failure> {
        const HEADERS: [&[u8]; 2] = [b"gpgsig ", b"gpgsig-sha256 "];
        let (mut signed, mut signature) = (Vec::new(), Vec::new());
        let (mut in_headers, mut in_signature) = (true, false);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            in_headers &= line != b"\n";
            let begins = HEADERS.iter().find_map(|header| line.strip_prefix(*header));
            match (in_headers, begins, line.strip_prefix(b" ")) {
                (true, Some(first), _) => {
                    // Which of two would count is not for us to choose.
                    if !signature.is_empty() {
                        return Err(denied("git object has more than one signature"));
                    }
                    in_signature = true;
                    signature.extend_from_slice(first);
                }
                (true, None, Some(more)) if in_signature => signature.extend_from_slice(more),
                _ => {
                    in_signature = false;
                    signed.extend_from_slice(line);
                }
            }
        }
        Ok(Self { signed, signature })
    }
}

/// The name of an object by its content: what was signed must be what was asked for.
pub(super) fn object_id(kind: &str, bytes: &[u8], is_sha256: bool) -> String {
    let mut context = Context::new(match is_sha256 {
        true => &SHA256,
        false => &SHA1_FOR_LEGACY_USE_ONLY,
    });
    context.update(format!("{kind} {}\0", bytes.len()).as_bytes());
    context.update(bytes);
    hex::encode(context.finish())
}

fn denied(words: &str) -> Failure {
    Failure::new(FailureKind::Denied, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_taken_out_of_an_object_and_the_rest_is_what_was_signed() {
        let commit = b"tree a\nauthor b\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END\nz c\n\nwords\n gpgsig no\n";
        let parts = Parts::of_commit(commit).unwrap();
        assert_eq!(
            parts.signed,
            b"tree a\nauthor b\nz c\n\nwords\n gpgsig no\n"
        );
        assert_eq!(
            parts.signature,
            b"-----BEGIN PGP SIGNATURE-----\n\nx\n-----END\n"
        );
        let plain = Parts::of_commit(b"tree a\n\ngpgsig in words\n").unwrap();
        assert_eq!(plain.signature, b"");
        Parts::of_commit(b"gpgsig a\ngpgsig-sha256 b\n\n").unwrap_err();
        let tag = Parts::of_tag(b"object a\n\nwords\n-----BEGIN SSH SIGNATURE-----\nx\n");
        assert_eq!(tag.signed, b"object a\n\nwords\n");
        assert_eq!(tag.signature, b"-----BEGIN SSH SIGNATURE-----\nx\n");
        let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert_eq!(object_id("blob", b"", false), empty);
    }
}
