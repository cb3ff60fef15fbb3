use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use cooper_core::patterns::{Wildcard, clean_path, has_wildcard};

use super::error::FileOpError;
use crate::confine::{ConfineError, Last, Root, Visit};

/// As many links as BuildKit follows in one path.
const MAX_LINKS: u32 = 255;

/// An action's path, cleaned and absolute; a last `/` or `/.` stays, as it says that a directory is meant.
pub(super) fn clean(path: &str) -> String {
    let cleaned = clean_path(&format!("/{path}"));
    let at_root = cleaned == "/";
    if path.ends_with("/.") {
        return if at_root {
            String::from("/.")
        } else {
            format!("{cleaned}/.")
        };
    }
    if path.ends_with('/') && !at_root {
        return format!("{cleaned}/");
    }
    cleaned
}

/// The part of an action's path that names a directory: all of it if it ends in `/` or `/.`, else all but the last
/// name.
pub(super) fn directory_part(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((_, "" | ".")) => path,
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => "/",
    }
}

/// Where a path leads when all links in it are followed, the last one too. What does not exist is taken by its name.
///
/// The result is relative to the root and holds no link at the time of the call; who acts on it is still confined.
pub(super) fn follow(root: &Root, path: &Path) -> Result<PathBuf, FileOpError> {
    let mut left: Vec<OsString> = names(path);
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        done.push(&name);
        let target = match root.metadata(&done, Last::NoFollow) {
            Err(error) if is_nothing(&error) => continue,
            Ok(metadata) if !metadata.is_symlink() => continue,
            Ok(_) => root.read_link(&done)?,
            Err(error) => return Err(error.into()),
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(FileOpError::Invalid(format!(
                "{}: too many links",
                path.display()
            )));
        }
        if target.is_absolute() {
            done.clear();
        } else {
            done.pop();
        }
        left.extend(names(&target));
    }
    Ok(done)
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let kept = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    kept.collect()
}

/// The paths that an action's path stands for: itself, or what its wildcards match, in order.
///
/// Links are followed in the part before the first wildcard; what matches is not looked into.
pub(super) fn expand(
    root: &Root,
    path: &str,
    follow_links: bool,
) -> Result<Vec<String>, FileOpError> {
    let cleaned = clean_path(path);
    let parts: Vec<&str> = cleaned.split('/').filter(|part| !part.is_empty()).collect();
    let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
        return Ok(vec![cleaned]);
    };
    let literal = PathBuf::from(format!("/{}", parts[..first].join("/")));
    let base = if follow_links {
        follow(root, &literal)?
    } else {
        let parent = literal.parent().map_or_else(PathBuf::new, Path::to_owned);
        let name = literal.file_name().unwrap_or_default();
        follow(root, &parent)?.join(name)
    };
    let pattern = parts[first..].join("/");
    let Ok(wildcard) = Wildcard::new(&pattern) else {
        // BuildKit takes a malformed wildcard for one that matches nothing.
        return Ok(Vec::new());
    };
    let depth = parts.len() - first;
    let mut matches = Vec::new();
    let top = root
        .metadata(&base, Last::NoFollow)
        .map_err(FileOpError::at("lstat", &base))?;
    if !top.is_dir() {
        return Ok(matches);
    }
    root.walk::<ConfineError>(&base, |relative, _, _| {
        let is_match = relative
            .to_str()
            .is_some_and(|relative| wildcard.matches(relative));
        if is_match {
            let found = Path::new("/").join(&base).join(relative);
            matches.extend(found.to_str().map(ToOwned::to_owned));
        }
        // A wildcard has as many names as what it matches.
        let is_deep = relative.components().count() >= depth;
        Ok(if is_match || is_deep {
            Visit::Skip
        } else {
            Visit::Enter
        })
    })?;
    Ok(matches)
}

pub(super) fn is_nothing(error: &ConfineError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.io_kind(), Some(NotFound | NotADirectory))
}
