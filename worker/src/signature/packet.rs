use super::crypto::{Hash, Numbers};

/// Bytes that are read from their beginning; every length is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

/// What is said of bytes that end too early.
pub(super) const SHORT: &str = "it ends too early";

impl<'a> Bytes<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// A number of `count` bytes, the highest first.
    pub(super) fn number(&mut self, count: usize) -> Result<usize, String> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// A number with its length in bits before it, without leading zeros.
    pub(super) fn long_number(&mut self) -> Result<Vec<u8>, String> {
        let bits = self.number(2)?;
        let bytes = self.take(bits.div_ceil(8))?;
        Ok(without_zeros(bytes).to_vec())
    }
}

/// A number without zeros before it.
pub(super) fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0);
    &number[first.unwrap_or(number.len())..]
}

/// Packets of a block: their kinds and contents (RFC 9580, 4.2).
pub(super) fn packets(block: &[u8]) -> Result<Vec<(u8, &[u8])>, String> {
    let mut rest = Bytes(block);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let header = rest.byte()?;
        let (kind, length) = match header {
            0xc0.. => (header & 0x3f, new_length(&mut rest)?),
            0x80..=0xbf => {
                let length = match header & 3 {
                    0 => rest.number(1)?,
                    1 => rest.number(2)?,
                    2 => rest.number(4)?,
                    _ => rest.0.len(),
                };
                ((header >> 2) & 0xf, length)
            }
            _ => return Err(format!("{header:#x} begins no packet")),
        };
        found.push((kind, rest.take(length)?));
    }
    Ok(found)
}

fn new_length(rest: &mut Bytes<'_>) -> Result<usize, String> {
    match rest.byte()? {
        first @ ..192 => Ok(first.into()),
        first @ 192..224 => Ok((usize::from(first - 192) << 8) + rest.number(1)? + 192),
        255 => rest.number(4),
        _ => Err(String::from(
            "a packet of parts, which keys and signatures have not",
        )),
    }
}

/// A signature packet of version 4.
#[derive(Debug, Clone)]
pub(super) struct Signature<'a> {
    pub(super) kind: u8,
    pub(super) algorithm: u8,
    pub(super) hash_id: u8,
    /// What is hashed of the packet itself.
    hashed: &'a [u8],
    pub(super) facts: Facts<'a>,
    numbers: &'a [u8],
}

/// What a signature says beside that something is signed.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts<'a> {
    /// Seconds since 1970.
    pub(super) created: u64,
    /// How long it holds, in seconds.
    pub(super) lasts: Option<u64>,
    /// How long the key holds, in seconds.
    pub(super) key_lasts: Option<u64>,
    /// What the key may do.
    pub(super) flags: Option<u8>,
    /// The end of the maker's fingerprint.
    pub(super) maker_id: Option<&'a [u8]>,
    pub(super) maker: Option<&'a [u8]>,
    /// A signature that the signed key made.
    pub(super) back: Option<&'a [u8]>,
    pub(super) reason: Option<&'a [u8]>,
}

impl<'a> Signature<'a> {
    pub(super) fn read(packet: &'a [u8]) -> Result<Self, String> {
        let mut rest = Bytes(packet);
        let version = rest.byte()?;
        if version != 4 {
            return Err(format!("a signature of version {version}"));
        }
        let (kind, algorithm, hash_id) = (rest.byte()?, rest.byte()?, rest.byte()?);
        let length = rest.number(2)?;
        let mut facts = Facts::default();
        facts.read(rest.take(length)?, true)?;
        let hashed = &packet[..6 + length];
        let length = rest.number(2)?;
        facts.read(rest.take(length)?, false)?;
        // The first bytes of the digest, for those in a hurry.
        rest.take(2)?;
        Ok(Self {
            kind,
            algorithm,
            hash_id,
            hashed,
            facts,
            numbers: rest.0,
        })
    }

    /// Its hash function, unless it is weak.
    pub(super) fn hash(&self) -> Option<Hash> {
        match self.hash_id {
            8 => Some(Hash::Sha256),
            9 => Some(Hash::Sha384),
            10 => Some(Hash::Sha512),
            _ => None,
        }
    }

    pub(super) fn numbers(&self) -> Result<Numbers, String> {
        let mut rest = Bytes(self.numbers);
        match self.algorithm {
            1 | 3 => Ok(Numbers::One(rest.long_number()?)),
            19 | 22 => Ok(Numbers::Two(rest.long_number()?, rest.long_number()?)),
            27 => Ok(Numbers::One(rest.take(64)?.to_vec())),
            other => Err(format!("a signature of algorithm {other}")),
        }
    }

    /// What is hashed after what is signed (RFC 9580, 5.2.4).
    pub(super) fn trailer(&self) -> Vec<u8> {
        let length = u32::try_from(self.hashed.len()).unwrap_or(u32::MAX);
        [self.hashed, &[4, 0xff], &length.to_be_bytes()].concat()
    }
}

impl<'a> Facts<'a> {
    /// Reads subpackets. Of those that are not signed only what is proven otherwise counts.
    fn read(&mut self, area: &'a [u8], is_signed: bool) -> Result<(), String> {
        let mut rest = Bytes(area);
        while !rest.is_empty() {
            let length = match rest.byte()? {
                first @ ..192 => usize::from(first),
                first @ 192..255 => (usize::from(first - 192) << 8) + rest.number(1)? + 192,
                255 => rest.number(4)?,
            };
            let mut fact = Bytes(rest.take(length)?);
            let kind = fact.byte()?;
            let seconds = |mut fact: Bytes<'_>| fact.number(4).map(|it| it as u64);
            match (kind & 0x7f, is_signed) {
                (2, true) => self.created = seconds(fact)?,
                (3, true) => self.lasts = Some(seconds(fact)?).filter(|it| *it > 0),
                (9, true) => self.key_lasts = Some(seconds(fact)?).filter(|it| *it > 0),
                (27, true) => self.flags = Some(fact.0.first().copied().unwrap_or(0)),
                (29, true) => self.reason = Some(fact.0.get(1..).unwrap_or_default()),
                (16, _) => self.maker_id = Some(fact.0),
                (33, _) => self.maker = Some(fact.0.get(1..).unwrap_or_default()),
                (32, _) => self.back = Some(fact.0),
                // Known, and of no consequence here: preferences, features, names, comments.
                (4 | 7 | 11 | 21..=26 | 28 | 30 | 34, _) => {}
                (other, true) if kind & 0x80 != 0 => {
                    return Err(format!("a signature that depends on subpacket {other}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
