use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Gid, Mode, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::{
    LayerError,
    archive::{ArchiveReader, Entry, EntryKind, SparsePart},
};
use crate::{
    confine::{ConfineError, Kind, Last, Metadata, Node, Owner, Root, Time},
    limits::Limits,
    mount::opaque_mark,
    userns::Identity,
};

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// How many entries the archive had.
    pub entries: u64,
    /// How many bytes of file content were written.
    pub bytes: u64,
    /// Whether a directory was made opaque.
    pub is_opaque: bool,
    /// Directories that the archive has no entry for and whose content it has.
    pub implied: BTreeSet<PathBuf>,
}

/// Unpacks a layer's archive into an empty directory, in overlayfs's form: `.wh.name` becomes a
/// character device 0:0 called `name`, and `.wh..wh..opq` makes its directory opaque.
///
/// Reads `input` to its end. The result depends on the archive alone. Where BuildKit (and
/// containerd, whose unpacker it uses) has a rule, it is that rule: an entry replaces an earlier
/// one of the same path unless both are directories, missing parents are made with mode 0755,
/// links among the parents are followed inside `root`, and attributes that the file system
/// does not take are left out, as is everything in `trusted.`.
///
/// # Errors
/// When the archive is refused, or an entry cannot be made. What was made stays.
pub fn apply(input: impl Read, root: &Root, limits: &Limits) -> Result<Applied, LayerError> {
    let mut reader = ArchiveReader::new(input, limits);
    let mut unpacking = Unpacking {
        root,
        parent: None,
        directory_times: BTreeMap::new(),
        applied: Applied::default(),
        max_bytes: limits.layer_unpacked_bytes,
        identity: Identity::of_this_process(),
        foreign_owners: 0,
        devices_left_out: 0,
    };
    while let Some(entry) = reader.next_entry()? {
        let path = entry.path.clone();
        unpacking
            .entry(&entry, &mut reader)
            .map_err(|error| error.at(path))?;
    }
    unpacking.set_directory_times()?;
    unpacking.say_what_differs();
    Ok(unpacking.applied)
}

struct Unpacking<'a> {
    root: &'a Root,
    /// The directory of the last entry, by its path: most entries follow their neighbours.
    parent: Option<(PathBuf, Root)>,
    /// Set at the end, since each entry in a directory changes the directory's time.
    directory_times: BTreeMap<PathBuf, (Time, Time)>,
    applied: Applied,
    max_bytes: u64,
    /// Whose ids and devices there can be.
    identity: &'static Identity,
    /// Entries whose owner there is not here.
    foreign_owners: u64,
    /// Entries that only a root of the machine could make.
    devices_left_out: u64,
}

