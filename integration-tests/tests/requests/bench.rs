//! A daemon that is sent what is malformed, and what must hold of its answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cooper_proto::{control, frontend};
use futures::{StreamExt, stream};
use integration_tests::peers::Cooperd;
use integration_tests::sandbox::Sandbox;
use prost::Message;
use tokio::task::JoinSet;

use crate::caller::{Answer, Call, Caller};
use crate::plan::{self, Driven};

/// How long an answer may take on a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// After how long a call is taken back that may go on for ever.
const CUT: Duration = Duration::from_millis(500);

/// The same, for one of which not even the beginning of an answer is there.
const CUT_UNSEEN: Duration = Duration::from_secs(5);

/// Calls under way at a time. A server that has no time ends a connection on which more than twenty calls are taken back
/// before it has looked at them.
pub(crate) const AT_ONCE: usize = 16;

/// The metadata by which a call says which build it belongs to.
pub(crate) const BUILD_ID: &str = "buildkit-controlapi-buildid";

/// What the gRPC library says of a call that is none. It has the code of an internal error in every gRPC server.
const NO_CALL: [&str; 4] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message",
];

/// A daemon and a connection to it.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) daemon: Cooperd,
    pub(crate) caller: Caller,
    /// Builds that are kept open.
    open: JoinSet<()>,
}

/// A call to be made, and what is wrong with it.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) call: Call,
}

impl Bench {
    pub(crate) async fn new() -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let daemon = Cooperd::start(&sandbox.path("daemon"))?;
        let caller = Caller::connect(&sandbox.path("daemon/cooperd.sock")).await?;
        let open = JoinSet::new();
        Ok(Self {
            sandbox,
            daemon,
            caller,
            open,
        })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.sandbox.path("daemon/cooperd.sock")
    }

    /// Opens a build that its client drives, with a result and a container.
    pub(crate) async fn drive(&mut self) -> Result<Driven> {
        let job = plan::new_name();
        let asked = control::SolveRequest {
            r#ref: job.clone(),
            ..control::SolveRequest::default()
        };
        let open = Call::new("/moby.buildkit.v1.Control/Solve", &asked.encode_to_vec());
        let caller = Caller::connect(&self.socket()).await?;
        self.open.spawn(async move {
            // It is over when the test is.
            let _taken_back = caller.call(&open, PATIENCE * 100).await;
        });
        let mut driven = Driven {
            job,
            ..Driven::default()
        };
        let answer = self.of_build(&driven, "Solve").await?;
        let solved = answer.message().context("a result")?;
        let solved = frontend::SolveResponse::decode(solved)?;
        let result = solved.result.and_then(|result| result.result);
        let Some(frontend::result::Result::Ref(result)) = result else {
            anyhow::bail!("no result: {result:?}");
        };
        driven.result = result.id;
        let container = plan::new_container("held", &driven.result);
        let call = Call::new(
            "/moby.buildkit.v1.frontend.LLBBridge/NewContainer",
            &container,
        );
        let call = call.with(BUILD_ID, driven.job.as_bytes())?;
        let made = self.caller.call(&call, PATIENCE).await;
        ensure!(made.is_ok(), "{made:?}");
        driven.container = "held".into();
        Ok(driven)
    }

    /// Makes a sensible call of a build that its client drives.
    async fn of_build(&self, driven: &Driven, method: &str) -> Result<Answer> {
        let path = format!("/moby.buildkit.v1.frontend.LLBBridge/{method}");
        let call = Call::new(&path, &plan::sensible(&path, driven)?);
        let call = call.with(BUILD_ID, driven.job.as_bytes())?;
        let answer = self.caller.call(&call, PATIENCE).await;
        ensure!(answer.is_ok(), "{path}: {answer:?}");
        Ok(answer)
    }

    /// Makes calls, many at a time, on one connection; gives what was wrong with the answers, and counts those.
    pub(crate) async fn try_all(&self, cases: Vec<Case>, counts: &mut Counts) -> Vec<String> {
        let answers = cases.into_iter().map(|case| async move {
            let path = &case.call.path;
            let limit = |is_short: bool, short| if is_short { short } else { PATIENCE };
            let begin = limit(plan::begins_late(path), CUT_UNSEEN);
            let end = limit(plan::may_go_on(path), CUT);
            let answer = self.caller.call_for(&case.call, begin, end).await;
            (case, answer)
        });
        let mut answers = stream::iter(answers).buffer_unordered(AT_ONCE);
        let mut wrong = Vec::new();
        while let Some((case, answer)) = answers.next().await {
            counts.add(&case.call.path, &answer);
            wrong.extend(complaint(&case.call.path, &case.what, &answer));
        }
        wrong
    }

    /// Whether the daemon still answers, on the connection on which all was said and on a new one, and has not
    /// panicked.
    pub(crate) async fn still_serves(&mut self) -> Result<()> {
        let late = Caller::connect(&self.socket()).await?;
        for caller in [&self.caller, &late] {
            for method in ["Info", "ListWorkers"] {
                let call = Call::new(&format!("/moby.buildkit.v1.Control/{method}"), &[]);
                let answer = caller.call(&call, PATIENCE).await;
                ensure!(
                    answer.is_ok(),
                    "{method}: {answer:?}\n{}",
                    self.daemon.log()
                );
            }
        }
        let log = self.daemon.log();
        ensure!(self.daemon.is_running(), "the daemon ended:\n{log}");
        ensure!(!log.contains("panicked"), "something panicked:\n{log}");
        Ok(())
    }
}

