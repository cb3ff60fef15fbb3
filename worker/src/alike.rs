//! Whether two objects say the same, as far as a layer can tell.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;

use crate::confine::{Kind, Metadata, Root};

/// The one attribute that layers carry.
pub(crate) const CAPABILITY: &str = "security.capability";

/// Reads one attribute of an open file or directory; empty when it has none.
pub(crate) fn attribute(object: impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 256];
    match rustix::fs::fgetxattr(object, name, &mut value) {
        Ok(length) => {
            value.truncate(length);
            Ok(value)
        }
        // `OVERFLOW` is what a user namespace is told of rights that a program has outside of it alone.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}

/// What a program may do though nobody else may; empty for most.
pub(crate) fn capability(file: &File) -> io::Result<Vec<u8>> {
    attribute(file, CAPABILITY)
}

/// Whether an entry is as it was: overlayfs copies whole objects up, also when nothing about
/// them changes in the end.
pub(crate) fn is_same(
    below: &Root,
    old: &Metadata,
    here: &Root,
    name: &Path,
    new: &Metadata,
) -> io::Result<bool> {
    let alike = old.kind == new.kind
        && old.mode == new.mode
        && old.owner == new.owner
        && old.special_device == new.special_device;
    if !alike {
        return Ok(false);
    }
    if new.is_dir() {
        return Ok(true);
    }
    if old.size != new.size || old.mtime != new.mtime {
        return Ok(false);
    }
    // Equal times prove nothing: unpacking cuts them to the second, and two files that were
    // written within one tick of the kernel's clock have the same one to the nanosecond.
    // BuildKit trusts the latter, and drops such a change from the layer.
    match new.kind {
        Kind::File => {
            let (old_file, new_file) = (below.open_read(name)?, here.open_read(name)?);
            Ok(capability(&old_file)? == capability(&new_file)?
                && same_content(old_file, new_file, new.size)?)
        }
        Kind::Symlink => Ok(below.read_link(name)? == here.read_link(name)?),
        _ => Ok(true),
    }
}

fn same_content(a: File, b: File, size: u64) -> io::Result<bool> {
    let (mut a, mut b) = (
        BufReader::with_capacity(1 << 16, a),
        BufReader::with_capacity(1 << 16, b),
    );
    let (mut from_a, mut from_b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut left = size;
    while left > 0 {
        let step = usize::try_from(left.min(1 << 16)).expect("at most 64 KiB");
        a.read_exact(&mut from_a[..step])?;
        b.read_exact(&mut from_b[..step])?;
        if from_a[..step] != from_b[..step] {
            return Ok(false);
        }
        left -= step as u64;
    }
    Ok(true)
}
