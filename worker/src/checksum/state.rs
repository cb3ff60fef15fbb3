use std::path::Path;

use cooper_core::model::ContentSelector;
use cooper_core::patterns::clean_path;
use cooper_proto::Digest;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::error::ChecksumError;
use super::header::{finish, object_digest};
use super::select::Selection;
use super::sums::Sums;
use crate::confine::{ConfineError, Kind, Last, Metadata, Root};

/// Where a state's content came from, which BuildKit's digests depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// Read from disk.
    #[default]
    Disk,
    /// Sent by a client: the root has no header of its own, and devices have their numbers.
    Client,
}

/// As many links as BuildKit follows in one path.
const MAX_LINKS: u32 = 255;

/// Fewer objects than these are not worth a second processor.
const FEW: usize = 32;

/// Digests paths of one state, remembering what it found.
pub struct Checksums<'a> {
    root: &'a Root,
    origin: Origin,
    sums: &'a mut Sums,
}

/// An object that a path led to: no component of the path is a link, except the last where links were not followed.
pub(super) struct Found {
    /// Empty for the root.
    pub(super) path: String,
    pub(super) kind: Kind,
}

impl<'a> Checksums<'a> {
    /// Digests paths below `root`.
    pub fn new(root: &'a Root, origin: Origin, sums: &'a mut Sums) -> Self {
        Self { root, origin, sums }
    }

    /// All digests that are known, by key.
    pub(super) fn known(&self) -> impl Iterator<Item = (&String, &Digest)> {
        self.sums.iter()
    }

    /// Whether a key is that of a directory with all that is below it.
    pub(super) fn is_directory(&self, key: &str) -> bool {
        !key.ends_with('/') && self.sums.get(&format!("{key}/")).is_some()
    }

    /// The digest of all that the selectors name, in order: what an op's dependence on an input's content is.
    ///
    /// # Errors
    /// `NotFound` for a plain path that does not exist.
    pub fn selectors(&mut self, selectors: &[ContentSelector]) -> Result<Digest, ChecksumError> {
        let whole = [ContentSelector::default()];
        let selectors = if selectors.is_empty() {
            &whole
        } else {
            selectors
        };
        let mut digests = Vec::with_capacity(selectors.len());
        for selector in selectors {
            let path = clean_path(&format!("/{}", selector.path));
            let selector = ContentSelector {
                path,
                ..selector.clone()
            };
            digests.push(self.selector(&selector)?.to_string());
        }
        Ok(Digest::sha256_of(digests.join("\0").as_bytes()))
    }

    /// The digest of what one selector names.
    ///
    /// # Errors
    /// `NotFound` for a plain path that does not exist, or a required path that is not selected.
    pub fn selector(&mut self, selector: &ContentSelector) -> Result<Digest, ChecksumError> {
        let is_plain = !selector.wildcard
            && selector.include_patterns.is_empty()
            && selector.exclude_patterns.is_empty();
        if is_plain {
            return self.path(&selector.path, selector.follow_links);
        }
        Selection::new(selector)?.digest(self)
    }

    /// The digest of one path with all that is below it.
    pub(super) fn path(&mut self, path: &str, follow: bool) -> Result<Digest, ChecksumError> {
        let last = if follow { Last::Follow } else { Last::NoFollow };
        match self.find(path, last)? {
            Some(found) => self.whole(&found),
            None => Err(ChecksumError::NotFound {
                path: path.to_owned(),
            }),
        }
    }

