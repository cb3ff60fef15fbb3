use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::armor::blocks;
use super::crypto::{Curve, Hash, Key, Numbers};
use super::error::SignatureError;
use super::key_ring::plain_number;
use super::packet::Bytes;

/// Begins what is signed and the signature (OpenSSH, PROTOCOL.sshsig).
const MAGIC: &[u8] = b"SSHSIG";
/// What git signs for.
const NAMESPACE: &[u8] = b"git";

/// Checks that bytes have an armored signature for git by the key of a line as in `authorized_keys`.
///
/// # Errors
/// When they have not.
pub(crate) fn verify_ssh(
    signed: &[u8],
    signature: &[u8],
    authorized: &[u8],
) -> Result<(), SignatureError> {
    let unreadable = |why: String| SignatureError::Unreadable(why);
    let armored = blocks(signature, "SSH SIGNATURE").map_err(unreadable)?;
    let parts = Parts::read(&armored[0]).map_err(unreadable)?;
    if parts.namespace != NAMESPACE {
        let namespace = String::from_utf8_lossy(parts.namespace);
        return Err(SignatureError::Rejected(format!(
            "unexpected SSH signature namespace: {namespace:?}"
        )));
    }
    let (hash, name) = match parts.hash {
        b"sha256" => (Hash::Sha256, parts.hash),
        b"sha512" => (Hash::Sha512, parts.hash),
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(SignatureError::Rejected(format!(
                "unsupported SSH signature hash algorithm: {other}"
            )));
        }
    };
    let allowed = authorized_key(authorized).map_err(SignatureError::SshKey)?;
    let maker = parts.key;
    if maker != allowed {
        return Err(SignatureError::UnknownKey("another ssh key".to_owned()));
    }
    let mut context = hash.begin();
    context.update(signed);
    let mut message = MAGIC.to_vec();
    for part in [
        parts.namespace,
        parts.reserved,
        name,
        context.finish().as_ref(),
    ] {
        message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend_from_slice(part);
    }
    let key = key_of(&allowed).map_err(SignatureError::SshKey)?;
    let (hash, numbers) = numbers_of(&key, parts.signature)?;
    key.verify_message(hash, &message, &numbers)
}

struct Parts<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    reserved: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = Bytes(bytes);
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(String::from("it does not begin with SSHSIG"));
        }
        match rest.number(4)? {
            1 => {}
            version => return Err(format!("unsupported SSH signature version: {version}")),
        }
        Ok(Self {
            key: text(&mut rest)?,
            namespace: text(&mut rest)?,
            reserved: text(&mut rest)?,
            hash: text(&mut rest)?,
            signature: text(&mut rest)?,
        })
    }
}

/// Bytes with their length before them.
fn text<'a>(rest: &mut Bytes<'a>) -> Result<&'a [u8], String> {
    let length = rest.number(4)?;
    rest.take(length)
}

/// The first key of lines as in `authorized_keys`: options, kind, key, remark.
fn authorized_key(lines: &[u8]) -> Result<Vec<u8>, String> {
    let lines = std::str::from_utf8(lines).map_err(|_| "no text")?;
    for line in lines.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(key) = BASE64_STANDARD.decode(pair[1]) else {
                continue;
            };
            // The key says its kind itself.
            if text(&mut Bytes(&key)).is_ok_and(|kind| kind == pair[0].as_bytes()) {
                return Ok(key);
            }
        }
    }
    Err(String::from("no key found"))
}

fn key_of(bytes: &[u8]) -> Result<Key, String> {
    let mut rest = Bytes(bytes);
    match text(&mut rest)? {
        b"ssh-ed25519" => Ok(Key::Ed25519(text(&mut rest)?.to_vec())),
        b"ssh-rsa" => {
            let exponent = plain_number(text(&mut rest)?);
            let modulus = plain_number(text(&mut rest)?);
            Ok(Key::Rsa { modulus, exponent })
        }
        kind @ (b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521") => {
            let curve = match kind {
                b"ecdsa-sha2-nistp256" => Curve::P256,
                b"ecdsa-sha2-nistp384" => Curve::P384,
                _ => Curve::P521,
            };
            text(&mut rest)?;
            Ok(Key::Ecdsa(curve, text(&mut rest)?.to_vec()))
        }
        other => Err(format!(
            "a key of kind {} is not verified here",
            String::from_utf8_lossy(other)
        )),
    }
}

/// The numbers of a signature, and what is hashed for it.
fn numbers_of(key: &Key, signature: &[u8]) -> Result<(Hash, Numbers), SignatureError> {
    let read = || {
        let mut rest = Bytes(signature);
        let kind = text(&mut rest)?;
        let body = text(&mut rest)?;
        Ok::<_, String>(match (key, kind) {
            (Key::Ed25519(_), b"ssh-ed25519") => Some((Hash::Sha512, Numbers::One(body.to_vec()))),
            (Key::Rsa { .. }, b"rsa-sha2-256") => {
                Some((Hash::Sha256, Numbers::One(plain_number(body))))
            }
            (Key::Rsa { .. }, b"rsa-sha2-512") => {
                Some((Hash::Sha512, Numbers::One(plain_number(body))))
            }
            (Key::Ecdsa(curve, _), kind) if kind.starts_with(b"ecdsa-sha2-") => {
                let hash = match curve {
                    Curve::P256 => Hash::Sha256,
                    Curve::P384 => Hash::Sha384,
                    Curve::P521 => Hash::Sha512,
                };
                let mut body = Bytes(body);
                let (r, s) = (text(&mut body)?, text(&mut body)?);
                Some((hash, Numbers::Two(plain_number(r), plain_number(s))))
            }
            _ => None,
        })
    };
    let found = read().map_err(SignatureError::Unreadable)?;
    found.ok_or_else(|| {
        SignatureError::Rejected("a signature of another kind than its key".to_owned())
    })
}
