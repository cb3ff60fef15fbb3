use cooper_core::cachekey::MissReason;
use cooper_proto::Digest;

use crate::explain::Evidence;

/// What a build's log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildSummary {
    /// Every vertex that was known, in the order in which they became known.
    pub vertices: Vec<VertexSummary>,
    /// How many warnings were given.
    pub warnings: u64,
    /// Why the log on disk is not whole, when it is not.
    pub log_error: Option<String>,
}

/// How one vertex went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexSummary {
    /// The vertex.
    pub digest: Digest,
    /// Name to show.
    pub name: String,
    /// When it began, `None` when nobody had to work on it.
    ///
    /// # Units
    /// Nanoseconds since 1970.
    pub started_ns: Option<u64>,
    /// When it ended.
    ///
    /// # Units
    /// Nanoseconds since 1970.
    pub completed_ns: Option<u64>,
    /// Whether its result came from a cache.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it ran although caching was possible.
    pub miss: Option<MissReason>,
    /// How often it began again after an end.
    pub restarts: u32,
    /// What its cache key was made of.
    pub evidence: Evidence,
}

impl BuildSummary {
    /// How many vertices came from a cache.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.vertices.iter().filter(|vertex| vertex.cached).count()
    }

    /// How many vertices ended.
    #[must_use]
    pub fn completed(&self) -> usize {
        self.vertices
            .iter()
            .filter(|vertex| vertex.completed_ns.is_some())
            .count()
    }
}

impl VertexSummary {
    /// How long it took.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn duration_ns(&self) -> Option<u64> {
        Some(self.completed_ns?.saturating_sub(self.started_ns?))
    }
}
