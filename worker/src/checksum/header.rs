use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use cooper_proto::{Algorithm, Digest};
use sha2::{Digest as _, Sha256};

use super::error::ChecksumError;
use super::state::Origin;
use crate::confine::{Kind, Metadata, Node};

/// The digest of one object, a directory without what is in it.
pub(super) fn object_digest(
    path: &str,
    node: &Node,
    metadata: &Metadata,
    origin: Origin,
) -> Result<Digest, ChecksumError> {
    let mut hash = Sha256::new();
    if !metadata.is_file() || metadata.size == 0 {
        write_header(&mut hash, node, metadata, origin)?;
        return Ok(finish(hash));
    }
    let opened;
    let readable = if node.file().is_some() {
        node
    } else {
        opened = node.readable()?;
        &opened
    };
    write_header(&mut hash, readable, metadata, origin)?;
    if let Some(file) = readable.file() {
        write_content(&mut hash, file, metadata.size).map_err(|source| ChecksumError::Read {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(finish(hash))
}

/// The content of a file of a state, which nobody changes: its end is where its size says.
fn write_content(hash: &mut Sha256, mut file: &File, size: u64) -> std::io::Result<()> {
    const LARGE: usize = 128 * 1024;
    let mut buffer = vec![0; usize::try_from(size).map_or(LARGE, |size| size.min(LARGE))];
    let mut left = size;
    while left > 0 {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                left = left.saturating_sub(count as u64);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn finish(hash: Sha256) -> Digest {
    Digest::new(Algorithm::Sha256, &hash.finalize())
        .expect("sha256 has the length that its name says")
}

/// Version 1 of Docker's tarsum header.
fn write_header(
    hash: &mut Sha256,
    node: &Node,
    metadata: &Metadata,
    origin: Origin,
) -> Result<(), ChecksumError> {
    let mode = match metadata.kind {
        Kind::Symlink => metadata.mode | 0o777,
        _ => metadata.mode,
    };
    let size = if metadata.is_file() { metadata.size } else { 0 };
    let link = match metadata.kind {
        Kind::Symlink => node.read_link()?.into_os_string(),
        _ => Default::default(),
    };
    let (major, minor) = device_numbers(metadata, origin);
    let mut field = |name: &str, value: &[u8]| {
        hash.update(name);
        hash.update(value);
    };
    field("name", b"");
    field("mode", mode.to_string().as_bytes());
    field("uid", metadata.owner.uid.to_string().as_bytes());
    field("gid", metadata.owner.gid.to_string().as_bytes());
    field("size", size.to_string().as_bytes());
    field("typeflag", type_flag(metadata.kind));
    field("linkname", link.as_bytes());
    field("uname", b"");
    field("gname", b"");
    field("devmajor", major.to_string().as_bytes());
    field("devminor", minor.to_string().as_bytes());
    for (name, value) in node.xattrs()? {
        if counts(name.as_bytes()) {
            hash.update(name.as_bytes());
            hash.update(&value);
        }
    }
    Ok(())
}

/// As in a tar archive; a socket is taken for an empty file.
fn type_flag(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::File | Kind::Socket => b"0",
        Kind::Symlink => b"2",
        Kind::CharDevice => b"3",
        Kind::BlockDevice => b"4",
        Kind::Directory => b"5",
        Kind::Fifo => b"6",
    }
}

/// Whether an extended attribute enters the header. What overlayfs notes for itself is no content.
fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || !(name.starts_with(b"security.")
            || name.starts_with(b"system.")
            || name.starts_with(b"trusted.overlay.")
            || name.starts_with(b"user.overlay."))
}

/// BuildKit's header has device numbers only for what a client sent: reading them from disk, it tests the wrong bits
/// of the mode.
fn device_numbers(metadata: &Metadata, origin: Origin) -> (u64, u64) {
    let is_device = matches!(metadata.kind, Kind::CharDevice | Kind::BlockDevice);
    if !is_device || origin == Origin::Disk {
        return (0, 0);
    }
    let device = metadata.special_device;
    (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xf_ff00),
    )
}
