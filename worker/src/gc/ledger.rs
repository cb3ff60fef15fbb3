use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::GcError;
use crate::clock::now_ns;
use crate::meta::{Meta, MetaError, Record};

/// When the things of one room were made and used. Clones are the same.
///
/// A use is noted in memory and written by [`Ledger::flush`]: a crash forgets some uses and nothing else.
#[derive(Clone, Debug)]
pub struct Ledger {
    meta: Meta,
    collection: &'static str,
    unwritten: Arc<Mutex<BTreeMap<String, LedgerEntry>>>,
}

/// What is known of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// What it is, for people.
    pub description: String,
    /// When it was first used, in nanoseconds since 1970.
    pub created_ns: u64,
    /// When it was last used, in nanoseconds since 1970.
    pub last_used_ns: u64,
    /// How often it was used.
    pub usage_count: u64,
}

impl Record for LedgerEntry {
    const KIND: &'static str = "ledger";
}

impl Ledger {
    /// The ledger that `meta` keeps under the name of a collection.
    #[must_use]
    pub fn new(meta: &Meta, collection: &'static str) -> Self {
        Self {
            meta: meta.clone(),
            collection,
            unwritten: Arc::default(),
        }
    }

    /// Notes a use.
    pub fn note(&self, key: &str, description: &str) {
        let now = now_ns();
        let mut unwritten = self.unwritten.lock();
        let entry = unwritten.entry(key.to_owned()).or_insert(LedgerEntry {
            description: description.to_owned(),
            created_ns: now,
            last_used_ns: now,
            usage_count: 0,
        });
        entry.last_used_ns = now;
        entry.usage_count += 1;
    }

    /// All entries.
    ///
    /// # Errors
    /// When the metadata store fails. An entry that cannot be read is left out.
    pub fn entries(&self) -> Result<BTreeMap<String, LedgerEntry>, MetaError> {
        let mut entries = BTreeMap::new();
        for (key, bytes) in self.meta.documents(self.collection)? {
            if let Ok(entry) = LedgerEntry::decode(&bytes) {
                entries.insert(key, entry);
            }
        }
        for (key, news) in self.unwritten.lock().iter() {
            entries
                .entry(key.clone())
                .and_modify(|entry| entry.add(news))
                .or_insert_with(|| news.clone());
        }
        Ok(entries)
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub fn flush(&self) -> Result<(), GcError> {
        let unwritten = std::mem::take(&mut *self.unwritten.lock());
        for (key, news) in unwritten {
            let known = self.meta.document(self.collection, &key)?;
            let entry = match known.and_then(|bytes| LedgerEntry::decode(&bytes).ok()) {
                Some(mut known) => {
                    known.add(&news);
                    known
                }
                None => news,
            };
            self.meta
                .save_document(self.collection, &key, Some(entry.encode()))?;
        }
        Ok(())
    }

    /// Forgets a thing.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub fn forget(&self, key: &str) -> Result<(), MetaError> {
        self.unwritten.lock().remove(key);
        self.meta.save_document(self.collection, key, None)
    }
}

impl LedgerEntry {
    fn add(&mut self, news: &Self) {
        self.last_used_ns = self.last_used_ns.max(news.last_used_ns);
        self.usage_count += news.usage_count;
        self.description.clone_from(&news.description);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_over_flushes_and_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::open(&dir.path().join("meta.redb")).unwrap();
        let ledger = Ledger::new(&meta, "test-1");
        ledger.note("a", "first");
        ledger.flush().unwrap();
        ledger.note("a", "second");
        let before = ledger.entries().unwrap();
        assert_eq!(
            (before["a"].usage_count, before["a"].description.as_str()),
            (2, "second")
        );
        ledger.flush().unwrap();
        assert_eq!(Ledger::new(&meta, "test-1").entries().unwrap(), before);
        ledger.forget("a").unwrap();
        assert!(ledger.entries().unwrap().is_empty());
    }
}
