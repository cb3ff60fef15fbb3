use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use cooper_core::ports::FileStat;

use super::error::SyncError;
use super::existing::{Entry, Existing};
use super::listing::{self, Listing, MadeToo};
use super::order::{OrderCheck, compare_paths};
use super::{mode, stat};
use crate::confine::{ConfineError, Kind, Last, Metadata, Node, Owner, Root};

/// How what is there already is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Differ {
    /// A file whose type, mode, owner, size, time and link are as sent is taken to be the same.
    #[default]
    Metadata,
    /// The content of every file is fetched again; a file that it leaves the same has not changed.
    None,
}

/// How to receive.
#[derive(Debug, Clone, Default)]
pub struct ReceiveOptions {
    /// Keep what is there and was not sent.
    pub merge: bool,
    /// When a file counts as unchanged.
    pub differ: Differ,
    /// Who owns everything, whatever the sender says.
    pub owner: Option<Owner>,
    /// Entries are not made but written down, except for these.
    pub only_listed_but: Option<MadeToo>,
}

/// What a transfer changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Paths that were made, replaced or got other metadata, in order.
    pub changed: Vec<String>,
    /// Paths that were removed, in order; what was below them is not listed.
    pub removed: Vec<String>,
    /// Bytes of file content that were written.
    pub content_bytes: u64,
    /// Entries that were sent.
    pub entries: u64,
}

impl Changes {
    /// Whether everything was there already.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Entries that one transfer may have (security.md I13).
const MAX_ENTRIES: u64 = 10_000_000;

/// Makes a directory equal to a sequence of entries.
///
/// Nothing that exists is written into: a file that differs is replaced by a new one, so that other names of the old
/// one (in a snapshot) keep what they had.
pub(super) struct Applier {
    root: Root,
    options: ReceiveOptions,
    listing: Option<Listing>,
    order: OrderCheck,
    existing: Existing,
    directories: Vec<(String, i64)>,
    changes: Changes,
    temporary: u64,
    /// Where the last entry was made.
    made_in: OpenDirectory,
    /// Where the last file was opened for its content.
    written_in: OpenDirectory,
    /// Files that look the same and are fetched again: where the old ones are until their content was compared.
    doubted: HashMap<String, PathBuf>,
}

impl Applier {
    pub(super) fn new(root: Root, options: ReceiveOptions) -> Result<Self, SyncError> {
        let existing = if options.merge {
            Existing::nothing()
        } else {
            Existing::new(&root)?
        };
        let made = options.only_listed_but.clone();
        let listing = made.map(|made| Listing::begin(&root, made)).transpose()?;
        Ok(Self {
            root,
            options,
            listing,
            order: OrderCheck::default(),
            existing,
            directories: Vec::new(),
            changes: Changes::default(),
            temporary: 0,
            made_in: OpenDirectory::default(),
            written_in: OpenDirectory::default(),
            doubted: HashMap::new(),
        })
    }

    /// Takes the next entry. `true` when its content has to be written: the file is there, empty.
    pub(super) fn entry(&mut self, sent: &FileStat) -> Result<bool, SyncError> {
        self.changes.entries += 1;
        if self.changes.entries > MAX_ENTRIES {
            return Err(SyncError::Protocol(format!(
                "more than {MAX_ENTRIES} entries"
            )));
        }
        let kind = self.order.next(sent)?;
        let mut wanted = self.wanted(sent);
        let Some(listing) = &mut self.listing else {
            return self.apply(&wanted, kind);
        };
        if listing.owns(&wanted.path) {
            return Ok(false);
        }
        let Some(folders) = listing.take(&mut wanted, kind)? else {
            return Ok(false);
        };
        for folder in folders {
            self.apply(&folder, Kind::Directory)?;
        }
        self.apply(&wanted, kind)
    }

