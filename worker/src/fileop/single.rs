use std::io::Write;
use std::path::{Path, PathBuf};

use cooper_proto::pb;

use super::error::FileOpError;
use super::path::{expand, follow, is_nothing};
use crate::confine::{Last, Owner, Root, Time};

/// The time that an action gives, `None` for -1: the time at which it runs.
pub(super) fn timestamp(nanoseconds: i64) -> Option<Time> {
    (nanoseconds != -1).then(|| Time {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanos: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0),
    })
}

/// The mode bits of an action that makes something new.
fn permissions(mode: i32) -> u32 {
    mode.cast_unsigned() & 0o777
}

/// Makes a directory, and the ones above it if the action says so. One that exists stays as it is.
///
/// # Errors
/// Where a directory above is missing or something else is in the way.
pub fn make_directory(
    root: &Root,
    action: &pb::FileActionMkDir,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    let path = follow(root, Path::new(&action.path))?;
    let mode = permissions(action.mode);
    let made = if action.make_parents {
        make_directories(root, &path, mode, owner)?
    } else {
        match root.mkdir(&path, mode) {
            Err(error) if error.is_already_exists() => Vec::new(),
            Err(error) => return Err(FileOpError::at("mkdir", &path)(error)),
            Ok(()) => {
                let node = root.resolve(&path, Last::NoFollow)?;
                if let Some(owner) = owner {
                    node.set_owner(owner)?;
                }
                node.set_mode(mode)?;
                vec![path]
            }
        }
    };
    set_times(root, &made, timestamp(action.timestamp))
}

/// Makes a directory and what is missing above it; returns what it made, outermost first.
pub(super) fn make_directories(
    root: &Root,
    path: &Path,
    mode: u32,
    owner: Option<Owner>,
) -> Result<Vec<PathBuf>, FileOpError> {
    root.mkdir_all(path, mode, owner).map_err(|error| {
        use crate::confine::{ConfineError, Refusal};
        match error {
            ConfineError::Refused {
                reason: Refusal::NotADirectory,
                ..
            } => FileOpError::Refused {
                call: "mkdir",
                path: Path::new("/").join(path).to_string_lossy().into_owned(),
                reason: String::from("not a directory"),
                is_missing: false,
            },
            error => FileOpError::at("mkdir", path)(error),
        }
    })
}

/// Gives directories that were made a time, innermost first, so that none changes again.
pub(super) fn set_times(
    root: &Root,
    made: &[PathBuf],
    time: Option<Time>,
) -> Result<(), FileOpError> {
    let Some(time) = time else {
        return Ok(());
    };
    for path in made.iter().rev() {
        root.resolve(path, Last::NoFollow)?.set_times(time, time)?;
    }
    Ok(())
}

/// Makes a regular file with the action's content. A regular file in its place keeps its mode; anything else but a
/// directory is replaced and not opened.
///
/// # Errors
/// Where its directory is missing, or a directory is in its place.
pub fn make_file(
    root: &Root,
    action: &pb::FileActionMkFile,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    let path = follow(root, Path::new(&action.path))?;
    let at = || FileOpError::at("open", &path);
    let mode = match root.metadata(&path, Last::NoFollow) {
        Err(error) if is_nothing(&error) => permissions(action.mode),
        metadata => {
            let metadata = metadata.map_err(at())?;
            root.remove_file(&path).map_err(at())?;
            if metadata.is_file() {
                metadata.mode
            } else {
                permissions(action.mode)
            }
        }
    };
    let mut file = root.create_file(&path, 0o600).map_err(at())?;
    file.write_all(&action.data)
        .map_err(|source| FileOpError::Content {
            path: action.path.clone(),
            source,
        })?;
    let node = root.resolve(&path, Last::NoFollow)?;
    if let Some(owner) = owner {
        node.set_owner(owner)?;
    }
    node.set_mode(mode)?;
    if let Some(time) = timestamp(action.timestamp) {
        node.set_times(time, time)?;
    }
    Ok(())
}

/// Makes a symbolic link.
///
/// # Errors
/// Where its directory is missing or its name is taken.
pub fn make_symlink(
    root: &Root,
    action: &pb::FileActionSymlink,
    owner: Option<Owner>,
) -> Result<(), FileOpError> {
    let path = follow(root, Path::new(&action.newpath))?;
    root.symlink(Path::new(&action.oldpath), &path)
        .map_err(FileOpError::at("symlink", &path))?;
    let node = root.resolve(&path, Last::NoFollow)?;
    if let Some(owner) = owner {
        node.set_owner(owner)?;
    }
    if let Some(time) = timestamp(action.timestamp) {
        node.set_times(time, time)?;
    }
    Ok(())
}

/// Removes what the action names, with all that is below. A link is removed and not followed.
///
/// # Errors
/// Where nothing is there, unless the action allows that; where the path leads above the root or names the root.
pub fn remove(root: &Root, action: &pb::FileActionRm) -> Result<(), FileOpError> {
    stays_inside(&action.path)?;
    let paths = if action.allow_wildcard {
        expand(root, &super::path::clean(&action.path), false)?
    } else {
        vec![cooper_core::patterns::clean_path(&format!(
            "/{}",
            action.path
        ))]
    };
    for path in paths {
        let path = Path::new(&path);
        let Some(name) = path.file_name() else {
            return Err(FileOpError::Invalid(String::from(
                "rmPath: invalid empty path",
            )));
        };
        let directory = follow(root, path.parent().unwrap_or(Path::new("/")))?;
        match root.remove_all(&directory.join(name)) {
            Err(error) if is_nothing(&error) && action.allow_not_found => {}
            removed => removed.map_err(FileOpError::at("lstat", path))?,
        }
    }
    Ok(())
}

/// Refuses a path whose `..` lead above the root: cleaned, it would name something else (security.md T-A14).
fn stays_inside(path: &str) -> Result<(), FileOpError> {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                depth = depth.checked_sub(1).ok_or_else(|| {
                    FileOpError::Invalid(format!("cannot remove {path:?}: it leads above the root"))
                })?;
            }
            _ => depth += 1,
        }
    }
    Ok(())
}
