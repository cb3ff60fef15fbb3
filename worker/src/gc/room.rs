use std::path::Path;

use cooper_core::model::UsageRecord;

use super::GcError;
use crate::confine::{ConfineError, Metadata, Root, Visit};

/// One kind of things that are kept beyond builds. All methods block.
pub trait Room: Send + Sync {
    /// What is kept, in a stable order. Ids are unique over all rooms.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn records(&self) -> Result<Vec<UsageRecord>, GcError>;

    /// Removes those of these ids that are in this room and not in use, and returns them.
    ///
    /// # Errors
    /// When removing fails; what went until then is gone.
    fn remove(&self, ids: &[String]) -> Result<Vec<String>, GcError>;

    /// Writes down when things were used, where that is only in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    fn flush(&self) -> Result<(), GcError> {
        Ok(())
    }
}

/// The space that a directory and what is below it take, counting only the files that `counts` takes.
///
/// # Units
/// Bytes on the disk.
///
/// # Errors
/// When it cannot be walked.
pub fn allocated_bytes(
    root: &Root,
    counts: impl Fn(&Metadata) -> bool,
) -> Result<u64, ConfineError> {
    let mut bytes = root
        .metadata(Path::new("."), crate::confine::Last::NoFollow)?
        .allocated;
    let mut seen = std::collections::HashSet::new();
    root.walk::<ConfineError>(Path::new("."), |_, _, metadata| {
        let again = metadata.links > 1 && !metadata.is_dir() && !seen.insert(metadata.inode);
        if !again && (metadata.is_dir() || counts(metadata)) {
            bytes += metadata.allocated;
        }
        Ok(Visit::Enter)
    })?;
    Ok(bytes)
}
