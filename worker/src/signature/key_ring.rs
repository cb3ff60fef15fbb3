use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::crypto::{Curve, Key};
use super::error::SignatureError;
use super::packet::{Bytes, Facts, Signature, packets, without_zeros};

/// Kinds of packets.
const SIGNATURE: u8 = 2;
const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;
const SUBKEY: u8 = 14;
const USER: u8 = 13;

/// Kinds of signatures (RFC 9580, 5.2.1).
const BINDING: u8 = 0x18;
const BACK_BINDING: u8 = 0x19;
const DIRECT: u8 = 0x1f;
const REVOCATION: u8 = 0x20;
const SUBKEY_REVOCATION: u8 = 0x28;

/// The flag of keys that may sign.
const MAY_SIGN: u8 = 2;

/// A key packet of version 4.
#[derive(Debug, Clone)]
struct Part<'a> {
    body: &'a [u8],
    /// Seconds since 1970.
    created: u64,
    /// `None` for an algorithm that is not verified here.
    key: Option<Key>,
    fingerprint: Vec<u8>,
}

/// A key with what is signed about it.
#[derive(Debug)]
struct Holder<'a> {
    primary: Part<'a>,
    /// Signatures about the key itself, and those about its names with the names.
    direct: Vec<Signature<'a>>,
    names: Vec<(&'a [u8], Signature<'a>)>,
    subkeys: Vec<(Part<'a>, Vec<Signature<'a>>)>,
}

/// Keys that somebody trusts.
#[derive(Debug)]
pub(super) struct KeyRing<'a>(Vec<Holder<'a>>);

/// A key that may have made a signature.
pub(super) struct Candidate {
    pub(super) key: Key,
    pub(super) fingerprint: String,
}

impl<'a> KeyRing<'a> {
    pub(super) fn read(blocks: &'a [Vec<u8>]) -> Result<Self, String> {
        let mut holders: Vec<Holder<'a>> = Vec::new();
        for block in blocks {
            // The name that signatures are about.
            let mut name = None;
            for (kind, body) in packets(block)? {
                match (kind, holders.last_mut()) {
                    (SECRET_KEY, _) => return Err(String::from("a secret key")),
                    (PUBLIC_KEY, _) => {
                        name = None;
                        holders.push(Holder {
                            primary: Part::read(body)?,
                            direct: Vec::new(),
                            names: Vec::new(),
                            subkeys: Vec::new(),
                        });
                    }
                    (_, None) => return Err(format!("packet {kind} before a key")),
                    (USER, Some(_)) => name = Some(body),
                    (SUBKEY, Some(holder)) => holder.subkeys.push((Part::read(body)?, Vec::new())),
                    (SIGNATURE, Some(holder)) => {
                        // One of another version says nothing that is needed.
                        let Ok(signature) = Signature::read(body) else {
                            continue;
                        };
                        match (holder.subkeys.last_mut(), name) {
                            (Some((_, about)), _) => about.push(signature),
                            (None, Some(name)) => holder.names.push((name, signature)),
                            (None, None) => holder.direct.push(signature),
                        }
                    }
                    // Trust, pictures and what is to come.
                    _ => {}
                }
            }
        }
        if holders.is_empty() {
            return Err(String::from("no key"));
        }
        Ok(Self(holders))
    }

    /// The key that says to have made a signature, if it may sign at that time.
    ///
    /// # Errors
    /// `UnknownKey` when there is none, `Key` when it may not.
    ///
    /// # Units
    /// `at` is in seconds since 1970.
    pub(super) fn maker_of(&self, facts: &Facts<'_>, at: u64) -> Result<Candidate, SignatureError> {
        let made = |part: &Part<'_>| match (facts.maker, facts.maker_id) {
            (Some(maker), _) => part.fingerprint == maker,
            (None, Some(id)) => part.fingerprint.ends_with(id) && id.len() == 8,
            (None, None) => false,
        };
        for holder in &self.0 {
            let found = match made(&holder.primary) {
                true => Some((&holder.primary, None)),
                false => holder
                    .subkeys
                    .iter()
                    .find(|(part, _)| made(part))
                    .map(|(part, about)| (part, Some(about))),
            };
            let Some((part, about)) = found else {
                continue;
            };
            let refused = |reason: &str| SignatureError::Key {
                key: hex::encode_upper(&part.fingerprint),
                reason: reason.to_owned(),
            };
            holder
                .check_primary(about.is_none(), at)
                .map_err(|it| refused(&it))?;
            if let Some(about) = about {
                holder
                    .check_subkey(part, about, at)
                    .map_err(|it| refused(&it))?;
            }
            let key = part.key.clone();
            return Ok(Candidate {
                key: key.ok_or_else(|| refused("is of an algorithm that is not verified here"))?,
                fingerprint: hex::encode_upper(&part.fingerprint),
            });
        }
        let id = facts.maker.or(facts.maker_id).unwrap_or_default();
        Err(SignatureError::UnknownKey(hex::encode_upper(id)))
    }
}

