use std::fmt::Write as _;

use cooper_frontend::diagnostic::Lines;
use cooper_frontend::subrequest::excerpt;
use cooper_proto::control::VertexWarning;

use super::state::{Progress, clean};

/// The warnings of a build with the lines that they are about, to show at its end; empty when there are none.
#[must_use]
pub fn warnings_text(progress: &Progress) -> String {
    let warnings = progress.warnings();
    let count = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        n => format!("{n} warnings found"),
    };
    let mut out = format!("\n {count}:\n");
    for warning in warnings {
        push(&mut out, warning);
    }
    out
}

fn push(out: &mut String, warning: &VertexWarning) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, " - {}", text(&warning.short));
    for detail in &warning.detail {
        let _ = writeln!(out, "{}", text(detail));
    }
    if !warning.url.is_empty() {
        let _ = writeln!(out, "More info: {}", clean(&warning.url));
    }
    if let Some(info) = &warning.info {
        let line = |position: Option<&cooper_proto::pb::Position>| {
            position.and_then(|position| u32::try_from(position.line).ok())
        };
        let places: Vec<Lines> = warning
            .ranges
            .iter()
            .filter_map(|range| {
                Some(Lines::new(
                    line(range.start.as_ref())?,
                    line(range.end.as_ref())?,
                ))
            })
            .collect();
        let file = String::from_utf8_lossy(&info.data);
        for line in excerpt(&info.filename, &file, &places).lines() {
            let _ = writeln!(out, "{}", clean(line));
        }
    }
    out.push('\n');
}

fn text(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use cooper_proto::control::StatusResponse;
    use cooper_proto::pb::{Position, Range, SourceInfo};

    use super::*;

    #[test]
    fn warnings_show_the_lines_that_they_are_about() {
        let position = Position {
            line: 2,
            character: 0,
        };
        let warning = VertexWarning {
            short: b"MaintainerDeprecated: old (line 2)".to_vec(),
            detail: vec![b"Use a label.".to_vec()],
            url: "https://example.com/rule".into(),
            info: Some(SourceInfo {
                filename: "Dockerfile".into(),
                data: b"FROM a\nMAINTAINER x\n".to_vec(),
                ..SourceInfo::default()
            }),
            ranges: vec![Range {
                start: Some(position),
                end: Some(position),
            }],
            ..VertexWarning::default()
        };
        let mut progress = Progress::default();
        assert_eq!(warnings_text(&progress), "");
        progress.apply(&StatusResponse {
            warnings: vec![warning],
            ..StatusResponse::default()
        });
        assert_eq!(
            warnings_text(&progress),
            "\n 1 warning found:\n - MaintainerDeprecated: old (line 2)\nUse a label.\nMore info: https://example.com/rule\nDockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> MAINTAINER x\n   3 |     \n--------------------\n\n"
        );
    }
}
