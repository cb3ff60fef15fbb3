use std::io::{self, BufRead, BufReader, Read};

use crate::limits::Limits;

/// How a stream is compressed, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Not at all, or in a way that we do not know.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Form {
    /// Looks at the first bytes; fewer than four are [`Form::Plain`].
    #[must_use]
    pub const fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // A frame, or one to be skipped (RFC 8878, 3.1).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Reads what `input` is when decompressed, whichever of gzip, zstd and nothing it is.
///
/// The caps on size and ratio hold while reading, so that a bomb ends early
/// (security.md T-C23).
///
/// # Errors
/// When the first bytes cannot be read. The reader's errors say what is wrong with the stream,
/// or which cap it exceeds.
pub fn decompress(
    input: impl Read + Send + 'static,
    limits: &Limits,
) -> io::Result<Box<dyn Read + Send>> {
    let counted = Counted {
        input,
        count: std::sync::Arc::default(),
    };
    let compressed = std::sync::Arc::clone(&counted.count);
    let mut input = BufReader::with_capacity(1 << 18, counted);
    let form = Form::of(input.fill_buf()?);
    let plain: Box<dyn Read + Send> = match form {
        Form::Plain => Box::new(input),
        Form::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Form::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(limits.zstd_window_log)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Capped {
        plain,
        compressed,
        read: 0,
        total: limits.layer_unpacked_bytes,
        ratio: limits.layer_ratio,
        floor: limits.layer_ratio_floor_bytes,
    }))
}

type Count = std::sync::Arc<std::sync::atomic::AtomicU64>;

struct Counted<R> {
    input: R,
    count: Count,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count
            .fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

struct Capped {
    plain: Box<dyn Read + Send>,
    compressed: Count,
    read: u64,
    total: u64,
    ratio: u64,
    floor: u64,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        self.read += read as u64;
        let compressed = self.compressed.load(std::sync::atomic::Ordering::Relaxed);
        let allowed = self.floor.max(compressed.saturating_mul(self.ratio));
        if self.read > self.total.min(allowed) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "{compressed} compressed bytes became more than {} bytes, which exceeds the cap on the size or the ratio of a layer",
                    self.read
                ),
            ));
        }
        Ok(read)
    }
}
