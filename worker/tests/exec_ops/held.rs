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

use crate::bench::{Bench, bench, cache};

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
async fn first_of(
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
    let (cat, end) = first_of(container.as_ref()).await;
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
    let (cat, end) = first_of(container.as_ref()).await;
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
    let (_cat, end) = first_of(container.as_ref()).await;
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
    let (_cat, _end) = first_of(container.as_ref()).await;
    let missing = container
        .start(program(&["no-such-program"], ProcessInput::Nothing))
        .await;
    assert!(missing.is_err());
    assert_eq!(run(container.as_ref(), "exit 4").await.0, 4);
    assert!(container.release().await.is_err());
}

#[tokio::test]
async fn a_container_is_released_though_nobody_follows_its_programs() {
    let bench = bench();
    let container = held(&bench).await;
    let request = || program(&["cat"], ProcessInput::Pipe);
    let unfollowed = [
        container.start(request()).await.unwrap(),
        container.start(request()).await.unwrap(),
    ];
    let released = container.release().await.unwrap_err();
    assert_eq!(released.kind, FailureKind::Cancelled);
    let told = unfollowed[1].run(Arc::new(Heard::default())).await;
    assert_eq!(told.unwrap_err().kind, FailureKind::Cancelled);
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn a_container_that_waits_for_a_cache_can_be_released() {
    let bench = bench();
    let locked = || ContainerRequest {
        mounts: vec![
            pb::Mount {
                dest: "/".into(),
                ..pb::Mount::default()
            },
            cache("one", "/cache", pb::CacheSharingOpt::Locked),
        ],
        inputs: vec![bench.image.clone()],
        ..ContainerRequest::default()
    };
    let first = bench.ops().hold(locked()).await.unwrap();
    let (_cat, _end) = first_of(first.as_ref()).await;
    let second = bench.ops().hold(locked());
    tokio::pin!(second);
    assert!(futures::poll!(second.as_mut()).is_pending());
    assert!(first.release().await.is_err());
    let second = second.await.unwrap();
    assert!(second.release().await.is_ok());
}

#[tokio::test]
async fn what_a_background_program_goes_on_to_write_does_not_keep_the_one_that_ended() {
    let bench = bench();
    let container = held(&bench).await;
    let (_cat, _end) = first_of(container.as_ref()).await;
    let (code, text) = run(
        container.as_ref(),
        "while :; do echo noise; done & echo said",
    )
    .await;
    assert_eq!(code, 0);
    assert!(text.contains("said"));
    assert!(container.release().await.is_err());
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A real container that things are done to.
struct Chaos {
    numbers: Numbers,
    container: Arc<dyn HeldContainer>,
    programs: Vec<Arc<dyn HeldProcess>>,
    ends: tokio::task::JoinSet<Result<i32, cooper_core::model::Failure>>,
}

impl Chaos {
    fn request(&mut self) -> ProcessRequest {
        let input = match self.numbers.below(3) {
            0 => ProcessInput::Pipe,
            1 => ProcessInput::Terminal,
            _ => ProcessInput::Nothing,
        };
        let args: &[&str] = match self.numbers.below(4) {
            0 => &["cat"],
            1 => &["sleep", "1000"],
            2 => &["true"],
            _ => &["no-such-program"],
        };
        program(args, input)
    }

    async fn step(&mut self, bench: &Bench) {
        match self.numbers.below(10) {
            0..=3 => {
                let request = self.request();
                if let Ok(process) = self.container.start(request).await {
                    self.programs.push(Arc::clone(&process));
                    // One in three is followed by nobody.
                    if self.numbers.below(3) > 0 {
                        self.ends
                            .spawn(async move { process.run(Arc::new(Heard::default())).await });
                    }
                }
            }
            4 => drop(self.programs.pop()),
            5 => {
                for process in &self.programs {
                    process.resize(1, 1);
                    process.write(Bytes::from_static(b"x")).await;
                }
            }
            6 => {
                if let Some(process) = self.programs.first() {
                    let _ended = process.signal(9);
                }
            }
            7 => {
                if let Some(process) = self.programs.last() {
                    process.close_input().await;
                }
            }
            8 => {
                let (one, other) = tokio::join!(self.container.release(), self.container.release());
                assert!(one.is_ok() || other.is_ok());
                self.renew(bench).await;
            }
            _ => {
                let request = self.request();
                let starting = self.container.start(request);
                // A program that came too late is held, and followed by nobody, until the release is over.
                let (_started, _ran) = tokio::join!(starting, self.container.release());
                self.renew(bench).await;
            }
        }
    }

    async fn renew(&mut self, bench: &Bench) {
        self.programs.clear();
        self.container = held(bench).await;
    }
}

// T-A25
#[tokio::test]
async fn any_order_of_start_write_signal_and_release_leaves_nothing() {
    let bench = bench();
    for seed in 0..4 {
        let mut chaos = Chaos {
            numbers: Numbers(seed),
            container: held(&bench).await,
            programs: Vec::new(),
            ends: tokio::task::JoinSet::new(),
        };
        for _ in 0..120 {
            chaos.step(&bench).await;
        }
        let _ran = chaos.container.release().await;
        chaos.programs.clear();
        // Every program that was followed has told its end.
        while let Some(end) = chaos.ends.join_next().await {
            drop(end.unwrap());
        }
        assert_eq!(bench.half_made_layers(), 0, "seed {seed}");
    }
}
