use async_trait::async_trait;
use cooper_proto::Digest;

use crate::model::{CacheKeyId, Failure, ResultId};

/// Remembers which keys lead to which results, across builds and restarts.
///
/// # Model
/// Keys are nodes, links are edges: (input key, selector, op digest, output, position) leads to a next key. A key
/// matches a query when, for every input, at least one of the input's alternative keys links to it. An op with no
/// inputs has one key, made of its digest and output alone. Many keys may lead to one result and a key may have
/// several results.
///
/// # Durability
/// When `save` has returned, the record survives kill -9.
#[async_trait]
pub trait CacheStore: Send + Sync {
    /// Finds keys that match a query, whether or not they have a result here.
    ///
    /// # Errors
    /// `Infrastructure` when the store cannot be read.
    async fn lookup(&self, query: &KeyQuery) -> Result<LookupAnswer, Failure>;

    /// Results kept under a key, the newest first. What is listed may be gone by the time it is asked for.
    async fn results(&self, key: &CacheKeyId) -> Result<Vec<CachedResult>, Failure>;

    /// Records that a query's key leads to a result, and links every alternative input key to it. With no result, only
    /// the links are kept. Returns the key; saving the same again changes nothing but its time.
    async fn save(
        &self,
        query: &KeyQuery,
        result: Option<&ResultId>,
    ) -> Result<CacheKeyId, Failure>;

    /// How a key is made, by each op that leads to it: the other direction of `lookup`. Nothing for what no op made, such
    /// as digests of contents.
    ///
    /// # Errors
    /// `Infrastructure` when the store cannot be read.
    async fn origins(&self, key: &CacheKeyId) -> Result<Vec<KeyQuery>, Failure>;

    /// Forgets a result that turned out to be gone or damaged.
    async fn forget(&self, result: &ResultId) -> Result<(), Failure>;
}

/// A question for keys: which keys does this op give on these inputs?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    /// The op's cache digest ([`crate::model::CacheMap::digest`]).
    pub op: Digest,
    /// Which output.
    pub output: u32,
    /// For each input the keys that are known to name its state, with the part the op looks at.
    pub inputs: Vec<Vec<InputKey>>,
}

/// One alternative key of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputKey {
    /// Key of the input's state, or the content digest when the content was looked at.
    pub key: CacheKeyId,
    /// The part of the input that the op looks at.
    pub selector: Option<Digest>,
}

/// What a lookup found, with enough to say why it found nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LookupAnswer {
    /// Matching keys, each at most once, in a stable order.
    pub keys: Vec<CacheKeyId>,
    /// Whether any record has this op digest at all.
    pub op_known: bool,
    /// For each input, whether any of its keys links to any record of this op.
    pub inputs_known: Vec<bool>,
    /// Matching keys of caches that the build imports: what they promise counts in the scope of the build only.
    pub imported: Vec<CacheKeyId>,
}

impl LookupAnswer {
    /// Whether any key matched.
    #[must_use]
    pub fn matches(&self) -> bool {
        !self.keys.is_empty() || !self.imported.is_empty()
    }
}

/// A result under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResult {
    /// The result.
    pub result: ResultId,
    /// When it was saved, in nanoseconds since 1970.
    pub created_ns: u64,
    /// Whether only an imported cache says that the key leads to it.
    pub imported: bool,
}
