use std::io::Read;
use std::path::Path;

use super::error::UsageError;

/// Unpacks an archive that is a build context into an empty folder.
///
/// # Errors
/// When it is no archive that can be read, or has an entry that would leave the folder.
pub(super) fn unpack(_archive: impl Read, _folder: &Path) -> Result<(), UsageError> {
    Err(UsageError::unsupported("a context as a tar archive"))
}
