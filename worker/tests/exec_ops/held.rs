use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{FailureKind, LogStream};
use cooper_core::ports::{
    ContainerRequest, HeldContainer, HeldProcess, ProcessInput, ProcessOutput, ProcessRequest,
};
use cooper_proto::pb;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::bench::{Bench, bench};

#[expect(clippy::disallowed_methods, reason = "each test joins what it starts")]
fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// What a program wrote.
#[derive(Default)]
struct Heard {
    bytes: Mutex<Vec<u8>>,
    more: Notify,
}

#[async_trait]
impl ProcessOutput for Heard {
    async fn take(&self, _: LogStream, data: Bytes) {
        self.bytes.lock().extend_from_slice(&data);
        self.more.notify_one();
    }
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock()).into_owned()
    }

    async fn until(&self, words: &str) {
        while !self.text().contains(words) {
            self.more.notified().await;
        }
    }
}

async fn held(bench: &Bench) -> Arc<dyn HeldContainer> {
    let request = ContainerRequest {
        mounts: vec![pb::Mount {
            dest: "/".into(),
            ..pb::Mount::default()
        }],
        inputs: vec![bench.image.clone()],
        ..ContainerRequest::default()
    };
    bench.ops().hold(request).await.unwrap()
}

fn program(args: &[&str], input: ProcessInput) -> ProcessRequest {
    ProcessRequest {
        meta: pb::Meta {
            args: args.iter().map(|&arg| arg.into()).collect(),
            env: vec!["PATH=/bin".into()],
            ..pb::Meta::default()
        },
        input,
        ..ProcessRequest::default()
    }
}

/// Runs a program to its end.
async fn run(container: &dyn HeldContainer, script: &str) -> (i32, String) {
    let heard = Arc::new(Heard::default());
    let request = program(&["sh", "-c", script], ProcessInput::Nothing);
    let process = container.start(request).await.unwrap();
    let code = process.run(Arc::<Heard>::clone(&heard)).await.unwrap();
    (code, heard.text())
}

/// Starts a first program that ends when its input does, and follows it.
async fn first(
    container: &dyn HeldContainer,
) -> (
    Arc<dyn HeldProcess>,
    tokio::task::JoinHandle<Result<i32, cooper_core::model::Failure>>,
) {
    let request = program(&["cat"], ProcessInput::Pipe);
    let process = container.start(request).await.unwrap();
    let followed = Arc::clone(&process);
    let end = spawn(async move { followed.run(Arc::new(Heard::default())).await });
    (process, end)
}

#[tokio::test]
async fn programs_share_a_container_and_its_files_can_be_read() {
    let bench = bench();
    let container = held(&bench).await;
    let stat = container.stat_file(0, "/bin/busybox").await.unwrap();
    assert_eq!(stat.path, "busybox");
    let (cat, end) = first(container.as_ref()).await;
    assert_eq!(run(container.as_ref(), "echo a > /f; exit 3").await.0, 3);
    assert_eq!(run(container.as_ref(), "cat /f").await, (0, "a\n".into()));
    let bytes = container.read_file(0, "/f", Some(0..1)).await.unwrap();
    assert_eq!(bytes, "a");
    assert!(container.read_file(7, "/f", None).await.is_err());
    cat.write(Bytes::from_static(b"x")).await;
    cat.close_input().await;
    assert_eq!(end.await.unwrap(), Ok(0));
    assert!(container.release().await.is_ok());
    let after = container
        .start(program(&["true"], ProcessInput::Nothing))
        .await;
    assert!(after.is_err());
}

#[tokio::test]
async fn all_programs_end_with_the_first() {
    let bench = bench();
    let container = held(&bench).await;
    let (cat, end) = first(container.as_ref()).await;
    let heard = Arc::new(Heard::default());
    let request = program(&["sh", "-c", "echo up; sleep 1000"], ProcessInput::Nothing);
    let sleeper = container.start(request).await.unwrap();
    let listener = Arc::clone(&heard);
    let slept = spawn(async move { sleeper.run(listener).await });
    heard.until("up").await;
    cat.close_input().await;
    assert_eq!(end.await.unwrap(), Ok(0));
    assert_eq!(slept.await.unwrap(), Ok(137));
    assert!(container.release().await.is_ok());
}

#[tokio::test]
async fn what_still_runs_is_cancelled_by_the_release() {
    let bench = bench();
    let container = held(&bench).await;
    let (_cat, end) = first(container.as_ref()).await;
    let released = container.release().await.unwrap_err();
    assert_eq!(released.kind, FailureKind::Cancelled);
    assert_eq!(end.await.unwrap().unwrap_err().kind, FailureKind::Cancelled);
}

#[tokio::test]
async fn a_terminal_is_one_and_signals_arrive() {
    let bench = bench();
    let container = held(&bench).await;
    let heard = Arc::new(Heard::default());
    let script =
        "test -t 0 && test -t 1 && echo terminal; trap 'exit 9' HUP; echo ready; read x; read y";
    let request = program(&["sh", "-c", script], ProcessInput::Terminal);
    let shell = container.start(request).await.unwrap();
    shell.resize(40, 80);
    let (followed, listener) = (Arc::clone(&shell), Arc::clone(&heard));
    let end = spawn(async move { followed.run(listener).await });
    heard.until("ready").await;
    assert!(heard.text().contains("terminal"), "{}", heard.text());
    assert!(shell.signal(0).is_err());
    shell.signal(1).unwrap();
    assert_eq!(end.await.unwrap(), Ok(9));
    assert!(container.release().await.is_ok());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_an_error_of_its_own() {
    let bench = bench();
    let container = held(&bench).await;
    let (_cat, _end) = first(container.as_ref()).await;
    let missing = container
        .start(program(&["no-such-program"], ProcessInput::Nothing))
        .await;
    assert!(missing.is_err());
    assert_eq!(run(container.as_ref(), "exit 4").await.0, 4);
    assert!(container.release().await.is_err());
}
