use std::collections::BTreeSet;
use std::path::Path;

use cooper_core::patterns::{Wildcard, clean_path, has_wildcard};

use super::error::SyncError;
use super::tree::without_covered;
use crate::confine::{ConfineError, Root};

/// The paths and everything that symbolic links on their way lead to, sorted; `None` when that is the whole tree.
///
/// Wildcards in a path stay as they are, and the links that they match are followed.
///
/// # Errors
/// Where a directory or link cannot be read; what does not exist is no error.
pub(super) fn follow_links(
    root: &Root,
    paths: &[String],
) -> Result<Option<Vec<String>>, SyncError> {
    let mut found = BTreeSet::new();
    // An explicit stack: links come from the tree and may chain at will.
    let mut waiting: Vec<String> = paths.iter().rev().cloned().collect();
    while let Some(path) = waiting.pop() {
        follow_one(root, &path, &mut found, &mut waiting)?;
    }
    Ok(without_covered(found.into_iter().collect()))
}

fn follow_one(
    root: &Root,
    path: &str,
    found: &mut BTreeSet<String>,
    waiting: &mut Vec<String>,
) -> Result<(), SyncError> {
    let path = clean_path(&format!("./{path}"));
    let mut current = String::new();
    let mut rest = path.as_str();
    loop {
        let (part, after) = rest.split_once('/').unwrap_or((rest, ""));
        rest = after;
        current = if current.is_empty() {
            part.to_owned()
        } else {
            format!("{current}/{part}")
        };
        let targets = link_targets(root, &current)?;
        if targets.is_empty() && !rest.is_empty() {
            continue;
        }
        if found.insert(current) {
            let targets = targets.into_iter().rev();
            waiting.extend(targets.map(|target| format!("{target}/{rest}")));
        }
        return Ok(());
    }
}

/// Where the links at a path lead, from the root; several when its last name is a wildcard.
fn link_targets(root: &Root, path: &str) -> Result<Vec<String>, SyncError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
    if path == "." || path == ".." || path.starts_with("../") {
        return Ok(Vec::new());
    }
    if !has_wildcard(name) {
        return Ok(link_target(root, path)?.into_iter().collect());
    }
    let Ok(wildcard) = Wildcard::new(name) else {
        return Ok(Vec::new());
    };
    let entries = match root.read_dir(Path::new(directory)) {
        Err(error) if is_nothing(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut targets = Vec::new();
    for entry in entries {
        if let Some(name) = entry.name.to_str()
            && wildcard.matches(name)
        {
            let path = clean_path(&format!("{directory}/{name}"));
            targets.extend(link_target(root, &path)?);
        }
    }
    Ok(targets)
}

fn link_target(root: &Root, path: &str) -> Result<Option<String>, SyncError> {
    let node = match root.resolve_without_links(Path::new(path)) {
        Err(error) if is_nothing(&error) => return Ok(None),
        node => node?,
    };
    if !node.metadata()?.is_symlink() {
        return Ok(None);
    }
    let target = node.read_link()?.to_string_lossy().into_owned();
    if target.starts_with('/') {
        return Ok(Some(clean_path(&target)));
    }
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Ok(Some(clean_path(&format!("/{directory}/{target}"))))
}

/// Nothing there, or something that is not a directory on the way.
fn is_nothing(error: &ConfineError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.io_kind(), Some(NotFound | NotADirectory))
}
