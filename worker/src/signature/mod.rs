//! Signatures that sources must have: OpenPGP's and those of ssh keys. Only verified here, never made.
//!
//! The mathematics is aws-lc's, which is here for TLS already. What is read here is what signers and key servers write
//! today: OpenPGP of version 4 (RFC 9580) and OpenSSH's `SSHSIG`. Anything else is refused by name, and so is what is
//! known to be weak: SHA-1 and MD5, DSA, RSA below 2048 bits (docs/adr/0012-signatures-are-read-here.md).
//!
//! Keys and signatures are a stranger's bytes: all lengths are checked, and texts are bounded.

mod armor;
mod crypto;
mod error;
mod key_ring;
mod packet;
mod pgp;
mod ssh;

pub(crate) use pgp::verify_pgp;
pub(crate) use ssh::verify_ssh;

/// Begins the armor of an OpenPGP signature.
pub(crate) const PGP_ARMOR: &str = "-----BEGIN PGP SIGNATURE-----";
/// Begins the armor of an ssh key's signature.
pub(crate) const SSH_ARMOR: &str = "-----BEGIN SSH SIGNATURE-----";

#[cfg(test)]
mod tests;
