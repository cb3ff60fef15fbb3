use rustix::fs::{FileType, Stat, Timespec};

/// What kind of object a [`Node`](super::Node) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    pub(super) fn from_file_type(file_type: FileType) -> Option<Self> {
        Some(match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }

    pub(super) fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
        }
    }
}

/// Who owns an object, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// A moment as the file system stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Time {
    pub(super) fn timespec(self) -> Timespec {
        Timespec {
            tv_sec: self.seconds,
            tv_nsec: self.nanos.into(),
        }
    }
}

/// What `stat` knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky bits: `0o7777` at most.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
    /// Size in bytes.
    pub size: u64,
    /// Space that it takes on the disk, in bytes.
    pub allocated: u64,
    /// Last modification of the content.
    pub mtime: Time,
    /// Last access.
    pub atime: Time,
    /// Device that the object lives on.
    pub device: u64,
    /// Inode number, unique on `device`.
    pub inode: u64,
    /// Number of names that the object has.
    pub links: u64,
    /// Device number of a character or block device.
    pub special_device: u64,
}

impl Metadata {
    pub(super) fn from_stat(stat: &Stat) -> Option<Self> {
        // The kernel's nanoseconds are below 10^9 and its sizes are not negative.
        Some(Self {
            kind: Kind::from_file_type(FileType::from_raw_mode(stat.st_mode))?,
            mode: stat.st_mode & 0o7777,
            owner: Owner {
                uid: stat.st_uid,
                gid: stat.st_gid,
            },
            size: u64::try_from(stat.st_size).unwrap_or(0),
            // Counted in units of 512 bytes, whatever the file system's own are.
            allocated: u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512),
            mtime: Time {
                seconds: stat.st_mtime,
                nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            atime: Time {
                seconds: stat.st_atime,
                nanos: u32::try_from(stat.st_atime_nsec).unwrap_or(0),
            },
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink,
            special_device: stat.st_rdev,
        })
    }

    /// True for a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// True for a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// True for what stands for a deleted name in a layer: a character device 0:0.
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::CharDevice && self.special_device == 0
    }

    /// True for a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.kind == Kind::Symlink
    }
}
