//! `du` and `prune`.

use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_engine::server::failure_from_status;
use cooper_proto::control::{DiskUsageRequest, PruneRequest, UsageRecord};
use futures::StreamExt;
use serde_json::Value;

use super::flags::{DuFlags, PruneFlags};
use super::json;
use super::run::print;
use crate::client::Joined;
use crate::command::table::table;
use crate::progress::bytes;

/// Bytes of what flags call a MB.
const MEGABYTE: f64 = 1e6;

/// Lists the records of the cache.
pub(super) async fn list(joined: &Joined, flags: &DuFlags) -> Result<(), Failure> {
    let for_programs = json::asked(flags.format.as_deref())?;
    let request = DiskUsageRequest {
        filter: flags.filter.clone(),
        age_limit: 0,
    };
    let answer = joined.control().disk_usage(request).await;
    let mut records = answer
        .map_err(|status| failure_from_status(&status))?
        .into_inner()
        .record;
    // As buildctl: the largest last, where the eye is.
    records.sort_by(|a, b| (a.size, &a.id).cmp(&(b.size, &b.id)));
    if for_programs {
        let all: Vec<Value> = records.iter().map(json::usage).collect();
        return print(&format!("{}\n", Value::from(all)));
    }
    let mut text = match flags.verbose {
        true => records.iter().map(verbose).collect(),
        false => rows(&records, true),
    };
    if flags.filter.is_empty() {
        text.push_str(&totals(&records));
    }
    print(&text)
}

/// Removes records, and shows each that went.
pub(super) async fn prune(joined: &Joined, flags: &PruneFlags) -> Result<(), Failure> {
    let for_programs = json::asked(flags.format.as_deref())?;
    let request = request(flags)?;
    let answer = joined.control().prune(request).await;
    let mut removed = answer
        .map_err(|status| failure_from_status(&status))?
        .into_inner();
    let mut total = 0;
    let mut first = true;
    while let Some(record) = removed.next().await {
        let record = record.map_err(|status| failure_from_status(&status))?;
        total += size(&record);
        if for_programs {
            print(&format!("{}\n", json::usage(&record)))?;
        } else if flags.verbose {
            print(&verbose(&record))?;
        } else {
            print(&rows(&[record], first))?;
        }
        first = false;
    }
    match for_programs {
        true => Ok(()),
        false => print(&format!("Total:   {}\n", bytes(total))),
    }
}

fn request(flags: &PruneFlags) -> Result<PruneRequest, Failure> {
    let keep = match flags.keep_duration.as_deref() {
        None => Duration::ZERO,
        Some(text) => humantime::parse_duration(text).map_err(|error| {
            let words = format!("invalid value {text:?} of --keep-duration: {error}");
            Failure::new(FailureKind::InvalidInput, words)
        })?,
    };
    Ok(PruneRequest {
        filter: flags.filter.clone(),
        all: flags.all,
        keep_duration: i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX),
        reserved_space: megabytes("--keep-storage-min", flags.keep_storage_min)?,
        max_used_space: megabytes("--keep-storage", flags.keep_storage)?,
        min_free_space: megabytes("--free-storage", flags.free_storage)?,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be within the range just before, and a fraction of a byte is none"
)]
fn megabytes(flag: &str, count: Option<f64>) -> Result<i64, Failure> {
    let count = count.unwrap_or(0.0) * MEGABYTE;
    if !(0.0..1e18).contains(&count) {
        let words = format!("invalid value of {flag}: it is no size in MB");
        return Err(Failure::new(FailureKind::InvalidInput, words));
    }
    Ok(count as i64)
}

fn size(record: &UsageRecord) -> u64 {
    u64::try_from(record.size).unwrap_or(0)
}

fn rows(records: &[UsageRecord], head: bool) -> String {
    let mark = |text: String, marked: bool| if marked { text + "*" } else { text };
    let mut rows: Vec<Vec<String>> = Vec::new();
    if head {
        rows.push(
            ["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"]
                .map(String::from)
                .to_vec(),
        );
    }
    rows.extend(records.iter().map(|record| {
        vec![
            mark(record.id.clone(), record.mutable),
            (!record.in_use).to_string(),
            mark(bytes(size(record)), record.shared),
            record
                .last_used_at
                .as_ref()
                .map(json::time)
                .unwrap_or_default(),
        ]
    }));
    table(&rows)
}

fn verbose(record: &UsageRecord) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line = |key: &str, value: String| lines.push(vec![format!("{key}:"), value]);
    line("ID", record.id.clone());
    if !record.parents.is_empty() {
        line("Parents", record.parents.join(";"));
    }
    line(
        "Created at",
        record
            .created_at
            .as_ref()
            .map(json::time)
            .unwrap_or_default(),
    );
    line("Mutable", record.mutable.to_string());
    line("Reclaimable", (!record.in_use).to_string());
    line("Shared", record.shared.to_string());
    line("Size", bytes(size(record)));
    if !record.description.is_empty() {
        line("Description", record.description.clone());
    }
    line("Usage count", record.usage_count.to_string());
    if let Some(time) = &record.last_used_at {
        line("Last used", json::time(time));
    }
    if !record.record_type.is_empty() {
        line("Type", record.record_type.clone());
    }
    table(&lines) + "\n"
}

fn totals(records: &[UsageRecord]) -> String {
    let sum = |wanted: &dyn Fn(&UsageRecord) -> bool| -> u64 {
        records
            .iter()
            .filter(|record| wanted(record))
            .map(size)
            .sum()
    };
    let (total, shared) = (sum(&|_| true), sum(&|record| record.shared));
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line = |key: &str, size: u64| lines.push(vec![format!("{key}:"), bytes(size)]);
    if shared > 0 {
        line("Shared", shared);
        line("Private", total - shared);
    }
    line("Reclaimable", sum(&|record| !record.in_use));
    line("Total", total);
    table(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, size: i64, in_use: bool, shared: bool) -> UsageRecord {
        UsageRecord {
            id: id.to_owned(),
            size,
            in_use,
            shared,
            ..UsageRecord::default()
        }
    }

    #[test]
    fn totals_tell_what_could_go() {
        let records = [
            record("a", 1_000_000, false, false),
            record("b", 2_000_000, true, false),
        ];
        assert_eq!(
            totals(&records),
            "Reclaimable:   1.00MB\nTotal:         3.00MB\n"
        );
        let shared = [record("a", 1_000_000, false, true)];
        assert!(totals(&shared).starts_with("Shared:        1.00MB\nPrivate:       0B\n"));
    }

    #[test]
    fn flags_become_bytes_and_nanoseconds() {
        let flags = PruneFlags {
            keep_duration: Some("90m".to_owned()),
            keep_storage: Some(1.5),
            ..PruneFlags::default()
        };
        let request = request(&flags).unwrap();
        assert_eq!(request.keep_duration, 90 * 60 * 1_000_000_000);
        assert_eq!(request.max_used_space, 1_500_000);
        let negative = PruneFlags {
            free_storage: Some(-1.0),
            ..PruneFlags::default()
        };
        assert!(super::request(&negative).is_err());
    }
}
