//! The log's form on disk: one header line, then length-delimited `StatusResponse` messages.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::{Buf, BytesMut};
use cooper_proto::control::StatusResponse;
use prost::Message;

/// First bytes of every log. The number is the version of the form; a reader refuses other ones.
pub(super) const HEADER: &[u8] = b"cooper progress 1\n";

/// The longest frame that a reader takes.
///
/// # Units
/// Bytes. Writers cut output into pieces far below it.
pub(super) const MAX_FRAME: usize = 4 << 20;

/// Appends one frame to a buffer.
pub(super) fn encode(status: &StatusResponse, buffer: &mut Vec<u8>) {
    status
        .encode_length_delimited(buffer)
        .expect("a Vec grows as it must");
}

/// Takes the first whole frame out of a buffer; `None` when more bytes are needed.
///
/// # Errors
/// `InvalidData` when the bytes are no frame.
pub(super) fn decode(buffer: &mut BytesMut) -> io::Result<Option<StatusResponse>> {
    let mut ahead = &buffer[..];
    let Ok(length) = prost::decode_length_delimiter(&mut ahead) else {
        // A length is at most ten bytes long.
        return if buffer.len() < 10 {
            Ok(None)
        } else {
            Err(invalid("a frame's length cannot be read"))
        };
    };
    if length > MAX_FRAME {
        return Err(invalid("a frame is longer than any that is written"));
    }
    if ahead.len() < length {
        return Ok(None);
    }
    let prefix = buffer.len() - ahead.len();
    buffer.advance(prefix);
    let body = buffer.split_to(length);
    StatusResponse::decode(body.freeze())
        .map(Some)
        .map_err(|error| invalid(&error.to_string()))
}

/// Reads the frames between two positions of a log, in order.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub(super) fn scan(
    path: &Path,
    from: u64,
    to: u64,
    mut each: impl FnMut(StatusResponse),
) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut rest = file.take(to.saturating_sub(from));
    let mut buffer = BytesMut::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        while let Some(status) = decode(&mut buffer)? {
            each(status);
        }
        let read = rest.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// An error that says what in a log is wrong.
pub(super) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("progress log: {what}"))
}

#[cfg(test)]
mod tests {
    use cooper_proto::control::Vertex;

    use super::*;

    fn named(name: &str) -> StatusResponse {
        StatusResponse {
            vertexes: vec![Vertex {
                name: name.to_owned(),
                ..Vertex::default()
            }],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn frames_come_back_in_order_however_they_are_cut() {
        let mut bytes = Vec::new();
        encode(&named("a"), &mut bytes);
        encode(&named(&"b".repeat(500)), &mut bytes);
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            while let Some(status) = decode(&mut buffer).expect("valid") {
                seen.push(status);
            }
        }
        assert_eq!(seen, [named("a"), named(&"b".repeat(500))]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_length_beyond_any_frame_is_refused() {
        let mut bytes = Vec::new();
        prost::encode_length_delimiter(MAX_FRAME + 1, &mut bytes).expect("a Vec grows");
        assert!(decode(&mut BytesMut::from(&bytes[..])).is_err());
    }
}