/// What an entry's name asks for.
enum Asked<'a> {
    Entry(&'a OsStr),
    Whiteout(&'a OsStr),
    Opaque,
    Nothing,
}

fn asked(name: &OsStr) -> Result<Asked<'_>, LayerError> {
    let bytes = name.as_bytes();
    if bytes == b".wh..wh..opq" {
        return Ok(Asked::Opaque);
    }
    // What else begins so is the bookkeeping of aufs, which early Docker images carry.
    if bytes.starts_with(b".wh..wh.") {
        return Ok(Asked::Nothing);
    }
    match bytes.strip_prefix(b".wh.") {
        Some(b"" | b"." | b"..") => Err(LayerError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            "a whiteout that names no file",
        ))),
        Some(hidden) => Ok(Asked::Whiteout(OsStr::from_bytes(hidden))),
        None => Ok(Asked::Entry(name)),
    }
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), LayerError> {
        self.applied.entries += 1;
        let Some(name) = entry.path.file_name() else {
            // The archive's root has no attributes of its own in a layer.
            return Ok(());
        };
        match asked(name)? {
            Asked::Nothing => Ok(()),
            Asked::Opaque => self.make_opaque(entry),
            Asked::Whiteout(hidden) => self.whiteout(entry, hidden),
            Asked::Entry(name) => {
                let replaced = self.clear_the_way(entry, name)?;
                self.make(entry, name, content)?;
                if replaced == Some(Replaced::Whiteout) && entry.kind == EntryKind::Directory {
                    // What the whiteout hid must stay hidden.
                    let node = self.parent(entry)?.resolve(name.as_ref(), Last::NoFollow)?;
                    self.set_opaque(&node)?;
                }
                Ok(())
            }
        }
    }

    /// The open directory that holds the entry, made if need be.
    fn parent(&mut self, entry: &Entry) -> Result<&Root, LayerError> {
        let path = entry.path.parent().unwrap_or(Path::new(""));
        let known = self.parent.as_ref().is_some_and(|(it, _)| it == path);
        if !known {
            let root = match self.root.subroot(path) {
                Err(error) if error.is_not_found() => {
                    self.make_parents(path)?;
                    self.root.subroot(path)?
                }
                root => root?,
            };
            self.parent = Some((path.to_owned(), root));
        }
        let (_, root) = self.parent.as_ref().expect("it was set above");
        Ok(root)
    }

    fn make_parents(&mut self, path: &Path) -> Result<(), LayerError> {
        let owner = Owner { uid: 0, gid: 0 };
        for made in self.root.mkdir_all(path, 0o755, Some(owner))? {
            let epoch = Time {
                seconds: 0,
                nanos: 0,
            };
            self.directory_times.insert(made.clone(), (epoch, epoch));
            self.applied.implied.insert(made);
        }
        Ok(())
    }

    /// Removes what is in the entry's place, unless both are directories.
    fn clear_the_way(
        &mut self,
        entry: &Entry,
        name: &OsStr,
    ) -> Result<Option<Replaced>, LayerError> {
        let Some(there) = self.there(entry, name)? else {
            return Ok(None);
        };
        if there.is_dir() && entry.kind == EntryKind::Directory {
            return Ok(Some(Replaced::Merged));
        }
        self.parent(entry)?.remove_all(name.as_ref())?;
        if there.is_dir() {
            // The directory may have been the one that we hold open, or above it.
            self.parent = None;
            let path = entry.path.clone();
            self.directory_times.retain(|it, _| !it.starts_with(&path));
            self.applied.implied.retain(|it| !it.starts_with(&path));
        }
        Ok(Some(if is_whiteout(&there) {
            Replaced::Whiteout
        } else {
            Replaced::Removed
        }))
    }

    fn there(&mut self, entry: &Entry, name: &OsStr) -> Result<Option<Metadata>, LayerError> {
        match self.parent(entry)?.metadata(name.as_ref(), Last::NoFollow) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make_opaque(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let node = self
            .parent(entry)?
            .resolve(Path::new("."), Last::NoFollow)?;
        self.set_opaque(&node)
    }

    fn set_opaque(&mut self, directory: &Node) -> Result<(), LayerError> {
        self.applied.is_opaque = true;
        Ok(directory.set_xattr(OsStr::new(opaque_mark()), b"y")?)
    }

    /// A whiteout hides what is in layers below. What this layer has of the same name stays,
    /// but shows nothing of below (image-spec, layer.md, whiteouts).
    fn whiteout(&mut self, entry: &Entry, hidden: &OsStr) -> Result<(), LayerError> {
        match self.there(entry, hidden)? {
            Some(there) if there.is_dir() => {
                let node = self
                    .parent(entry)?
                    .resolve(hidden.as_ref(), Last::NoFollow)?;
                self.set_opaque(&node)
            }
            Some(_) => Ok(()),
            None => {
                let parent = self.parent(entry)?;
                parent.mknod(hidden.as_ref(), Kind::CharDevice, 0, 0)?;
                let node = parent.resolve(hidden.as_ref(), Last::NoFollow)?;
                Ok(node.set_owner(self.owner_of(entry))?)
            }
        }
    }

    fn make(
        &mut self,
        entry: &Entry,
        name: &OsStr,
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        let name: &Path = name.as_ref();
        match entry.kind {
            EntryKind::File => return self.make_file(entry, name, content),
            EntryKind::Directory => {
                match self.parent(entry)?.mkdir(name, 0o700) {
                    Err(error) if !error.is_already_exists() => return Err(error.into()),
                    _ => {}
                }
                let times = times_of(entry);
                self.applied.implied.remove(&entry.path);
                self.directory_times.insert(entry.path.clone(), times);
            }
            EntryKind::Symlink => self.parent(entry)?.symlink(&entry.link, name)?,
            EntryKind::HardLink => {
                let existing = self.root_path_of_link(entry)?;
                let node = self.root.resolve(&existing, Last::NoFollow)?;
                if node.metadata()?.is_dir() {
                    return Err(LayerError::Io(Errno::ISDIR.into()));
                }
                self.parent(entry)?.hardlink_node(&node, name)?;
            }
            EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => {
                let kind = match entry.kind {
                    EntryKind::CharDevice => Kind::CharDevice,
                    EntryKind::BlockDevice => Kind::BlockDevice,
                    _ => Kind::Fifo,
                };
                let made = self
                    .parent(entry)?
                    .mknod(name, kind, entry.mode, entry.device);
                match made {
                    Err(error) if kind != Kind::Fifo && self.may_lack(&error) => {
                        self.devices_left_out += 1;
                        return Ok(());
                    }
                    made => made?,
                }
            }
        }
        let node = self.parent(entry)?.resolve(name, Last::NoFollow)?;
        let owner = self.owner_of(entry);
        self.set_attributes(&node, entry, owner)
    }

    /// A hard link's target is a path of the archive, whatever it looks like.
    fn root_path_of_link(&self, entry: &Entry) -> Result<PathBuf, LayerError> {
        if entry.link.file_name().is_none() {
            return Err(LayerError::Io(Errno::ISDIR.into()));
        }
        Ok(entry.link.clone())
    }

    fn make_file(
        &mut self,
        entry: &Entry,
        name: &Path,
        content: &mut impl Read,
    ) -> Result<(), LayerError> {
        self.applied.bytes = self.applied.bytes.saturating_add(entry.length);
        if self.applied.bytes > self.max_bytes {
            return Err(LayerError::TooLarge {
                what: "bytes of its files",
                cap: self.max_bytes,
            });
        }
        let mut file = self.parent(entry)?.create_file(name, 0o600)?;
        match &entry.sparse {
            None => copy(content, &mut file, entry.size)?,
            Some(parts) => copy_parts(content, &mut file, parts, entry.length)?,
        }
        let owner = self.owner_of(entry);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        for (name, value) in taken_xattrs(entry) {
            let set = rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
            self.accept_xattr(name, set, true)?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        Ok(rustix::fs::futimens(file.as_fd(), &timestamps(entry))?)
    }

    /// The entry's owner, or root for one that this process cannot name.
    fn owner_of(&mut self, entry: &Entry) -> Owner {
        let uid = Some(entry.uid).filter(|id| self.identity.has_user(*id));
        let gid = Some(entry.gid).filter(|id| self.identity.has_group(*id));
        self.foreign_owners += u64::from(uid.is_none() || gid.is_none());
        Owner {
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
        }
    }

    /// Owner before attributes before mode before times: each may undo a part of a later one.
    fn set_attributes(&self, node: &Node, entry: &Entry, owner: Owner) -> Result<(), LayerError> {
        let metadata = node.metadata()?;
        node.set_owner(owner)?;
        for (name, value) in taken_xattrs(entry) {
            let takes_user = matches!(metadata.kind, Kind::File | Kind::Directory);
            if let Err(error) = node.set_xattr(name, value) {
                match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(errno) => self.accept_xattr(name, Err(errno), takes_user)?,
                    None => return Err(error.into()),
                }
            }
        }
        if metadata.kind != Kind::Symlink {
            node.set_mode(entry.mode)?;
        }
        let (accessed, modified) = times_of(entry);
        Ok(node.set_times(accessed, modified)?)
    }

    /// An attribute that the file system does not know is left out, as is a user's on something
    /// that cannot have one, and one that takes rights over the machine.
    fn accept_xattr(
        &self,
        name: &OsStr,
        set: Result<(), Errno>,
        takes_user: bool,
    ) -> Result<(), LayerError> {
        let is_machines = self.identity.is_mapped() && name.as_bytes().starts_with(b"security.");
        match set {
            Err(Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::PERM) if !takes_user || is_machines => Ok(()),
            other => Ok(other?),
        }
    }

    /// Whether something could not be made for want of rights that nobody in a user namespace has.
    fn may_lack(&self, error: &ConfineError) -> bool {
        self.identity.is_mapped() && error.raw_os_error() == Some(Errno::PERM.raw_os_error())
    }

    fn say_what_differs(&self) {
        if self.foreign_owners > 0 {
            tracing::warn!(
                files = self.foreign_owners,
                "files of a layer belong to users that are not here, and belong to root in what is built; a range in \
                 /etc/subuid and /etc/subgid gives this user more ids"
            );
        }
        if self.devices_left_out > 0 {
            tracing::warn!(
                devices = self.devices_left_out,
                "device nodes of a layer are left out: it takes root to make them"
            );
        }
    }

    fn set_directory_times(&mut self) -> Result<(), LayerError> {
        for (path, (accessed, modified)) in &self.directory_times {
            match self.root.resolve(path, Last::NoFollow) {
                Ok(node) if node.metadata()?.is_dir() => node.set_times(*accessed, *modified)?,
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Merged,
    Removed,
    Whiteout,
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.kind == Kind::CharDevice && metadata.special_device == 0
}

/// The attributes that an archive may set. `trusted.` is for the kernel and root alone, and
/// `user.overlay.` is what overlayfs without root keeps its secrets in.
fn taken_xattrs(entry: &Entry) -> impl Iterator<Item = (&OsStr, &[u8])> {
    entry
        .xattrs
        .iter()
        .filter(|(name, _)| !name.starts_with(b"trusted.") && !name.starts_with(b"user.overlay."))
        .map(|(name, value)| (OsStr::from_bytes(name), value.as_slice()))
}

/// Access and modification as they are set: the access not before the modification, and what
/// nanoseconds since 1970 cannot say in 63 bits as 1970.
fn times_of(entry: &Entry) -> (Time, Time) {
    const LAST_SECOND: i64 = i64::MAX / 1_000_000_000;
    let bound = |time: Time| {
        if (0..LAST_SECOND).contains(&time.seconds) {
            time
        } else {
            Time {
                seconds: 0,
                nanos: 0,
            }
        }
    };
    let modified = entry.mtime;
    let accessed = entry.atime.map_or(modified, |atime| atime.max(modified));
    (bound(accessed), bound(modified))
}

fn timestamps(entry: &Entry) -> Timestamps {
    let (accessed, modified) = times_of(entry);
    let timespec = |time: Time| rustix::fs::Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: timespec(accessed),
        last_modification: timespec(modified),
    }
}

fn copy(content: &mut impl Read, file: &mut File, size: u64) -> Result<(), LayerError> {
    let mut buffer = vec![0; usize::try_from(size.min(1 << 18)).expect("at most 256 KiB")];
    let mut left = size;
    while left > 0 {
        let room = usize::try_from(left.min(buffer.len() as u64)).expect("at most 256 KiB");
        let read = content.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        file.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(())
}

fn copy_parts(
    content: &mut impl Read,
    file: &mut File,
    parts: &[SparsePart],
    length: u64,
) -> Result<(), LayerError> {
    for part in parts {
        file.seek(SeekFrom::Start(part.offset))?;
        copy(content, file, part.length)?;
    }
    Ok(file.set_len(length)?)
}
