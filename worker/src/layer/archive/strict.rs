//! What the parser lets pass and other programs read differently (security.md I12).

use tar_core::{HEADER_SIZE, Header, parse::ParsedEntry};

use super::{entry::EntryKind, pax::Records};

type Check<T = ()> = Result<T, &'static str>;

/// The headers of one entry, as they lie in the archive.
#[derive(Default)]
pub(super) struct Headers<'a> {
    pub(super) records: Records<'a>,
    long_name: Option<&'a [u8]>,
    long_link: Option<&'a [u8]>,
    /// Type flag of the entry itself.
    pub(super) flag: u8,
    /// Size that the entry's own header says.
    size: u64,
    /// Seconds since 1970 that the entry's own header says in binary; before 1970 that is the only way.
    pub(super) binary_mtime: Option<i64>,
}

impl<'a> Headers<'a> {
    /// Splits the bytes from the end of the entry before to the end of this entry's header.
    pub(super) fn split(raw: &'a [u8]) -> Check<Self> {
        let mut headers = Self::default();
        let mut rest = raw;
        loop {
            let (block, after) = rest
                .split_first_chunk::<HEADER_SIZE>()
                .ok_or("a header is cut off")?;
            let header = Header::from_bytes(block);
            if header.is_empty() {
                return Err("a block of zeroes is followed by a header");
            }
            check_prefix(block)?;
            if !is_plain_size(&block[124..136]) {
                return Err("a header's size is malformed");
            }
            let size = header
                .entry_size()
                .map_err(|_| "a header's size is malformed")?;
            headers.flag = block[156];
            if !matches!(headers.flag, b'x' | b'L' | b'K') {
                let is_named = headers.long_name.is_some() || headers.records.get("path").is_some();
                if block[0] == 0 && !is_named {
                    return Err("an entry has no name");
                }
                headers.size = size;
                headers.binary_mtime = binary(&block[136..148])?;
                return Ok(headers);
            }
            let size = usize::try_from(size).map_err(|_| "a header's size is malformed")?;
            let data = after.get(..size).ok_or("a header is cut off")?;
            match headers.flag {
                b'x' => headers.records = Records::parse(data)?,
                b'L' => headers.long_name = Some(until_nul(data)?),
                _ => headers.long_link = Some(until_nul(data)?),
            }
            let padded = size.next_multiple_of(HEADER_SIZE);
            let (block, behind) = after
                .split_at_checked(padded)
                .ok_or("a header is cut off")?;
            // Python reads a long name on into what fills its block.
            if block[size..].iter().any(|byte| *byte != 0) {
                return Err("what fills up a header is not zeroes");
            }
            rest = behind;
        }
    }

    /// Compares all that says the same thing twice.
    pub(super) fn check(&self, entry: &ParsedEntry<'_>) -> Check<EntryKind> {
        let kind = kind(self.flag, &entry.path)?;
        for (key, long) in [("path", self.long_name), ("linkpath", self.long_link)] {
            let pax = self.records.get(key);
            if pax.is_some_and(|value| value.is_empty() || value.contains(&0)) {
                return Err("a PAX path is empty or has a NUL");
            }
            if let (Some(pax), Some(long)) = (pax, long)
                && pax != long
            {
                return Err("a PAX path and a GNU long name differ");
            }
        }
        self.check_size(entry)?;
        if kind != EntryKind::File && entry.size != 0 {
            return Err("an entry that is no file has content");
        }
        let is_link = matches!(kind, EntryKind::Symlink | EntryKind::HardLink);
        if is_link && entry.link_target.is_none() {
            return Err("a link has no target");
        }
        for key in ["uid", "gid"] {
            self.records.number(key)?;
        }
        Ok(kind)
    }

    /// Records about holes must be those of one version, and of a file that was read by them: programs take a name and
    /// a size from those that they know, whatever else is there.
    pub(super) fn check_sparse(&self, is_sparse: bool) -> Check {
        /// What each version has and may have (GNU tar's manual, "Storing Sparse Files").
        const VERSIONS: [(&[&str], &[&str]); 3] = [
            (&["numblocks", "size"], &["numbytes", "offset"]),
            (&["map", "numblocks", "size"], &["name"]),
            (&["major", "minor", "realsize"], &["name"]),
        ];
        let prefixed = self.records.keys();
        let keys: Vec<&str> = prefixed
            .filter_map(|key| key.strip_prefix("GNU.sparse."))
            .collect();
        let is_version = |(must, may): &(&[&str], &[&str])| {
            must.iter().all(|key| keys.contains(key))
                && keys
                    .iter()
                    .all(|key| must.contains(key) || may.contains(key))
        };
        match keys.is_empty() || (is_sparse && VERSIONS.iter().any(is_version)) {
            true => Ok(()),
            false => Err("the records of a file with holes are not those of one version"),
        }
    }

