use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    LayerError,
    archive::{ArchiveWriter, Header},
};
use crate::alike::{CAPABILITY, attribute, capability, is_same};
use crate::confine::{DirEntry, Kind, Last, Metadata, Root};
use crate::mount::{opaque_mark, redirect_mark};

/// Writes the archive of a layer: what `changes`, a directory in overlayfs's form, changes of
/// `below`, the state that it lies on (`None` for scratch).
///
/// # Shape
/// The bytes that BuildKit writes of the same change (its overlay differ with containerd's
/// `archive.ChangeWriter`), so that diff ids agree: entries in the order of their paths, one
/// directory at a time; directories with a slash at the end and before their content, also
/// those that did not change but hold something that did; a directory or file that was only
/// copied up and is as it was below is left out; times cut to the second; no names of users;
/// of the attributes only `security.capability`; sockets left out; a deleted name as an empty
/// file `.wh.name` of 1970.
///
/// # Errors
/// When something cannot be read, changes meanwhile or cannot be said in an archive.
pub fn write_changes(
    changes: &Root,
    below: Option<&Root>,
    output: &mut dyn Write,
) -> Result<(), LayerError> {
    let mut walk = Walk {
        changes,
        archive: ArchiveWriter::new(output),
        written: HashSet::new(),
        link_sources: HashMap::new(),
        unchanged_links: HashMap::new(),
    };
    let top = changes.try_clone()?;
    let below = below.map(Root::try_clone).transpose()?;
    walk.overlay(&top, below.as_ref(), Path::new(""))?;
    walk.archive.finish()?;
    Ok(())
}

struct Walk<'a> {
    changes: &'a Root,
    archive: ArchiveWriter<&'a mut dyn Write>,
    /// Directories that have an entry already.
    written: HashSet<PathBuf>,
    /// The first name of each file that has several.
    link_sources: HashMap<u64, PathBuf>,
    /// Names of files with several names that did not change, in case another name did.
    unchanged_links: HashMap<u64, Vec<PathBuf>>,
}

impl Walk<'_> {
    /// Walks a directory of changes; `below` is the same directory of the state below.
    fn overlay(
        &mut self,
        here: &Root,
        below: Option<&Root>,
        path: &Path,
    ) -> Result<(), LayerError> {
        for entry in here.read_dir(Path::new("/"))? {
            let name: &Path = entry.name.as_ref();
            let path = path.join(name);
            let old = lookup(below, name)?;
            if is_whiteout(&entry.metadata) {
                // One that hides nothing has no meaning.
                if old.is_some() {
                    self.delete(&path)?;
                }
                continue;
            }
            let is_same = match (&old, below) {
                (Some(old), Some(below)) => is_same(below, old, here, name, &entry.metadata)?,
                _ => false,
            };
            if !is_same {
                self.changed(here, &entry, &path)?;
            }
            if entry.metadata.is_dir() {
                let child = here.subroot(name)?;
                refuse_redirect(&child, &path)?;
                let old_child = old_directory(below, old.as_ref(), name)?;
                if old.is_some() && is_opaque(&child)? {
                    self.replaced(&child, old_child.as_ref(), &path)?;
                } else {
                    self.overlay(&child, old_child.as_ref(), &path)?;
                }
            }
        }
        Ok(())
    }

    /// Walks a directory of which nothing below shows through: what it does not have of below
    /// is deleted, and what it has may be as it was.
    fn replaced(
        &mut self,
        here: &Root,
        below: Option<&Root>,
        path: &Path,
    ) -> Result<(), LayerError> {
        let mut new = here.read_dir(Path::new("/"))?;
        new.retain(|entry| !is_whiteout(&entry.metadata));
        let mut new = new.into_iter().peekable();
        let old = match below {
            Some(below) => below.read_dir(Path::new("/"))?,
            None => Vec::new(),
        };
        let mut old = old.into_iter().peekable();
        loop {
            let next_is_old = match (old.peek(), new.peek()) {
                (None, None) => return Ok(()),
                (Some(old), Some(new)) => old.name < new.name,
                (old, _) => old.is_some(),
            };
            if next_is_old {
                let gone = old.next().expect("it was peeked at");
                self.delete(&path.join(&gone.name))?;
                continue;
            }
            let entry = new.next().expect("it was peeked at");
            let was = old.next_if(|old| old.name == entry.name);
            self.replaced_entry(here, below, &entry, was, path)?;
        }
    }

    fn replaced_entry(
        &mut self,
        here: &Root,
        below: Option<&Root>,
        entry: &DirEntry,
        was: Option<DirEntry>,
        path: &Path,
    ) -> Result<(), LayerError> {
        let name: &Path = entry.name.as_ref();
        let path = path.join(name);
        let was = was.map(|it| it.metadata);
        let is_same = match (&was, below) {
            (Some(was), Some(below)) => is_same(below, was, here, name, &entry.metadata)?,
            _ => false,
        };
        if !is_same {
            self.changed(here, entry, &path)?;
        } else if !entry.metadata.is_dir() && entry.metadata.links > 1 {
            self.unchanged_link(&entry.metadata, &path)?;
        }
        if entry.metadata.is_dir() {
            let child = here.subroot(name)?;
            let old_child = old_directory(below, was.as_ref(), name)?;
            self.replaced(&child, old_child.as_ref(), &path)?;
        }
        Ok(())
    }

    fn delete(&mut self, path: &Path) -> Result<(), LayerError> {
        self.parents(path)?;
        let mut name = b".wh.".to_vec();
        name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
        let header = Header {
            name: bytes_of(&path.with_file_name(OsStr::from_bytes(&name))),
            flag: b'0',
            ..Header::default()
        };
        Ok(self.archive.entry(&header)?)
    }

    /// An unchanged name of a file whose other name was written is a link to that; one that
    /// comes first waits.
    fn unchanged_link(&mut self, metadata: &Metadata, path: &Path) -> Result<(), LayerError> {
        let inode = metadata.inode;
        if let Some(source) = self.link_sources.get(&inode) {
            let header = Header {
                link: bytes_of(source),
                flag: b'1',
                size: 0,
                ..header_of(metadata, path)
            };
            self.parents(path)?;
            return Ok(self.archive.entry(&header)?);
        }
        let waiting = self.unchanged_links.entry(inode).or_default();
        waiting.push(path.to_owned());
        Ok(())
    }

    fn changed(&mut self, here: &Root, entry: &DirEntry, path: &Path) -> Result<(), LayerError> {
        let metadata = &entry.metadata;
        if metadata.kind == Kind::Socket {
            return Ok(());
        }
        let name: &Path = entry.name.as_ref();
        let mut header = header_of(metadata, path);
        if metadata.kind == Kind::Symlink {
            header.link = bytes_of(&here.read_link(name)?);
        }
        let mut waiting = Vec::new();
        if !metadata.is_dir() && metadata.links > 1 {
            if let Some(source) = self.link_sources.get(&metadata.inode) {
                header.flag = b'1';
                header.link = bytes_of(source);
                header.size = 0;
            } else {
                self.link_sources.insert(metadata.inode, path.to_owned());
                waiting = self
                    .unchanged_links
                    .remove(&metadata.inode)
                    .unwrap_or_default();
            }
        }
        let mut file = None;
        if metadata.kind == Kind::File {
            let opened = here.open_read(name)?;
            header.records = capability_record(&opened)?;
            file = Some(opened);
        }
        self.parents(path)?;
        if metadata.is_dir() {
            self.written.insert(path.to_owned());
        }
        match file {
            Some(file) if header.flag == b'0' => self.content(&header, file, path)?,
            _ => self.archive.entry(&header)?,
        }
        for link in waiting {
            self.parents(&link)?;
            let header = Header {
                name: bytes_of(&link),
                flag: b'1',
                link: bytes_of(path),
                size: 0,
                ..header.clone()
            };
            self.archive.entry(&header)?;
        }
        Ok(())
    }

    fn content(&mut self, header: &Header, file: File, path: &Path) -> Result<(), LayerError> {
        let written = self.archive.file(header, file);
        written.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => LayerError::Changed {
                path: path.to_owned(),
            },
            _ => error.into(),
        })
    }

    /// Writes the directories above `path` that have no entry yet, the outermost first.
    fn parents(&mut self, path: &Path) -> Result<(), LayerError> {
        let missing: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|it| !it.as_os_str().is_empty() && !self.written.contains(*it))
            .collect();
        for parent in missing.into_iter().rev() {
            let metadata = self.changes.metadata(parent, Last::NoFollow)?;
            self.archive.entry(&header_of(&metadata, parent))?;
            self.written.insert(parent.to_owned());
        }
        Ok(())
    }
}

