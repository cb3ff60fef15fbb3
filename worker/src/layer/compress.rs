use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::mpsc,
};

use super::Compression;

/// How much becomes one gzip member or one zstd frame. The bytes that come out depend on this,
/// and not on how many threads there are.
const MEMBER_BYTES: usize = 1 << 20;
const FRAME_BYTES: usize = 1 << 22;

const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compresses what is written to it, in pieces, on all cores, into `output`.
///
/// The pieces are members or frames of their own, which every reader of gzip or zstd reads as
/// one stream. Equal input and level give equal output, on any machine; without a level it is the compression's own
/// default.
///
/// # Errors
/// When `output` fails.
pub fn compress<W: Write>(
    output: W,
    compression: Compression,
    level: Option<i32>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<W> {
    let mut pieces = Pieces {
        output,
        compression,
        level,
        piece: Vec::new(),
        piece_bytes: match compression {
            Compression::Uncompressed | Compression::Gzip => MEMBER_BYTES,
            Compression::Zstd => FRAME_BYTES,
        },
        running: VecDeque::new(),
        // Enough that no core waits for the one that is slowest.
        max_running: rayon::current_num_threads() * 2,
        any: false,
    };
    write(&mut pieces)?;
    pieces.finish()
}

struct Pieces<W> {
    output: W,
    compression: Compression,
    level: Option<i32>,
    piece: Vec<u8>,
    piece_bytes: usize,
    /// Pieces that are being compressed, in order.
    running: VecDeque<mpsc::Receiver<io::Result<Vec<u8>>>>,
    max_running: usize,
    any: bool,
}

impl<W: Write> Pieces<W> {
    fn cut(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.any = true;
        if self.compression == Compression::Uncompressed {
            return self.output.write_all(&piece);
        }
        if rayon::current_thread_index().is_some() {
            // On a thread of the pool, waiting for the pool could be waiting for oneself.
            return self
                .output
                .write_all(&compress_piece(self.compression, self.level, &piece)?);
        }
        if self.running.len() >= self.max_running {
            self.take_first()?;
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        let (compression, level) = (self.compression, self.level);
        // Whoever waits for the piece may be gone; then nobody wants it.
        rayon::spawn(move || drop(sender.send(compress_piece(compression, level, &piece))));
        self.running.push_back(receiver);
        Ok(())
    }

    fn take_first(&mut self) -> io::Result<()> {
        let Some(receiver) = self.running.pop_front() else {
            return Ok(());
        };
        let compressed = receiver
            .recv()
            .map_err(|_| io::Error::other("a compressing thread panicked"))??;
        self.output.write_all(&compressed)
    }

    fn finish(mut self) -> io::Result<W> {
        // Nothing at all is still a stream.
        if !self.piece.is_empty() || !self.any {
            self.cut()?;
        }
        while !self.running.is_empty() {
            self.take_first()?;
        }
        Ok(self.output)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(self.piece_bytes);
        }
        let room = self.piece_bytes - self.piece.len();
        let taken = room.min(bytes.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == self.piece_bytes {
            self.cut()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_piece(
    compression: Compression,
    level: Option<i32>,
    piece: &[u8],
) -> io::Result<Vec<u8>> {
    match compression {
        Compression::Uncompressed => Ok(piece.to_vec()),
        Compression::Gzip => {
            let level = libdeflater::CompressionLvl::new(level.unwrap_or(GZIP_LEVEL))
                .map_err(|_| io::Error::other("libdeflate does not know the level"))?;
            let mut compressor = libdeflater::Compressor::new(level);
            let mut compressed = vec![0; compressor.gzip_compress_bound(piece.len())];
            let length = compressor
                .gzip_compress(piece, &mut compressed)
                .map_err(io::Error::other)?;
            compressed.truncate(length);
            Ok(compressed)
        }
        Compression::Zstd => zstd::bulk::compress(piece, level.unwrap_or(ZSTD_LEVEL)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;
    use crate::{layer::decompress, limits::Limits};

    fn round(bytes: &[u8], compression: Compression) -> Vec<u8> {
        compress(Vec::new(), compression, None, |output| {
            output.write_all(bytes)
        })
        .unwrap()
    }

    fn unround(bytes: Vec<u8>) -> Vec<u8> {
        let mut plain = Vec::new();
        let limits = Limits::default();
        decompress(io::Cursor::new(bytes), &limits)
            .unwrap()
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    #[test]
    fn what_is_compressed_is_what_comes_out() {
        let mut bytes: Vec<u8> = (0..5_000_000_u32).map(|it| (it / 7) as u8).collect();
        for length in [0, 1, MEMBER_BYTES, MEMBER_BYTES + 1, bytes.len()] {
            bytes.truncate(length.max(1).min(bytes.len()));
            for compression in [Compression::Gzip, Compression::Zstd] {
                let input = &bytes[..length.min(bytes.len())];
                assert_eq!(unround(round(input, compression)), input, "{compression}");
            }
            bytes = (0..5_000_000_u32).map(|it| (it / 7) as u8).collect();
        }
    }

    #[test]
    fn a_higher_level_makes_no_more_bytes_and_the_same_come_out() {
        let bytes: Vec<u8> = (0..400_000_u32)
            .map(|it| (it.wrapping_mul(it) >> 7) as u8)
            .collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let at = |level| {
                compress(Vec::new(), compression, level, |out| out.write_all(&bytes)).unwrap()
            };
            assert!(at(Some(9)).len() <= at(Some(1)).len());
            assert_eq!(
                at(None),
                at(Some(if compression == Compression::Gzip {
                    6
                } else {
                    3
                }))
            );
            assert_eq!(unround(at(Some(9))), bytes);
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads_or_of_writes() {
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|it| (it.wrapping_mul(it) >> 9) as u8)
            .collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let at_once = round(&bytes, compression);
            for threads in [1, 4] {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                let in_pieces = pool.install(|| {
                    compress(Vec::new(), compression, None, |output| {
                        bytes.chunks(777).try_for_each(|it| output.write_all(it))
                    })
                    .unwrap()
                });
                assert!(in_pieces == at_once, "{compression}, {threads} threads");
            }
        }
    }

    #[test]
    fn a_bomb_ends_at_the_cap_on_the_ratio() {
        let limits = Limits {
            layer_ratio_floor_bytes: 1 << 20,
            ..Limits::default()
        };
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bomb = round(&vec![0; 16 << 20], compression);
            let mut reader = decompress(io::Cursor::new(bomb), &limits).unwrap();
            let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge, "{compression}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_cap_on_the_size() {
        let limits = Limits {
            layer_unpacked_bytes: 1 << 20,
            ..Limits::default()
        };
        let plain = io::Cursor::new(vec![1; 2 << 20]);
        let mut reader = decompress(plain, &limits).unwrap();
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }

    // T-C23: a frame that asks for a window of 2 GiB.
    #[test]
    fn a_zstd_window_above_the_cap_is_refused() {
        // Magic, a descriptor without checksum or size, a window of 2^31 bytes, an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 1, 0, 0];
        let limits = Limits::default();
        let mut reader = decompress(io::Cursor::new(frame.to_vec()), &limits).unwrap();
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }

    #[test]
    fn garbage_after_a_stream_is_an_error_and_not_skipped() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut bytes = round(b"hello", compression);
            bytes.extend_from_slice(b"garbage");
            let limits = Limits::default();
            let mut reader = decompress(io::Cursor::new(bytes), &limits).unwrap();
            let result = io::copy(&mut reader, &mut io::sink());
            assert!(result.is_err(), "{compression}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn damaged_streams_are_errors_and_never_panics(
            cut in 0_usize..400, flip in 0_usize..400, gzip: bool,
        ) {
            let compression = if gzip { Compression::Gzip } else { Compression::Zstd };
            let text: Vec<u8> = (0..1000_u32).map(|it| (it * 37 % 251) as u8).collect();
            let mut bytes = round(&text, compression);
            let flip = flip % bytes.len();
            bytes[flip] ^= 0x55;
            bytes.truncate(bytes.len() - cut % bytes.len());
            let limits = Limits::default();
            if let Ok(mut reader) = decompress(io::Cursor::new(bytes), &limits) {
                let _ = io::copy(&mut reader, &mut io::sink());
            }
        }
    }
}
