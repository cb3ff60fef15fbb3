use std::collections::BTreeMap;

use cooper_core::model::FailureKind;
use serde::{Deserialize, Serialize};

use crate::explain::Evidence;
use crate::job::{SolveOutcome, SolveSpec, shown};
use crate::progress::{miss_kind, miss_text};

/// The form's number; a record of another one is not read.
pub(super) const VERSION: u32 = 1;

/// One build. No secret is in it: of secrets, builds name only the ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Number of the record's form.
    pub(super) version: u32,
    /// The name that the client gave the build.
    pub job: String,
    /// The frontend, empty when the client sent a graph.
    pub frontend: String,
    /// The frontend's options.
    pub options: BTreeMap<String, String>,
    /// Where the result went.
    pub exporters: Vec<RecordedExporter>,
    /// When it began.
    ///
    /// # Units
    /// Nanoseconds since 1970.
    pub begun_ns: u64,
    /// How it ended, `None` while it runs.
    pub ending: Option<Ending>,
    /// Whether it is kept when others are forgotten for their age or number.
    #[serde(default)]
    pub pinned: bool,
    /// How often it has changed since it was begun.
    #[serde(default)]
    pub generation: u32,
    /// What is kept of it as blobs.
    #[serde(default)]
    pub blobs: RecordedBlobs,
    /// Whether it stays out of lists.
    pub(crate) internal: bool,
}

/// What the content store keeps of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBlobs {
    /// Whether nothing more will come.
    pub sealed: bool,
    /// All its progress.
    pub logs: Option<RecordedBlob>,
    /// Why it failed, with all details.
    pub error: Option<RecordedBlob>,
    /// Its trace.
    pub trace: Option<RecordedBlob>,
    /// Where its results came from, by their platforms; a single result has the empty name.
    #[serde(default)]
    pub provenance: BTreeMap<String, Vec<RecordedBlob>>,
    /// The images that its exporters made, by their positions in the request.
    pub results: BTreeMap<u32, RecordedBlob>,
}

/// A blob, as a descriptor names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBlob {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// What else is said of it.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// One exporter of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedExporter {
    /// Its kind.
    pub kind: String,
    /// What the client told it.
    pub attributes: BTreeMap<String, String>,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When.
    ///
    /// # Units
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// What the exporters told.
    pub response: BTreeMap<String, String>,
    /// Why it failed, `None` when it did not.
    pub failure: Option<RecordedFailure>,
    /// Its vertices, in the order in which they became known.
    pub vertices: Vec<RecordedVertex>,
    /// How many warnings were given.
    pub warnings: u64,
}

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFailure {
    /// The kind as gRPC counts it.
    pub code: i32,
    /// In words.
    pub message: String,
}

/// How a vertex went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedVertex {
    /// Its digest.
    pub digest: String,
    /// Its name.
    pub name: String,
    /// When it began, `None` when nobody had to work on it.
    pub started_ns: Option<u64>,
    /// When it ended.
    pub completed_ns: Option<u64>,
    /// Whether its result came from a cache.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it ran although caching was possible, in words.
    pub miss: Option<String>,
    /// The same as a name, such as `ignore_cache`.
    #[serde(default)]
    pub miss_kind: Option<String>,
    /// What its cache key was made of.
    #[serde(default)]
    pub evidence: Evidence,
}

impl Record {
    /// The record of a build that begins.
    pub(crate) fn begin(spec: &SolveSpec, begun_ns: u64) -> Self {
        Self {
            version: VERSION,
            job: spec.job.0.clone(),
            frontend: spec.build.frontend().to_owned(),
            options: shown(&spec.options()),
            exporters: spec
                .exporters
                .iter()
                .map(|exporter| RecordedExporter {
                    kind: exporter.kind.clone(),
                    attributes: shown(&exporter.attributes),
                })
                .collect(),
            begun_ns,
            ending: None,
            pinned: false,
            generation: 0,
            blobs: RecordedBlobs::default(),
            internal: spec.internal,
        }
    }

    /// Writes down the end.
    pub(crate) fn end(&mut self, outcome: &SolveOutcome, at_ns: u64) {
        self.ending = Some(Ending {
            at_ns,
            response: outcome.result.clone().unwrap_or_default(),
            failure: outcome
                .result
                .as_ref()
                .err()
                .map(|failure| RecordedFailure {
                    code: code_number(&failure.kind),
                    message: failure.message.clone(),
                }),
            vertices: outcome
                .summary
                .vertices
                .iter()
                .map(|vertex| RecordedVertex {
                    digest: vertex.digest.to_string(),
                    name: vertex.name.clone(),
                    started_ns: vertex.started_ns,
                    completed_ns: vertex.completed_ns,
                    cached: vertex.cached,
                    error: vertex.error.clone(),
                    miss: vertex.miss.as_ref().map(miss_text),
                    miss_kind: vertex.miss.as_ref().map(|miss| miss_kind(miss).to_owned()),
                    evidence: vertex.evidence.clone(),
                })
                .collect(),
            warnings: outcome.summary.warnings,
        });
    }
}

/// gRPC's number for a kind of failure.
pub(crate) fn code_number(kind: &FailureKind) -> i32 {
    match kind {
        FailureKind::Cancelled => 1,
        FailureKind::Exit { .. } | FailureKind::MissingPath => 2,
        FailureKind::InvalidInput => 3,
        FailureKind::NotFound => 5,
        FailureKind::Denied => 7,
        FailureKind::Unsupported => 12,
        FailureKind::Internal => 13,
        FailureKind::Infrastructure => 14,
    }
}
