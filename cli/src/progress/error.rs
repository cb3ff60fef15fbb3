use std::fmt::Write as _;

use cooper_core::model::{Failure, FailureKind, SourceLocation};

use super::state::{Progress, VertexState, clean};

/// Lines of output that are shown of a step that failed.
const LOG_LINES: usize = 20;

/// What to show at the end of a build that failed: the failed step's last lines of output, the place in the
/// Dockerfile with markers, the message and a hint.
#[must_use]
pub fn failure_text(progress: &Progress, failure: &Failure) -> String {
    let mut out = String::new();
    let named = failure.vertex.as_ref().map(|d| d.as_str());
    let vertex = named
        .and_then(|digest| progress.find(digest))
        .or_else(|| progress.vertices().find(|v| is_failed(v)));
    if let Some(vertex) = vertex {
        out.push_str(&step_log(vertex));
    }
    for location in &failure.locations {
        out.push_str(&excerpt(location));
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "ERROR: {}", headline(failure));
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "hint: {hint}");
    }
    out
}

fn headline(failure: &Failure) -> String {
    match failure.kind {
        FailureKind::Cancelled => "the build was cancelled".into(),
        FailureKind::Internal => format!(
            "internal error: {} (this is a fault of Cooper's own)",
            failure.message
        ),
        _ => format!("failed to build: {}", failure.message),
    }
}

fn is_failed(vertex: &VertexState) -> bool {
    !vertex.error.is_empty() && !vertex.is_cancelled()
}

/// The last lines of output of a step between two rules; empty when it wrote nothing.
#[must_use]
pub fn step_log(vertex: &VertexState) -> String {
    if vertex.log.is_empty() {
        return String::new();
    }
    let mut out = format!("------\n > {}:\n", vertex.name);
    let began = vertex.intervals.last().map_or(0, |(start, _)| *start);
    let skipped = vertex.log.len().saturating_sub(LOG_LINES);
    for line in vertex.log.iter().skip(skipped) {
        let milliseconds = line.time.saturating_sub(began) / 1_000_000;
        let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
        let _ = writeln!(out, "{whole}.{rest:03} {}", clean(&line.text));
    }
    out.push_str("------\n");
    out
}

/// A part of a file with the lines in question marked by `>>>`, as BuildKit's clients show it.
fn excerpt(location: &SourceLocation) -> String {
    let lines: Vec<&str> = location.file.text.lines().collect();
    let line_numbers = |range: &cooper_core::model::SourceRange| {
        (range.start_line as usize, range.end_line as usize)
    };
    let ranges: Vec<(usize, usize)> = location.ranges.iter().map(line_numbers).collect();
    let (Some(first), Some(last)) = (
        ranges.iter().map(|(start, _)| *start).min(),
        ranges.iter().map(|(_, end)| *end).max(),
    ) else {
        return String::new();
    };
    if first < 1 || first > lines.len() {
        return String::new();
    }
    let last = last.clamp(first, lines.len());
    // A single line needs more around it to be found again.
    let around = if first == last { 2 } else { 1 };
    let from = first.saturating_sub(around).max(1);
    let to = (last + around).min(lines.len());
    let rule = "--------------------";
    let mut out = format!("{}:{first}\n{rule}\n", clean(&location.file.name));
    for number in from..=to {
        let is_meant = ranges.iter().any(|(s, e)| (*s..=*e).contains(&number));
        let mark = if is_meant { ">>>" } else { "   " };
        let _ = writeln!(out, " {number:3} | {mark} {}", clean(lines[number - 1]));
    }
    let _ = writeln!(out, "{rule}");
    out
}
