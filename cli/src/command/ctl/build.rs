//! `ctl build`: every option as the wire has it, nothing assumed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_proto::source_policy::Policy;
use cooper_proto::{Digest, pb};
use futures::StreamExt;
use prost::Message;

use super::build_flags::CtlBuildFlags;
use super::policy;
use super::run::print;
use crate::client::{BuildRequest, Client, Place, Started, Subject};
use crate::command::build::{
    Output, OutputContext, Plan, Target, UsageError, cache, output, report, secret, ssh, written,
};
use crate::command::follow::{close, exit_code, follow, plain_failure, view, write_error};
use crate::command::{CANCELLED, FAILED, Interrupts, OK};
use crate::config::{Environment, now_ns};
use crate::daemon::EngineSettings;
use crate::progress::{failure_text, status_line};

/// Longest graph that is read.
///
/// # Units
/// Bytes.
const MAX_DEFINITION: u64 = 256 << 20;

/// Runs `cooper ctl build` and says how the program is to exit.
pub(super) async fn run(flags: CtlBuildFlags, place: &Place, environment: &Environment) -> u8 {
    let refuse = |failure: &Failure| {
        write_error(&plain_failure(failure));
        FAILED
    };
    let request = match request(&flags, environment) {
        Ok(request) => request,
        Err(failure) => return refuse(&failure),
    };
    let interrupts = Interrupts::listen();
    let opened = tokio::select! {
        opened = Client::open(place, EngineSettings::of_command()) => opened,
        () = interrupts.interrupted() => return CANCELLED,
    };
    let client = match opened {
        Ok(client) => client,
        Err(failure) => return refuse(&failure),
    };
    let code = build(&flags, request, &client, environment, &interrupts).await;
    if !interrupts.is_forced() {
        close(client, &interrupts).await;
    }
    code
}

async fn build(
    flags: &CtlBuildFlags,
    request: BuildRequest,
    client: &Client,
    environment: &Environment,
    interrupts: &Interrupts,
) -> u8 {
    let mut view = view(flags.solve.progress, environment, now_ns());
    let reference = request.reference.clone();
    let asks = request.plan.options.contains_key("requestid");
    let files = written::WrittenAfter::of(&request.plan);
    for note in &request.plan.caches.notes {
        write_error(&format!("note: {note}\n"));
    }
    let built = async {
        if let Some(path) = &flags.ref_file {
            write(&environment.here.join(path), &reference)?;
        }
        let started = client.start(request).await?;
        let started = traced(started, flags.trace.as_deref(), &environment.here)?;
        let response = follow(started, &mut view, interrupts).await?;
        files.write(&response)?;
        if let Some(path) = &flags.solve.metadata_file {
            let text = report::metadata(None, &response);
            write(&environment.here.join(path), &text)?;
        }
        if asks {
            print(&answer(&response))?;
        }
        Ok(())
    };
    let built: Result<(), Failure> = built.await;
    match built {
        Ok(()) => OK,
        Err(failure) => {
            write_error(&failure_text(view.progress(), &failure));
            exit_code(&failure, interrupts)
        }
    }
}

/// What a frontend says to a question.
fn answer(response: &ExportResponse) -> String {
    let text = |key: &str| response.get(key).filter(|text| !text.is_empty());
    let answer = text("result.txt").or_else(|| text("result.json"));
    answer.map_or_else(String::new, |text| {
        format!("{}\n", text.trim_end_matches('\n'))
    })
}

/// Has every piece of news appended to a file.
fn traced(started: Started, path: Option<&Path>, here: &Path) -> Result<Started, Failure> {
    let Some(path) = path else {
        return Ok(started);
    };
    let path = here.join(path);
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let file = Mutex::new(opened.map_err(|error| unwritable(&path, &error))?);
    let progress = started.progress.inspect(move |news| {
        if let (Ok(news), Ok(mut file)) = (news, file.lock()) {
            // The build matters more than its trace.
            let _ = writeln!(file, "{}", status_line(news));
        }
    });
    Ok(Started {
        progress: progress.boxed(),
        ..started
    })
}

fn request(flags: &CtlBuildFlags, environment: &Environment) -> Result<BuildRequest, Failure> {
    refuse_unbuilt(flags)?;
    let here = &environment.here;
    let source_policy = match &flags.source_policy_file {
        Some(path) => Some(read_policy(&here.join(path))?),
        None => None,
    };
    let plan = plan(flags, environment)?;
    let subject = match &flags.frontend {
        Some(name) => Subject::Frontend(name.clone()),
        None => Subject::Definition(definition(flags.solve.no_cache)?),
    };
    Ok(BuildRequest {
        reference: BuildRequest::new_reference(),
        subject,
        source_policy,
        proxy_network: flags.proxy_network,
        plan,
        variables: environment.variables.clone(),
        docker: None,
    })
}

fn refuse_unbuilt(flags: &CtlBuildFlags) -> Result<(), UsageError> {
    if !flags.registry_auth_tlscontext.is_empty() {
        return Err(UsageError::unsupported("--registry-auth-tlscontext"));
    }
    if flags.debug_json_cache_metrics.is_some() {
        return Err(UsageError::unsupported("--debug-json-cache-metrics"));
    }
    Ok(())
}

