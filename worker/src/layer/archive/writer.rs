use std::io::{self, Read, Write};

/// What a header says, in the form in which it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The path, with a slash at the end for a directory.
    pub name: Vec<u8>,
    /// Type flag: `0` file, `1` hard link, `2` symbolic link, `3` character device, `4` block
    /// device, `5` directory, `6` pipe.
    pub flag: u8,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// User id.
    pub uid: u64,
    /// Group id.
    pub gid: u64,
    /// Bytes of content that follow.
    pub size: u64,
    /// Last modification in seconds since 1970.
    pub mtime: i64,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major number of a device.
    pub device_major: u64,
    /// Minor number of a device.
    pub device_minor: u64,
    /// Further PAX records, such as `SCHILY.xattr.security.capability`.
    pub records: Vec<(String, Vec<u8>)>,
}

/// Writes an archive with the bytes that Go's `archive/tar` writes, so that a layer made of the
/// same files has the diff id that BuildKit gives it.
///
/// # Shape
/// Plain ustar where it suffices, else a PAX header before it that has all that ustar cannot
/// say (names that are long or no ASCII, large numbers, attributes), its records sorted by key.
pub struct ArchiveWriter<W> {
    output: W,
}

const BLOCK: usize = 512;
const NAME: usize = 100;
const PREFIX: usize = 155;

impl<W: Write> ArchiveWriter<W> {
    /// Writes to `output`, which should be buffered.
    pub const fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes an entry without content.
    ///
    /// # Errors
    /// When the output fails, or a device number or mode does not fit.
    pub fn entry(&mut self, header: &Header) -> io::Result<()> {
        let records = pax_records(header);
        if records.is_empty() {
            return self.output.write_all(&ustar_block(header)?);
        }
        let records = sorted(records);
        self.write_pax(header, &records)?;
        let ascii = Header {
            name: to_ascii(&header.name),
            link: to_ascii(&header.link),
            ..header.clone()
        };
        let block = block(&ascii, &ascii.name, &[])?;
        self.output.write_all(&block)
    }

    /// Writes a file with `header.size` bytes of content.
    ///
    /// # Errors
    /// As [`Self::entry`]; [`io::ErrorKind::UnexpectedEof`] when `content` is shorter and
    /// [`io::ErrorKind::InvalidData`] when it is longer than the header says.
    pub fn file(&mut self, header: &Header, mut content: impl Read) -> io::Result<()> {
        self.entry(header)?;
        let copied = io::copy(&mut content.by_ref().take(header.size), &mut self.output)?;
        if copied < header.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if content.read(&mut [0])? > 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.pad(header.size)
    }

    /// Writes the end of the archive and gives the output back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        Ok(self.output)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size.wrapping_neg() % BLOCK as u64).expect("less than a block");
        self.output.write_all(&[0; BLOCK][..rest])
    }

    fn write_pax(&mut self, header: &Header, records: &[(String, Vec<u8>)]) -> io::Result<()> {
        let mut data = Vec::new();
        for (key, value) in records {
            data.extend_from_slice(&pax_record(key, value));
        }
        let mut name = pax_header_name(&header.name);
        name.truncate(NAME);
        while name.ends_with(b"/") {
            name.pop();
        }
        let mut block = [0; BLOCK];
        put_text(&mut block[..NAME], &name);
        for (range, value) in [(100..108, 0), (108..116, 0), (116..124, 0)] {
            put_octal(&mut block[range], value);
        }
        put_octal(&mut block[124..136], data.len() as u64);
        put_octal(&mut block[136..148], 0);
        block[156] = b'x';
        seal(&mut block);
        self.output.write_all(&block)?;
        self.output.write_all(&data)?;
        self.pad(data.len() as u64)
    }
}

