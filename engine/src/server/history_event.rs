//! Records of builds in the words of the wire (parity sheet C5).

use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind, JobId};
use cooper_proto::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest,
    BuildResultInfo, Descriptor, Exporter, UpdateBuildHistoryRequest,
};
use cooper_proto::rpc;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio_stream::wrappers::BroadcastStream;

use crate::engine::Parts;
use crate::history::{BuildFilters, Change, History, Record, RecordedBlob, RecordedBlobs};
use crate::progress::timestamp;

/// The records that a request asks for, and what happens to them until the client has heard enough.
///
/// # Errors
/// `InvalidInput` for a filter that is none or a negative limit.
pub(super) fn listen(
    parts: &Parts,
    request: &BuildHistoryRequest,
) -> Result<BoxStream<'static, BuildHistoryEvent>, Failure> {
    let history = &parts.history;
    let limit = match usize::try_from(request.limit) {
        Ok(0) => usize::MAX,
        Ok(limit) => limit,
        Err(_) => {
            let words = format!("invalid limit {}", request.limit);
            return Err(Failure::new(FailureKind::InvalidInput, words));
        }
    };
    // Listening begins before the list is read, so that nothing falls in between.
    let changes = history.changes();
    let wanted = Wanted {
        job: Some(request.r#ref.clone()).filter(|job| !job.is_empty()),
        active_only: request.active_only,
        filters: BuildFilters::parse(&request.filter, parts.clock.now_ns())?,
    };
    let known: Vec<_> = history
        .list()
        .into_iter()
        .filter(|record| wanted.takes(record))
        .take(limit)
        .map(|record| event(&record, kind(&record)))
        .collect();
    let known = futures::stream::iter(known);
    if request.early_exit {
        return Ok(known.boxed());
    }
    let news = BroadcastStream::new(changes).filter_map(move |change| {
        // A listener that fell behind misses changes; the records themselves can be listed again.
        let change = change.ok().and_then(|change| wanted.event(&change));
        futures::future::ready(change)
    });
    // There is no news of an engine that has ended.
    let ended = parts.stopping.clone().cancelled_owned();
    Ok(known.chain(news.take_until(ended)).boxed())
}

/// Changes a record.
///
/// # Errors
/// `NotFound` when no finished build has the name.
pub(super) async fn update(
    history: &History,
    request: UpdateBuildHistoryRequest,
) -> Result<(), Failure> {
    let job = JobId(request.r#ref);
    if request.finalize {
        return history.seal(&job).await;
    }
    if request.delete {
        history.remove(&job).await
    } else {
        history.pin(&job, request.pinned).await
    }
}

struct Wanted {
    job: Option<String>,
    active_only: bool,
    filters: BuildFilters,
}

impl Wanted {
    fn takes(&self, record: &Record) -> bool {
        self.job.as_ref().is_none_or(|job| *job == record.job)
            && (!self.active_only || record.ending.is_none())
            && self.filters.take(record)
    }

    fn event(&self, change: &Change) -> Option<BuildHistoryEvent> {
        let (record, kind) = match change {
            Change::Began(record) => (record, BuildHistoryEventType::Started),
            Change::Ended(record) => (record, BuildHistoryEventType::Complete),
            Change::Forgotten(record) => (record, BuildHistoryEventType::Deleted),
        };
        let named = self.job.as_ref().is_none_or(|job| *job == record.job);
        named.then(|| event(record, kind))
    }
}

fn descriptor(blob: &RecordedBlob) -> Descriptor {
    Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        annotations: blob.annotations.clone(),
    }
}

fn result(blobs: &RecordedBlobs) -> BuildResultInfo {
    let results = &blobs.results;
    let attestations = blobs.provenance.get("").into_iter().flatten();
    BuildResultInfo {
        result_deprecated: results.values().next().map(descriptor),
        results: results
            .iter()
            .map(|(index, blob)| (i64::from(*index), descriptor(blob)))
            .collect(),
        attestations: attestations.map(descriptor).collect(),
    }
}

/// What is known of each platform's result.
fn results_by_platform(blobs: &RecordedBlobs) -> BTreeMap<String, BuildResultInfo> {
    let platforms = blobs.provenance.iter();
    platforms
        .filter(|(platform, _)| !platform.is_empty())
        .map(|(platform, told)| {
            let info = BuildResultInfo {
                attestations: told.iter().map(descriptor).collect(),
                ..BuildResultInfo::default()
            };
            (platform.clone(), info)
        })
        .collect()
}

fn kind(record: &Record) -> BuildHistoryEventType {
    if record.ending.is_some() {
        BuildHistoryEventType::Complete
    } else {
        BuildHistoryEventType::Started
    }
}

fn event(record: &Record, kind: BuildHistoryEventType) -> BuildHistoryEvent {
    BuildHistoryEvent {
        r#type: kind as i32,
        record: Some(to_wire(record)),
    }
}

fn to_wire(record: &Record) -> BuildHistoryRecord {
    let ending = record.ending.as_ref();
    let steps = ending.map_or(&[][..], |ending| &ending.vertices);
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    BuildHistoryRecord {
        r#ref: record.job.clone(),
        frontend: record.frontend.clone(),
        frontend_attrs: record.options.clone(),
        exporters: record
            .exporters
            .iter()
            .map(|exporter| Exporter {
                r#type: exporter.kind.clone(),
                attrs: exporter.attributes.clone(),
            })
            .collect(),
        error: ending
            .and_then(|ending| ending.failure.as_ref())
            .map(|failure| rpc::Status {
                code: failure.code,
                message: failure.message.clone(),
                details: Vec::new(),
            }),
        created_at: Some(timestamp(record.begun_ns)),
        completed_at: ending.map(|ending| timestamp(ending.at_ns)),
        exporter_response: ending
            .map(|ending| ending.response.clone())
            .unwrap_or_default(),
        pinned: record.pinned,
        generation: i32::try_from(record.generation).unwrap_or(i32::MAX),
        logs: record.blobs.logs.as_ref().map(descriptor),
        trace: record.blobs.trace.as_ref().map(descriptor),
        external_error: record.blobs.error.as_ref().map(descriptor),
        // Who made something has a result, whatever is known of it.
        result: ending
            .filter(|ending| ending.failure.is_none())
            .map(|_| result(&record.blobs)),
        results: results_by_platform(&record.blobs),
        num_cached_steps: count(steps.iter().filter(|step| step.cached).count()),
        num_total_steps: count(steps.len()),
        num_completed_steps: count(
            steps
                .iter()
                .filter(|step| step.completed_ns.is_some())
                .count(),
        ),
        num_warnings: ending.map_or(0, |ending| {
            i32::try_from(ending.warnings).unwrap_or(i32::MAX)
        }),
    }
}
