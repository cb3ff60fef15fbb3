use std::io::Read;

use super::armor::blocks;
use super::error::SignatureError;
use super::key_ring::KeyRing;
use super::packet::{Signature, packets};

/// The kind of packet that a signature is.
const SIGNATURE: u8 = 2;
/// A signature over bytes as they are.
const OF_BYTES: u8 = 0;

/// How far clocks may differ.
///
/// # Units
/// Seconds. Source: BuildKit.
const SLACK: u64 = 5 * 60;

/// Checks that bytes have a detached, armored signature by one of the armored keys.
///
/// Keys are looked at as they were when the signature was made; with `reject_expired` as they are `now`, in seconds
/// since 1970.
///
/// # Errors
/// When they have not, and where it cannot be told.
pub(crate) fn verify_pgp(
    mut signed: impl Read,
    signature: &[u8],
    keys: &[u8],
    reject_expired: bool,
    now: u64,
) -> Result<(), SignatureError> {
    let armored = blocks(signature, "PGP SIGNATURE").map_err(SignatureError::Unreadable)?;
    let packets = packets(&armored[0]).map_err(SignatureError::Unreadable)?;
    let first = packets.iter().find(|(kind, _)| *kind == SIGNATURE);
    let (_, packet) =
        first.ok_or_else(|| SignatureError::Unreadable("no signature packet found".to_owned()))?;
    let signature = Signature::read(packet).map_err(SignatureError::Rejected)?;
    let blocks = blocks(keys, "PGP PUBLIC KEY BLOCK").map_err(SignatureError::Keys)?;
    let ring = KeyRing::read(&blocks).map_err(SignatureError::Keys)?;
    if signature.kind != OF_BYTES {
        let what = format!("a signature of kind {:#x}, not over bytes", signature.kind);
        return Err(SignatureError::Rejected(what));
    }
    let hash = signature.hash().ok_or_else(|| {
        SignatureError::Rejected(format!("weak or unknown hash {}", signature.hash_id))
    })?;
    let numbers = signature.numbers().map_err(SignatureError::Rejected)?;
    let facts = &signature.facts;
    if facts.created > now.saturating_add(SLACK) {
        return Err(SignatureError::Rejected(
            "a signature that was made in the future".to_owned(),
        ));
    }
    let at = if reject_expired { now } else { facts.created };
    let is_over = facts
        .lasts
        .is_some_and(|lasts| facts.created.saturating_add(lasts) < at);
    if is_over {
        return Err(SignatureError::Rejected(
            "a signature that is over".to_owned(),
        ));
    }
    let maker = ring.maker_of(facts, at)?;
    let mut context = hash.begin();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match signed.read(&mut buffer)? {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    context.update(&signature.trailer());
    let verified = maker.key.verify(hash, &context.finish(), &numbers);
    verified.map_err(|error| match error {
        SignatureError::Mismatch => SignatureError::Key {
            key: maker.fingerprint,
            reason: error.to_string(),
        },
        other => other,
    })
}
