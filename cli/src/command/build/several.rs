//! `--target a,b`: several stages in one run. Each is a build of its own on the same engine, where steps that they share
//! run once; files come from one session, so that steps that read them are shared as well.

use std::collections::BTreeMap;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_proto::Digest;
use cooper_proto::control::StatusResponse;
use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::error::UsageError;
use super::flags::BuildFlags;
use super::plan::Plan;
use crate::attach::SessionParts;
use crate::client::{BuildRequest, Client, SharedSession, Started, Subject};
use crate::config::Environment;

/// Stages that `--target` names; empty without the flag.
pub(super) fn targets(flags: &BuildFlags) -> Vec<String> {
    let given = flags.target.as_deref().unwrap_or_default();
    let all = given
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    all.map(str::to_owned).collect()
}

/// Says which flags have no meaning for several targets.
///
/// # Errors
/// The first of them.
pub(super) fn refuse_unclear(flags: &BuildFlags) -> Result<(), UsageError> {
    let unclear = [
        (!flags.tags.is_empty(), "--tag"),
        (flags.push, "--push"),
        (flags.load, "--load"),
        (flags.iidfile.is_some(), "--iidfile"),
        (!flags.cache_to.is_empty(), "--cache-to"),
        (flags.explain, "--explain"),
        (flags.call != "build" || flags.check, "--call"),
    ];
    match unclear.into_iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(UsageError::new(
            format!("{flag} does not say which of several targets it is for"),
            "say where each goes: --output target=NAME,type=image,name=IMAGE",
        )),
        None => Ok(()),
    }
}

/// Checks that outputs are for what is built, where that is one stage.
///
/// # Errors
/// An output of another stage.
pub(super) fn check_one(plan: &Plan, target: Option<&str>) -> Result<(), UsageError> {
    let is_other = |stage: &&str| Some(*stage) != target;
    let mut stages = plan
        .outputs
        .iter()
        .filter_map(|output| output.stage.as_deref());
    match stages.find(is_other) {
        Some(stage) => Err(UsageError::new(
            format!("an output is for the target {stage:?}, which is not built"),
            format!("build it: --target {stage}"),
        )),
        None => Ok(()),
    }
}

/// One plan for each target, with the outputs that are its own.
///
/// # Errors
/// An output of no target, or of one that is not built.
pub(super) fn split(plan: Plan, targets: &[String]) -> Result<Vec<(String, Plan)>, UsageError> {
    for output in &plan.outputs {
        match &output.stage {
            Some(stage) if targets.contains(stage) => {}
            Some(stage) => {
                return Err(UsageError::new(
                    format!("an output is for the target {stage:?}, which is not built"),
                    format!("the targets are {}", targets.join(" and ")),
                ));
            }
            None if plan.outputs.len() == 1 && output.kind == "image" => {}
            None => {
                return Err(UsageError::new(
                    format!("an output of the type {} is for no target", output.kind),
                    format!(
                        "say for which: --output target={},…",
                        targets.first().map_or("NAME", String::as_str)
                    ),
                ));
            }
        }
    }
    let part = |target: &String| {
        let mut part = plan.clone();
        let is_own = |stage: &Option<String>| stage.as_ref().is_none_or(|stage| stage == target);
        part.outputs
            .retain(|output| is_own(&output.stage) && output.is_exported());
        part.options.insert("target".to_owned(), target.clone());
        (target.clone(), part)
    };
    Ok(targets.iter().map(part).collect())
}

/// Several builds as one.
pub(super) struct Several {
    /// News of all, and the end of all: what each target's exporters said, in an order of its own.
    started: Started,
    /// Name of each build, by target.
    references: BTreeMap<String, String>,
    shared: SharedSession,
}

impl Several {
    /// Starts all.
    ///
    /// # Errors
    /// When one cannot begin.
    pub(super) async fn start(
        plans: Vec<(String, Plan)>,
        client: &Client,
        environment: &Environment,
        responses: Responses,
    ) -> Result<Self, Failure> {
        let folders = plans.first().map(|(_, plan)| plan.folders.clone());
        let parts = SessionParts {
            folders: folders.unwrap_or_default(),
            ..SessionParts::default()
        };
        let shared = SharedSession::attach(client, parts).await?;
        let mut references = BTreeMap::new();
        let mut started = Vec::new();
        for (target, mut plan) in plans {
            for name in plan.folders.keys() {
                let key = format!("local-sessionid:{name}");
                plan.options.insert(key, shared.id().to_owned());
            }
            let reference = BuildRequest::new_reference();
            references.insert(target.clone(), reference.clone());
            let request = BuildRequest {
                reference,
                subject: Subject::dockerfile(),
                source_policy: None,
                proxy_network: false,
                plan,
                variables: environment.variables.clone(),
                docker: environment.find_program("docker"),
            };
            started.push((target, client.start(request).await?));
        }
        Ok(Self {
            started: join(started, responses),
            references,
            shared,
        })
    }

    /// What is followed, and what is closed after it.
    pub(super) fn into_parts(self) -> (Started, BTreeMap<String, String>, SharedSession) {
        (self.started, self.references, self.shared)
    }
}

