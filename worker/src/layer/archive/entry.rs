use std::path::PathBuf;

use crate::confine::Time;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, possibly with holes.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of the entry [`Entry::link`].
    HardLink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One entry, all extension headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, relative to the archive's root, without `.` and `..` components; empty for the
    /// root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Last modification.
    pub mtime: Time,
    /// Last access, where the archive says it.
    pub atime: Option<Time>,
    /// How many bytes of content follow.
    pub size: u64,
    /// Target of a link, as written.
    pub link: PathBuf,
    /// Device number of a device.
    pub device: u64,
    /// Extended attributes, in the archive's order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Which parts of the file the content is, for a file with holes.
    pub sparse: Option<Vec<SparsePart>>,
    /// The file's length: [`Self::size`], or more for a file with holes.
    pub length: u64,
}

/// A part of a file with holes that has content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparsePart {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}
