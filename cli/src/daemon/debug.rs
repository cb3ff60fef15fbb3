//! What a daemon shows of itself over HTTP to who looks after it (`--debugaddr`). Nobody else is to reach the address.
//!
//! The addresses of pages are buildkitd's as far as they make sense here; those of Go's own machinery do not.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;

use cooper_engine::server::Connections;
use cooper_engine::{Engine, Vitals};
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages, and what is on each.
const PAGES: &[(&str, &str)] = &[
    ("/metrics", "numbers for Prometheus"),
    ("/debug/vars", "the same and the command line, as JSON"),
    ("/debug/requests", "builds that run"),
    ("/debug/pprof/goroutine", "tasks that run, by what they are"),
    ("/debug/pprof/cmdline", "the command line"),
];

/// Shows pages to whoever connects, until `stop`.
pub(super) async fn serve_pages(
    mut connections: Connections,
    engine: Engine,
    stop: CancellationToken,
) {
    let talking = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            connection = connections.next() => connection,
            () = stop.cancelled() => break,
        };
        let Some(Ok(connection)) = connection else {
            break;
        };
        let (engine, stop) = (engine.clone(), stop.clone());
        talking.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = page(&engine, request.method(), request.uri().path());
                futures::future::ready(Ok::<_, Infallible>(answer))
            });
            let talk = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), answer);
            tokio::select! {
                ended = talk => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "who looked at the debug pages was cut off");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
    }
    talking.close();
    talking.wait().await;
}

type Page = Response<String>;