fn header_of(metadata: &Metadata, path: &Path) -> Header {
    let mut name = bytes_of(path);
    if metadata.is_dir() {
        name.push(b'/');
    }
    let is_device = matches!(metadata.kind, Kind::CharDevice | Kind::BlockDevice);
    let device = if is_device {
        metadata.special_device
    } else {
        0
    };
    Header {
        name,
        flag: match metadata.kind {
            Kind::File | Kind::Socket => b'0',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        },
        mode: metadata.mode,
        uid: metadata.owner.uid.into(),
        gid: metadata.owner.gid.into(),
        size: if metadata.is_file() { metadata.size } else { 0 },
        mtime: metadata.mtime.seconds,
        link: Vec::new(),
        device_major: rustix::fs::major(device).into(),
        device_minor: rustix::fs::minor(device).into(),
        records: Vec::new(),
    }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.kind == Kind::CharDevice && metadata.special_device == 0
}

fn lookup(below: Option<&Root>, name: &Path) -> Result<Option<Metadata>, LayerError> {
    let Some(below) = below else {
        return Ok(None);
    };
    match below.metadata(name, Last::NoFollow) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn old_directory(
    below: Option<&Root>,
    old: Option<&Metadata>,
    name: &Path,
) -> Result<Option<Root>, LayerError> {
    match (below, old) {
        (Some(below), Some(old)) if old.is_dir() => Ok(Some(below.subroot(name)?)),
        _ => Ok(None),
    }
}

fn capability_record(file: &File) -> Result<Vec<(String, Vec<u8>)>, LayerError> {
    let value = capability(file)?;
    if value.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![(format!("SCHILY.xattr.{CAPABILITY}"), value)])
}

fn is_opaque(directory: &Root) -> Result<bool, LayerError> {
    Ok(attribute(directory, opaque_mark())? == b"y")
}

fn refuse_redirect(directory: &Root, path: &Path) -> Result<(), LayerError> {
    if attribute(directory, redirect_mark())?.is_empty() {
        return Ok(());
    }
    Err(LayerError::Redirect {
        path: path.to_owned(),
    })
}
