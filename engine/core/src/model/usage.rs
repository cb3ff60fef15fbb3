use std::borrow::Cow;

use crate::filters::{Fields, Filters};

/// One thing that takes space on a worker and that can be removed on its own (parity sheet C6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageRecord {
    /// Its id, unique on its worker.
    pub id: String,
    /// What it is: `regular`, `internal`, `frontend`, `source.local`, `source.git.checkout`, `exec.cachemount`.
    pub record_type: String,
    /// Whether it is still written to.
    pub mutable: bool,
    /// Whether a build holds it now.
    pub in_use: bool,
    /// Whether something outside the cache needs its content as well, such as an image with a name.
    pub shared: bool,
    /// What goes when it is removed after everything that stands on it.
    ///
    /// # Units
    /// Bytes on the disk.
    pub size: u64,
    /// Ids of the records that it stands on.
    pub parents: Vec<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// When it was last used, in nanoseconds since 1970; `None` when never.
    pub last_used_ns: Option<u64>,
    /// How often it was used.
    pub usage_count: u64,
    /// What it is, for people.
    pub description: String,
}

/// What may be removed, and down to where (parity sheet C6: a request to prune, or one rule of garbage collection).
///
/// Nothing that is in use is ever removed. All zero and no filter: everything but internal and shared records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneRule {
    /// Only records that one of these takes.
    pub filters: Filters,
    /// Internal and shared records too.
    pub all: bool,
    /// Only records that were not used for so long, in nanoseconds.
    pub keep_duration_ns: u64,
    /// So much is always left alone, in bytes.
    pub reserved_bytes: u64,
    /// At most so much is left, in bytes; no bound when 0.
    pub max_used_bytes: u64,
    /// So much of the disk is to be free, in bytes; no aim when 0.
    pub min_free_bytes: u64,
}

impl Fields for UsageRecord {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let text = |text: &str| Some(text.to_owned().into()).filter(|_| !text.is_empty());
        let yes = |yes: bool| yes.then(|| "".into());
        match path.first()?.as_str() {
            "id" => text(&self.id),
            "parents" => text(&self.parents.join(";")),
            "description" => text(&self.description),
            "inuse" => yes(self.in_use),
            "mutable" => yes(self.mutable),
            "immutable" => yes(!self.mutable),
            "type" => text(&self.record_type),
            "shared" => yes(self.shared),
            "private" => yes(!self.shared),
            _ => None,
        }
    }
}
