//! The one async file: asks the engine what a conversion must know, and hands over what it became.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::attest::Scanner;
use cooper_core::model::{self, Failure, FailureKind, SourceFile, SourceLocation, SourceRange};
use cooper_core::ports::{Bridge, Frontend, FrontendPart, FrontendRequest, FrontendResult, RefId};
use cooper_proto::{Digest, pb};
use futures::future::try_join_all;
use prost::Message;

use crate::convert::{Failed, File, Forward, Input, Outcome, Part, Step, convert};
use crate::diagnostic::{Lines, Warning};
use crate::facts::{Fact, Facts, Need};
use crate::golang::json::Object;
use crate::platform::{self, Platform};
use crate::subrequest::Answer;

/// A conversion asks at most this often; each time it must have learnt something.
const MOST_ROUNDS: usize = 1000;

/// The built-in frontend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dockerfile;

#[async_trait]
impl Frontend for Dockerfile {
    fn name(&self) -> &str {
        "dockerfile.v0"
    }

    async fn solve(
        &self,
        bridge: Arc<dyn Bridge>,
        request: FrontendRequest,
    ) -> Result<FrontendResult, Failure> {
        let input = Input {
            options: request.options,
            inputs: request.inputs,
            session: request.session,
            host: bridge
                .platforms()
                .first()
                .map_or_else(default_host, Platform::clone),
        };
        let gateway = Gateway {
            bridge,
            results: Mutex::default(),
        };
        let mut facts = Facts::default();
        for _ in 0..MOST_ROUNDS {
            match convert(&input, &facts) {
                Step::Need(needs) => {
                    let answers =
                        try_join_all(needs.iter().map(|need| gateway.answer(need))).await?;
                    for (need, fact) in needs.iter().zip(answers) {
                        facts.insert(need, fact);
                    }
                }
                Step::Done(outcome) => return gateway.hand_over(*outcome).await,
                Step::Answered(answer) => return Ok(gateway.hand_over_answer(*answer).await),
                Step::Forward(forward) => {
                    return gateway.forward(*forward, &input).await;
                }
                Step::Failed(failed) => {
                    if let Some(file) = &failed.file {
                        gateway.warn(&failed.warnings, file).await;
                    }
                    return Err(failure(*failed));
                }
            }
        }
        Err(Failure::new(
            FailureKind::Internal,
            format!("the Dockerfile asked for more {MOST_ROUNDS} times and was not done"),
        ))
    }
}

fn default_host() -> Platform {
    platform::named("linux", "amd64")
}

struct Gateway {
    bridge: Arc<dyn Bridge>,
    /// Results by the digest of what makes them: several files may be read from one.
    results: Mutex<BTreeMap<Digest, RefId>>,
}

impl Gateway {
    async fn answer(&self, need: &Need) -> Result<Fact, Failure> {
        match need {
            Need::Image(query) => Ok(Fact::Image(self.bridge.resolve_image(query.clone()).await)),
            Need::Source(query) => Ok(Fact::Source(
                self.bridge.resolve_source(query.clone()).await?,
            )),
            Need::File {
                definition,
                path,
                limit,
                lenient,
            } => {
                let result = self.result(definition).await?;
                // A source that does not exist is another matter than a file that a source does not have.
                match self.bridge.evaluate(&result).await {
                    Err(failure) if *lenient && failure.kind == FailureKind::NotFound => {
                        return Ok(Fact::File(None));
                    }
                    evaluated => evaluated?,
                }
                let range = limit.map(|limit| 0..limit);
                match self.bridge.read_file(&result, path, range).await {
                    Ok(content) => Ok(Fact::File(Some(content))),
                    Err(failure) if failure.kind == FailureKind::NotFound => Ok(Fact::File(None)),
                    Err(failure) => Err(failure),
                }
            }
        }
    }

    /// Hands the whole request to the frontend that the Dockerfile is for.
    async fn forward(&self, forward: Forward, input: &Input) -> Result<FrontendResult, Failure> {
        let mut options = input.options.clone();
        options.insert("cmdline".to_owned(), forward.command_line);
        options.insert("source".to_owned(), forward.image);
        let request = FrontendRequest {
            options,
            inputs: input.inputs.clone(),
            session: input.session.clone(),
        };
        let asked = Arc::clone(&self.bridge).ask("gateway.v0", request).await;
        asked.map_err(|failure| match forward.lines {
            Some(lines) if failure.locations.is_empty() => {
                failure.at(location(&source_file(&forward.file), &[lines]))
            }
            _ => failure,
        })
    }

    async fn result(&self, definition: &pb::Definition) -> Result<RefId, Failure> {
        let digest = Digest::sha256_of(definition.encode_to_vec());
        let known = self
            .results
            .lock()
            .ok()
            .and_then(|results| results.get(&digest).cloned());
        if let Some(result) = known {
            return Ok(result);
        }
        let result = self.bridge.solve(definition.clone()).await?;
        if let Ok(mut results) = self.results.lock() {
            results.insert(digest, result.clone());
        }
        Ok(result)
    }

