use std::cmp::Ordering;
use std::collections::HashSet;

use cooper_core::patterns::clean_path;
use cooper_core::ports::FileStat;

use super::error::SyncError;
use super::mode;
use crate::confine::Kind;

/// The order of the protocol: by bytes, a slash before everything, so that a directory's content follows it.
pub(super) fn compare_paths(left: &str, right: &str) -> Ordering {
    left.split('/').cmp(right.split('/'))
}

/// Checks that a peer's entries come in order, lie below directories that it sent, and link only to files that it sent
/// (security.md T-A15).
#[derive(Debug, Default)]
pub(super) struct OrderCheck {
    /// The directories that the last entry lies in, outermost first.
    open: Vec<Open>,
    files: HashSet<String>,
}

#[derive(Debug)]
struct Open {
    path: String,
    /// The last name that was sent in it.
    last: String,
}

impl OrderCheck {
    /// Takes the next entry and says what kind it is.
    pub(super) fn next(&mut self, stat: &FileStat) -> Result<Kind, SyncError> {
        let path = stat.path.as_str();
        let refuse = |what: &str| Err(SyncError::Protocol(format!("{what}: {path:?}")));
        if path.starts_with('/') {
            return refuse("absolute path");
        }
        if path.is_empty() || path == "." || path != clean_path(path) || path.contains('\0') {
            return refuse("unclean path");
        }
        if path == ".." || path.starts_with("../") {
            return refuse("path outside of the tree");
        }
        let Some(kind) = mode::kind(stat.mode) else {
            return refuse("contradicting mode bits");
        };
        self.place(path, kind)?;
        self.check_link(stat, kind)?;
        Ok(kind)
    }

    fn place(&mut self, path: &str, kind: Kind) -> Result<(), SyncError> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.open.is_empty() {
            self.open.push(Open {
                path: String::new(),
                last: String::new(),
            });
        }
        while self.open.len() > 1 && self.open.last().is_some_and(|open| open.path != directory) {
            self.open.pop();
        }
        let open = self.open.last_mut().expect("the root is never closed");
        if open.path != directory || open.last.as_str() >= name {
            return Err(SyncError::Protocol(format!(
                "changes out of order: {path:?} after {:?} in {:?}",
                open.last, open.path
            )));
        }
        name.clone_into(&mut open.last);
        if kind == Kind::Directory {
            self.open.push(Open {
                path: path.to_owned(),
                last: String::new(),
            });
        }
        Ok(())
    }

    fn check_link(&mut self, stat: &FileStat, kind: Kind) -> Result<(), SyncError> {
        if matches!(kind, Kind::Directory | Kind::Symlink) {
            return Ok(());
        }
        if stat.linkname.is_empty() {
            self.files.insert(stat.path.clone());
        } else if !self.files.contains(&stat.linkname) {
            return Err(SyncError::Protocol(format!(
                "invalid link {:?} to unknown path {:?}",
                stat.path, stat.linkname
            )));
        }
        Ok(())
    }
}