impl<'a> Part<'a> {
    fn read(body: &'a [u8]) -> Result<Self, String> {
        let mut rest = Bytes(body);
        let version = rest.byte()?;
        if version != 4 {
            return Err(format!("a key of version {version}"));
        }
        let created = rest.number(4)? as u64;
        let algorithm = rest.byte()?;
        let length = u16::try_from(body.len()).map_err(|_| "a key that is too long")?;
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&[0x99]);
        context.update(&length.to_be_bytes());
        context.update(body);
        Ok(Self {
            body,
            created,
            key: key_of(algorithm, rest)?,
            fingerprint: context.finish().as_ref().to_vec(),
        })
    }

    /// What is hashed of a key in signatures about it.
    fn hashed(&self) -> Vec<u8> {
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        [&[0x99], &length.to_be_bytes()[..], self.body].concat()
    }

    /// Whether this key made a signature over parts.
    fn made(&self, signature: &Signature<'_>, parts: &[&[u8]]) -> bool {
        let (Some(key), Some(hash)) = (&self.key, signature.hash()) else {
            return false;
        };
        let mut context = hash.begin();
        parts.iter().for_each(|part| context.update(part));
        context.update(&signature.trailer());
        let numbers = signature.numbers();
        numbers.is_ok_and(|numbers| key.verify(hash, &context.finish(), &numbers).is_ok())
    }

    /// The same for what takes something back: that counts as well where its hash is too weak to be verified.
    fn may_have_made(&self, signature: &Signature<'_>, parts: &[&[u8]]) -> bool {
        signature.hash().is_none() || self.made(signature, parts)
    }

    fn is_over(&self, lasts: Option<u64>, at: u64) -> bool {
        lasts.is_some_and(|lasts| self.created.saturating_add(lasts) < at)
    }
}

impl Holder<'_> {
    /// Whether the key is what its holder says: not revoked, not over, and meant for signing where it is to sign.
    fn check_primary(&self, signs: bool, at: u64) -> Result<(), String> {
        let primary = &self.primary;
        let own = primary.hashed();
        for signature in &self.direct {
            if signature.kind == REVOCATION && primary.may_have_made(signature, &[&own]) {
                return Err(revoked(&signature.facts));
            }
        }
        let direct = self.direct.iter().filter(|it| it.kind == DIRECT);
        let direct = direct.filter(|it| primary.made(it, &[&own]));
        let named = self.names.iter().filter(|(name, it)| {
            let length = u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes();
            (0x10..=0x13).contains(&it.kind) && primary.made(it, &[&own, &[0xb4], &length, name])
        });
        let said = direct.chain(named.map(|(_, it)| it)).map(|it| &it.facts);
        let Some(said) = said.max_by_key(|facts| facts.created) else {
            return Err(String::from("has no valid signature of its own"));
        };
        if primary.is_over(said.key_lasts, at) {
            return Err(expired(primary.created, said.key_lasts));
        }
        match said.flags {
            Some(flags) if signs && flags & MAY_SIGN == 0 => {
                Err(String::from("is not meant for signing"))
            }
            _ => Ok(()),
        }
    }

    fn check_subkey(
        &self,
        part: &Part<'_>,
        about: &[Signature<'_>],
        at: u64,
    ) -> Result<(), String> {
        let (own, its) = (self.primary.hashed(), part.hashed());
        let parts: [&[u8]; 2] = [&own, &its];
        let mut revocations = about.iter().filter(|it| it.kind == SUBKEY_REVOCATION);
        if let Some(by) = revocations.find(|it| self.primary.may_have_made(it, &parts)) {
            return Err(revoked(&by.facts));
        }
        let bindings = about.iter().filter(|it| it.kind == BINDING);
        let bindings = bindings.filter(|it| self.primary.made(it, &parts));
        let newest = bindings.max_by_key(|it| it.facts.created);
        let Some(binding) = newest else {
            return Err(String::from("is not bound to its primary key"));
        };
        if part.is_over(binding.facts.key_lasts, at) {
            return Err(expired(part.created, binding.facts.key_lasts));
        }
        if binding.facts.flags.unwrap_or(0) & MAY_SIGN == 0 {
            return Err(String::from("is not meant for signing"));
        }
        // Without the key's own consent anybody could claim what it signed.
        let back = binding.facts.back.and_then(|it| Signature::read(it).ok());
        match back {
            Some(back) if back.kind == BACK_BINDING && part.made(&back, &parts) => Ok(()),
            _ => Err(String::from(
                "does not say itself that it belongs to its primary key",
            )),
        }
    }
}

fn revoked(facts: &Facts<'_>) -> String {
    match String::from_utf8_lossy(facts.reason.unwrap_or_default()).as_ref() {
        "" => String::from("key revoked"),
        reason => format!("key revoked: {reason}"),
    }
}

fn expired(created: u64, lasts: Option<u64>) -> String {
    let end = created.saturating_add(lasts.unwrap_or(0));
    format!("key expired {end} seconds after 1970")
}

/// The numbers of a key; `None` for an algorithm that is not verified here.
fn key_of(algorithm: u8, mut rest: Bytes<'_>) -> Result<Option<Key>, String> {
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
    const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
    const ED25519: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1];
    Ok(match algorithm {
        1 | 3 => Some(Key::Rsa {
            modulus: rest.long_number()?,
            exponent: rest.long_number()?,
        }),
        19 | 22 => {
            let length = rest.number(1)?;
            let curve = rest.take(length)?;
            let point = rest.long_number()?;
            match curve {
                P256 => Some(Key::Ecdsa(Curve::P256, point)),
                P384 => Some(Key::Ecdsa(Curve::P384, point)),
                P521 => Some(Key::Ecdsa(Curve::P521, point)),
                // The number has a first byte that says that the rest is no number.
                ED25519 => match point.split_first() {
                    Some((0x40, point)) => Some(Key::Ed25519(point.to_vec())),
                    _ => None,
                },
                _ => None,
            }
        }
        27 => Some(Key::Ed25519(rest.take(32)?.to_vec())),
        _ => None,
    })
}

/// A number as ssh writes it.
pub(super) fn plain_number(number: &[u8]) -> Vec<u8> {
    without_zeros(number).to_vec()
}
