use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The most that armored text may have.
///
/// # Units
/// Bytes.
const MOST: usize = 1 << 20;

/// The contents of all blocks of a kind, in their order.
///
/// The checksum that may stand at a block's end is not looked at (RFC 9580, 6.1): a signature tells more.
///
/// # Errors
/// With what is wrong with the text, and when there is no block of the kind.
pub(super) fn blocks(text: &[u8], kind: &str) -> Result<Vec<Vec<u8>>, String> {
    if text.len() > MOST {
        return Err(format!("longer than {MOST} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| String::from("no text"))?;
    let (begin, end) = (
        format!("-----BEGIN {kind}-----"),
        format!("-----END {kind}-----"),
    );
    let mut lines = text.lines().map(str::trim);
    let mut found = Vec::new();
    while lines.any(|line| line == begin) {
        let mut body = String::new();
        let mut in_headers = true;
        let closed = lines.by_ref().any(|line| {
            if line == end {
                return true;
            }
            // Headers stand before an empty line; base64 has no colon.
            in_headers &= line.contains(": ") || line.ends_with(':');
            if !in_headers && !line.starts_with('=') {
                body.push_str(line);
            }
            false
        });
        if !closed {
            return Err(format!("a block without {end}"));
        }
        let decoded = BASE64_STANDARD.decode(&body);
        found.push(decoded.map_err(|error| format!("a block is no base64: {error}"))?);
    }
    if found.is_empty() {
        return Err(String::from("no armored data found"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_with_headers_and_checksums_and_without() {
        let text = b"junk\n-----BEGIN X-----\nComment: a\n\naGVs\nbG8=\n=abcd\n-----END X-----\n\
            -----BEGIN X-----\r\n\r\naGk=\r\n-----END X-----\r\n";
        assert_eq!(
            blocks(text, "X").unwrap(),
            [b"hello".to_vec(), b"hi".to_vec()]
        );
        for bad in [
            &b"-----BEGIN X-----\n\naGk=\n"[..],
            b"-----BEGIN X-----\n\n!!\n-----END X-----\n",
            b"nothing",
            b"\xff",
            &vec![b'x'; MOST + 1],
        ] {
            assert!(blocks(bad, "X").is_err());
        }
    }
}
