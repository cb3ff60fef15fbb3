use std::path::{Path, PathBuf};

use super::Record;
use super::store::read;

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the records of builds in {}: {source}", folder.display())]
pub struct ReadError {
    folder: PathBuf,
    source: std::io::Error,
}

/// The records of the builds of a state folder, the newest first, without an engine. One that is written at this moment
/// may be missing.
///
/// # Errors
/// When the folder cannot be read; one that is not there holds no records.
pub fn read_all(state: &Path) -> Result<Vec<Record>, ReadError> {
    let folder = state.join("history");
    let failed = |source| ReadError {
        folder: folder.clone(),
        source,
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(read(&entry.map_err(&failed)?.path()));
    }
    all.retain(|record: &Record| !record.internal && record.ending.is_some());
    all.sort_by(|a, b| (b.begun_ns, &b.job).cmp(&(a.begun_ns, &a.job)));
    Ok(all)
}
