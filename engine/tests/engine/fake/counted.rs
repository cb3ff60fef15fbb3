use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, LogStream};
use cooper_core::ports::{
    ContainerRequest, Containers, FileStat, HeldContainer, HeldProcess, ProcessOutput,
    ProcessRequest,
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// Containers that know how many of them there are. A program's first argument says what it does: `waits` for the end of
/// its input, `ends` at once, `speaks` and ends, `fails` to start, or starts `late`, which is when the test says it.
#[derive(Clone)]
pub(crate) struct CountedContainers(Arc<World>);

struct World {
    counts: Mutex<Counts>,
    late: Semaphore,
}

/// What there is, and what there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) containers: usize,
    pub(crate) programs: usize,
    pub(crate) created: usize,
    pub(crate) started: usize,
}

impl CountedContainers {
    pub(crate) fn counts(&self) -> Counts {
        *self.0.counts.lock()
    }

    /// Lets one late program start.
    pub(crate) fn let_go(&self) {
        self.0.late.add_permits(1);
    }
}

impl Default for CountedContainers {
    fn default() -> Self {
        Self(Arc::new(World {
            counts: Mutex::default(),
            late: Semaphore::new(0),
        }))
    }
}

#[async_trait]
impl Containers for CountedContainers {
    async fn create(&self, _: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure> {
        tokio::task::yield_now().await;
        let mut counts = self.0.counts.lock();
        counts.containers += 1;
        counts.created += 1;
        Ok(Arc::new(Counted {
            all: self.clone(),
            is_over: watch::Sender::new(false),
        }))
    }
}

struct Counted {
    all: CountedContainers,
    is_over: watch::Sender<bool>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.is_over.send_replace(true);
        self.all.0.counts.lock().containers -= 1;
    }
}

#[async_trait]
impl HeldContainer for Counted {
    async fn start(&self, request: ProcessRequest) -> Result<Arc<dyn HeldProcess>, Failure> {
        tokio::task::yield_now().await;
        let does = request.meta.args.first().cloned().unwrap_or_default();
        if does == "late" {
            let permit = self.all.0.late.acquire().await;
            permit.expect("it is never closed").forget();
        }
        if *self.is_over.borrow() || does == "fails" {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                "it cannot be started",
            ));
        }
        let mut counts = self.all.0.counts.lock();
        counts.programs += 1;
        counts.started += 1;
        Ok(Arc::new(Program {
            all: self.all.clone(),
            does,
            container: self.is_over.subscribe(),
            is_over: watch::Sender::new(false),
        }))
    }

    async fn read_file(&self, _: usize, _: &str, _: Option<Range<u64>>) -> Result<Bytes, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn read_dir(&self, _: usize, _: &str, _: &str) -> Result<Vec<FileStat>, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn stat_file(&self, _: usize, _: &str) -> Result<FileStat, Failure> {
        Err(Failure::unsupported("files"))
    }

    async fn release(&self) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        self.is_over.send_replace(true);
        Ok(())
    }
}

struct Program {
    all: CountedContainers,
    does: String,
    container: watch::Receiver<bool>,
    is_over: watch::Sender<bool>,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.all.0.counts.lock().programs -= 1;
    }
}

#[async_trait]
impl HeldProcess for Program {
    async fn run(&self, output: Arc<dyn ProcessOutput>) -> Result<i32, Failure> {
        match self.does.as_str() {
            "ends" | "late" => return Ok(3),
            "speaks" => {
                for _ in 0..5 {
                    let words = Bytes::from_static(b"words");
                    output.take(LogStream::Stdout, words).await;
                }
                return Ok(0);
            }
            _ => {}
        }
        let (mut own, mut container) = (self.is_over.subscribe(), self.container.clone());
        // Whoever could say that it is over being gone means the same.
        tokio::select! {
            _ = own.wait_for(|over| *over) => Ok(0),
            _ = container.wait_for(|over| *over) => {
                Err(Failure::new(FailureKind::Cancelled, "context canceled"))
            }
        }
    }

    async fn write(&self, _: Bytes) {
        tokio::task::yield_now().await;
    }

    async fn close_input(&self) {
        self.is_over.send_replace(true);
    }

    fn signal(&self, _: i32) -> Result<(), Failure> {
        self.is_over.send_replace(true);
        Ok(())
    }

    fn resize(&self, _: u16, _: u16) {}

    fn kill(&self) {
        self.is_over.send_replace(true);
    }
}
