//! `debug workers` and `debug info`.

use std::time::Duration;

use cooper_core::model::Failure;
use cooper_engine::server::failure_from_status;
use cooper_proto::control::{InfoRequest, ListWorkersRequest};
use cooper_proto::platform;
use cooper_proto::types::{BuildkitVersion, GcPolicy, WorkerRecord};
use serde_json::{Value, json};

use super::json as wire;
use super::run::print;
use crate::client::Joined;
use crate::command::table::table;
use crate::progress::bytes;

/// Lists the workers.
pub(super) async fn list(
    joined: &Joined,
    filter: Vec<String>,
    verbose: bool,
    format: Option<&str>,
) -> Result<(), Failure> {
    let for_programs = wire::asked(format)?;
    let answer = joined
        .control()
        .list_workers(ListWorkersRequest { filter })
        .await;
    let records = answer
        .map_err(|status| failure_from_status(&status))?
        .into_inner()
        .record;
    if for_programs {
        let all: Vec<Value> = records.iter().map(wire::worker).collect();
        return print(&format!("{}\n", Value::from(all)));
    }
    if verbose {
        return print(&records.iter().map(all_of).collect::<String>());
    }
    let mut rows = vec![vec!["ID".to_owned(), "PLATFORMS".to_owned()]];
    rows.extend(
        records
            .iter()
            .map(|worker| vec![worker.id.clone(), platforms(worker)]),
    );
    print(&table(&rows))
}

/// Shows what the daemon is.
pub(super) async fn info(joined: &Joined, format: Option<&str>) -> Result<(), Failure> {
    let for_programs = wire::asked(format)?;
    let answer = joined.control().info(InfoRequest {}).await;
    let answer = answer.map_err(|status| failure_from_status(&status))?;
    let version = answer.into_inner().buildkit_version.unwrap_or_default();
    if for_programs {
        let value = json!({"buildkitVersion": wire::version(&version)});
        return print(&format!("{value}\n"));
    }
    print(&table(&version_lines(&version)))
}

fn version_lines(version: &BuildkitVersion) -> Vec<Vec<String>> {
    let BuildkitVersion {
        package, revision, ..
    } = version;
    let whole = format!("{package} {} {revision}", version.version);
    let mut lines = vec![vec!["BuildKit:".to_owned(), whole.trim_end().to_owned()]];
    if !version.dockerfile_version.is_empty() {
        lines.push(vec![
            "Dockerfile:".to_owned(),
            version.dockerfile_version.clone(),
        ]);
    }
    lines
}

fn platforms(worker: &WorkerRecord) -> String {
    let all: Vec<String> = worker.platforms.iter().map(platform::format).collect();
    all.join(",")
}

fn all_of(worker: &WorkerRecord) -> String {
    let mut lines = vec![
        vec!["ID:".to_owned(), worker.id.clone()],
        vec!["Platforms:".to_owned(), platforms(worker)],
    ];
    lines.extend(version_lines(
        &worker.buildkit_version.clone().unwrap_or_default(),
    ));
    let mut out = table(&lines);
    out.push_str("Labels:\n");
    let labels = worker.labels.iter();
    out.push_str(&indented(
        labels.map(|(key, value)| (format!("{key}:"), value.clone())),
    ));
    if !worker.cdi_devices.is_empty() {
        out.push_str("Devices:\n");
        for device in &worker.cdi_devices {
            let allowed = match device.on_demand {
                true => ("OnDemand:".to_owned(), "true".to_owned()),
                false => ("AutoAllow:".to_owned(), device.auto_allow.to_string()),
            };
            out.push_str(&indented(
                [("Name:".to_owned(), device.name.clone()), allowed].into_iter(),
            ));
        }
    }
    for (number, policy) in worker.gc_policy.iter().enumerate() {
        out.push_str(&format!("GC Policy rule#{number}:\n"));
        out.push_str(&indented(rule(policy).into_iter()));
    }
    out + "\n"
}

fn rule(policy: &GcPolicy) -> Vec<(String, String)> {
    let mut lines = vec![("All:".to_owned(), policy.all.to_string())];
    let mut line = |key: &str, value: String| lines.push((format!("{key}:"), value));
    if !policy.filters.is_empty() {
        line("Filters", policy.filters.join(" "));
    }
    if let Ok(kept @ 1..) = u64::try_from(policy.keep_duration) {
        let kept = humantime::format_duration(Duration::from_nanos(kept));
        line("Keep duration", kept.to_string());
    }
    for (name, size) in [
        ("Reserved space", policy.reserved_space),
        ("Minimum free space", policy.min_free_space),
        ("Maximum used space", policy.max_used_space),
    ] {
        if let Ok(size @ 1..) = u64::try_from(size) {
            line(name, bytes(size));
        }
    }
    lines
}

fn indented(lines: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<Vec<String>> = lines
        .map(|(key, value)| vec![format!("  {key}"), value])
        .collect();
    table(&rows)
}
