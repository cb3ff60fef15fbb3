//! Looking into directories for somebody else. All paths stay inside; special files are not opened.
//!
//! Everything here blocks: call it where that is allowed.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::patterns::Wildcard;
use cooper_core::ports::FileStat;

use crate::confine::{ConfineError, Last, Root};
use crate::fsync::describe;

/// The largest part of a file that is read at once: it travels in one message (16 MiB).
const READ_BYTES: u64 = 15 << 20;

/// Reads a regular file, or a part of it.
pub(crate) fn read_file(
    root: &Root,
    path: &str,
    range: Option<Range<u64>>,
) -> Result<Bytes, Failure> {
    let failed = |error: std::io::Error| unreadable(path, &error);
    let mut file = root
        .open_read(Path::new(path))
        .map_err(|error| refused(path, &error))?;
    let size = file.metadata().map_err(failed)?.len();
    let range = range.unwrap_or(0..size);
    let length = range.end.min(size).saturating_sub(range.start);
    if length > READ_BYTES {
        return Err(Failure::new(
            FailureKind::InvalidInput,
            format!(
                "{path}: {length} bytes are more than the {READ_BYTES} that can be read at once"
            ),
        ));
    }
    file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Bytes::from(bytes))
}

/// Lists a directory, sorted by name; an empty pattern lists all.
pub(crate) fn read_dir(root: &Root, path: &str, pattern: &str) -> Result<Vec<FileStat>, Failure> {
    let entries = root
        .read_dir(Path::new(path))
        .map_err(|error| refused(path, &error))?;
    let wanted = pattern_of(pattern)?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.name.to_string_lossy().into_owned();
        if wanted.as_ref().is_some_and(|wanted| !wanted.matches(&name)) {
            continue;
        }
        found.push(stat(root, &Path::new(path).join(&entry.name), &name)?);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Describes one path, not following a link at its end.
pub(crate) fn stat_file(root: &Root, path: &str) -> Result<FileStat, Failure> {
    let path = Path::new(path);
    let name = path.file_name().unwrap_or_default();
    stat(root, path, &name.to_string_lossy())
}

/// What names must match; all do when the pattern is empty.
fn pattern_of(pattern: &str) -> Result<Option<Wildcard>, Failure> {
    if pattern.is_empty() {
        return Ok(None);
    }
    let invalid = |error| Failure::new(FailureKind::InvalidInput, format!("{pattern:?}: {error}"));
    Wildcard::new(pattern).map(Some).map_err(invalid)
}

fn stat(root: &Root, path: &Path, name: &str) -> Result<FileStat, Failure> {
    let shown = path.display().to_string();
    let node = root
        .resolve(path, Last::NoFollow)
        .map_err(|error| refused(&shown, &error))?;
    let metadata = node.metadata().map_err(|error| refused(&shown, &error))?;
    describe(name, &node, &metadata).map_err(|error| refused(&shown, &error))
}

fn refused(path: &str, error: &ConfineError) -> Failure {
    let kind = match error.is_not_found() {
        true => FailureKind::NotFound,
        false => FailureKind::InvalidInput,
    };
    // Clients look for Go's words.
    let message = match kind {
        FailureKind::NotFound => format!("open {path}: no such file or directory"),
        _ => error.to_string(),
    };
    Failure::new(kind, message)
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Infrastructure, format!("{path}: {error}"))
}
