use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cooper_core::model::ResultId;
use cooper_proto::Digest;
use parking_lot::Mutex;

use super::error::ChecksumError;
use super::state::{Checksums, Origin};
use crate::meta::Meta;
use crate::snapshot::Snapshots;

/// Digests of paths of one state that are known.
///
/// # Shape
/// Keys are absolute and without links; a directory's own header has a `/` at its end. The root is the empty key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    known: BTreeMap<String, Digest>,
    is_changed: bool,
}

/// First byte of the kept form; another one is of another version and is not read.
const VERSION: u8 = 1;

impl Sums {
    pub(super) fn get(&self, key: &str) -> Option<&Digest> {
        self.known.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Digest)> {
        self.known.iter()
    }

    pub(super) fn insert(&mut self, key: String, digest: Digest) {
        self.is_changed = true;
        self.known.insert(key, digest);
    }

    /// How many digests are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What stays true of a state in which these paths (relative, without links) are not what they were: everything
    /// that is neither at, above nor below one of them.
    #[must_use]
    pub fn without<'a>(&self, changed: impl Iterator<Item = &'a str>) -> Self {
        let mut kept = self.clone();
        kept.is_changed = true;
        for path in changed {
            let key = format!("/{path}");
            let below = format!("{key}/");
            let gone: Vec<String> = kept
                .known
                .range(below.clone()..)
                .take_while(|(known, _)| known.starts_with(&below))
                .map(|(known, _)| known.clone())
                .collect();
            for known in gone {
                kept.known.remove(&known);
            }
            for (end, _) in key.match_indices('/').chain([(key.len(), "")]) {
                kept.known.remove(&key[..end]);
            }
        }
        kept
    }

    /// The form in which they are kept.
    ///
    /// # Shape
    /// A version byte, then for each digest the key's length (4 bytes, little endian), the key and the text of the
    /// digest with its length before it (1 byte).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (key, digest) in &self.known {
            let digest = digest.to_string();
            let (Ok(key_length), Ok(digest_length)) =
                (u32::try_from(key.len()), u8::try_from(digest.len()))
            else {
                continue;
            };
            bytes.extend(key_length.to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.push(digest_length);
            bytes.extend(digest.as_bytes());
        }
        bytes
    }

    /// Reads [`Self::encode`]'s form; anything else is nothing known.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            known: decode(bytes).unwrap_or_default(),
            is_changed: false,
        }
    }
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<String, Digest>> {
    let mut known = BTreeMap::new();
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (key, after) = after.split_at_checked(length)?;
        let (length, after) = after.split_first()?;
        let (digest, after) = after.split_at_checked(usize::from(*length))?;
        let digest = std::str::from_utf8(digest).ok()?.parse().ok()?;
        known.insert(String::from_utf8(key.to_vec()).ok()?, digest);
        rest = after;
    }
    Some(known)
}

/// Digests that are held in memory, in all results together, each about 200 bytes.
const HELD_DIGESTS: usize = 60_000;

/// The content digests of a worker's results: held in memory, kept with the results.
#[derive(Debug, Clone)]
pub struct ContentSums {
    snapshots: Snapshots,
    held: Arc<Mutex<HashMap<ResultId, Arc<Mutex<Sums>>>>>,
}

impl ContentSums {
    /// The digests of the results of these states.
    #[must_use]
    pub fn new(snapshots: Snapshots) -> Self {
        Self {
            snapshots,
            held: Arc::default(),
        }
    }

    /// Works on the digests of a result, one caller at a time a result, and keeps what it found.
    ///
    /// # Errors
    /// `work`'s, or where the state cannot be opened or the digests cannot be kept.
    pub fn with<T>(
        &self,
        result: &ResultId,
        work: impl FnOnce(&mut Checksums<'_>) -> Result<T, ChecksumError>,
    ) -> Result<T, ChecksumError> {
        let sums = self.of(result)?;
        let view = self.snapshots.view(result)?;
        let root = view.root()?;
        let mut sums = sums.lock();
        let found = work(&mut Checksums::new(&root, self.origin(result)?, &mut sums));
        self.keep(result, &mut sums)?;
        found
    }

    /// Says what is known of a result that is equal to another one but for some paths.
    ///
    /// # Errors
    /// Where the digests cannot be kept.
    pub fn derive<'a>(
        &self,
        result: &ResultId,
        from: &ResultId,
        changed: impl Iterator<Item = &'a str>,
    ) -> Result<(), ChecksumError> {
        let mut sums = self.of(from)?.lock().without(changed);
        self.keep(result, &mut sums)?;
        self.held
            .lock()
            .insert(result.clone(), Arc::new(Mutex::new(sums)));
        Ok(())
    }

    /// What came from a client is hashed as it was sent.
    fn origin(&self, result: &ResultId) -> Result<Origin, ChecksumError> {
        let record_type = self.meta().result(result)?.record_type;
        Ok(match record_type.as_str() {
            "source.local" => Origin::Client,
            _ => Origin::Disk,
        })
    }

    fn meta(&self) -> &Meta {
        self.snapshots.meta()
    }

    fn of(&self, result: &ResultId) -> Result<Arc<Mutex<Sums>>, ChecksumError> {
        if let Some(sums) = self.held.lock().get(result) {
            return Ok(sums.clone());
        }
        let kept = self.meta().content_sums(result)?;
        let sums = kept.map(|bytes| Sums::decode(&bytes)).unwrap_or_default();
        let mut held = self.held.lock();
        let sums = held
            .entry(result.clone())
            .or_insert_with(|| Arc::new(Mutex::new(sums)));
        let sums = sums.clone();
        let digests = |sums: &Arc<Mutex<Sums>>| 1 + sums.try_lock().map_or(0, |sums| sums.len());
        if held.values().map(digests).sum::<usize>() > HELD_DIGESTS {
            // They are kept on disk: dropping any costs a read.
            held.retain(|_, sums| Arc::strong_count(sums) > 1);
        }
        Ok(sums)
    }

    fn keep(&self, result: &ResultId, sums: &mut Sums) -> Result<(), ChecksumError> {
        if sums.is_changed && !result.is_scratch() {
            self.meta().save_content_sums(result, sums.encode())?;
            sums.is_changed = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(keys: &[&str]) -> Sums {
        let mut sums = Sums::default();
        for key in keys {
            sums.insert((*key).to_owned(), Digest::sha256_of(key.as_bytes()));
        }
        sums
    }

    fn keys(sums: &Sums) -> Vec<&str> {
        sums.known.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_nothing_known() {
        let sums = sums(&["", "/", "/a", "/é"]);
        let bytes = sums.encode();
        assert_eq!(Sums::decode(&bytes).known, sums.known);
        assert!(Sums::decode(&bytes[..bytes.len() - 1]).is_empty());
        assert!(Sums::decode(&[9]).is_empty());
        assert!(Sums::decode(&[]).is_empty());
    }

    #[test]
    fn a_change_forgets_what_is_above_and_below_it() {
        let all = sums(&[
            "", "/", "/a", "/a/", "/a-b", "/a/b", "/a/b/", "/a/b/c", "/a/bc", "/d",
        ]);
        let kept = all.without(["a/b"].into_iter());
        assert_eq!(keys(&kept), ["/", "/a-b", "/a/", "/a/bc", "/d"]);
        assert_eq!(keys(&all.without(["a"].into_iter())), ["/", "/a-b", "/d"]);
    }
}
