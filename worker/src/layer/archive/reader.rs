use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use tar_core::{
    HEADER_SIZE,
    parse::{ParseEvent, ParsedEntry, Parser},
};

use super::{
    ArchiveError, Entry, EntryKind, SparsePart,
    strict::{Headers, check_global},
};
use crate::{confine::Time, limits::Limits};

/// Reads an archive entry by entry.
///
/// 1. Call [`Self::next_entry`] until it gives `None`.
/// 2. After each, read the entry's content through [`Read`], or do not: the rest is skipped.
///
/// At the end the whole input has been read, so that a digest over it covers what follows the
/// last entry too.
pub struct ArchiveReader<R> {
    input: R,
    parser: Parser,
    /// Bytes that were read and not yet used.
    buffer: Vec<u8>,
    /// How much of the buffer is used.
    used: usize,
    /// Bytes of the current entry's content that are still to come, and its padding.
    content: u64,
    padding: u64,
    /// Bytes of the archive that are used.
    offset: u64,
    entries: u64,
    max_entries: u64,
    max_metadata: usize,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads from `input`, which should be buffered.
    pub fn new(input: R, limits: &Limits) -> Self {
        let mut parser = Parser::new(tar_core::parse::Limits {
            max_metadata_size: limits.entry_metadata_bytes,
            max_path_len: Some(limits.path_bytes),
            ..tar_core::parse::Limits::default()
        });
        // We read the records ourselves, more strictly and with times before 1970.
        parser.set_ignore_pax_errors(true);
        Self {
            input,
            parser,
            buffer: Vec::new(),
            used: 0,
            content: 0,
            padding: 0,
            offset: 0,
            entries: 0,
            max_entries: limits.layer_entries,
            max_metadata: limits.entry_metadata_bytes as usize + 64 * HEADER_SIZE,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    ///
    /// # Errors
    /// When the archive is damaged, ambiguous, cut off or exceeds a cap. There is no going on
    /// after that.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip_content()?;
        let mut wanted = HEADER_SIZE;
        loop {
            let complete = self.fill(wanted)?;
            let offset = self.offset;
            let raw = &self.buffer[self.used..];
            if !complete && self.at_end(wanted) {
                return Ok(None);
            }
            if !complete {
                return Err(ArchiveError::Truncated {
                    offset: offset + raw.len() as u64,
                });
            }
            let event = self
                .parser
                .parse(raw)
                .map_err(|error| ArchiveError::Damaged {
                    offset,
                    reason: error.to_string(),
                })?;
            let (consumed, entry) = match event {
                ParseEvent::NeedData { min_bytes } => {
                    // The parser may ask for what it has; it needs more nevertheless.
                    wanted = min_bytes.max(raw.len() + HEADER_SIZE);
                    self.check_metadata(wanted)?;
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, pax_data } => {
                    check_global(pax_data).map_err(ambiguous(offset))?;
                    (consumed, None)
                }
                ParseEvent::Entry { consumed, entry } => {
                    let entry = convert(&raw[..consumed], &entry, None, offset)?;
                    (consumed, Some(entry))
                }
                ParseEvent::SparseEntry {
                    consumed,
                    entry,
                    sparse_map,
                    real_size,
                } => {
                    let parts = sparse_map
                        .iter()
                        .map(|part| SparsePart {
                            offset: part.offset,
                            length: part.length,
                        })
                        .collect();
                    let sparse = Some((parts, real_size));
                    let entry = convert(&raw[..consumed], &entry, sparse, offset)?;
                    (consumed, Some(entry))
                }
                ParseEvent::End { consumed } => {
                    self.advance(consumed);
                    self.drain()?;
                    return Ok(None);
                }
            };
            self.advance(consumed);
            self.count()?;
            let Some(entry) = entry else {
                wanted = HEADER_SIZE;
                continue;
            };
            self.content = entry.size;
            self.padding = entry.size.wrapping_neg() % HEADER_SIZE as u64;
            return Ok(Some(entry));
        }
    }

    /// How many bytes of the archive were used.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// An archive without the two blocks of zeroes at its end, or with one, is whole too, as
    /// long as it ends between entries.
    fn at_end(&self, wanted: usize) -> bool {
        let raw = &self.buffer[self.used..];
        raw.is_empty()
            || (wanted == 2 * HEADER_SIZE
                && raw.len() == HEADER_SIZE
                && raw.iter().all(|byte| *byte == 0))
    }

    fn check_metadata(&self, wanted: usize) -> Result<(), ArchiveError> {
        if wanted > self.max_metadata {
            return Err(ArchiveError::TooLarge {
                what: "bytes of metadata of one entry",
                cap: self.max_metadata as u64,
            });
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.max_entries {
            return Err(ArchiveError::TooLarge {
                what: "entries",
                cap: self.max_entries,
            });
        }
        Ok(())
    }

    /// Reads until `wanted` unused bytes are there; `false` when the input ends before.
    fn fill(&mut self, wanted: usize) -> Result<bool, ArchiveError> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        let have = self.buffer.len();
        if have >= wanted {
            return Ok(true);
        }
        let missing = (wanted - have) as u64;
        self.input
            .by_ref()
            .take(missing)
            .read_to_end(&mut self.buffer)?;
        Ok(self.buffer.len() >= wanted)
    }

    fn advance(&mut self, bytes: usize) {
        self.used += bytes;
        self.offset += bytes as u64;
    }

    fn skip_content(&mut self) -> Result<(), ArchiveError> {
        let mut sink = [0; 1 << 14];
        while self.content > 0 {
            self.read_content(&mut sink)?;
        }
        self.content = std::mem::take(&mut self.padding);
        while self.content > 0 {
            self.read_content(&mut sink)?;
        }
        Ok(())
    }

    fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let room = usize::try_from(self.content).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let left = &self.buffer[self.used..];
        let read = if left.is_empty() {
            read_some(&mut self.input, &mut buffer[..room])?
        } else {
            let read = room.min(left.len());
            buffer[..read].copy_from_slice(&left[..read]);
            self.used += read;
            read
        };
        if read == 0 {
            return Err(ArchiveError::Truncated {
                offset: self.offset,
            });
        }
        self.content -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }

