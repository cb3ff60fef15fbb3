use std::fmt;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::task::TaskTracker;
use url::Url;

/// How long a program whose streams are closed may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// How much of what a program says on standard error is kept.
///
/// # Units
/// Bytes.
const MAX_WORDS: u64 = 16 << 10;

/// A program whose standard streams lead to a daemon: `docker exec`, `ssh` and the like run `dial-stdio` beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    address: String,
    name: &'static str,
    /// Arguments before the name of the client that dials.
    before: Vec<String>,
    /// Arguments after that name, before `dial-stdio`.
    after: Vec<String>,
}

/// A client of the protocol that can be told to dial, of which one will be where the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialer {
    /// BuildKit's.
    Buildctl,
    /// Ours.
    Cooper,
}

impl Dialer {
    fn name(self) -> &'static str {
        match self {
            Self::Buildctl => "buildctl",
            Self::Cooper => "cooper",
        }
    }
}

impl Program {
    /// The program for an address (BuildKit's client/connhelper: what it runs, in which order of arguments).
    ///
    /// # Errors
    /// What is wrong with the address, in words that follow a colon.
    pub(super) fn of_url(url: &Url) -> Result<Self, String> {
        let query = |name: &str| {
            let found = url.query_pairs().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.into_owned())
                .filter(|value| !value.is_empty())
        };
        let host = url.host_str().unwrap_or_default().to_owned();
        let named = |what: &str| match host.as_str() {
            "" => Err(format!("it names no {what}")),
            // It would be taken for an option.
            text if text.starts_with('-') => Err(format!("{text:?} is no name of a {what}")),
            text => Ok(text.to_owned()),
        };
        let option =
            |name: &str, value: Option<String>| value.map(|value| format!("--{name}={value}"));
        let (name, before, after) = match url.scheme() {
            "docker-container" => {
                let mut before: Vec<String> =
                    option("context", query("context")).into_iter().collect();
                before.extend(["exec".into(), "-i".into(), named("container")?]);
                ("docker", before, Vec::new())
            }
            "podman-container" => {
                let before = vec!["exec".into(), "-i".into(), named("container")?];
                ("podman", before, Vec::new())
            }
            "nerdctl-container" => {
                let mut before: Vec<String> = option("namespace", query("namespace"))
                    .into_iter()
                    .collect();
                before.extend(["exec".into(), "-i".into(), named("container")?]);
                ("nerdctl", before, Vec::new())
            }
            "kube-pod" => ("kubectl", pod(&named("pod")?, query)?, Vec::new()),
            "ssh" => {
                let (before, after) = remote(url, named("host")?)?;
                ("ssh", before, after)
            }
            other => {
                return Err(format!(
                    "the scheme {other} is not known; known are unix, tcp, docker-container, podman-container, \
                     nerdctl-container, kube-pod and ssh"
                ));
            }
        };
        Ok(Self {
            address: url.to_string(),
            name,
            before,
            after,
        })
    }

    fn arguments(&self, dialer: Dialer) -> Vec<String> {
        let mut arguments = self.before.clone();
        arguments.push(dialer.name().to_owned());
        arguments.extend(self.after.clone());
        arguments.push("dial-stdio".to_owned());
        arguments
    }

    /// Starts the program.
    ///
    /// # Errors
    /// `NotFound` when this machine does not have it.
    pub(super) fn start(&self, dialer: Dialer) -> Result<(Running, ProgramLink), Failure> {
        let spawned = Command::new(self.name)
            .args(self.arguments(dialer))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is ours: the build is cancelled over this connection.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut child = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                FailureKind::NotFound,
                format!(
                    "{} needs the program {}, which is not here",
                    self, self.name
                ),
            )
            .with_hint(format!(
                "install {}, or reach the daemon by unix:// or tcp://",
                self.name
            )),
            _ => Failure::new(
                FailureKind::Infrastructure,
                format!("{} cannot be started: {error}", self.name),
            ),
        })?;
        let link = ProgramLink {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
        };
        let words = Arc::new(Mutex::new(Vec::new()));
        let tasks = TaskTracker::new();
        if let Some(stderr) = child.stderr.take() {
            let words = Arc::clone(&words);
            tasks.spawn(async move {
                let mut text = Vec::new();
                // What cannot be read is not told.
                let _ = stderr.take(MAX_WORDS).read_to_end(&mut text).await;
                if let Ok(mut words) = words.lock() {
                    *words = text;
                }
            });
        }
        tasks.close();
        Ok((
            Running {
                child,
                words,
                tasks,
            },
            link,
        ))
    }
}

