//! Content addresses.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A hash algorithm that a [`Digest`] may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, what everyone writes.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The algorithm's name as digests spell it, for example `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal characters a digest of this algorithm has.
    #[must_use]
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// The digest of `bytes` under this algorithm.
    #[must_use]
    pub fn digest(self, bytes: impl AsRef<[u8]>) -> Digest {
        match self {
            Self::Sha256 => Digest::from_hash(self, &Sha256::digest(bytes)),
            Self::Sha384 => Digest::from_hash(self, &Sha384::digest(bytes)),
            Self::Sha512 => Digest::from_hash(self, &Sha512::digest(bytes)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A content address, `algorithm:hex`.
///
/// A value of this type is always well formed: the algorithm is known, and the rest
/// is lower-case hexadecimal of that algorithm's length. It is therefore safe as a
/// file name, which a string that calls itself a digest is not.
///
/// # Shape
/// Ordered as its text is. Source of the form: OCI image specification, descriptor.md.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Box<str>);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    #[must_use]
    pub fn sha256_of(bytes: impl AsRef<[u8]>) -> Self {
        Algorithm::Sha256.digest(bytes)
    }

    /// The digest whose hash value is `hash`, for who hashes while bytes arrive.
    ///
    /// # Errors
    /// When `hash` is not as long as the algorithm's hash values are.
    pub fn new(algorithm: Algorithm, hash: &[u8]) -> Result<Self, ParseDigestError> {
        if hash.len() * 2 == algorithm.hex_len() {
            Ok(Self::from_hash(algorithm, hash))
        } else {
            Err(ParseDigestError::Length {
                algorithm,
                found: hash.len() * 2,
            })
        }
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let name = algorithm.name();
        let mut text = String::with_capacity(name.len() + 1 + hash.len() * 2);
        text.push_str(name);
        text.push(':');
        for byte in hash {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self(text.into_boxed_str())
    }

    /// The whole digest, `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash value in lower-case hexadecimal, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> &str {
        // Every algorithm's name is six characters and a colon follows it.
        &self.0[7..]
    }

    /// The first 12 characters of [`Self::hex`], for displays.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.hex().len() {
            96 => Algorithm::Sha384,
            128 => Algorithm::Sha512,
            _ => Algorithm::Sha256,
        }
    }

    /// Whether `bytes` are what this digest names.
    #[must_use]
    pub fn matches(&self, bytes: impl AsRef<[u8]>) -> bool {
        self.algorithm().digest(bytes) == *self
    }
}

/// Why a text is not a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no colon.
    #[error("a digest has the form algorithm:hex, and this has no colon")]
    NoColon,
    /// The part before the colon names no algorithm that we know.
    #[error("unknown digest algorithm {0:?}; known are sha256, sha384 and sha512")]
    Algorithm(String),
    /// The part after the colon is too long or too short.
    #[error("a {algorithm} digest has {} characters after the colon, not {found}", .algorithm.hex_len())]
    Length {
        /// The algorithm that the digest names.
        algorithm: Algorithm,
        /// How many characters there are.
        found: usize,
    },
    /// The part after the colon has a character other than 0-9 and a-f.
    #[error("a digest's hash is written in 0-9 and a-f, and this has {0:?}")]
    Character(char),
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text.split_once(':').ok_or(ParseDigestError::NoColon)?;
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|a| a.name() == name)
            // Bounded, since the text may come from anyone and ends in a message.
            .ok_or_else(|| ParseDigestError::Algorithm(name.chars().take(32).collect()))?;
        if let Some(bad) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(ParseDigestError::Character(bad));
        }
        if hex.len() != algorithm.hex_len() {
            return Err(ParseDigestError::Length {
                algorithm,
                found: hex.len(),
            });
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<&str> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Digest {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.into_string()
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn empty_bytes_have_the_well_known_digest() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert!(digest.matches(b"") && !digest.matches(b"x"));
    }

    #[test]
    fn each_algorithm_reads_back_what_it_wrote() {
        for algorithm in Algorithm::ALL {
            let digest = algorithm.digest(b"cooper");
            assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
            assert_eq!(digest.algorithm(), algorithm);
            assert_eq!(digest.hex().len(), algorithm.hex_len());
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }

    // security.md T-C5
    #[test]
    fn what_could_leave_a_folder_or_confuse_is_refused() {
        let upper = EMPTY.replace("e3b0", "E3B0");
        let bad = [
            "",
            ":",
            "sha256",
            "sha256:",
            "sha256:../../x",
            "sha256:../../../../../../../../../../../../../../../../etc/passwd000000000",
            &EMPTY[..EMPTY.len() - 1],
            &format!("{EMPTY}0"),
            &format!(" {EMPTY}"),
            &format!("{EMPTY}\n"),
            &EMPTY.replace("sha256", "SHA256"),
            &EMPTY.replace("sha256", "sha512"),
            &EMPTY.replace("sha256", "md5"),
            &EMPTY.replace("sha256", ".."),
            &EMPTY.replace("e3b0", "e3/0"),
            &EMPTY.replace("e3b0", "e\u{e9}0"),
            &upper,
        ];
        for text in bad {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<Digest>(&json).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hash_values_of_a_wrong_length_are_refused() {
        assert!(Digest::new(Algorithm::Sha256, &[0; 32]).is_ok());
        assert!(Digest::new(Algorithm::Sha256, &[0; 31]).is_err());
        assert!(Digest::new(Algorithm::Sha512, &[0; 32]).is_err());
    }

    proptest! {
        #[test]
        fn the_parser_takes_any_text(text in ".*") {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn what_parses_prints_the_same(text in "(sha256|sha384|sha512|x):[0-9a-fA-F]{60,130}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.as_str(), text);
            }
        }
    }
}
