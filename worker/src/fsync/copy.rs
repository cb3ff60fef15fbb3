use std::fs::File;
use std::io;

use super::apply::{Applier, Changes, ReceiveOptions};
use super::error::SyncError;
use super::tree::Tree;
use crate::confine::Root;

/// Makes `destination` equal to `tree`, copying only files that differ; both are on this machine.
///
/// `progress` is told of every entry how many bytes of it were copied, and may end the copy.
///
/// # Errors
/// `progress`'s, or where something cannot be read or written. The destination is a mixture then; the next call mends
/// it.
pub fn copy_tree(
    tree: &Tree,
    destination: Root,
    options: ReceiveOptions,
    mut progress: impl FnMut(u64) -> Result<(), SyncError>,
) -> Result<Changes, SyncError> {
    let mut applier = Applier::new(destination, options)?;
    tree.walk::<SyncError>(|stat, node| {
        if !applier.entry(&stat)? {
            return progress(0);
        }
        let to = applier.open(&stat.path)?;
        let mut written = 0;
        if let (Some(node), Some(to)) = (node, to.file()) {
            let copied = copy_content(&node.open_read()?, to, None);
            written = copied.map_err(|source| SyncError::Content {
                path: stat.path.clone(),
                source,
            })?;
        }
        progress(written)?;
        applier.content_written(&to, &stat, written)
    })?;
    applier.finish()
}

/// Copies what is left of one file to another, inside the kernel where it can. Where it is known how much that is, the
/// end is not looked for.
pub(crate) fn copy_content(from: &File, to: &File, size: Option<u64>) -> io::Result<u64> {
    const STEP: usize = 1 << 30;
    let mut copied = 0;
    while size != Some(copied) {
        match rustix::fs::copy_file_range(from, None, to, None, STEP) {
            Ok(0) if copied == 0 => return io::copy(&mut &*from, &mut &*to),
            Ok(0) => return Ok(copied),
            Ok(count) => copied += count as u64,
            Err(rustix::io::Errno::INTR) => {}
            // What one of the two file systems cannot do in the kernel.
            Err(
                rustix::io::Errno::NOSYS
                | rustix::io::Errno::XDEV
                | rustix::io::Errno::PERM
                | rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::INVAL,
            ) if copied == 0 => return io::copy(&mut &*from, &mut &*to),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(copied)
}