    fn check_size(&self, entry: &ParsedEntry<'_>) -> Check {
        /// More does not fit into the header's eleven octal digits; writers put 0 there, or
        /// as much as fits.
        const FITS: u64 = 0o77_777_777_777;
        let Some(pax) = self.records.number("size")? else {
            return Ok(());
        };
        let overflowed = pax > FITS && (self.size == 0 || self.size == FITS);
        if pax != self.size && !overflowed {
            return Err("the PAX size and the header's size differ");
        }
        if pax != entry.size && self.records.get("GNU.sparse.major").is_none() {
            return Err("the PAX size and the entry's size differ");
        }
        Ok(())
    }
}

/// What stands where POSIX has the beginning of a long name must be that, or what GNU tar keeps there: some programs put
/// it before the name whatever the header says it is.
fn check_prefix(block: &[u8; HEADER_SIZE]) -> Check {
    let is_sparse = block[156] == b'S';
    let is_octal = |byte: &u8| matches!(byte, b'0'..=b'7' | b' ' | 0);
    match &block[257..265] {
        b"ustar  \0" if is_sparse => Ok(()),
        _ if is_sparse => Err("a file with holes has no header of GNU's"),
        b"ustar\x0000" => Ok(()),
        // Times of the last access and change.
        b"ustar  \0" if block[345..369].iter().all(is_octal) && block[369..500] == [0; 131] => {
            Ok(())
        }
        _ if block[345..500] == [0; 155] => Ok(()),
        _ => Err("a header that is not POSIX's has a prefix"),
    }
}

/// A binary number of GNU's headers, in twos complement but for the bit that says so; `None` for one of digits.
fn binary(field: &[u8]) -> Check<Option<i64>> {
    let Some(0x80..) = field.first() else {
        return Ok(None);
    };
    let sign = if field[0] & 0x40 == 0 { 0 } else { -1 };
    let first = i128::from(field[0] & 0x3f) | (sign << 6);
    let rest = field[1..].iter();
    let value = rest.fold(first, |value, byte| value << 8 | i128::from(*byte));
    let value = i64::try_from(value).map_err(|_| "a binary number is too large")?;
    Ok(Some(value))
}

/// Whether a size is read alike by all: octal digits between spaces and NULs, of which none but spaces come first (GNU tar
/// passes over a NUL there, others end), or binary, neither below nothing nor of more than 63 bits.
fn is_plain_size(field: &[u8]) -> bool {
    if field.first().is_some_and(|byte| *byte >= 0x80) {
        return matches!(field, [0x80, 0, 0, 0, 0..0x80, ..]);
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| *byte != b' ');
    let digits = &field[start.unwrap_or(field.len())..];
    let end = digits.iter().position(|byte| !matches!(byte, b'0'..=b'7'));
    digits[end.unwrap_or(digits.len())..].iter().all(blank)
}

fn until_nul(data: &[u8]) -> Check<&[u8]> {
    let name = data.strip_suffix(&[0]).unwrap_or(data);
    if name.is_empty() || name.contains(&0) {
        return Err("a GNU long name is empty or has a NUL");
    }
    Ok(name)
}

fn kind(flag: u8, path: &[u8]) -> Check<EntryKind> {
    let slash = path.ends_with(b"/");
    match flag {
        // Before POSIX a directory was a file whose name ends so; of this one GNU tar leaves no name.
        0 if path.iter().all(|byte| *byte == b'/') => Err("a file has no name"),
        0 if slash => Ok(EntryKind::Directory),
        b'0' | b'7' | b'S' if slash => Err("a file's name ends in a slash"),
        0 | b'0' | b'7' | b'S' => Ok(EntryKind::File),
        b'1' => Ok(EntryKind::HardLink),
        b'2' => Ok(EntryKind::Symlink),
        b'3' => Ok(EntryKind::CharDevice),
        b'4' => Ok(EntryKind::BlockDevice),
        b'5' => Ok(EntryKind::Directory),
        b'6' => Ok(EntryKind::Fifo),
        _ => Err("the type of an entry is unknown"),
    }
}

/// Records that apply to all that follows. We ignore them as Go does, so only those may be
/// there whose absence changes nothing.
pub(super) fn check_global(data: &[u8]) -> Check {
    let records = Records::parse(data)?;
    if records.keys().all(|key| key == "comment") {
        Ok(())
    } else {
        Err("a global PAX header says more than a comment")
    }
}