/// `kubectl`'s arguments.
fn pod(name: &str, query: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let valid = |what: &str, text: &str| {
        let known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        match text.bytes().all(known) {
            true => Ok(()),
            false => Err(format!("{text:?} is no name of a {what}")),
        }
    };
    valid("pod", name)?;
    let mut arguments = Vec::new();
    for key in ["context", "namespace"] {
        if let Some(value) = query(key) {
            if key == "namespace" {
                valid(key, &value)?;
            }
            arguments.push(format!("--{key}={value}"));
        }
    }
    arguments.push("exec".to_owned());
    if let Some(container) = query("container") {
        valid("container", &container)?;
        arguments.push(format!("--container={container}"));
    }
    arguments.extend(["-i".to_owned(), name.to_owned(), "--".to_owned()]);
    Ok(arguments)
}

/// `ssh`'s arguments before and after the client's name.
fn remote(url: &Url, host: String) -> Result<(Vec<String>, Vec<String>), String> {
    if url.password().is_some() {
        return Err("a password has no place in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("nothing may follow the socket's path".to_owned());
    }
    let mut before = Vec::new();
    if !url.username().is_empty() {
        before.extend(["-l".to_owned(), url.username().to_owned()]);
    }
    if let Some(port) = url.port() {
        before.extend(["-p".to_owned(), port.to_string()]);
    }
    before.extend(["--".to_owned(), host]);
    let mut after = Vec::new();
    if !url.path().is_empty() {
        // A shell at the other end reads the words.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if !url.path().bytes().all(plain) {
            return Err(format!("{:?} is no path of a socket", url.path()));
        }
        after.extend(["--addr".to_owned(), format!("unix://{}", url.path())]);
    }
    Ok((before, after))
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// A started program. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    words: Arc<Mutex<Vec<u8>>>,
    tasks: TaskTracker,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// Whether it ended because the client that should dial is not where the daemon is.
    pub(super) lacks_dialer: bool,
    /// What it said.
    pub(super) words: String,
}

impl Running {
    /// Waits until the program has ended, which it does when its streams are closed.
    pub(super) async fn ended(mut self) -> Ended {
        let waited = tokio::time::timeout(ENDING, self.child.wait()).await;
        let code = waited
            .ok()
            .and_then(Result::ok)
            .and_then(|status| status.code());
        if code.is_none() {
            // One that has ended needs no kill.
            let _ = self.child.start_kill();
        }
        // A grandchild may keep the stream open; what it says does not matter then.
        let _ = tokio::time::timeout(ENDING, self.tasks.wait()).await;
        let words = self
            .words
            .lock()
            .map(|words| words.clone())
            .unwrap_or_default();
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        let missing = words.contains("not found") || words.contains("no such file");
        Ended {
            // As shells and container runtimes exit.
            lacks_dialer: matches!(code, Some(126 | 127)) || missing,
            words,
        }
    }
}

/// A program's standard streams as a connection.
#[derive(Debug)]
pub(super) struct ProgramLink {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
}

impl AsyncRead for ProgramLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stdout {
            Some(stdout) => Pin::new(stdout).poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for ProgramLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Only closing a pipe tells its reader that there is no more.
        self.stdin = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, dialer: Dialer) -> String {
        let program = Program::of_url(&address.parse().unwrap()).unwrap();
        format!("{} {}", program.name, program.arguments(dialer).join(" "))
    }

    #[test]
    fn each_scheme_runs_its_program() {
        for (address, expected) in [
            (
                "docker-container://b?context=c",
                "docker --context=c exec -i b buildctl dial-stdio",
            ),
            (
                "podman-container://b",
                "podman exec -i b buildctl dial-stdio",
            ),
            (
                "nerdctl-container://b?namespace=n",
                "nerdctl --namespace=n exec -i b buildctl dial-stdio",
            ),
            (
                "kube-pod://p?context=c&namespace=n&container=k",
                "kubectl --context=c --namespace=n exec --container=k -i p -- buildctl dial-stdio",
            ),
            (
                "ssh://me@host:22",
                "ssh -l me -p 22 -- host buildctl dial-stdio",
            ),
            (
                "ssh://host/run/x.sock",
                "ssh -- host buildctl --addr unix:///run/x.sock dial-stdio",
            ),
        ] {
            assert_eq!(line(address, Dialer::Buildctl), expected);
        }
        assert_eq!(
            line("ssh://h", Dialer::Cooper),
            "ssh -- h cooper dial-stdio"
        );
    }

    #[test]
    fn paths_that_a_shell_would_read_otherwise_are_refused() {
        let url = "ssh://host/x$(id)".parse().unwrap();
        assert!(Program::of_url(&url).is_err());
    }
}