/// The records that the header needs because ustar cannot say it; none if it can.
fn pax_records(header: &Header) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut needed = !header.records.is_empty();
    let mut add = |key: &str, value: Vec<u8>| records.push((key.to_owned(), value));
    if header.name.len() > NAME || !is_ascii(&header.name) {
        add("path", header.name.clone());
        needed |= split_name(&header.name).is_none();
    }
    if header.link.len() > NAME || !is_ascii(&header.link) {
        add("linkpath", header.link.clone());
        needed = true;
    }
    for (key, value, width) in [
        ("uid", header.uid, 8),
        ("gid", header.gid, 8),
        ("size", header.size, 12),
    ] {
        if !fits_octal(width, value) {
            add(key, value.to_string().into_bytes());
            needed = true;
        }
    }
    if !u64::try_from(header.mtime).is_ok_and(|mtime| fits_octal(12, mtime)) {
        add("mtime", header.mtime.to_string().into_bytes());
        needed = true;
    }
    if !needed {
        return Vec::new();
    }
    records.extend(header.records.iter().cloned());
    records
}

fn sorted(mut records: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    records.sort();
    records
}

fn ustar_block(header: &Header) -> io::Result<[u8; BLOCK]> {
    match split_name(&header.name) {
        Some((prefix, name)) => block(header, name, prefix),
        None => block(header, &header.name, &[]),
    }
}

fn block(header: &Header, name: &[u8], prefix: &[u8]) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    put_text(&mut block[..NAME], name);
    for (range, value) in [
        (100..108, u64::from(header.mode)),
        (329..337, header.device_major),
        (337..345, header.device_minor),
    ] {
        if !fits_octal(8, value) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{value} is too large for an archive's header"),
            ));
        }
        put_octal(&mut block[range], value);
    }
    put_octal(&mut block[108..116], header.uid);
    put_octal(&mut block[116..124], header.gid);
    put_octal(&mut block[124..136], header.size);
    put_octal(
        &mut block[136..148],
        u64::try_from(header.mtime).unwrap_or(0),
    );
    block[156] = header.flag;
    put_text(&mut block[157..257], &header.link);
    put_text(&mut block[345..345 + PREFIX], prefix);
    seal(&mut block);
    Ok(block)
}

/// Writes magic, version and checksum: the sum of all bytes, with the checksum's own read as
/// blanks.
fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut block[148..155], sum);
}

fn put_text(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
    if text.len() > field.len() && field.ends_with(b"/") {
        // A file whose name is cut after a slash would look like a directory to old readers.
        let end = field
            .iter()
            .rposition(|byte| *byte != b'/')
            .map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

/// Writes octal digits with zeroes before and a NUL after them; 0 when it does not fit, as then
/// a PAX record says it.
fn put_octal(field: &mut [u8], value: u64) {
    let value = if fits_octal(field.len(), value) {
        value
    } else {
        0
    };
    let width = field.len() - 1;
    put_text(field, format!("{value:0width$o}\0").as_bytes());
}

fn fits_octal(width: usize, value: u64) -> bool {
    let bits = (width - 1) * 3;
    bits >= 64 || value >> bits == 0
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii() && *byte != 0)
}

fn to_ascii(text: &[u8]) -> Vec<u8> {
    text.iter()
        .copied()
        .filter(|byte| byte.is_ascii() && *byte != 0)
        .collect()
}

/// Splits a long name at a slash into ustar's prefix and name, if it can be.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !is_ascii(name) {
        return None;
    }
    let mut length = name.len();
    if length > PREFIX + 1 {
        length = PREFIX + 1;
    } else if name.ends_with(b"/") {
        length -= 1;
    }
    let at = name[..length].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, suffix) = (&name[..at], &name[at + 1..]);
    let fits = at > 0 && !suffix.is_empty() && suffix.len() <= NAME && prefix.len() <= PREFIX;
    fits.then_some((prefix, suffix))
}

/// `PaxHeaders.0` put before the last component.
fn pax_header_name(name: &[u8]) -> Vec<u8> {
    let start = name
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let mut out = name[..start].to_vec();
    out.extend_from_slice(b"PaxHeaders.0");
    if start < name.len() {
        out.push(b'/');
        out.extend_from_slice(&name[start..]);
    }
    to_ascii(&out)
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    // Blank, equals sign, newline; the length counts its own digits.
    let bare = key.len() + value.len() + 3;
    let mut length = bare + bare.to_string().len();
    length = bare + length.to_string().len();
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}