    /// Makes the next entry. `true` when its content has to be written.
    fn apply(&mut self, wanted: &FileStat, kind: Kind) -> Result<bool, SyncError> {
        let old = self.take_old(wanted, kind)?;
        if kind == Kind::Directory {
            let time = (wanted.path.clone(), wanted.mod_time);
            self.directories.push(time);
        }
        let has_content = kind == Kind::File && wanted.linkname.is_empty() && wanted.size > 0;
        let first_name_is_new = kind != Kind::Symlink && self.doubts_end_at(&wanted.linkname)?;
        if let Some(old) = &old
            && !first_name_is_new
            && self.is_same(old, wanted, kind)?
        {
            if !(has_content && self.options.differ == Differ::None) {
                return Ok(false);
            }
            self.doubt(wanted)?;
            return Ok(true);
        }
        self.changes.changed.push(wanted.path.clone());
        self.put(old.map(|old| old.kind), wanted, kind)?;
        Ok(has_content)
    }

    /// A file that gets another name is a new one, whatever its content: the old one cannot have the name.
    fn doubts_end_at(&mut self, path: &str) -> Result<bool, SyncError> {
        let Some(was) = self.doubted.remove(path) else {
            return Ok(false);
        };
        self.root.remove_all(&was)?;
        self.changes.changed.push(path.to_owned());
        Ok(true)
    }