/// What is wrong with an answer, if anything is.
pub(crate) fn complaint(path: &str, what: &str, answer: &Answer) -> Option<String> {
    let wrong = match answer {
        // Only a mistake of ours is internal.
        Answer::Status {
            code: 13, message, ..
        } => !NO_CALL.iter().any(|words| message.starts_with(words)),
        Answer::Status { code, .. } => !(0..=16).contains(code),
        Answer::Open { .. } => !plan::may_go_on(path),
        Answer::Refused(_) | Answer::Broken(_) => true,
    };
    wrong.then(|| format!("{path}: {what}: {answer:?}"))
}

/// How many answers of each kind each method gave, for who looks.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<String, BTreeMap<String, usize>>);

/// Letters of a message's last part by which answers are counted.
const LETTERS: usize = 40;

impl Counts {
    /// Counts an answer.
    pub(crate) fn add(&mut self, path: &str, answer: &Answer) {
        let kind = match answer {
            Answer::Status { code: 0, .. } => "OK".into(),
            Answer::Status { code, message, .. } => {
                let words = message.rsplit(": ").next().unwrap_or_default();
                let words: String = words.chars().take(LETTERS).collect();
                format!("{code} {words:?}")
            }
            Answer::Refused(status) => format!("HTTP {status}"),
            Answer::Open { begun: true } => "goes on".into(),
            Answer::Open { begun: false } => "waits".into(),
            Answer::Broken(_) => "broken".into(),
        };
        let of_path = self.0.entry(path.to_owned()).or_default();
        *of_path.entry(kind).or_default() += 1;
    }

    /// All answers.
    pub(crate) fn total(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).sum()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, kinds) in &self.0 {
            writeln!(f, "{path}")?;
            for (kind, number) in kinds {
                writeln!(f, "{number:6} {kind}")?;
            }
        }
        Ok(())
    }
}

/// Fails with the first of what was wrong.
pub(crate) fn nothing_wrong(wrong: &[String]) -> Result<()> {
    let shown: Vec<_> = wrong.iter().take(20).map(|text| shortened(text)).collect();
    ensure!(
        wrong.is_empty(),
        "{} answers are wrong:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(600).collect()
}

/// Several messages in one body.
pub(crate) fn bodies(messages: &[Vec<u8>]) -> Vec<Bytes> {
    messages
        .iter()
        .map(|it| crate::caller::framed(it))
        .collect()
}
