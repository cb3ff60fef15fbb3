use std::io::{self, BufRead, BufReader, Read};

use crate::{layer, limits::Limits};

/// Reads an archive whichever way it is compressed: gzip, zstd, bzip2, xz or not at all.
///
/// # Errors
/// When its first bytes cannot be read.
pub(super) fn decompressed(
    input: Box<dyn Read + Send>,
    limits: &Limits,
) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let first = input.fill_buf()?;
    if first.starts_with(b"BZh") {
        let decoder = bzip2::bufread::MultiBzDecoder::new(input);
        return Ok(Box::new(decoder.take(limits.layer_unpacked_bytes)));
    }
    if first.starts_with(b"\xfd7zXZ\0") {
        let decoder = liblzma::bufread::XzDecoder::new_multi_decoder(input);
        return Ok(Box::new(decoder.take(limits.layer_unpacked_bytes)));
    }
    layer::decompress(input, limits)
}