    /// Reads what follows the end of the archive: padding of zeroes, and nothing else, for a
    /// reader that goes on would find entries there.
    fn drain(&mut self) -> Result<(), ArchiveError> {
        let offset = self.offset;
        let mut chunk = std::mem::take(&mut self.buffer).split_off(self.used);
        self.used = 0;
        loop {
            if chunk.iter().any(|byte| *byte != 0) {
                return Err(ambiguous(offset)(
                    "something follows the end of the archive",
                ));
            }
            chunk.resize(1 << 14, 0);
            let read = read_some(&mut self.input, &mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            chunk.truncate(read);
        }
    }
}

impl<R: Read> Read for ArchiveReader<R> {
    /// Reads the current entry's content; 0 at its end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_content(buffer).map_err(|error| match error {
            ArchiveError::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn ambiguous(offset: u64) -> impl Fn(&'static str) -> ArchiveError {
    move |reason| ArchiveError::Ambiguous { offset, reason }
}

fn convert(
    raw: &[u8],
    entry: &ParsedEntry<'_>,
    sparse: Option<(Vec<SparsePart>, u64)>,
    offset: u64,
) -> Result<Entry, ArchiveError> {
    let headers = Headers::split(raw).map_err(ambiguous(offset))?;
    let kind = match headers.check(entry) {
        Err("the type of an entry is unknown") => {
            return Err(ArchiveError::Kind {
                offset,
                kind: char::from(headers.flag),
            });
        }
        checked => checked.map_err(ambiguous(offset))?,
    };
    let id = |value: u64| {
        u32::try_from(value).map_err(|_| ArchiveError::Damaged {
            offset,
            reason: format!("{value} is no user or group id"),
        })
    };
    let time = |key| headers.records.time(key).map_err(ambiguous(offset));
    let mtime = time("mtime")?.unwrap_or_else(|| Time {
        seconds: headers
            .binary_mtime
            .unwrap_or_else(|| i64::try_from(entry.mtime).unwrap_or(0)),
        nanos: 0,
    });
    let length = sparse.as_ref().map_or(entry.size, |(_, length)| *length);
    if i64::try_from(length).is_err() {
        return Err(ambiguous(offset)("a file is longer than files can be"));
    }
    headers
        .check_sparse(sparse.is_some())
        .map_err(ambiguous(offset))?;
    if let Some((parts, length)) = &sparse {
        check_sparse(kind, parts, *length, entry.size).map_err(ambiguous(offset))?;
    }
    let link = entry.link_target.as_deref().unwrap_or_default();
    Ok(Entry {
        path: inside(&entry.path)?,
        kind,
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime,
        atime: time("atime")?,
        size: entry.size,
        link: PathBuf::from(OsStr::from_bytes(link)),
        device: rustix::fs::makedev(entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0)),
        xattrs: entry
            .xattrs
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
        sparse: sparse.map(|(parts, _)| parts),
        length,
    })
}

fn check_sparse(
    kind: EntryKind,
    parts: &[SparsePart],
    length: u64,
    size: u64,
) -> Result<(), &'static str> {
    const WRONG: &str = "the map of a file with holes is wrong";
    if kind != EntryKind::File {
        return Err(WRONG);
    }
    let (mut end, mut content) = (0, 0_u64);
    for part in parts {
        if part.offset < end {
            return Err(WRONG);
        }
        end = part.offset.checked_add(part.length).ok_or(WRONG)?;
        content = content.checked_add(part.length).ok_or(WRONG)?;
    }
    if end > length || content != size {
        return Err(WRONG);
    }
    Ok(())
}

/// Resolves `.` and `..` by the letters, as Go's `filepath.Clean` does. An absolute path
/// begins at the archive's root; one that leads out of it is refused.
fn inside(path: &[u8]) -> Result<PathBuf, ArchiveError> {
    let mut inside = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir => {
                if !inside.pop() {
                    return Err(ArchiveError::Escapes {
                        path: String::from_utf8_lossy(path).into_owned(),
                    });
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(inside)
}
