use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::copy::Scene;
use super::error::FileOpError;
use super::path::{clean, follow, is_nothing};
use super::single::{make_directories, set_times};
use crate::confine::{Kind, Last, Owner, Root, Time};
use crate::layer::archive::{ArchiveReader, Entry, EntryKind};
use crate::layer::decompress;
use crate::limits::Limits;

const BLOCK: usize = 512;

/// Directories that an archive implies and does not list have this mode.
const IMPLIED_MODE: u32 = 0o755;

/// Memory that decompressing xz may take, in bytes: what `xz -9` needs, twice.
const XZ_MEMORY: u64 = 128 << 20;

/// Unpacks the file at `from` into the directory `destination` if it is a tar archive, compressed or not; `false` if
/// it is something else, which is copied then.
///
/// The archive is unpacked in the destination as its own root: links in it lead nowhere else (security.md T-A28).
pub(super) fn unpack_archive(
    scene: Scene<'_>,
    from: &str,
    destination: &str,
    time: Option<Time>,
) -> Result<bool, FileOpError> {
    let source = follow(scene.source, Path::new(from))?;
    let node = match scene.source.resolve(&source, Last::NoFollow) {
        Err(error) if is_nothing(&error) => return Ok(false),
        node => node?,
    };
    if !node.metadata()?.is_file() {
        return Ok(false);
    }
    let failed = |reason: String| FileOpError::Archive {
        path: from.to_owned(),
        reason,
    };
    let is_tar = begins_with_header(open(node.open_read()?, scene.limits));
    if !is_tar {
        return Ok(false);
    }
    let target = follow(scene.target, Path::new(&clean(destination)))?;
    let made = make_directories(scene.target, &target, IMPLIED_MODE, scene.owner)?;
    set_times(scene.target, &made, time)?;
    let root = scene
        .target
        .subroot(&target)
        .map_err(FileOpError::at("open", &target))?;
    let content =
        open(node.open_read()?, scene.limits).map_err(|error| failed(error.to_string()))?;
    let mut unpacking = Unpacking {
        root: &root,
        owner: scene.owner,
        directories: BTreeMap::new(),
    };
    let mut archive = ArchiveReader::new(content, scene.limits);
    while let Some(entry) = archive
        .next_entry()
        .map_err(|error| failed(error.to_string()))?
    {
        scene.stop.check()?;
        unpacking
            .entry(&entry, &mut archive)
            .map_err(|error| match error {
                // Not the disk's answer but what the archive's reader says.
                FileOpError::Content { source, .. } if source.raw_os_error().is_none() => {
                    failed(source.to_string())
                }
                error => error,
            })?;
    }
    unpacking.finish()?;
    Ok(true)
}

/// The file's content, decompressed by what its first bytes say it is.
fn open(mut file: File, limits: &Limits) -> io::Result<Box<dyn Read + Send>> {
    let mut first = [0; 6];
    let mut length = 0;
    while length < first.len() {
        match file.read(&mut first[length..])? {
            0 => break,
            count => length += count,
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let size = file.metadata()?.len();
    let capped = |content: Box<dyn Read + Send>| {
        let cap = limits
            .layer_ratio_floor_bytes
            .max(size.saturating_mul(limits.layer_ratio))
            .min(limits.layer_unpacked_bytes);
        Box::new(Capped { content, left: cap })
    };
    match &first[..length] {
        [b'B', b'Z', b'h', ..] => {
            let plain = bzip2::read::MultiBzDecoder::new(BufReader::new(file));
            Ok(capped(Box::new(plain)))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(
                XZ_MEMORY,
                liblzma::stream::CONCATENATED,
            )
            .map_err(io::Error::other)?;
            let plain = liblzma::read::XzDecoder::new_stream(BufReader::new(file), stream);
            Ok(capped(Box::new(plain)))
        }
        _ => decompress(file, limits),
    }
}

/// Ends a decompression bomb early (security.md T-C23).
struct Capped {
    content: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the archive exceeds the cap on its size or its ratio",
            )
        })?;
        Ok(count)
    }
}

/// Whether the content begins with a tar header whose checksum is right.
fn begins_with_header(content: io::Result<Box<dyn Read + Send>>) -> bool {
    let mut block = [0; BLOCK];
    let Ok(mut content) = content else {
        return false;
    };
    if content.read_exact(&mut block).is_err() {
        return false;
    }
    let text: String = block[148..156]
        .iter()
        .map(|byte| char::from(*byte))
        .filter(char::is_ascii_digit)
        .collect();
    let sums = block
        .iter()
        .enumerate()
        .fold((0_i64, 0_i64), |sums, (at, byte)| {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            // Some old programs added signed bytes.
            (
                sums.0 + i64::from(byte),
                sums.1 + i64::from(byte.cast_signed()),
            )
        });
    i64::from_str_radix(&text, 8).is_ok_and(|sum| sum == sums.0 || sum == sums.1)
}

