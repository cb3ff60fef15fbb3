//! What `--check` says of good practice, and what `--fix` changes.

use std::fs;
use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_frontend::practice::{self, Finding, Repair, diff};
use cooper_frontend::subrequest::excerpt;
use serde_json::Value;

use super::call::source;

/// The findings in the Dockerfile that a lint result is about, for people; empty if there are none. Also how many.
pub(super) fn advice(response: &ExportResponse) -> (String, usize) {
    let json = response.get("result.json").map_or("", String::as_str);
    let result: Value = serde_json::from_str(json).unwrap_or_default();
    let (name, text) = source(&result);
    // What is no Dockerfile was told already.
    let found = practice::check(&text).unwrap_or_default();
    let shown = found.iter().map(|finding| shown(&name, &text, finding));
    let mut out = String::new();
    match found.len() {
        0 => {}
        1 => out.push_str("\n1 practice could be better:\n"),
        n => out.push_str(&format!("\n{n} practices could be better:\n")),
    }
    out.extend(shown);
    (out, found.len())
}

fn shown(name: &str, text: &str, finding: &Finding) -> String {
    let practice = finding.practice;
    let mut out = format!(
        "\nPRACTICE: {} - docs/checks/{}\n{}\n  saves: {}\n  do:    {}\n{}",
        practice.name(),
        practice.page(),
        finding.message,
        finding.saves,
        finding.advice,
        excerpt(name, text, &[finding.lines]),
    );
    if let Some(change) = &finding.change {
        out.push_str(&diff(text, change));
    }
    out
}

/// Changes a Dockerfile where checks know how, and says what was done.
///
/// # Errors
/// A file that cannot be read or written, or is no Dockerfile.
pub(super) fn fix(path: &Path) -> Result<String, Failure> {
    let cannot = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("cannot {what} {}: {error}", path.display()),
        )
    };
    let text = fs::read_to_string(path).map_err(|error| cannot("read", &error))?;
    let (repaired, made) = practice::repair(&text).map_err(|fault| cannot("change", &fault))?;
    if made.is_empty() {
        return Ok(format!("{}: nothing to change\n", path.display()));
    }
    fs::write(path, &repaired).map_err(|error| cannot("write", &error))?;
    let (count, plural) = (made.len(), if made.len() == 1 { "" } else { "s" });
    let mut told = format!("{}: {count} change{plural} made\n", path.display());
    for Repair { practice, diff } in &made {
        told.push_str(&format!("\n{}\n{diff}", practice.name()));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixing_changes_the_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Dockerfile");
        fs::write(&path, "FROM alpine:3\nRUN apk add curl\n").unwrap();
        let told = fix(&path).unwrap();
        assert!(
            told.contains("1 change made\n\nPackageCacheKept\n@@"),
            "{told}"
        );
        assert!(
            told.contains("\n-RUN apk add curl\n+RUN apk add --no-cache curl\n"),
            "{told}"
        );
        let changed = fs::read_to_string(&path).unwrap();
        assert_eq!(changed, "FROM alpine:3\nRUN apk add --no-cache curl\n");
        assert!(fix(&path).unwrap().ends_with("nothing to change\n"));
    }

    #[test]
    fn advice_shows_the_place_and_the_change() {
        use base64::Engine as _;
        let data =
            base64::engine::general_purpose::STANDARD.encode("FROM scratch\nRUN apk add x\n");
        let json = format!(r#"{{"sources":[{{"filename":"Dockerfile","data":"{data}"}}]}}"#);
        let response = ExportResponse::from([("result.json".to_owned(), json)]);
        let (text, count) = advice(&response);
        assert_eq!(count, 1);
        assert!(text.contains("PRACTICE: PackageCacheKept"), "{text}");
        assert!(text.contains("+RUN apk add --no-cache x"), "{text}");
    }
}