fn page(engine: &Engine, method: &Method, path: &str) -> Page {
    if method != Method::GET && method != Method::HEAD {
        return answer(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "pages are only read\n".into(),
        );
    }
    let ok = |kind, text| answer(StatusCode::OK, kind, text);
    match path {
        "/" | "/debug" | "/debug/" | "/debug/pprof" | "/debug/pprof/" => ok(TEXT, index()),
        "/metrics" => ok(METRICS, metrics(&engine.vitals(), &Process::read())),
        "/debug/vars" => ok(JSON, variables(&engine.vitals(), &Process::read())),
        "/debug/requests" => ok(TEXT, builds(&engine.vitals())),
        "/debug/pprof/goroutine" => ok(TEXT, tasks(&engine.vitals())),
        "/debug/pprof/cmdline" => ok(TEXT, command_line().join("\0")),
        _ => {
            let text = format!("there is no page {path}; there are:\n\n{}", index());
            answer(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn answer(status: StatusCode, kind: &'static str, text: String) -> Page {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn index() -> String {
    let mut text = String::new();
    for (path, what) in PAGES {
        let _infallible = writeln!(text, "{path:24} {what}");
    }
    text
}

/// What the kernel says of this process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Process {
    /// Memory that is there for it, in bytes.
    resident: u64,
    threads: u64,
    descriptors: u64,
}

impl Process {
    fn read() -> Self {
        // Without /proc there is nothing to say.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            descriptors: u64::try_from(descriptors).unwrap_or(u64::MAX),
            ..Self::of_status(&status)
        }
    }

    fn of_status(status: &str) -> Self {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.and_then(|line| line.split_whitespace().next());
            text.and_then(|text| text.parse().ok()).unwrap_or(0_u64)
        };
        Self {
            resident: number("VmRSS:") * 1024,
            threads: number("Threads:"),
            descriptors: 0,
        }
    }
}

/// The names are the ones that OpenTelemetry's exporter makes of buildkitd's.
fn metrics(vitals: &Vitals, process: &Process) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, what: &str, values: &[(String, u64)]| {
        let _infallible = write!(text, "# HELP {name} {what}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            let _infallible = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: u64| vec![(String::new(), value)];
    let count = |count: usize| one(u64::try_from(count).unwrap_or(u64::MAX));
    let ended: Vec<_> = vitals
        .ended
        .iter()
        .map(|(code, count)| {
            let status = if *code == 0 { "completed" } else { "error" };
            let code = tonic::Code::from(*code);
            (
                format!("{{status=\"{status}\",error_code=\"{code:?}\"}}"),
                *count,
            )
        })
        .collect();
    put(
        "buildkit_builds_total",
        "counter",
        "Builds that have ended.",
        &ended,
    );
    put(
        "buildkit_builds_running",
        "gauge",
        "Builds that run.",
        &count(vitals.running.len()),
    );
    put(
        "buildkit_sessions",
        "gauge",
        "Clients that are attached.",
        &count(vitals.sessions),
    );
    let tasks: Vec<_> = vitals
        .tasks
        .iter()
        .map(|(what, count)| {
            let count = u64::try_from(*count).unwrap_or(u64::MAX);
            (format!("{{kind=\"{what}\"}}"), count)
        })
        .collect();
    put("cooper_tasks", "gauge", "Tasks that run.", &tasks);
    put(
        "process_resident_memory_bytes",
        "gauge",
        "Memory.",
        &one(process.resident),
    );
    put(
        "process_threads",
        "gauge",
        "Threads.",
        &one(process.threads),
    );
    put(
        "process_open_fds",
        "gauge",
        "Open descriptors.",
        &one(process.descriptors),
    );
    text
}

fn variables(vitals: &Vitals, process: &Process) -> String {
    let running: Vec<_> = vitals.running.iter().map(ToString::to_string).collect();
    let ended: BTreeMap<_, _> = vitals
        .ended
        .iter()
        .map(|(code, count)| (format!("{:?}", tonic::Code::from(*code)), count))
        .collect();
    let all = serde_json::json!({
        "cmdline": command_line(),
        "version": env!("CARGO_PKG_VERSION"),
        "builds": { "running": running, "ended": ended },
        "sessions": vitals.sessions,
        "tasks": vitals.tasks,
        "process": {
            "resident_bytes": process.resident,
            "threads": process.threads,
            "open_fds": process.descriptors,
        },
    });
    format!("{all:#}\n")
}

fn builds(vitals: &Vitals) -> String {
    let mut text = format!("{} builds run\n", vitals.running.len());
    for id in &vitals.running {
        let _infallible = writeln!(text, "{id}");
    }
    text
}

fn tasks(vitals: &Vitals) -> String {
    let mut text = format!("{} tasks run\n", vitals.tasks.values().sum::<usize>());
    for (what, count) in &vitals.tasks {
        let _infallible = writeln!(text, "{count:6} {what}");
    }
    text
}

fn command_line() -> Vec<String> {
    let words = fs::read("/proc/self/cmdline").unwrap_or_default();
    let words = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use cooper_core::model::JobId;

    use super::*;

    #[test]
    fn numbers_are_what_prometheus_reads() {
        let vitals = Vitals {
            running: vec![JobId("one".into())],
            ended: [(0, 3), (2, 1)].into(),
            sessions: 2,
            tasks: [("a build", 1)].into(),
        };
        let process = Process::of_status("Name:\tx\nVmRSS:\t  20 kB\nThreads:\t4\n");
        assert_eq!((process.resident, process.threads), (20480, 4));
        let text = metrics(&vitals, &process);
        for line in [
            "buildkit_builds_total{status=\"completed\",error_code=\"Ok\"} 3",
            "buildkit_builds_total{status=\"error\",error_code=\"Unknown\"} 1",
            "buildkit_builds_running 1",
            "buildkit_sessions 2",
            "cooper_tasks{kind=\"a build\"} 1",
            "process_resident_memory_bytes 20480",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        let values: serde_json::Value =
            serde_json::from_str(&variables(&vitals, &process)).expect("JSON");
        assert_eq!(values["builds"]["ended"]["Ok"], 3);
        assert_eq!(values["builds"]["running"][0], "one");
    }
}
