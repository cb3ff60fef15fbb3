use std::io::Read;

use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

const BLOCK: usize = 512;

/// The most that is unpacked of an archive, in bytes.
const UNPACKED: u64 = 1 << 30;

/// The most that unpacking an xz archive may hold in memory, in bytes.
const DICTIONARY: u64 = 128 << 20;

/// The time of the newest regular file in an archive, compressed or not; `None` for what is no archive or has no file.
pub(super) fn newest(bytes: &[u8]) -> Option<i64> {
    const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
    const BZIP2: &[u8] = b"BZh";
    const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    if bytes.starts_with(GZIP) {
        scan(flate2::read::MultiGzDecoder::new(bytes).take(UNPACKED))
    } else if bytes.starts_with(BZIP2) {
        scan(bzip2::read::MultiBzDecoder::new(bytes).take(UNPACKED))
    } else if bytes.starts_with(XZ) {
        let stream = Stream::new_stream_decoder(DICTIONARY, liblzma::stream::CONCATENATED).ok()?;
        scan(XzDecoder::new_stream(bytes, stream).take(UNPACKED))
    } else if bytes.starts_with(ZSTD) {
        scan(zstd::stream::read::Decoder::new(bytes).ok()?.take(UNPACKED))
    } else {
        scan(bytes)
    }
}

fn scan(mut archive: impl Read) -> Option<i64> {
    let mut newest: Option<i64> = None;
    let mut header = [0; BLOCK];
    // A time of an extended header is the next entry's.
    let mut told = None;
    loop {
        if archive.read_exact(&mut header).is_err() || header.iter().all(|byte| *byte == 0) {
            return newest;
        }
        if !is_header(&header) {
            return None;
        }
        let size = number(&header[124..136])?;
        let padded = u64::try_from(size)
            .ok()?
            .checked_next_multiple_of(BLOCK as u64)?;
        match header[156] {
            b'x' if size < 1 << 20 => {
                let mut body = Vec::new();
                archive.by_ref().take(padded).read_to_end(&mut body).ok()?;
                let body = body.get(..usize::try_from(size).ok()?)?;
                told = extended_time(&String::from_utf8_lossy(body));
                continue;
            }
            b'0' | 0 | b'7' => {
                let time = told.or_else(|| number(&header[136..148]));
                newest = newest.max(time);
            }
            _ => {}
        }
        told = None;
        let skipped = std::io::copy(&mut archive.by_ref().take(padded), &mut std::io::sink());
        if skipped.ok()? != padded {
            return None;
        }
    }
}

/// The bytes of a header sum up to what it says, the sum's own field counted as blanks.
fn is_header(header: &[u8; BLOCK]) -> bool {
    let sum: i64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => 32,
            _ => i64::from(*byte),
        })
        .sum();
    number(&header[148..156]) == Some(sum)
}

/// Octal digits, or a big number in binary as GNU tar writes it.
fn number(field: &[u8]) -> Option<i64> {
    if field.first()? & 0x80 != 0 {
        let tail = field.get(field.len().checked_sub(8)?..)?;
        return tail.try_into().ok().map(i64::from_be_bytes);
    }
    let text = std::str::from_utf8(field).ok()?;
    match text.trim_matches([' ', '\0']) {
        "" => Some(0),
        digits => i64::from_str_radix(digits, 8).ok(),
    }
}

/// `mtime` of a PAX header, in whole seconds.
fn extended_time(records: &str) -> Option<i64> {
    let line = records
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(_, record)| record.strip_prefix("mtime="))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entry(kind: u8, time: i64, body: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..4].copy_from_slice(b"name");
        header[124..135].copy_from_slice(format!("{:011o}", body.len()).as_bytes());
        header[136..147].copy_from_slice(format!("{time:011o}").as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.extend(body);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    #[test]
    fn the_newest_regular_file_counts() {
        let archive = [
            entry(b'0', 1_700_000_000, b"a"),
            entry(b'5', 1_900_000_000, b""),
            entry(b'0', 1_700_000_302, &[7; 600]),
            entry(b'0', 5, b""),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        assert_eq!(newest(&archive), Some(1_700_000_302));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&archive).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&archive).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&archive).unwrap();
        for (packed, form) in [
            (gzip.finish().unwrap(), "gzip"),
            (bzip2.finish().unwrap(), "bzip2"),
            (xz.finish().unwrap(), "xz"),
            (zstd::encode_all(archive.as_slice(), 1).unwrap(), "zstd"),
        ] {
            assert_eq!(newest(&packed), Some(1_700_000_302), "{form}");
        }
    }

    #[test]
    fn extended_headers_give_times_too() {
        let archive = [
            entry(b'x', 0, b"20 mtime=1800000000.5\n"),
            entry(b'0', 1, b"a"),
            entry(b'0', 2, b"b"),
        ]
        .concat();
        assert_eq!(newest(&archive), Some(1_800_000_000));
    }

    #[test]
    fn what_is_no_archive_has_no_time() {
        for bytes in [&b""[..], b"FROM scratch", &[1; 2000], &[0x1f, 0x8b, 8, 0]] {
            assert_eq!(newest(bytes), None);
        }
        let mut cut = entry(b'0', 5, &[7; 600]);
        cut.truncate(700);
        assert_eq!(newest(&cut), None);
        for torn in [
            &b"BZh9"[..],
            &[0xfd, b'7', b'z', b'X', b'Z', 0],
            &[0x28, 0xb5, 0x2f, 0xfd],
        ] {
            assert_eq!(newest(torn), None);
        }
    }
}