    async fn warn(&self, warnings: &[Warning], file: &File) {
        for warning in warnings {
            self.bridge.warn(told(warning, file)).await;
        }
    }

    async fn hand_over_answer(&self, answer: Answer) -> FrontendResult {
        self.warn(&answer.warnings, &answer.file).await;
        FrontendResult {
            parts: Vec::new(),
            metadata: answer
                .metadata
                .into_iter()
                .map(|(key, value)| (key, value.into()))
                .collect(),
            ..FrontendResult::default()
        }
    }

    async fn hand_over(&self, outcome: Outcome) -> Result<FrontendResult, Failure> {
        self.warn(&outcome.warnings, &outcome.file).await;
        let mut result = FrontendResult::default();
        for part in &outcome.parts {
            let id = platform::full(&platform::normalize(&part.platform));
            let made = match part.definition.def.is_empty() {
                true => None,
                false => Some(self.bridge.solve(part.definition.clone()).await?),
            };
            describe(
                part,
                outcome.multi_platform.then_some(id.as_str()),
                &mut result.metadata,
            );
            if let Some(scan) = &part.scan {
                let scanned = self.bridge.solve(scan.clone()).await?;
                let said = result.attestations.entry(id.clone()).or_default();
                said.push(Scanner::statements(Some(scanned)));
            }
            result.parts.push(FrontendPart {
                platform: outcome.multi_platform.then_some(id),
                result: made,
            });
        }
        let platforms = platforms(&outcome.parts);
        result
            .metadata
            .insert("refs.platforms".to_owned(), platforms.into());
        Ok(result)
    }
}

/// What exporters are told of a part; keys end in the platform where there may be several.
fn describe(part: &Part, id: Option<&str>, metadata: &mut BTreeMap<String, Bytes>) {
    let mut set = |name: &str, value: String| {
        let key = match id {
            Some(id) => format!("{name}/{id}"),
            None => name.to_owned(),
        };
        metadata.insert(key, value.into());
    };
    set("containerimage.config", part.image.to_json());
    if let Some(base) = &part.base_image {
        set("containerimage.base.config", base.to_json());
    }
    if let Some(epoch) = part.epoch {
        set("source.date.epoch", epoch.to_string());
    }
}

fn platforms(parts: &[Part]) -> String {
    let mut out = String::new();
    let mut root = Object::open(&mut out);
    let list = root.key("Platforms");
    list.push('[');
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            list.push(',');
        }
        let platform = platform::normalize(&part.platform);
        let mut item = Object::open(list);
        item.string("ID", &platform::full(&platform));
        let mut written = Object::open(item.key("Platform"));
        written.string("architecture", &platform.architecture);
        written.string("os", &platform.os);
        written.string_or_none("os.version", &platform.os_version);
        written.list_or_none("os.features", &platform.os_features);
        written.string_or_none("variant", &platform.variant);
        written.close();
        item.close();
    }
    list.push(']');
    root.close();
    out
}

/// A finding as clients show it: on the vertex that loaded the Dockerfile.
fn told(warning: &Warning, file: &File) -> model::Warning {
    let rule = warning.rule;
    let place = match warning.lines.start {
        0 => String::new(),
        line => format!(" (line {line})"),
    };
    model::Warning {
        vertex: head(&file.definition),
        level: 1,
        short: format!("{}: {}{place}", rule.name(), warning.message),
        detail: vec![rule.description().to_owned()],
        url: rule.url(),
        location: Some(location(&source_file(file), &[warning.lines])),
    }
}

/// The vertex that a definition's last entry points at.
fn head(definition: &pb::Definition) -> Option<Digest> {
    let last = definition.def.last()?;
    let op = pb::Op::decode(last.as_slice()).ok()?;
    op.inputs.first()?.digest.parse().ok()
}

fn failure(failed: Failed) -> Failure {
    let Failed { fault, file, .. } = failed;
    // Clients know errors by their text, and look for the suggestion in it.
    let text = fault.to_string();
    let mut failure = Failure::new(fault.kind, text);
    if let Some(file) = file {
        let file = source_file(&file);
        failure.locations = fault
            .lines
            .iter()
            .map(|lines| location(&file, &[*lines]))
            .collect();
    }
    failure
}

fn source_file(file: &File) -> Arc<SourceFile> {
    Arc::new(SourceFile {
        name: file.name.clone(),
        language: "Dockerfile".to_owned(),
        text: String::from_utf8_lossy(&file.data).into_owned(),
        definition: Some(Arc::new(file.definition.clone())),
    })
}

fn location(file: &Arc<SourceFile>, lines: &[Lines]) -> SourceLocation {
    SourceLocation {
        file: file.clone(),
        // One range a line, as BuildKit writes them.
        ranges: lines
            .iter()
            .flat_map(|lines| lines.start..=lines.end)
            .map(|line| SourceRange {
                start_line: line,
                start_character: 0,
                end_line: line,
                end_character: 0,
            })
            .collect(),
    }
}
