use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_core::patterns::{PatternError, PatternList};
use cooper_core::ports::FileStat;
use prost::Message;

use super::error::SyncError;
use crate::confine::{Kind, Root};

/// Where receivers of metadata alone keep what they were told, as BuildKit's do.
pub(super) const NAME: &str = ".fsutil-metadata";

/// What is made of entries though they are only to be written down: paths that match, and the directories they lie in.
#[derive(Debug, Clone)]
pub struct MadeToo(Arc<PatternList>);

impl MadeToo {
    /// Paths that patterns match, or that lie below such a path.
    ///
    /// # Errors
    /// For a pattern that cannot be used.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, SyncError> {
        let patterns = PatternList::new(patterns).map_err(wrong_pattern)?;
        Ok(Self(Arc::new(patterns)))
    }

    fn has(&self, path: &str) -> Result<bool, SyncError> {
        self.0.matches(path).map_err(wrong_pattern)
    }
}

fn wrong_pattern(source: PatternError) -> SyncError {
    SyncError::Pattern {
        list: "patterns of what is more than listed",
        source,
    }
}

/// A file in which entries are written down: each a length (four bytes, the lowest first) and a `Stat` message.
///
/// The file is made as the entries come, so that a peer cannot make us hold what it sends.
#[derive(Debug)]
pub(super) struct Listing {
    made: MadeToo,
    file: BufWriter<File>,
    /// Where it is until all are there.
    pub(super) place: PathBuf,
    /// Directories above the next entry that were not made.
    parents: Vec<FileStat>,
}

impl Listing {
    /// Begins a listing in the root of a directory.
    pub(super) fn begin(root: &Root, made: MadeToo) -> Result<Self, SyncError> {
        let place = PathBuf::from(format!("{NAME}-incoming"));
        match root.remove_all(&place) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            // There is one where a transfer was broken off.
            _ => {}
        }
        let file = root.create_file(&place, 0o600)?;
        Ok(Self {
            made,
            file: BufWriter::new(file),
            place,
            parents: Vec::new(),
        })
    }

    /// Whether an entry has a name that is the listing's own.
    pub(super) fn owns(&self, path: &str) -> bool {
        path == NAME || Path::new(path) == self.place
    }

    /// Writes an entry down. If it is to be made as well, returns the directories to be made before it.
    pub(super) fn take(
        &mut self,
        entry: &mut FileStat,
        kind: Kind,
    ) -> Result<Option<Vec<FileStat>>, SyncError> {
        self.write(entry).map_err(|source| SyncError::Content {
            path: NAME.to_owned(),
            source,
        })?;
        let is_above = |folder: &FileStat, path: &str| {
            let rest = path.strip_prefix(folder.path.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        while let Some(last) = self.parents.last()
            && !is_above(last, &entry.path)
        {
            self.parents.pop();
        }
        if !self.made.has(&entry.path)? {
            if kind == Kind::Directory {
                self.parents.push(entry.clone());
            }
            return Ok(None);
        }
        if kind == Kind::File && !entry.linkname.is_empty() && !self.made.has(&entry.linkname)? {
            // The file's first name is not made, so this one has the content. Senders tell no size of further names.
            entry.linkname.clear();
            entry.size = entry.size.max(1);
        }
        Ok(Some(std::mem::take(&mut self.parents)))
    }

    fn write(&mut self, entry: &FileStat) -> std::io::Result<()> {
        let bytes = entry.encode_to_vec();
        let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&bytes)
    }

    /// Ends the listing; where it is now.
    pub(super) fn end(self) -> Result<PathBuf, SyncError> {
        let written = self.file.into_inner().map(drop);
        written.map_err(|error| SyncError::Content {
            path: NAME.to_owned(),
            source: error.into_error(),
        })?;
        Ok(self.place)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::transfer_tests::transfer;
    use super::super::{Changes, ReceiveOptions};
    use super::*;

    fn paths(listing: &[u8]) -> Vec<String> {
        let (mut rest, mut paths) = (listing, Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            paths.push(FileStat::decode(entry).expect("a message").path);
            rest = after;
        }
        paths
    }

    async fn sync(from: &Path, to: &Path, made: &[&str]) -> Changes {
        let options = ReceiveOptions {
            only_listed_but: Some(MadeToo::new(made).expect("patterns")),
            ..ReceiveOptions::default()
        };
        transfer(from, to, options).await.0.expect("received")
    }

    fn names(folder: &Path) -> Vec<String> {
        let walk = walkdir(folder);
        let mut names: Vec<_> = walk
            .iter()
            .map(|path| {
                path.strip_prefix(folder)
                    .expect("below")
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        names
    }

    fn walkdir(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(walkdir(&path));
            }
            found.push(path);
        }
        found
    }

    #[tokio::test]
    async fn all_is_listed_and_what_matches_is_made_with_its_folders() {
        let (from, to) = (
            tempfile::tempdir().expect("a"),
            tempfile::tempdir().expect("b"),
        );
        let write = |path: &str, text: &str| {
            let path = from.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        };
        for path in [
            "data",
            "dir/file1",
            "dir/file2",
            "dir/sub/bar1",
            "dir/sub2/bar3",
            "foo",
        ] {
            write(path, path);
        }
        // A client's own file of that name is not taken for the listing.
        write(NAME, "not a listing");
        let made = ["dir/**/*1", "foo"];
        let first = sync(from.path(), to.path(), &made).await;
        assert!(first.changed.contains(&NAME.to_owned()), "{first:?}");
        let kept = [
            ".fsutil-metadata",
            "dir",
            "dir/file1",
            "dir/sub",
            "dir/sub/bar1",
            "foo",
        ];
        assert_eq!(names(to.path()), kept);
        let listed = fs::read(to.path().join(NAME)).expect("there");
        let all = [
            "data",
            "dir",
            "dir/file1",
            "dir/file2",
            "dir/sub",
            "dir/sub/bar1",
            "dir/sub2",
            "dir/sub2/bar3",
            "foo",
        ];
        assert_eq!(paths(&listed), all);
        let again = sync(from.path(), to.path(), &made).await;
        assert!(again.is_empty(), "{again:?}");
        assert_eq!(again.content_bytes, 0);
        write("data", "more data");
        fs::remove_dir_all(from.path().join("dir/sub")).expect("removed");
        let third = sync(from.path(), to.path(), &made).await;
        assert_eq!(third.changed, [NAME]);
        assert_eq!(third.removed, ["dir/sub"]);
        assert_eq!(
            names(to.path()),
            [".fsutil-metadata", "dir", "dir/file1", "foo"]
        );
    }

    #[tokio::test]
    async fn a_second_name_of_a_file_that_is_not_made_has_the_content() {
        let (from, to) = (
            tempfile::tempdir().expect("a"),
            tempfile::tempdir().expect("b"),
        );
        fs::write(from.path().join("a"), "content").expect("written");
        fs::hard_link(from.path().join("a"), from.path().join("b")).expect("linked");
        sync(from.path(), to.path(), &["b"]).await;
        let content = fs::read_to_string(to.path().join("b")).expect("there");
        assert_eq!(content, "content");
        assert!(!to.path().join("a").exists());
    }
}