    /// Gives a listing its name, unless the one that is there says the same.
    fn keep_listing(&mut self, listing: Listing) -> Result<(), SyncError> {
        let (place, name) = (listing.end()?, Path::new(listing::NAME));
        let content = |path: &Path| -> Result<Option<File>, ConfineError> {
            match self.root.resolve(path, Last::NoFollow) {
                Ok(node) if node.metadata()?.is_file() => node.open_read().map(Some),
                Ok(_) => Ok(None),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        };
        if let (Some(new), Some(old)) = (content(&place)?, content(name)?)
            && same_content(&new, &old).is_ok_and(|same| same)
        {
            return Ok(self.root.remove_file(&place)?);
        }
        self.root.resolve(&place, Last::NoFollow)?.set_mode(0o644)?;
        self.root.rename(&place, name)?;
        self.changes.changed.push(listing::NAME.to_owned());
        Ok(())
    }

    /// Puts an empty file in the place of one that is kept beside it, to be compared with what comes.
    fn doubt(&mut self, wanted: &FileStat) -> Result<(), SyncError> {
        let path = Path::new(&wanted.path);
        let beside = loop {
            let beside = self.name_beside(path);
            match self.root.metadata(&beside, Last::NoFollow) {
                Err(error) if error.is_not_found() => break beside,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        };
        self.root.rename(path, &beside)?;
        self.doubted.insert(wanted.path.clone(), beside);
        self.make(path, wanted, Kind::File)
    }

    /// Ends the doubt about a file whose content is there: it is the old one again if that has the same.
    fn compare(&mut self, path: &str) -> Result<(), SyncError> {
        let Some(was) = self.doubted.remove(path) else {
            return Ok(());
        };
        let content = |path: &Path| -> Result<File, ConfineError> {
            self.root.resolve(path, Last::NoFollow)?.open_read()
        };
        let same = same_content(&content(&was)?, &content(Path::new(path))?);
        let same = same.map_err(|source| SyncError::Content {
            path: path.to_owned(),
            source,
        })?;
        if same {
            return Ok(self.root.rename(&was, Path::new(path))?);
        }
        self.changes.changed.push(path.to_owned());
        Ok(self.root.remove_all(&was)?)
    }

    /// Removes what is there and comes before `wanted`; returns what is in its place.
    fn take_old(&mut self, wanted: &FileStat, kind: Kind) -> Result<Option<Entry>, SyncError> {
        if self.options.merge {
            return self.look_up(wanted);
        }
        while let Some(old) = self.existing.peek() {
            match compare_paths(&old.stat.path, &wanted.path) {
                Ordering::Less => self.remove_next()?,
                Ordering::Greater => return Ok(None),
                Ordering::Equal if kind == Kind::Directory => {
                    return Ok(self.existing.take_and_enter(&self.root)?);
                }
                Ordering::Equal => return Ok(self.existing.take()),
            }
        }
        Ok(None)
    }

    fn look_up(&self, wanted: &FileStat) -> Result<Option<Entry>, SyncError> {
        match self.root.metadata(Path::new(&wanted.path), Last::NoFollow) {
            Err(error) if error.is_not_found() => Ok(None),
            metadata => {
                let metadata: Metadata = metadata?;
                Ok(Some(Entry {
                    kind: metadata.kind,
                    stat: stat::describe_without_xattrs(&wanted.path, &metadata),
                }))
            }
        }
    }

    fn remove_next(&mut self) -> Result<(), SyncError> {
        if let Some(old) = self.existing.take() {
            if self
                .listing
                .as_ref()
                .is_some_and(|it| it.owns(&old.stat.path))
            {
                return Ok(());
            }
            self.root.remove_all(Path::new(&old.stat.path))?;
            self.changes.removed.push(old.stat.path);
        }
        Ok(())
    }

    fn is_same(&self, old: &Entry, wanted: &FileStat, kind: Kind) -> Result<bool, SyncError> {
        let was = &old.stat;
        if old.kind != kind
            || was.mode != wanted.mode
            || (was.uid, was.gid) != (wanted.uid, wanted.gid)
        {
            return Ok(false);
        }
        if kind == Kind::Directory {
            return Ok(true);
        }
        if self.options.merge {
            return Ok(false);
        }
        if kind == Kind::Symlink {
            let target = self.root.read_link(Path::new(&was.path))?;
            if target != Path::new(&wanted.linkname) {
                return Ok(false);
            }
        } else if was.linkname != wanted.linkname {
            return Ok(false);
        }
        Ok(was.size == wanted.size
            && was.mod_time == wanted.mod_time
            && (was.devmajor, was.devminor) == (wanted.devmajor, wanted.devminor))
    }

    fn put(&mut self, old: Option<Kind>, wanted: &FileStat, kind: Kind) -> Result<(), SyncError> {
        let path = Path::new(&wanted.path);
        match (old, kind) {
            (None, _) => self.make(path, wanted, kind),
            (Some(Kind::Directory), Kind::Directory) => {
                let node = self.root.resolve(path, Last::NoFollow)?;
                remove_other_xattrs(&node, wanted)?;
                set_metadata(&node, wanted, kind)
            }
            (Some(was), _) => {
                let temporary = self.make_beside(path, wanted, kind)?;
                if was == Kind::Directory || kind == Kind::Directory {
                    self.root.remove_all(path)?;
                }
                Ok(self.root.rename(&temporary, path)?)
            }
        }
    }

    /// Makes the entry under a name that is not taken, in the directory that it is for.
    fn make_beside(
        &mut self,
        path: &Path,
        wanted: &FileStat,
        kind: Kind,
    ) -> Result<PathBuf, SyncError> {
        loop {
            let beside = self.name_beside(path);
            match self.make(&beside, wanted, kind) {
                Err(SyncError::Files(error)) if error.is_already_exists() => {}
                made => return made.map(|()| beside),
            }
        }
    }

    fn name_beside(&mut self, path: &Path) -> PathBuf {
        self.temporary += 1;
        path.with_file_name(format!(".cooper-incoming-{}", self.temporary))
    }

    fn make(&mut self, path: &Path, wanted: &FileStat, kind: Kind) -> Result<(), SyncError> {
        let (directory, name) = self.made_in.find(&self.root, path)?;
        match kind {
            Kind::Directory => directory.mkdir(name, 0o700)?,
            Kind::Symlink => directory.symlink(Path::new(&wanted.linkname), name)?,
            Kind::File if !wanted.linkname.is_empty() => {
                return Ok(self.root.hardlink(Path::new(&wanted.linkname), path)?);
            }
            Kind::File => {
                let made = directory.create_node(name, 0o600)?;
                set_xattrs(&made, wanted)?;
                // What has content gets the rest when that is there, as long as it is not complete it looks changed.
                if wanted.size > 0 {
                    return Ok(());
                }
                return set_other_metadata(&made, wanted, kind);
            }
            Kind::Fifo | Kind::Socket => directory.mknod(name, kind, 0o600, 0)?,
            Kind::CharDevice | Kind::BlockDevice => {
                let device = stat::device(wanted.devmajor, wanted.devminor).ok_or_else(|| {
                    SyncError::Protocol(format!("device number of {:?}", wanted.path))
                })?;
                directory.mknod(name, kind, 0o600, device)?;
            }
        }
        let node = directory.resolve(name, Last::NoFollow)?;
        set_metadata(&node, wanted, kind)
    }

    /// Opens a file that [`Self::entry`] made, for its content.
    pub(super) fn open(&mut self, path: &str) -> Result<Node, SyncError> {
        let (directory, name) = self.written_in.find(&self.root, Path::new(path))?;
        Ok(directory.write_listed(name)?)
    }

    /// Gives a file that has all its content the metadata it was sent with; its extended attributes it has had since
    /// [`Self::entry`].
    pub(super) fn content_written(
        &mut self,
        file: &Node,
        sent: &FileStat,
        bytes: u64,
    ) -> Result<(), SyncError> {
        self.changes.content_bytes += bytes;
        set_other_metadata(file, &self.wanted(sent), Kind::File)?;
        self.compare(&sent.path)
    }

    /// What an entry is to be.
    fn wanted(&self, sent: &FileStat) -> FileStat {
        let mut wanted = sent.clone();
        if let Some(owner) = self.options.owner {
            (wanted.uid, wanted.gid) = (owner.uid, owner.gid);
        }
        wanted
    }

    /// Ends the sequence: removes what was not sent and gives directories their times.
    pub(super) fn finish(mut self) -> Result<Changes, SyncError> {
        while self.existing.peek().is_some() {
            self.remove_next()?;
        }
        if let Some(listing) = self.listing.take() {
            self.keep_listing(listing)?;
        }
        for (path, nanoseconds) in self.directories.iter().rev() {
            let node = self.root.resolve(Path::new(path), Last::NoFollow)?;
            let time = stat::time(*nanoseconds);
            if node.metadata()?.mtime != time {
                node.set_times(time, time)?;
            }
        }
        // Files that were doubted come in the order in which their content came.
        self.changes.changed.sort_by(|a, b| compare_paths(a, b));
        Ok(self.changes)
    }
}

/// The directory that was used last: entries come directory by directory.
#[derive(Default)]
struct OpenDirectory(Option<(PathBuf, Root)>);

impl OpenDirectory {
    /// The directory of `path`, and its name there.
    fn find<'a>(
        &'a mut self,
        root: &Root,
        path: &'a Path,
    ) -> Result<(&'a Root, &'a Path), SyncError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().map_or(path, Path::new);
        let open = match self.0.take() {
            Some(open) if open.0 == directory => open,
            _ => (directory.to_owned(), root.subroot(directory)?),
        };
        Ok((&self.0.insert(open).1, name))
    }
}

/// Whether two files have the same bytes.
fn same_content(one: &File, other: &File) -> std::io::Result<bool> {
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let count = left.len().min(right.len());
        if count == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..count] != right[..count] {
            return Ok(false);
        }
        one.consume(count);
        other.consume(count);
    }
}

