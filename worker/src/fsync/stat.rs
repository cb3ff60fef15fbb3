use std::collections::BTreeMap;

use cooper_core::ports::FileStat;

use super::mode;
use crate::confine::{ConfineError, Kind, Metadata, Node, Time};

/// macOS keeps its own bookkeeping in attributes of this prefix; clients do not send them.
const APPLE: &str = "com.apple.";

/// An object as it travels. `path` is the name it goes by.
///
/// A hard link is described as the file that it is; who walks a tree knows which names belong together.
///
/// # Errors
/// Where its link target or extended attributes cannot be read.
pub fn describe(path: &str, node: &Node, metadata: &Metadata) -> Result<FileStat, ConfineError> {
    let mut stat = describe_without_xattrs(path, metadata);
    if metadata.kind == Kind::Symlink {
        stat.linkname = node.read_link()?.to_string_lossy().into_owned();
    }
    stat.xattrs = xattrs(node)?;
    Ok(stat)
}

/// As [`describe`], but without what needs a further look at the object.
pub(super) fn describe_without_xattrs(path: &str, metadata: &Metadata) -> FileStat {
    let (devmajor, devminor) = match metadata.kind {
        Kind::CharDevice | Kind::BlockDevice => device_numbers(metadata.special_device),
        _ => (0, 0),
    };
    FileStat {
        path: path.to_owned(),
        mode: mode::on_the_wire(metadata.kind, metadata.mode),
        uid: metadata.owner.uid,
        gid: metadata.owner.gid,
        size: match metadata.kind {
            Kind::Directory => 0,
            _ => i64::try_from(metadata.size).unwrap_or(i64::MAX),
        },
        mod_time: nanoseconds(metadata.mtime),
        linkname: String::new(),
        devmajor,
        devminor,
        xattrs: BTreeMap::new(),
    }
}

fn xattrs(node: &Node) -> Result<BTreeMap<String, Vec<u8>>, ConfineError> {
    let all = node.xattrs()?.into_iter();
    let named = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    Ok(named.filter(|(name, _)| !name.starts_with(APPLE)).collect())
}

/// Nanoseconds since 1970; times beyond the years 1677 to 2262 are moved to their ends.
pub(super) fn nanoseconds(time: Time) -> i64 {
    time.seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(time.nanos))
}

/// The inverse of [`nanoseconds`].
pub(super) fn time(nanoseconds: i64) -> Time {
    Time {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

/// Major and minor number, split as fsutil does.
fn device_numbers(device: u64) -> (i64, i64) {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    (
        i64::try_from(major).unwrap_or(0),
        i64::try_from(minor).unwrap_or(0),
    )
}

/// The device number that [`device_numbers`] split; `None` where the parts are out of range.
pub(super) fn device(major: i64, minor: i64) -> Option<u64> {
    let (major, minor) = (u64::try_from(major).ok()?, u64::try_from(minor).ok()?);
    (major <= 0xfff && minor <= 0xf_ffff)
        .then_some(((minor & 0xfff00) << 12) | (major << 8) | (minor & 0xff))
}