/// What the exporters of each target said.
pub(super) type Responses = std::sync::Arc<std::sync::Mutex<BTreeMap<String, ExportResponse>>>;

/// One build of many: the first that fails cancels the others.
fn join(all: Vec<(String, Started)>, responses: Responses) -> Started {
    let cancel = CancellationToken::new();
    let mut news = SelectAll::new();
    let mut ends = Vec::new();
    for (target, started) in all {
        let (all, one) = (cancel.clone(), started.cancel);
        let outcome = started.outcome;
        let (name, responses) = (target.clone(), responses.clone());
        ends.push(async move {
            tokio::pin!(outcome);
            let ended = tokio::select! {
                ended = &mut outcome => ended,
                () = all.cancelled() => {
                    one.cancel();
                    outcome.await
                }
            };
            match ended {
                Ok(response) => {
                    if let Ok(mut responses) = responses.lock() {
                        responses.insert(name, response);
                    }
                    Ok(())
                }
                Err(failure) => {
                    all.cancel();
                    Err(failure)
                }
            }
        });
        let tagged = started.progress.map(move |news| (target.clone(), news));
        news.push(tagged.boxed());
    }
    let outcome = futures::future::join_all(ends).map(|ended| {
        let failures: Vec<Failure> = ended.into_iter().filter_map(Result::err).collect();
        let cause = failures
            .iter()
            .find(|failure| failure.kind != FailureKind::Cancelled);
        match cause.or(failures.first()) {
            Some(failure) => Err(failure.clone()),
            None => Ok(ExportResponse::new()),
        }
    });
    Started {
        progress: once(news).boxed(),
        outcome: outcome.boxed(),
        cancel,
    }
}

type Tagged = (String, Result<StatusResponse, Failure>);

/// News of each step once, from the first build that tells of it.
fn once(
    news: SelectAll<BoxStream<'static, Tagged>>,
) -> impl futures::Stream<Item = Result<StatusResponse, Failure>> + Send {
    let mut owners = Owners::default();
    news.map(move |(target, news)| news.map(|news| owners.take(&target, news)))
}

/// Which target's build tells of a step.
#[derive(Default)]
struct Owners(BTreeMap<String, String>);

impl Owners {
    fn take(&mut self, target: &str, mut news: StatusResponse) -> StatusResponse {
        for vertex in &mut news.vertexes {
            // The engine numbers exports anew in each build; everything else is known by its content.
            if vertex.name.starts_with("exporting") {
                self.0
                    .insert(own(target, &vertex.digest), target.to_owned());
                vertex.name = format!("{target}: {}", vertex.name);
                vertex.digest = own(target, &vertex.digest);
            } else {
                let owner = self.0.entry(vertex.digest.clone());
                owner.or_insert_with(|| target.to_owned());
            }
        }
        news.vertexes
            .retain(|vertex| self.owns(target, &vertex.digest));
        news.statuses
            .retain_mut(|status| self.claim(target, &mut status.vertex));
        news.logs
            .retain_mut(|log| self.claim(target, &mut log.vertex));
        news.warnings
            .retain_mut(|warning| self.claim(target, &mut warning.vertex));
        news
    }

    fn owns(&self, target: &str, digest: &str) -> bool {
        self.0.get(digest).is_none_or(|owner| owner == target)
    }

    /// Whether news of a step are this target's to tell; of an export they get the digest that it is shown under.
    fn claim(&self, target: &str, digest: &mut String) -> bool {
        let renamed = own(target, digest);
        if self.0.contains_key(&renamed) {
            *digest = renamed;
            return true;
        }
        self.owns(target, digest)
    }
}

fn own(target: &str, digest: &str) -> String {
    Digest::sha256_of(format!("{target} {digest}")).to_string()
}

#[cfg(test)]
mod tests {
    use cooper_proto::control::{Vertex, VertexLog};

    use super::*;

    fn news(digest: &str, name: &str) -> StatusResponse {
        StatusResponse {
            vertexes: vec![Vertex {
                digest: digest.to_owned(),
                name: name.to_owned(),
                ..Vertex::default()
            }],
            logs: vec![VertexLog {
                vertex: digest.to_owned(),
                ..VertexLog::default()
            }],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn shared_steps_are_told_once_and_exports_for_each_target() {
        let mut owners = Owners::default();
        let first = owners.take("a", news("sha256:1", "RUN x"));
        assert_eq!((first.vertexes.len(), first.logs.len()), (1, 1));
        let second = owners.take("b", news("sha256:1", "RUN x"));
        assert_eq!((second.vertexes.len(), second.logs.len()), (0, 0));
        let exports =
            ["a", "b"].map(|target| owners.take(target, news("sha256:e", "exporting to image")));
        assert_eq!(exports[0].vertexes[0].name, "a: exporting to image");
        assert_ne!(exports[0].vertexes[0].digest, exports[1].vertexes[0].digest);
        for export in &exports {
            assert_eq!(export.logs[0].vertex, export.vertexes[0].digest);
        }
    }
}
