//! File modes as they travel: Go's `os.FileMode`, whose bits above the permissions differ from `stat(2)`'s.

use crate::confine::Kind;

const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const NAMED_PIPE: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
const IRREGULAR: u32 = 1 << 19;

const TYPE: u32 = DIRECTORY | SYMLINK | DEVICE | NAMED_PIPE | SOCKET | CHAR_DEVICE | IRREGULAR;

/// Go's mode for a kind and `chmod`'s bits.
#[must_use]
pub fn to_go(kind: Kind, mode: u32) -> u32 {
    let kind = match kind {
        Kind::File => 0,
        Kind::Directory => DIRECTORY,
        Kind::Symlink => SYMLINK,
        Kind::Fifo => NAMED_PIPE,
        Kind::Socket => SOCKET,
        Kind::CharDevice => DEVICE | CHAR_DEVICE,
        Kind::BlockDevice => DEVICE,
    };
    let mut go = kind | (mode & 0o777);
    for (unix, bit) in SPECIAL {
        if mode & unix != 0 {
            go |= bit;
        }
    }
    go
}

const SPECIAL: [(u32, u32); 3] = [(0o4000, SET_UID), (0o2000, SET_GID), (0o1000, STICKY)];

/// `chmod`'s bits of Go's mode: `0o7777` at most.
#[must_use]
pub fn permissions(go: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, bit)| go & bit != 0);
    (go & 0o777) | special.fold(0, |bits, (unix, _)| bits | unix)
}

/// What kind of object Go's mode says, `None` where its bits contradict each other.
#[must_use]
pub fn kind(go: u32) -> Option<Kind> {
    match go & TYPE {
        0 => Some(Kind::File),
        DIRECTORY => Some(Kind::Directory),
        SYMLINK => Some(Kind::Symlink),
        NAMED_PIPE => Some(Kind::Fifo),
        SOCKET => Some(Kind::Socket),
        DEVICE => Some(Kind::BlockDevice),
        bits if bits == DEVICE | CHAR_DEVICE => Some(Kind::CharDevice),
        _ => None,
    }
}

/// The mode as it is sent: a socket counts as an empty file.
#[must_use]
pub fn on_the_wire(kind: Kind, mode: u32) -> u32 {
    to_go(kind, mode) & !SOCKET
}
