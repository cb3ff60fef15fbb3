use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::error::{ConfineError, Refusal};

/// `path` as something relative to a root: no leading `/`, and `.` for the root itself.
pub(super) fn relative(action: &'static str, path: &Path) -> Result<PathBuf, ConfineError> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(ConfineError::refused(action, path, Refusal::Nul));
    }
    let relative: PathBuf = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .collect();
    Ok(if relative.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        relative
    })
}

/// The directory that holds `path`'s last name, and that name.
pub(super) fn split<'a>(
    action: &'static str,
    path: &'a Path,
) -> Result<(PathBuf, &'a OsStr), ConfineError> {
    let name = path
        .file_name()
        .ok_or_else(|| ConfineError::refused(action, path, Refusal::NoName))?;
    relative(action, path)?;
    Ok((
        relative(action, path.parent().unwrap_or(Path::new("")))?,
        name,
    ))
}

/// The name of an entry of the root itself: nothing has to be found first.
pub(super) fn own_name(path: &Path) -> Option<&OsStr> {
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) if !name.as_bytes().contains(&0) => Some(name),
        _ => None,
    }
}