fn set_metadata(node: &Node, wanted: &FileStat, kind: Kind) -> Result<(), SyncError> {
    set_xattrs(node, wanted)?;
    set_other_metadata(node, wanted, kind)
}

fn set_xattrs(node: &Node, wanted: &FileStat) -> Result<(), SyncError> {
    for (name, value) in &wanted.xattrs {
        ignore_unsupported(node.set_xattr(OsStr::new(name), value))?;
    }
    Ok(())
}

fn set_other_metadata(node: &Node, wanted: &FileStat, kind: Kind) -> Result<(), SyncError> {
    node.set_owner(Owner {
        uid: wanted.uid,
        gid: wanted.gid,
    })?;
    if kind != Kind::Symlink {
        node.set_mode(mode::permissions(wanted.mode))?;
    }
    let time = stat::time(wanted.mod_time);
    Ok(node.set_times(time, time)?)
}

fn remove_other_xattrs(node: &Node, wanted: &FileStat) -> Result<(), SyncError> {
    for (name, _) in node.xattrs()? {
        if name
            .to_str()
            .is_none_or(|name| !wanted.xattrs.contains_key(name))
        {
            ignore_unsupported(node.remove_xattr(&name))?;
        }
    }
    Ok(())
}

/// A file system or a user without the right to an attribute does not keep it: BuildKit's receivers go on then, and
/// contexts sent from other systems depend on it.
fn ignore_unsupported(result: Result<(), ConfineError>) -> Result<(), ConfineError> {
    match result {
        Err(error)
            if matches!(
                error.io_kind(),
                Some(std::io::ErrorKind::Unsupported | std::io::ErrorKind::PermissionDenied)
            ) =>
        {
            tracing::debug!(%error, "an extended attribute is not kept");
            Ok(())
        }
        other => other,
    }
}
