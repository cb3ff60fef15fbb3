//! What users see, at given moments of a build that is told here.

use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, SourceFile, SourceLocation, SourceRange};
use cooper_proto::Digest;
use cooper_proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus, VertexWarning};
use prost_types::Timestamp;

use super::tty::{Size, Stage};
use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(tenths: i64) -> Timestamp {
    Timestamp {
        seconds: tenths / 10,
        nanos: i32::try_from(tenths % 10).unwrap() * 100_000_000,
    }
}

fn digest(id: &str) -> String {
    Digest::sha256_of(id).to_string()
}

fn vertex(id: &str, name: &str, started: i64, completed: Option<i64>) -> StatusResponse {
    StatusResponse {
        vertexes: vec![Vertex {
            digest: digest(id),
            name: name.into(),
            started: Some(at(started)),
            completed: completed.map(at),
            ..Vertex::default()
        }],
        ..StatusResponse::default()
    }
}

fn cached(id: &str, name: &str, time: i64) -> StatusResponse {
    let mut news = vertex(id, name, time, Some(time));
    news.vertexes[0].cached = true;
    news
}

fn failed(id: &str, name: &str, started: i64, completed: i64, error: &str) -> StatusResponse {
    let mut news = vertex(id, name, started, Some(completed));
    news.vertexes[0].error = error.into();
    news
}

fn log(id: &str, time: i64, text: &str) -> StatusResponse {
    StatusResponse {
        logs: vec![VertexLog {
            vertex: digest(id),
            timestamp: Some(at(time)),
            stream: 1,
            msg: text.as_bytes().to_vec().into(),
        }],
        ..StatusResponse::default()
    }
}

fn part(id: &str, name: &str, current: i64, total: i64, times: [Option<i64>; 3]) -> StatusResponse {
    let [started, seen, completed] = times;
    StatusResponse {
        statuses: vec![VertexStatus {
            id: name.into(),
            vertex: digest(id),
            current,
            total,
            timestamp: seen.map(at),
            started: started.map(at),
            completed: completed.map(at),
            ..VertexStatus::default()
        }],
        ..StatusResponse::default()
    }
}

/// A build with a cached step, a pull under way, two parallel steps and a warning.
fn story() -> Vec<(u64, StatusResponse)> {
    let warning = StatusResponse {
        warnings: vec![VertexWarning {
            vertex: digest("load"),
            short: b"StageNameCasing: Stage name 'Builder' should be lowercase (line 1)".to_vec(),
            ..VertexWarning::default()
        }],
        ..StatusResponse::default()
    };
    vec![
        (
            0,
            vertex(
                "load",
                "[internal] load build definition from Dockerfile",
                0,
                None,
            ),
        ),
        (
            0,
            part(
                "load",
                "transferring dockerfile:",
                321,
                0,
                [Some(0), Some(1), Some(1)],
            ),
        ),
        (0, warning),
        (
            SECOND,
            vertex(
                "load",
                "[internal] load build definition from Dockerfile",
                0,
                Some(1),
            ),
        ),
        (SECOND, cached("base", "[builder 1/3] FROM debian", 2)),
        (SECOND, vertex("a", "[builder 2/3] RUN make", 3, None)),
        (
            SECOND,
            vertex("b", "[final 1/2] FROM docker.io/library/busybox", 3, None),
        ),
        (2 * SECOND, log("a", 11, "cc -c main.c\ncc -c ")),
        (
            2 * SECOND,
            part(
                "b",
                "sha256:0123",
                1_500_000,
                6_000_000,
                [Some(3), Some(20), None],
            ),
        ),
        (
            3 * SECOND,
            log("a", 25, "other.c\n\u{1b}[31mwarning\u{1b}[0m: x\n"),
        ),
        (
            8 * SECOND,
            part(
                "b",
                "sha256:0123",
                6_000_000,
                6_000_000,
                [Some(3), Some(70), Some(70)],
            ),
        ),
        (
            8 * SECOND,
            vertex(
                "b",
                "[final 1/2] FROM docker.io/library/busybox",
                3,
                Some(71),
            ),
        ),
        (
            9 * SECOND,
            vertex("a", "[builder 2/3] RUN make", 3, Some(85)),
        ),
    ]
}

fn known(until: u64) -> Progress {
    let mut progress = Progress::default();
    for (time, news) in story() {
        if time <= until {
            progress.apply(&news);
        }
    }
    progress
}

