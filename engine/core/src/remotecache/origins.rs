use std::collections::BTreeMap;

use cooper_proto::Digest;

use super::chains::{content_digest, record_digest};
use crate::model::CacheKeyId;
use crate::ports::{InputKey, KeyQuery};

/// How keys are made, by all that is known of it: what earlier builds recorded, and what imported caches say.
///
/// # Why
/// A build that found its results by one key each knows nothing of the others that lead there. A cache that it exports
/// would be matched by less than the one that it was served from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    of: BTreeMap<CacheKeyId, Vec<Origin>>,
}

/// One way in which a key is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// See [`record_digest`] and [`content_digest`].
    pub digest: Digest,
    /// For each input the keys by which it may be known.
    pub inputs: Vec<Vec<InputKey>>,
}

impl Origin {
    /// As a store of our own has it.
    #[must_use]
    pub fn of_query(query: KeyQuery) -> Self {
        Self {
            digest: record_digest(&query.op, query.output),
            inputs: query.inputs,
        }
    }

    /// Of a key that is a digest of contents.
    #[must_use]
    pub fn of_content(key: &CacheKeyId) -> Self {
        Self {
            digest: content_digest(&key.0),
            inputs: Vec::new(),
        }
    }

    /// The keys that it stands on.
    pub fn keys(&self) -> impl Iterator<Item = &CacheKeyId> {
        self.inputs.iter().flatten().map(|input| &input.key)
    }
}

impl Origins {
    /// Adds ways to make a key.
    pub fn add(&mut self, key: CacheKeyId, origins: impl IntoIterator<Item = Origin>) {
        let known = self.of.entry(key).or_default();
        for origin in origins {
            if !known.contains(&origin) {
                known.push(origin);
            }
        }
    }

    /// Whether a key was looked at.
    #[must_use]
    pub fn knows(&self, key: &CacheKeyId) -> bool {
        self.of.contains_key(key)
    }

    /// The ways to make a key.
    #[must_use]
    pub fn of(&self, key: &CacheKeyId) -> &[Origin] {
        self.of.get(key).map_or(&[], Vec::as_slice)
    }

    /// How many keys were looked at.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether no key was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}
