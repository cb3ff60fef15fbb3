//! `--attest`, `--provenance` and `--sbom` as buildx has them.

use std::collections::BTreeMap;

use super::csv;
use super::error::UsageError;
use super::flags::BuildFlags;

/// What the frontend and the engine are told of the statements that are wanted.
///
/// # Errors
/// For a statement that is asked for twice, or in a way that there is not.
pub(super) fn options(flags: &BuildFlags) -> Result<BTreeMap<String, String>, UsageError> {
    let mut asked: Vec<(String, String)> = Vec::new();
    for text in &flags.attest {
        asked.push((format!("--attest {text}"), text.clone()));
    }
    for (kind, value) in [("provenance", &flags.provenance), ("sbom", &flags.sbom)] {
        let Some(value) = value else { continue };
        let text = match yes_or_no(value) {
            Some(true) => format!("type={kind}"),
            Some(false) => format!("type={kind},disabled=true"),
            None => format!("type={kind},{value}"),
        };
        asked.push((format!("--{kind}={value}"), text));
    }
    let mut options = BTreeMap::new();
    let mut seen = Vec::new();
    for (shown, text) in asked {
        let wanted = Wanted::read(&shown, &text)?;
        if seen.contains(&wanted.kind) {
            return Err(UsageError::plain(format!(
                "duplicate attestation field {}",
                wanted.kind
            )));
        }
        if !wanted.disabled {
            options.insert(format!("attest:{}", wanted.kind), wanted.attributes);
        }
        seen.push(wanted.kind);
    }
    match cooper_core::attest::Wanted::read(&options) {
        Ok(_) => Ok(options),
        Err(failure) => Err(UsageError::plain(failure.message)),
    }
}

struct Wanted {
    kind: String,
    disabled: bool,
    /// All but these two, as they were.
    attributes: String,
}

impl Wanted {
    fn read(shown: &str, text: &str) -> Result<Self, UsageError> {
        let wrong = |what: &str| UsageError::plain(format!("invalid value of {shown}: {what}"));
        let fields = csv::fields(text).ok_or_else(|| wrong("a quote is not closed"))?;
        let mut kind = None;
        let mut disabled = false;
        let mut kept = Vec::new();
        for field in fields {
            match field.split_once('=') {
                Some(("type", value)) => kind = Some(value.to_owned()),
                Some(("disabled", value)) => {
                    disabled = yes_or_no(value).ok_or_else(|| {
                        wrong(&format!("disabled is {value:?}, not true or false"))
                    })?;
                }
                Some(_) => kept.push(quoted(&field)),
                None => return Err(wrong(&format!("{field:?} is no NAME=VALUE"))),
            }
        }
        Ok(Self {
            kind: kind.ok_or_else(|| wrong("attestation type not specified"))?,
            disabled,
            attributes: kept.join(","),
        })
    }
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A field as comma-separated values have it.
fn quoted(field: &str) -> String {
    match field.contains([',', '"']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