fn plan(flags: &CtlBuildFlags, environment: &Environment) -> Result<Plan, Failure> {
    let here = &environment.here;
    let context = OutputContext {
        folder: Some(here),
        stdout_is_terminal: environment.stdout_is_terminal,
    };
    let mut outputs = output::parse(&flags.output, context)?;
    outputs.retain(Output::is_exported);
    for output in &mut outputs {
        // Without a place, an archive goes to standard output here.
        if output.target == Target::DockerLoad {
            output.target = Target::Stdout;
        }
    }
    let caches = cache::parse(&flags.import_cache, &flags.export_cache, here)?;
    let mut caches = caches.with_variables(&environment.variables);
    for cache in &mut caches.exports {
        let mode = cache.attributes.entry("mode".to_owned());
        mode.or_insert_with(|| "min".to_owned());
    }
    let mut options = options(&flags.opt, &environment.variables)?;
    if flags.solve.no_cache && flags.frontend.is_some() {
        options.insert("no-cache".to_owned(), String::new());
    }
    if options.contains_key("requestid") {
        let caps = options.entry("frontend.caps".to_owned());
        caps.or_insert_with(|| "moby.buildkit.frontend.subrequests".to_owned());
    }
    Ok(Plan {
        options,
        entitlements: flags.solve.allow.clone(),
        outputs,
        caches,
        folders: folders("--local", &flags.local, here)?,
        layouts: folders("--oci-layout", &flags.oci_layout, here)?,
        secrets: secret::parse(&flags.solve.secret, here, |name| {
            environment.variables.contains_key(name)
        })?,
        ssh: ssh::parse(&flags.solve.ssh, here, &environment.variables)?,
        ..Plan::default()
    })
}

fn options(
    texts: &[String],
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, UsageError> {
    let mut options = BTreeMap::new();
    // As buildctl: times of the image follow the environment unless an option says otherwise.
    let epoch = variables.get("SOURCE_DATE_EPOCH");
    if let Some(epoch) = epoch.filter(|epoch| !epoch.is_empty()) {
        options.insert("build-arg:SOURCE_DATE_EPOCH".to_owned(), epoch.clone());
    }
    for text in texts {
        match (text.split_once('='), text.strip_prefix("build-arg:")) {
            (Some((key, value)), _) => {
                options.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(name)) if !name.is_empty() => {
                if let Some(value) = variables.get(name) {
                    options.insert(text.clone(), value.clone());
                }
            }
            _ => return Err(no_pair("--opt", text, "target=dev")),
        }
    }
    Ok(options)
}

fn folders(
    flag: &str,
    texts: &[String],
    here: &Path,
) -> Result<BTreeMap<String, PathBuf>, UsageError> {
    let mut folders = BTreeMap::new();
    for text in texts {
        let pair = text.split_once('=');
        let (name, path) = pair.ok_or_else(|| no_pair(flag, text, "context=."))?;
        let path = here.join(path);
        if !path.is_dir() {
            let words = format!("{flag} {text}: {} is no folder", path.display());
            return Err(UsageError::plain(words));
        }
        folders.insert(name.to_owned(), path);
    }
    Ok(folders)
}

fn no_pair(flag: &str, text: &str, example: &str) -> UsageError {
    UsageError::new(
        format!("invalid value {text:?} of {flag}: it is no NAME=VALUE"),
        format!("for example {flag} {example}"),
    )
}

/// The graph on standard input.
fn definition(no_cache: bool) -> Result<pb::Definition, Failure> {
    if std::io::stdin().is_terminal() {
        let failure = Failure::new(
            FailureKind::InvalidInput,
            "there is neither a frontend nor a graph on standard input",
        );
        return Err(failure.with_hint("name one with --frontend, for example dockerfile.v0"));
    }
    let mut definition = read_definition(std::io::stdin().lock())?;
    if definition.def.is_empty() {
        let failure = Failure::new(
            FailureKind::InvalidInput,
            "the graph on standard input is empty",
        );
        return Err(failure.with_hint("name a frontend with --frontend instead?"));
    }
    if no_cache {
        for op in &definition.def {
            let digest = Digest::sha256_of(op).to_string();
            definition.metadata.entry(digest).or_default().ignore_cache = true;
        }
    }
    Ok(definition)
}

/// Reads a graph as the wire has it.
///
/// # Errors
/// `InvalidInput` for what is none.
pub(super) fn read_definition(input: impl Read) -> Result<pb::Definition, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        let words = format!("the graph cannot be read: {error}");
        Failure::new(FailureKind::InvalidInput, words)
    };
    let mut bytes = Vec::new();
    input
        .take(MAX_DEFINITION)
        .read_to_end(&mut bytes)
        .map_err(|error| invalid(&error))?;
    pb::Definition::decode(bytes.as_slice()).map_err(|error| invalid(&error))
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        let words = format!("the source policy {}: {error}", path.display());
        Failure::new(FailureKind::InvalidInput, words)
    };
    let file = File::open(path).map_err(|error| invalid(&error))?;
    let json = serde_json::from_reader(file).map_err(|error| invalid(&error))?;
    policy::read(&json).map_err(|what| invalid(&what))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let words = format!("cannot write {}: {error}", path.display());
    Failure::new(FailureKind::Infrastructure, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_take_arguments_from_the_environment() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let texts = ["build-arg:A", "build-arg:B", "target=x=y"].map(str::to_owned);
        let read = options(&texts, &variables).unwrap();
        let expected = [("build-arg:A", "1"), ("target", "x=y")];
        assert!(
            read.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
        assert!(options(&["target".to_owned()], &variables).is_err());
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        assert!(read_definition(&b"\xff\xff"[..]).is_err());
        assert!(read_definition(&b""[..]).unwrap().def.is_empty());
    }
}