    /// What a path leads to. `..` takes back one name of where links have led so far.
    pub(super) fn find(&self, path: &str, last: Last) -> Result<Option<Found>, ChecksumError> {
        let mut left: Vec<String> = names(&clean_path(&format!("/{path}")));
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        let mut kind = Kind::Directory;
        while let Some(name) = left.pop() {
            if name == ".." {
                done.pop();
                kind = Kind::Directory;
                continue;
            }
            if kind != Kind::Directory {
                return Ok(None);
            }
            done.push(name);
            let here = done.join("/");
            let Some(metadata) = self.metadata(&here)? else {
                return Ok(None);
            };
            kind = metadata.kind;
            if kind != Kind::Symlink || (left.is_empty() && last == Last::NoFollow) {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(ChecksumError::TooManyLinks {
                    path: path.to_owned(),
                });
            }
            let target = self.root.read_link(Path::new(&here))?;
            let target = target.to_string_lossy();
            if target.starts_with('/') {
                done.clear();
            } else {
                done.pop();
            }
            kind = Kind::Directory;
            left.extend(names(&target));
        }
        let path = done.iter().map(|name| format!("/{name}")).collect();
        Ok(Some(Found { path, kind }))
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, ChecksumError> {
        match self.root.metadata(Path::new(path), Last::NoFollow) {
            Err(error) if is_nothing(&error) => Ok(None),
            metadata => Ok(Some(metadata?)),
        }
    }

    /// The names in a directory and what they are.
    pub(super) fn children(&self, path: &str) -> Result<Vec<(String, Kind)>, ChecksumError> {
        let entries = self.root.kinds(Path::new(&format!("/{path}")))?;
        let named = entries
            .into_iter()
            .map(|(name, kind)| (name.to_string_lossy().into_owned(), kind));
        Ok(named.collect())
    }

    /// Digests of objects without what is in them that are not known yet, on all processors.
    pub(super) fn foresee(&mut self, objects: &[Found]) -> Result<(), ChecksumError> {
        let (root, origin, sums) = (self.root, self.origin, &*self.sums);
        let is_unknown =
            |object: &&Found| object.kind != Kind::Directory && sums.get(&object.path).is_none();
        let unknown: Vec<&Found> = objects.iter().filter(is_unknown).collect();
        if unknown.len() < FEW {
            return Ok(());
        }
        let digested: Vec<(String, Digest)> = unknown
            .par_iter()
            .with_min_len(FEW)
            .map(|object| Ok((object.path.clone(), own_digest(root, origin, object)?)))
            .collect::<Result<_, ChecksumError>>()?;
        for (key, digest) in digested {
            self.sums.insert(key, digest);
        }
        Ok(())
    }

    /// The digest of an object, a directory without what is in it.
    pub(super) fn own(&mut self, found: &Found) -> Result<Digest, ChecksumError> {
        if found.path.is_empty() && self.origin == Origin::Client {
            return Ok(Digest::sha256_of(b""));
        }
        let key = match found.kind {
            Kind::Directory => format!("{}/", found.path),
            _ => found.path.clone(),
        };
        if let Some(known) = self.sums.get(&key) {
            return Ok(known.clone());
        }
        let digest = own_digest(self.root, self.origin, found)?;
        self.sums.insert(key, digest.clone());
        Ok(digest)
    }

    /// The digest of an object with all that is below it.
    pub(super) fn whole(&mut self, found: &Found) -> Result<Digest, ChecksumError> {
        // An explicit stack: a state may be deeper than ours.
        let mut open: Vec<Directory> = Vec::new();
        let mut next = Some(Found {
            path: found.path.clone(),
            kind: found.kind,
        });
        loop {
            let mut digest = None;
            if let Some(object) = next.take() {
                if object.kind != Kind::Directory {
                    digest = Some(self.own(&object)?);
                } else if let Some(known) = self.sums.get(&object.path) {
                    digest = Some(known.clone());
                } else {
                    let header = self.own(&object)?;
                    let directory = Directory::new(object.path, &header, self)?;
                    self.foresee(&directory.objects())?;
                    open.push(directory);
                }
            } else if let Some(directory) = open.pop_if(|open| open.is_read()) {
                let sum = finish(directory.hash);
                self.sums.insert(directory.path, sum.clone());
                digest = Some(sum);
            }
            match (digest, open.last_mut()) {
                (Some(digest), None) => return Ok(digest),
                (Some(digest), Some(above)) => above.hash.update(digest.to_string()),
                (None, _) => {}
            }
            next = open.last_mut().and_then(Directory::next);
        }
    }
}

/// A directory that is being digested.
struct Directory {
    path: String,
    hash: Sha256,
    children: std::vec::IntoIter<(String, Kind)>,
}

impl Directory {
    fn new(
        path: String,
        header: &Digest,
        checksums: &Checksums<'_>,
    ) -> Result<Self, ChecksumError> {
        let mut hash = Sha256::new();
        hash.update(b"\0");
        hash.update(header.to_string());
        Ok(Self {
            children: checksums.children(&path)?.into_iter(),
            path,
            hash,
        })
    }

    fn objects(&self) -> Vec<Found> {
        let children = self.children.as_slice().iter();
        let found = children.map(|(name, kind)| Found {
            path: format!("{}/{name}", self.path),
            kind: *kind,
        });
        found.collect()
    }

    fn is_read(&self) -> bool {
        self.children.as_slice().is_empty()
    }

    fn next(&mut self) -> Option<Found> {
        let (name, kind) = self.children.next()?;
        self.hash.update(b"\0");
        self.hash.update(&name);
        let path = format!("{}/{name}", self.path);
        Some(Found { path, kind })
    }
}

fn own_digest(root: &Root, origin: Origin, found: &Found) -> Result<Digest, ChecksumError> {
    let path = format!("/{}", found.path);
    let (node, metadata) = if found.kind == Kind::File {
        root.open_listed(Path::new(&path))?
    } else {
        let node = root.resolve(Path::new(&path), Last::NoFollow)?;
        let metadata = node.metadata()?;
        (node, metadata)
    };
    object_digest(&found.path, &node, &metadata, origin)
}

/// The names of a path, the first one last.
fn names(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.rev().map(ToOwned::to_owned).collect()
}

fn is_nothing(error: &ConfineError) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.io_kind(), Some(NotFound | NotADirectory))
}
