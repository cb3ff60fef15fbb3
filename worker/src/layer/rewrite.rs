use std::io::{self, Read, Write};

/// Bytes of a block, which everything in an archive fills up.
const BLOCK: usize = 512;

/// Longest set of records that is read.
///
/// # Units
/// Bytes.
const RECORDS: u64 = 4 << 20;

/// Where the time of modification stands in a header, and its checksum.
const TIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;
const FLAG: usize = 156;

/// Times among the records of an entry.
const TIMES: [&[u8]; 3] = [b"mtime", b"atime", b"ctime"];

/// Copies an archive so that no entry has a time later than `epoch`. All else stays byte for byte.
///
/// # Units
/// Seconds since 1970.
///
/// # Errors
/// When the archive is none, or ends early.
pub(super) fn rewrite_times(
    input: &mut dyn Read,
    output: &mut dyn Write,
    epoch: i64,
) -> io::Result<()> {
    loop {
        let mut header = [0; BLOCK];
        if !read_block(input, &mut header)? {
            return Ok(());
        }
        if header.iter().all(|byte| *byte == 0) {
            // The end; what padding follows is kept.
            output.write_all(&header)?;
            io::copy(input, output)?;
            return Ok(());
        }
        let size = number(&header[SIZE])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| invalid("an entry's size cannot be read"))?;
        match header[FLAG] {
            b'x' | b'g' => {
                let records = clamp_records(&content(input, size)?, epoch)?;
                put_octal(&mut header[SIZE], records.len() as i64);
                clamp_header(&mut header, epoch);
                output.write_all(&header)?;
                output.write_all(&records)?;
                output.write_all(&[0; BLOCK][..padding(records.len() as u64)])?;
            }
            flag => {
                clamp_header(&mut header, epoch);
                output.write_all(&header)?;
                // Links and folders may say a size and have no content.
                let has_content = !matches!(flag, b'1'..=b'6');
                if has_content {
                    let padded = size + padding(size) as u64;
                    let copied = io::copy(&mut input.take(padded), output)?;
                    if copied < padded {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }
}

/// Reads a block; `false` where the archive ends instead.
fn read_block(input: &mut dyn Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < BLOCK {
        match input.read(&mut block[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(true)
}

fn content(input: &mut dyn Read, size: u64) -> io::Result<Vec<u8>> {
    if size > RECORDS {
        return Err(invalid("an entry's records are too long"));
    }
    let mut bytes = Vec::new();
    let padded = size + padding(size) as u64;
    input.take(padded).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < padded {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    Ok(bytes)
}

fn padding(size: u64) -> usize {
    usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0)
}

fn clamp_header(header: &mut [u8; BLOCK], epoch: i64) {
    if number(&header[TIME]).is_some_and(|time| time > epoch) {
        put_octal(&mut header[TIME], epoch.max(0));
    }
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    header[CHECKSUM].copy_from_slice(text.as_bytes());
}

/// `LENGTH KEY=VALUE\n`, where times that are too late become the epoch.
fn clamp_records(mut records: &[u8], epoch: i64) -> io::Result<Vec<u8>> {
    let broken = || invalid("an entry's records cannot be read");
    let mut out = Vec::with_capacity(records.len());
    while !records.is_empty() {
        let space = records
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(broken)?;
        let length = std::str::from_utf8(&records[..space]).ok();
        let length: usize = length
            .and_then(|text| text.parse().ok())
            .ok_or_else(broken)?;
        if length <= space + 1 || length > records.len() {
            return Err(broken());
        }
        let (record, rest) = records.split_at(length);
        records = rest;
        let body = &record[space + 1..length - 1];
        let equals = body
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(broken)?;
        let (key, value) = (&body[..equals], &body[equals + 1..]);
        if TIMES.contains(&key) && is_later(value, epoch) {
            out.extend_from_slice(&record_of(key, epoch.to_string().as_bytes()));
        } else {
            out.extend_from_slice(record);
        }
    }
    Ok(out)
}

/// Whether `SECONDS[.FRACTION]` is after an epoch.
fn is_later(value: &[u8], epoch: i64) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let beyond = fraction.bytes().any(|digit| digit != b'0');
    seconds
        .parse::<i64>()
        .is_ok_and(|seconds| seconds > epoch || (seconds == epoch && beyond))
}

fn record_of(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// A number in octal digits, or in base 256 where it does not fit.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = if negative { -1 } else { 0 };
        let low = i64::from(first & 0x3f) | if negative { !0x3f } else { 0 };
        let start = if rest.len() >= 8 { start } else { low };
        return rest.iter().try_fold(start, |sum: i64, byte| {
            sum.checked_mul(256)?.checked_add(i64::from(*byte))
        });
    }
    let digits = std::str::from_utf8(field).ok()?;
    let digits = digits.trim_matches(|c| c == '\0' || c == ' ');
    match digits {
        "" => Some(0),
        digits => i64::from_str_radix(digits, 8).ok(),
    }
}

fn put_octal(field: &mut [u8], number: i64) {
    let width = field.len() - 1;
    let text = format!("{number:0width$o}\0");
    match text.len() == field.len() {
        true => field.copy_from_slice(text.as_bytes()),
        false => {
            // Beyond the digits: base 256, as GNU and Go write it.
            let bytes = number.to_be_bytes();
            let start = field.len() - bytes.len();
            field.fill(0);
            field[0] = 0x80;
            field[start..].copy_from_slice(&bytes);
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::archive::{ArchiveWriter, Header};

    fn archive(times: &[(&str, i64, Option<&str>)]) -> Vec<u8> {
        let mut writer = ArchiveWriter::new(Vec::new());
        for (name, time, record) in times {
            let header = Header {
                name: name.as_bytes().to_vec(),
                flag: b'0',
                mode: 0o644,
                size: 3,
                mtime: *time,
                records: record
                    .iter()
                    .map(|value| ("mtime".to_owned(), value.as_bytes().to_vec()))
                    .collect(),
                ..Header::default()
            };
            writer.file(&header, &b"abc"[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn rewritten(bytes: &[u8], epoch: i64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        rewrite_times(&mut &bytes[..], &mut out, epoch)?;
        Ok(out)
    }

    #[test]
    fn times_after_the_epoch_become_it_and_all_else_stays() {
        let before = archive(&[("old", 5, None), ("new", 20, None), ("edge", 10, None)]);
        let after = archive(&[("old", 5, None), ("new", 10, None), ("edge", 10, None)]);
        assert_eq!(rewritten(&before, 10).unwrap(), after);
        assert_eq!(rewritten(&after, 10).unwrap(), after);
    }

    #[test]
    fn times_among_records_are_clamped_too() {
        let before = archive(&[("a", 5, Some("1700000000.25")), ("b", 5, Some("9.5"))]);
        let after = archive(&[("a", 5, Some("10")), ("b", 5, Some("9.5"))]);
        assert_eq!(rewritten(&before, 10).unwrap(), after);
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let whole = archive(&[("a", 5, None)]);
        assert!(rewritten(&whole[..700], 10).is_err());
        assert!(rewritten(&[b'x'; 600], 10).is_err());
        assert_eq!(rewritten(&[], 10).unwrap(), b"");
    }
}