struct Unpacking<'a> {
    root: &'a Root,
    owner: Option<Owner>,
    /// Set at the end, since each entry in a directory changes its time.
    directories: BTreeMap<PathBuf, (Time, Time)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), FileOpError> {
        let path = entry.path.as_path();
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        let place = parent.join(name);
        self.make_way(&place, entry)?;
        self.make(&place, entry, content)?;
        if entry.kind == EntryKind::HardLink {
            return Ok(());
        }
        self.set_metadata(&place, entry)
    }

    /// The directory that an entry is for; made if the archive does not list it. Links on the way are followed inside
    /// the destination.
    fn parent(&self, path: &Path) -> Result<PathBuf, FileOpError> {
        make_directories(self.root, path, IMPLIED_MODE, self.owner)?;
        follow(self.root, path)
    }

    /// Anything but a directory for a directory gives way.
    fn make_way(&self, place: &Path, entry: &Entry) -> Result<(), FileOpError> {
        match self.root.metadata(place, Last::NoFollow) {
            Err(error) if is_nothing(&error) => Ok(()),
            Ok(there) if there.is_dir() && entry.kind == EntryKind::Directory => Ok(()),
            Ok(_) => Ok(self.root.remove_all(place)?),
            Err(error) => Err(error.into()),
        }
    }

    fn make(
        &self,
        place: &Path,
        entry: &Entry,
        content: &mut impl Read,
    ) -> Result<(), FileOpError> {
        let root = self.root;
        match entry.kind {
            EntryKind::Directory => match root.mkdir(place, 0o700) {
                Err(error) if error.is_already_exists() => {}
                made => made?,
            },
            EntryKind::File => {
                let file = root.create_file(place, 0o600)?;
                write_content(file, entry, content).map_err(|source| FileOpError::Content {
                    path: format!("/{}", place.display()),
                    source,
                })?;
            }
            EntryKind::Symlink => root.symlink(&entry.link, place)?,
            EntryKind::HardLink => {
                let link = entry.link.as_path();
                let directory = follow(root, link.parent().unwrap_or(Path::new("")))?;
                let existing = directory.join(link.file_name().unwrap_or_default());
                root.hardlink(&existing, place)
                    .map_err(FileOpError::at("link", &entry.link))?;
            }
            EntryKind::Fifo => root.mknod(place, Kind::Fifo, 0o600, 0)?,
            EntryKind::CharDevice => root.mknod(place, Kind::CharDevice, 0o600, entry.device)?,
            EntryKind::BlockDevice => root.mknod(place, Kind::BlockDevice, 0o600, entry.device)?,
        }
        Ok(())
    }

    fn set_metadata(&mut self, place: &Path, entry: &Entry) -> Result<(), FileOpError> {
        let node = self.root.resolve(place, Last::NoFollow)?;
        node.set_owner(self.owner.unwrap_or(Owner {
            uid: entry.uid,
            gid: entry.gid,
        }))?;
        if entry.kind != EntryKind::Symlink {
            node.set_mode(entry.mode)?;
        }
        for (name, value) in &entry.xattrs {
            if let Err(error) = node.set_xattr(OsStr::from_bytes(name), value) {
                tracing::debug!(%error, "an extended attribute is not kept");
            }
        }
        let times = (entry.atime.unwrap_or(entry.mtime), entry.mtime);
        if entry.kind == EntryKind::Directory {
            self.directories.insert(place.to_owned(), times);
            return Ok(());
        }
        Ok(node.set_times(times.0, times.1)?)
    }

    fn finish(self) -> Result<(), FileOpError> {
        for (path, (accessed, modified)) in self.directories.into_iter().rev() {
            match self.root.resolve(&path, Last::NoFollow) {
                // A later entry has replaced it.
                Err(error) if is_nothing(&error) => {}
                node => node?.set_times(accessed, modified)?,
            }
        }
        Ok(())
    }
}

fn write_content(mut file: File, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
    let Some(parts) = &entry.sparse else {
        io::copy(&mut content.take(entry.size), &mut file)?;
        return file.flush();
    };
    for part in parts {
        file.seek(SeekFrom::Start(part.offset))?;
        io::copy(&mut content.take(part.length), &mut file)?;
    }
    file.set_len(entry.length)
}
