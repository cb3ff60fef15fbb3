use aws_lc_rs::digest::{self, Context, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::error::SignatureError;

/// A hash function that is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A curve of ECDSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

/// A public key, as far as verifying goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// The numbers without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// The point in the long form.
    Ecdsa(Curve, Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The numbers of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Numbers {
    One(Vec<u8>),
    Two(Vec<u8>, Vec<u8>),
}

impl Hash {
    pub(super) fn begin(self) -> Context {
        Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        })
    }
}

impl Curve {
    /// How long a number of a signature is.
    fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn verification(
        self,
        hash: Hash,
    ) -> Result<&'static dyn VerificationAlgorithm, SignatureError> {
        match (self, hash) {
            (Self::P256, Hash::Sha256) => Ok(&ECDSA_P256_SHA256_FIXED),
            (Self::P384, Hash::Sha384) => Ok(&ECDSA_P384_SHA384_FIXED),
            (Self::P521, Hash::Sha512) => Ok(&ECDSA_P521_SHA512_FIXED),
            _ => Err(SignatureError::Rejected(format!(
                "a signature of {hash:?} by a key of {self:?}: their lengths differ"
            ))),
        }
    }
}

impl Key {
    /// Whether the key signed what has a digest. A signature by Ed25519 is one over the digest itself, as in OpenPGP.
    ///
    /// # Errors
    /// `Mismatch` if not, `Rejected` for what is weak.
    pub(super) fn verify(
        &self,
        hash: Hash,
        digest: &Digest,
        signature: &Numbers,
    ) -> Result<(), SignatureError> {
        let verified = match (self, signature) {
            (Self::Rsa { modulus, exponent }, Numbers::One(number)) => {
                if modulus.len() < 256 {
                    return Err(SignatureError::Rejected(format!(
                        "an RSA key of {} bits",
                        modulus.len() * 8
                    )));
                }
                let algorithm: &'static dyn VerificationAlgorithm = match hash {
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                let key = UnparsedPublicKey::new(algorithm, rsa_der(modulus, exponent));
                key.verify_digest(digest, &padded(number, modulus.len())?)
            }
            (Self::Ecdsa(curve, point), Numbers::Two(r, s)) => {
                let algorithm = curve.verification(hash)?;
                let signature = both(r, s, curve.length())?;
                UnparsedPublicKey::new(algorithm, point).verify_digest(digest, &signature)
            }
            (Self::Ed25519(key), Numbers::Two(r, s)) => {
                let key = UnparsedPublicKey::new(&ED25519, key);
                key.verify(digest.as_ref(), &both(r, s, 32)?)
            }
            (Self::Ed25519(key), Numbers::One(signature)) => {
                UnparsedPublicKey::new(&ED25519, key).verify(digest.as_ref(), signature)
            }
            _ => return Err(SignatureError::Mismatch),
        };
        verified.map_err(|_| SignatureError::Mismatch)
    }

    /// Whether the key signed a message, as ssh has it.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(super) fn verify_message(
        &self,
        hash: Hash,
        message: &[u8],
        signature: &Numbers,
    ) -> Result<(), SignatureError> {
        if let (Self::Ed25519(key), Numbers::One(signature)) = (self, signature) {
            let key = UnparsedPublicKey::new(&ED25519, key);
            return key
                .verify(message, signature)
                .map_err(|_| SignatureError::Mismatch);
        }
        let mut context = hash.begin();
        context.update(message);
        self.verify(hash, &context.finish(), signature)
    }
}

/// A number with zeros before it.
fn padded(number: &[u8], length: usize) -> Result<Vec<u8>, SignatureError> {
    let missing = length.checked_sub(number.len());
    let missing = missing.ok_or(SignatureError::Mismatch)?;
    Ok([&vec![0; missing][..], number].concat())
}

fn both(r: &[u8], s: &[u8], length: usize) -> Result<Vec<u8>, SignatureError> {
    Ok([padded(r, length)?, padded(s, length)?].concat())
}

/// An RSA key in the form of PKCS #1 (RFC 8017, A.1.1).
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [der_integer(modulus), der_integer(exponent)].concat();
    der(0x30, &numbers)
}

fn der_integer(number: &[u8]) -> Vec<u8> {
    // A first bit that is set would make it negative.
    let sign: &[u8] = match number.first() {
        Some(first) if *first < 0x80 => &[],
        _ => &[0],
    };
    der(2, &[sign, number].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0);
    let length = &length[first.unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or(u8::MAX));
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}
