//! What is kept, in the words of the wire (parity sheet C6).

use cooper_core::filters::Filters;
use cooper_core::model;
use cooper_core::model::{Failure, FailureKind, PruneRule};
use cooper_proto::control::{DiskUsageRequest, PruneRequest, UsageRecord};
use cooper_proto::types::GcPolicy;

use crate::engine::Parts;
use crate::progress::timestamp;

/// The records that a request asks for.
///
/// # Errors
/// `InvalidInput` for a filter that is none.
pub(super) async fn list(
    parts: &Parts,
    request: &DiskUsageRequest,
) -> Result<Vec<UsageRecord>, Failure> {
    let filters = filters(&request.filter)?;
    let age = u64::try_from(request.age_limit).unwrap_or(0);
    let latest = parts.clock.now_ns().saturating_sub(age);
    let is_old = |record: &model::UsageRecord| {
        age == 0 || record.last_used_ns.is_none_or(|last| last <= latest)
    };
    let records = parts.storage.usage().await?;
    Ok(records
        .into_iter()
        .filter(|record| filters.take(record) && is_old(record))
        .map(to_wire)
        .collect())
}

/// Removes what a request says and tells what went.
///
/// # Errors
/// `InvalidInput` for a filter that is none or a negative bound.
pub(super) async fn prune(
    parts: &Parts,
    request: PruneRequest,
) -> Result<Vec<UsageRecord>, Failure> {
    let rule = PruneRule {
        filters: filters(&request.filter)?,
        all: request.all,
        keep_duration_ns: amount("keepDuration", request.keep_duration)?,
        reserved_bytes: amount("reservedSpace", request.reserved_space)?,
        max_used_bytes: amount("maxUsedSpace", request.max_used_space)?,
        min_free_bytes: amount("minFreeSpace", request.min_free_space)?,
    };
    let removed = parts.storage.prune(rule).await?;
    Ok(removed.into_iter().map(to_wire).collect())
}

/// A rule of garbage collection, for who lists workers.
pub(super) fn policy(rule: &PruneRule) -> GcPolicy {
    GcPolicy {
        all: rule.all,
        keep_duration: number(rule.keep_duration_ns),
        filters: rule.filters.texts().to_vec(),
        reserved_space: number(rule.reserved_bytes),
        max_used_space: number(rule.max_used_bytes),
        min_free_space: number(rule.min_free_bytes),
    }
}

/// Reads filters.
///
/// # Errors
/// `InvalidInput` for what is none.
pub(super) fn filters(texts: &[String]) -> Result<Filters, Failure> {
    Filters::parse(texts)
        .map_err(|error| Failure::new(FailureKind::InvalidInput, error.to_string()))
}

fn amount(name: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("{name} cannot be negative: {value}"),
        )
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_wire(record: model::UsageRecord) -> UsageRecord {
    UsageRecord {
        id: record.id,
        mutable: record.mutable,
        in_use: record.in_use,
        size: number(record.size),
        created_at: Some(timestamp(record.created_ns)),
        last_used_at: record.last_used_ns.map(timestamp),
        usage_count: number(record.usage_count),
        description: record.description,
        record_type: record.record_type,
        shared: record.shared,
        parents: record.parents,
        ..UsageRecord::default()
    }
}