fn text(frame: &Frame) -> String {
    frame
        .lines
        .iter()
        .map(|l| format!("{}|\n", l.text))
        .collect()
}

const WIDE: Size = Size {
    width: 72,
    height: 40,
};

#[test]
fn terminal_shows_steps_parts_and_output_while_they_run() {
    let frame = frame(&known(3 * SECOND), 0, 3 * SECOND, WIDE, Stage::Running);
    insta::assert_snapshot!(text(&frame));
}

#[test]
fn finished_terminal_view_has_no_output() {
    let frame = frame(&known(9 * SECOND), 0, 9 * SECOND, WIDE, Stage::Finished);
    insta::assert_snapshot!(text(&frame));
}

#[test]
fn small_terminal_drops_output_then_ended_steps() {
    let size = Size {
        width: 40,
        height: 6,
    };
    let frame = frame(&known(3 * SECOND), 0, 3 * SECOND, size, Stage::Running);
    assert!(frame.lines.len() < size.height);
    assert!(
        frame
            .lines
            .iter()
            .all(|l| l.text.chars().count() <= size.width)
    );
    insta::assert_snapshot!(text(&frame));
}

#[test]
fn plain_text_keeps_what_one_step_says_together() {
    let mut plain = Plain::default();
    let mut out = String::new();
    for (time, news) in story() {
        out.push_str(&plain.update(&news, time));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn plain_text_gives_the_floor_to_who_waited_long() {
    let mut plain = Plain::default();
    let mut out = String::new();
    for (time, news) in [
        (0, vertex("a", "first", 0, None)),
        (0, vertex("b", "second", 0, None)),
        (SECOND, log("a", 10, "one\n")),
        (SECOND, log("b", 10, "two\n")),
        (2 * SECOND, log("a", 20, "three\n")),
    ] {
        out.push_str(&plain.update(&news, time));
    }
    out.push_str("-- six seconds\n");
    out.push_str(&plain.tick(6 * SECOND));
    out.push_str(&plain.update(&failed("a", "first", 0, 70, "exit code: 1"), 7 * SECOND));
    out.push_str(&plain.update(
        &failed("b", "second", 0, 70, "context canceled"),
        7 * SECOND,
    ));
    insta::assert_snapshot!(out);
}

#[test]
fn raw_json_has_the_names_of_buildkit() {
    let lines: String = story()
        .iter()
        .take(3)
        .chain(&[(0, log("load", 1, "hi\n"))])
        .map(|(_, news)| status_line(news) + "\n")
        .collect();
    insta::assert_snapshot!(lines.replace(&digest("load"), "DIGEST"));
}

#[test]
fn failure_shows_output_and_the_marked_line() {
    let mut progress = Progress::default();
    progress.apply(&vertex("r", "[2/2] RUN make", 10, None));
    progress.apply(&log("r", 12, "cc: no such file\nmake: *** [all] Error 2\n"));
    progress.apply(&failed("r", "[2/2] RUN make", 10, 13, "exit code: 2"));
    let file = SourceFile {
        name: "Dockerfile".into(),
        language: "Dockerfile".into(),
        text: "FROM debian\nWORKDIR /src\nCOPY . .\nRUN make \\\n  all\nCMD [\"x\"]\n".into(),
        definition: None,
    };
    let range = SourceRange {
        start_line: 4,
        end_line: 5,
        ..SourceRange::default()
    };
    let message = "process \"/bin/sh -c make all\" did not complete successfully: exit code: 2";
    let failure = Failure::new(FailureKind::Exit { code: 2 }, message)
        .of_vertex(&digest("r").parse().unwrap())
        .at(SourceLocation {
            file: Arc::new(file),
            ranges: vec![range],
        })
        .with_hint("a file is missing from the context");
    insta::assert_snapshot!(failure_text(&progress, &failure));
}

#[test]
fn summary_says_what_was_cached_where_time_went_and_how_big_layers_are() {
    let layers = [
        LayerLine {
            size: 48_500_000,
            created_by: "debootstrap".into(),
        },
        LayerLine {
            size: 1_234,
            created_by: "COPY --from=builder /app /app # buildkit".into(),
        },
    ];
    let text = summary(&known(9 * SECOND), 0, 9 * SECOND, &layers);
    insta::assert_snapshot!(text);
}
