//! Domain types in the words of the progress stream (parity sheet F).

use cooper_core::cachekey::MissReason;
use cooper_core::model::{LogStream, SourceLocation, Warning};
use cooper_proto::{control, pb};
use prost_types::Timestamp;

/// A time in nanoseconds since 1970 as the wire has it.
pub(crate) fn timestamp(ns: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}

/// A stream's number on the wire.
pub(super) fn stream_number(stream: LogStream) -> i64 {
    match stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    }
}

/// A file and its ranges as the wire has them.
pub(crate) fn location_source(location: &SourceLocation) -> (pb::SourceInfo, Vec<pb::Range>) {
    let position = |line: u32, character: u32| pb::Position {
        line: i32::try_from(line).unwrap_or(i32::MAX),
        character: i32::try_from(character).unwrap_or(i32::MAX),
    };
    let info = pb::SourceInfo {
        filename: location.file.name.clone(),
        data: location.file.text.clone().into_bytes(),
        definition: location.file.definition.as_deref().cloned(),
        language: location.file.language.clone(),
    };
    let ranges = location
        .ranges
        .iter()
        .map(|range| pb::Range {
            start: Some(position(range.start_line, range.start_character)),
            end: Some(position(range.end_line, range.end_character)),
        })
        .collect();
    (info, ranges)
}

/// A warning as the wire has it, said to be of `vertex` unless it names one.
pub(super) fn warning(warning: &Warning, vertex: &str) -> control::VertexWarning {
    let (info, ranges) = warning
        .location
        .as_ref()
        .map(location_source)
        .map_or((None, Vec::new()), |(info, ranges)| (Some(info), ranges));
    control::VertexWarning {
        vertex: warning
            .vertex
            .as_ref()
            .map_or_else(|| vertex.to_owned(), ToString::to_string),
        level: i64::from(warning.level),
        short: warning.short.clone().into_bytes(),
        detail: warning
            .detail
            .iter()
            .map(|line| line.clone().into_bytes())
            .collect(),
        url: warning.url.clone(),
        info,
        ranges,
    }
}

/// Why a vertex ran, as a name.
pub(crate) fn miss_kind(reason: &MissReason) -> &'static str {
    match reason {
        MissReason::IgnoreCache => "ignore_cache",
        MissReason::NewOp => "new_op",
        MissReason::InputChanged { .. } => "input_changed",
        MissReason::NewCombination => "new_combination",
        MissReason::ResultGone => "result_gone",
        MissReason::NeverMatches => "never_matches",
        MissReason::StoreFailed => "store_failed",
    }
}

/// Why a vertex ran, in words for the user.
pub(crate) fn miss_text(reason: &MissReason) -> String {
    match reason {
        MissReason::IgnoreCache => "the cache was not to be used".to_owned(),
        MissReason::NewOp => "new, or its definition changed".to_owned(),
        MissReason::InputChanged { input } => format!("input {input} changed"),
        MissReason::NewCombination => "its inputs were never seen together".to_owned(),
        MissReason::ResultGone => "its result is no longer in the store".to_owned(),
        MissReason::NeverMatches => "its source is new in each build".to_owned(),
        MissReason::StoreFailed => "the cache could not be asked".to_owned(),
    }
}
