//! Keys and signatures of this folder's `data` were made with GnuPG 2.2 and OpenSSH 9.2; nobody has the secret keys.

use super::error::SignatureError;
use super::*;

const SIGNED: &[u8] = b"what is signed";
/// A while after the keys of today were made.
const NOW: u64 = 1_795_400_000;

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("data/", $name)).as_slice()
    };
}

const PGP: [(&[u8], &[u8]); 3] = [
    (data!("rsa.asc"), data!("rsa.pub")),
    (data!("ed.asc"), data!("ed.pub")),
    (data!("ec.asc"), data!("ec.pub")),
];

const SSH: [(&[u8], &[u8]); 3] = [
    (data!("ssh_ed25519.sig"), data!("ssh_ed25519.pub")),
    (data!("ssh_rsa.sig"), data!("ssh_rsa.pub")),
    (data!("ssh_ecdsa.sig"), data!("ssh_ecdsa.pub")),
];

fn pgp(signed: &[u8], signature: &[u8], keys: &[u8]) -> Result<(), SignatureError> {
    verify_pgp(signed, signature, keys, false, NOW)
}

#[test]
fn what_a_key_signed_is_signed_and_nothing_else_is() {
    for (at, (signature, key)) in PGP.into_iter().enumerate() {
        pgp(SIGNED, signature, key).unwrap();
        let other = pgp(b"what is not signed", signature, key);
        assert!(
            matches!(other, Err(SignatureError::Key { .. })),
            "{other:?}"
        );
        let stranger = PGP[(at + 1) % PGP.len()].1;
        let unknown = pgp(SIGNED, signature, stranger);
        assert!(
            matches!(unknown, Err(SignatureError::UnknownKey(_))),
            "{unknown:?}"
        );
        let both = [stranger, b"\n", key].concat();
        pgp(SIGNED, signature, &both).unwrap();
    }
    for (at, (signature, key)) in SSH.into_iter().enumerate() {
        verify_ssh(SIGNED, signature, key).unwrap();
        let other = verify_ssh(b"what is not signed", signature, key);
        assert!(matches!(other, Err(SignatureError::Mismatch)), "{other:?}");
        let unknown = verify_ssh(SIGNED, signature, SSH[(at + 1) % SSH.len()].1);
        assert!(
            matches!(unknown, Err(SignatureError::UnknownKey(_))),
            "{unknown:?}"
        );
    }
}

#[test]
fn a_changed_bit_anywhere_is_no_signature() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    for (signature, key) in PGP {
        let packets = armor::blocks(signature, "PGP SIGNATURE").unwrap().remove(0);
        for bit in 0..packets.len() * 8 {
            let mut changed = packets.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let body = BASE64_STANDARD.encode(&changed);
            let text = format!("{PGP_ARMOR}\n\n{body}\n-----END PGP SIGNATURE-----\n");
            // What is not signed of it, such as hints, may change: then it says the same of the same bytes still.
            if pgp(SIGNED, text.as_bytes(), key).is_ok() {
                pgp(b"other", text.as_bytes(), key).unwrap_err();
            }
        }
    }
}

#[test]
fn keys_that_are_revoked_or_over_sign_nothing() {
    let gone = pgp(SIGNED, data!("gone.asc"), data!("gone.pub"));
    assert!(gone.unwrap_err().to_string().contains("key revoked"));
    let (signature, key) = (data!("old.asc"), data!("old.pub"));
    // It held when it signed, which is enough unless somebody asks for more.
    pgp(SIGNED, signature, key).unwrap();
    let over = verify_pgp(SIGNED, signature, key, true, NOW).unwrap_err();
    assert!(over.to_string().contains("key expired"), "{over}");
    let (signature, key) = PGP[0];
    let early = verify_pgp(SIGNED, signature, key, false, NOW - 10_000_000).unwrap_err();
    assert!(early.to_string().contains("future"), "{early}");
}

#[test]
fn what_is_weak_or_meant_for_something_else_is_refused() {
    let weak = pgp(SIGNED, data!("weak.asc"), data!("rsa.pub")).unwrap_err();
    assert!(
        weak.to_string().contains("weak or unknown hash 2"),
        "{weak}"
    );
    let file = verify_ssh(SIGNED, data!("ssh_other_namespace.sig"), SSH[0].1).unwrap_err();
    assert!(file.to_string().contains("namespace"), "{file}");
}

#[test]
fn the_wrong_kind_of_key_is_told_apart() {
    let pgp = pgp(SIGNED, PGP[0].0, SSH[0].1).unwrap_err();
    assert!(
        pgp.to_string()
            .starts_with("failed to read armored public key")
    );
    let ssh = verify_ssh(SIGNED, SSH[0].0, PGP[0].1).unwrap_err();
    assert!(
        ssh.to_string()
            .starts_with("failed to parse ssh public key")
    );
}

#[test]
fn signatures_and_keys_that_end_early_are_refused() {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let armored = |kind: &str, bytes: &[u8]| {
        let body = BASE64_STANDARD.encode(bytes);
        format!("-----BEGIN {kind}-----\n\n{body}\n-----END {kind}-----\n")
    };
    for (signature, key) in PGP {
        let packets = armor::blocks(signature, "PGP SIGNATURE").unwrap().remove(0);
        for length in 0..packets.len() {
            let cut = armored("PGP SIGNATURE", &packets[..length]);
            pgp(SIGNED, cut.as_bytes(), key).unwrap_err();
        }
        let packets = armor::blocks(key, "PGP PUBLIC KEY BLOCK")
            .unwrap()
            .remove(0);
        // A key without its last signature may lack nothing that is needed; it must not be the end of us.
        for length in 0..packets.len() {
            let cut = armored("PGP PUBLIC KEY BLOCK", &packets[..length]);
            let _said = pgp(SIGNED, signature, cut.as_bytes());
        }
    }
    for (signature, key) in SSH {
        let bytes = armor::blocks(signature, "SSH SIGNATURE").unwrap().remove(0);
        for length in 0..bytes.len() {
            let cut = armored("SSH SIGNATURE", &bytes[..length]);
            verify_ssh(SIGNED, cut.as_bytes(), key).unwrap_err();
        }
    }
}
