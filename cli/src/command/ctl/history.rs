//! Builds that are remembered: listing, following, forgetting them, and what they said.

use cooper_core::model::{Failure, FailureKind};
use cooper_engine::server::failure_from_status;
use cooper_proto::Digest;
use cooper_proto::control::{
    BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildHistoryRequest, Descriptor,
    StatusRequest, UpdateBuildHistoryRequest,
};
use futures::{Stream, StreamExt};

use super::flags::LogsFlags;
use super::json;
use super::run::print;
use crate::client::Joined;
use crate::command::ProgressMode;
use crate::command::follow::{terminal_size, view};
use crate::command::table::table;
use crate::config::{Environment, now_ns};
use crate::progress::View;

/// Lists the records.
pub(super) async fn list(joined: &Joined, format: Option<&str>) -> Result<(), Failure> {
    let for_programs = json::asked(format)?;
    let known = known(joined).await?;
    if for_programs {
        let lines = known
            .iter()
            .map(|event| format!("{}\n", json::event(event)));
        return print(&lines.collect::<String>());
    }
    print(&rows(&known))
}

/// Removes the records that are not pinned.
pub(super) async fn forget(joined: &Joined, format: Option<&str>) -> Result<(), Failure> {
    let for_programs = json::asked(format)?;
    let mut removed = Vec::new();
    let mut failed = None;
    for event in known(joined).await? {
        let record = event.record.clone().unwrap_or_default();
        if record.pinned {
            continue;
        }
        match change(joined, &record.r#ref, false, true).await {
            Ok(()) => removed.push(event),
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    let text = match for_programs {
        true => removed
            .iter()
            .map(|event| format!("{}\n", json::event(event)))
            .collect(),
        false => rows(&removed),
    };
    print(&text)?;
    failed.map_or(Ok(()), Err)
}

/// Changes the record of a build.
pub(super) async fn change(
    joined: &Joined,
    build: &str,
    pinned: bool,
    delete: bool,
) -> Result<(), Failure> {
    let request = UpdateBuildHistoryRequest {
        r#ref: build.to_owned(),
        pinned,
        delete,
        finalize: false,
    };
    let answer = joined.control().update_build_history(request).await;
    answer
        .map(|_| ())
        .map_err(|status| failure_from_status(&status))
}

/// Shows what happens to builds until the daemon ends.
pub(super) async fn monitor(
    joined: &Joined,
    completed: bool,
    build: Option<String>,
) -> Result<(), Failure> {
    let request = BuildHistoryRequest {
        active_only: !completed,
        r#ref: build.unwrap_or_default(),
        ..BuildHistoryRequest::default()
    };
    let events = listen(joined, request).await?;
    tokio::pin!(events);
    while let Some(event) = events.next().await {
        print(&shown(&event?))?;
    }
    Ok(())
}

/// Shows what a build said, and goes on while it runs.
pub(super) async fn logs(
    joined: &Joined,
    flags: &LogsFlags,
    environment: &Environment,
) -> Result<(), Failure> {
    if flags.trace {
        return trace(joined, &flags.build).await;
    }
    let request = StatusRequest {
        r#ref: flags.build.clone(),
    };
    let answer = joined.control().status(request).await;
    let mut news = answer
        .map_err(|status| failure_from_status(&status))?
        .into_inner();
    let mode = match flags.progress {
        ProgressMode::Auto if environment.stdout_is_terminal => ProgressMode::Tty,
        ProgressMode::Auto => ProgressMode::Plain,
        mode => mode,
    };
    let mut view: View = view(mode, environment, now_ns());
    while let Some(news) = news.next().await {
        let news = news.map_err(|status| failure_from_status(&status))?;
        print(&view.news(&news, now_ns()))?;
    }
    print(&view.finish(now_ns(), terminal_size()))
}

async fn trace(joined: &Joined, build: &str) -> Result<(), Failure> {
    let request = BuildHistoryRequest {
        r#ref: build.to_owned(),
        early_exit: true,
        ..BuildHistoryRequest::default()
    };
    let events = listen(joined, request).await?;
    tokio::pin!(events);
    let missing =
        |what: &str| Failure::new(FailureKind::NotFound, format!("the build {build} {what}"));
    let event = events
        .next()
        .await
        .ok_or_else(|| missing("is not known"))??;
    let trace = event.record.and_then(|record| record.trace);
    let trace = trace.ok_or_else(|| missing("has no trace"))?;
    let digest: Digest = trace
        .digest
        .parse()
        .map_err(|_| missing("has a trace without a digest"))?;
    joined
        .read_blob(&digest, |part| print(&String::from_utf8_lossy(part)))
        .await
}

async fn known(joined: &Joined) -> Result<Vec<BuildHistoryEvent>, Failure> {
    let request = BuildHistoryRequest {
        early_exit: true,
        ..BuildHistoryRequest::default()
    };
    let events = listen(joined, request).await?;
    tokio::pin!(events);
    let mut known = Vec::new();
    while let Some(event) = events.next().await {
        known.push(event?);
    }
    Ok(known)
}

async fn listen(
    joined: &Joined,
    request: BuildHistoryRequest,
) -> Result<impl Stream<Item = Result<BuildHistoryEvent, Failure>>, Failure> {
    let answer = joined.control().listen_build_history(request).await;
    let events = answer.map_err(|status| failure_from_status(&status))?;
    Ok(events
        .into_inner()
        .map(|event| event.map_err(|status| failure_from_status(&status))))
}

fn rows(events: &[BuildHistoryEvent]) -> String {
    let head = [
        "TYPE",
        "REF",
        "CREATED",
        "COMPLETED",
        "GENERATION",
        "PINNED",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for event in events {
        let record = event.record.clone().unwrap_or_default();
        let time = |time: Option<_>| time.as_ref().map(json::time).unwrap_or_default();
        rows.push(vec![
            kind(event).to_owned(),
            record.r#ref,
            time(record.created_at),
            time(record.completed_at),
            record.generation.to_string(),
            if record.pinned { "*" } else { "" }.to_owned(),
        ]);
    }
    table(&rows)
}

fn kind(event: &BuildHistoryEvent) -> &'static str {
    BuildHistoryEventType::try_from(event.r#type).map_or("UNKNOWN", |kind| kind.as_str_name())
}

fn shown(event: &BuildHistoryEvent) -> String {
    let record = event.record.clone().unwrap_or_default();
    let mut out = format!("event: {} ref:{}\n", kind(event), record.r#ref);
    if record.num_total_steps != 0 {
        let (cached, total) = (record.num_cached_steps, record.num_total_steps);
        out.push_str(&format!("  cache: {cached}/{total}\n"));
    }
    if record.num_warnings != 0 {
        out.push_str(&format!("  warnings: {}\n", record.num_warnings));
    }
    let mut line = |what: String, blob: &Descriptor| {
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = blob;
        out.push_str(&format!("  {what}: {media_type} {digest} {size}\n"));
    };
    for (what, blob) in [("logs", &record.logs), ("trace", &record.trace)] {
        if let Some(blob) = blob {
            line(what.to_owned(), blob);
        }
    }
    for (of, blob) in results(&record) {
        line(of, &blob);
    }
    out
}

/// What a build made, with what each thing is.
fn results(record: &BuildHistoryRecord) -> Vec<(String, Descriptor)> {
    let whole = record.result.iter().map(|result| (String::new(), result));
    let parts = record.results.iter();
    let parts = parts.map(|(platform, result)| (format!("[{platform}] "), result));
    let mut all = Vec::new();
    for (of, result) in whole.chain(parts) {
        // Daemons before 0.13 say it there.
        let old = result.result_deprecated.clone();
        let made: Vec<Descriptor> = match result.results.is_empty() {
            true => old.into_iter().collect(),
            false => result.results.values().cloned().collect(),
        };
        all.extend(
            made.into_iter()
                .map(|blob| (format!("{of}descriptor"), blob)),
        );
        let stated = result.attestations.iter().cloned();
        all.extend(stated.map(|blob| (format!("{of}attestation"), blob)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_shown_as_buildctl_shows_them() {
        let event = BuildHistoryEvent {
            r#type: BuildHistoryEventType::Complete.into(),
            record: Some(BuildHistoryRecord {
                r#ref: "r1".to_owned(),
                num_total_steps: 3,
                num_cached_steps: 1,
                logs: Some(Descriptor {
                    media_type: "m".to_owned(),
                    digest: "sha256:x".to_owned(),
                    size: 5,
                    ..Descriptor::default()
                }),
                ..BuildHistoryRecord::default()
            }),
        };
        let expected = "event: COMPLETE ref:r1\n  cache: 1/3\n  logs: m sha256:x 5\n";
        assert_eq!(shown(&event), expected);
        let line = rows(&[event]).lines().nth(1).map(str::to_owned);
        let cells: Vec<_> = line
            .iter()
            .flat_map(|line| line.split_whitespace())
            .collect();
        assert_eq!(cells, ["COMPLETE", "r1", "0"]);
    }
}
