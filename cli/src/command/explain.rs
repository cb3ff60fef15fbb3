//! `cooper explain`: why steps ran or were reused.

use std::io::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum};
use cooper_engine::explain::{Explanation, explain, to_text};
use cooper_engine::history::{Record, RecordedVertex, read_all};
use cooper_proto::cooper::ExplainRequest;
use serde_json::json;

use super::{FAILED, OK};
use crate::client::{Client, Joined, Place};

const EXAMPLES: &str = "\
Examples:
  cooper explain                    Why the steps of the last build ran
  cooper explain 4f1 c02            What is different between two builds
  cooper explain --format json      The same for programs";

/// How an explanation is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Say why each step of a build ran or was reused.
///
/// Compares a build with the one before it, or with another one, and names what is different: the instruction, an
/// argument, files of the build context, the base image.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct ExplainFlags {
    /// The build, by its reference or the start of it [default: the last one]
    pub build: Option<String>,

    /// The build to compare with [default: the one before it that has steps of the same names]
    pub with: Option<String>,

    /// How to write it
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub format: ExplainFormat,
}

/// Runs `cooper explain` and says how to exit.
pub(super) async fn run(flags: &ExplainFlags, place: &Place) -> u8 {
    match ask(flags, place, None).await {
        Ok(text) => {
            // A closed pipe is its reader's choice.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            OK
        }
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "ERROR: {message}");
            FAILED
        }
    }
}

/// The explanation of a build that has just ended, against the one before it.
pub(super) async fn of_build(place: &Place, client: &Client, reference: &str) -> String {
    let flags = ExplainFlags {
        build: Some(reference.to_owned()),
        ..ExplainFlags::default()
    };
    match ask(&flags, place, Some(client)).await {
        Ok(text) => format!("\n{text}"),
        Err(message) => format!("\nthe build cannot be explained: {message}\n"),
    }
}

async fn ask(
    flags: &ExplainFlags,
    place: &Place,
    client: Option<&Client>,
) -> Result<String, String> {
    let joined = match (place, client) {
        (Place::State(folder), _) => return explain_in(flags, folder),
        (Place::Daemon(_), Some(Client::Joined(joined))) => Ok(joined.clone()),
        (Place::Daemon(endpoint), _) => Joined::connect(endpoint).await,
    };
    let joined = joined.map_err(|failure| failure.message)?;
    let request = ExplainRequest {
        build: flags.build.clone().unwrap_or_default(),
        with: flags.with.clone().unwrap_or_default(),
        json: flags.format == ExplainFormat::Json,
    };
    match joined.cooper().explain(request).await {
        Ok(answer) => Ok(answer.into_inner().text),
        Err(status) => Err(joined.failure_of_ours(&status).message),
    }
}

/// The explanation from the records of a state folder.
///
/// # Errors
/// What is wrong, in words: there is no such build, or the records cannot be read.
pub(crate) fn explain_in(flags: &ExplainFlags, state: &Path) -> Result<String, String> {
    // The engine has a folder of its own in the state folder.
    let records = read_all(&state.join("engine")).map_err(|error| error.to_string())?;
    let build = match &flags.build {
        Some(name) => find(&records, name)?,
        None => records.first().ok_or("there is no build to explain yet")?,
    };
    let before = match &flags.with {
        Some(name) => Some(find(&records, name)?),
        None => previous(&records, build),
    };
    let explained = explain(before.map(vertices), vertices(build));
    Ok(match flags.format {
        ExplainFormat::Text => to_text(&explained),
        ExplainFormat::Json => as_json(build, before, &explained),
    })
}

fn as_json(build: &Record, before: Option<&Record>, explained: &[Explanation]) -> String {
    let value = json!({
        "build": build.job,
        "comparedWith": before.map(|record| record.job.as_str()),
        "steps": explained,
    });
    format!("{value:#}\n")
}

fn vertices(record: &Record) -> &[RecordedVertex] {
    record
        .ending
        .as_ref()
        .map_or(&[], |ending| &ending.vertices)
}

fn find<'a>(records: &'a [Record], name: &str) -> Result<&'a Record, String> {
    let mut found = records.iter().filter(|record| record.job.starts_with(name));
    match (found.next(), found.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => records
            .iter()
            .find(|record| record.job == name)
            .ok_or_else(|| format!("more than one build begins with {name}")),
        (None, _) => Err(format!("there is no build {name}")),
    }
}

/// The newest build before this one that has a step of the same name; questions have none.
fn previous<'a>(records: &'a [Record], build: &Record) -> Option<&'a Record> {
    let named = |vertex: &RecordedVertex| {
        !vertex.name.starts_with("[internal]") && !vertex.evidence.inputs.is_empty()
    };
    let stage = |vertex: &RecordedVertex| {
        let (head, _) = vertex.name.split_once("] ").unwrap_or((&vertex.name, ""));
        head.to_owned()
    };
    let ours: std::collections::BTreeSet<String> = vertices(build)
        .iter()
        .filter(|vertex| named(vertex))
        .map(stage)
        .collect();
    let asks = |record: &Record| record.options.contains_key("requestid");
    records
        .iter()
        .filter(|record| record.begun_ns < build.begun_ns && !asks(record))
        .filter(|record| record.options.get("target") == build.options.get("target"))
        .find(|record| {
            vertices(record)
                .iter()
                .any(|vertex| named(vertex) && ours.contains(&stage(vertex)))
        })
}
