use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cooper_core::model::{Failure, FailureKind, LogStream};
use cooper_core::ports::{HeldProcess, ProcessOutput};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::stop::Stop;
use crate::exec::{Control, End, ExitStatus, Input, OutputStream, Program};

/// A program in a held container.
pub(super) struct Process {
    control: Arc<Control>,
    input: tokio::sync::Mutex<Option<Input>>,
    followed: Mutex<Option<Followed>>,
    /// Whether its container was released.
    released: watch::Receiver<bool>,
}

/// What somebody has to follow while the program runs.
struct Followed {
    stdout: OutputStream,
    stderr: Option<OutputStream>,
    end: End,
    /// What has to be polled while the program runs; never ends.
    beside: BoxFuture<'static, ()>,
}

impl Process {
    pub(super) fn new(
        program: Program,
        beside: BoxFuture<'static, ()>,
        released: watch::Receiver<bool>,
    ) -> Self {
        Self {
            control: program.control,
            input: tokio::sync::Mutex::new(program.input),
            followed: Mutex::new(Some(Followed {
                stdout: program.stdout,
                stderr: program.stderr,
                end: program.end,
                beside,
            })),
            released,
        }
    }
}

/// Where one of a program's streams goes.
struct Sink<'a> {
    stream: LogStream,
    output: &'a Arc<dyn ProcessOutput>,
    released: watch::Receiver<bool>,
}

impl Sink<'_> {
    /// Hands on a chunk. Nobody waits for who takes it once the container is released.
    async fn take(&mut self, data: Bytes) {
        tokio::select! {
            () = self.output.take(self.stream, data) => {}
            _ = self.released.wait_for(|released| *released) => {}
        }
    }
}

impl Process {
    fn sink<'a>(&self, stream: LogStream, output: &'a Arc<dyn ProcessOutput>) -> Sink<'a> {
        Sink {
            stream,
            output,
            released: self.released.clone(),
        }
    }
}

#[async_trait]
impl HeldProcess for Process {
    async fn run(&self, output: Arc<dyn ProcessOutput>) -> Result<i32, Failure> {
        let followed = self.followed.lock().take();
        let Some(mut followed) = followed else {
            return Err(Failure::new(
                FailureKind::Internal,
                "the program is followed already",
            ));
        };
        let (tell_ended, ended) = watch::channel(false);
        let wait = async {
            let status = followed.end.wait().await;
            tell_ended.send_replace(true);
            status
        };
        let stderr = async {
            if let Some(stderr) = followed.stderr {
                let to = self.sink(LogStream::Stderr, &output);
                pump(stderr, to, ended.clone()).await;
            }
        };
        let to = self.sink(LogStream::Stdout, &output);
        let stdout = pump(followed.stdout, to, ended.clone());
        let status = tokio::select! {
            (status, (), ()) = async { tokio::join!(wait, stdout, stderr) } => status,
            () = followed.beside => {
                return Err(Failure::new(FailureKind::Internal, "what serves the program has ended"));
            }
        };
        // Whoever writes at the moment finds out for itself: others may hold the other end, and read nothing.
        if let Ok(mut input) = self.input.try_lock() {
            drop(input.take());
        }
        if *self.released.borrow() {
            // In the words of Go, which clients look for.
            return Err(Failure::new(FailureKind::Cancelled, "context canceled"));
        }
        match status {
            Ok(ExitStatus::Exited(code) | ExitStatus::OutOfMemory(code)) => Ok(code),
            // As a shell says it.
            Ok(ExitStatus::Signaled(signal)) => Ok(128 + signal),
            Ok(ExitStatus::Cancelled) => {
                Err(Failure::new(FailureKind::Cancelled, "context canceled"))
            }
            Err(error) => Err(Stop::from(error).into()),
        }
    }

    async fn write(&self, data: Bytes) {
        let mut input = self.input.lock().await;
        if let Some(open) = input.as_mut()
            && let Err(error) = open.write(&data).await
        {
            tracing::debug!(%error, "a program reads no more");
            *input = None;
        }
    }

    async fn close_input(&self) {
        drop(self.input.lock().await.take());
    }

    fn signal(&self, number: i32) -> Result<(), Failure> {
        let sent = self.control.signal(number);
        sent.map_err(|error| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("signal {number}: {error}"),
            )
        })
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Err(error) = self.control.resize(rows, columns) {
            tracing::debug!(%error, "a terminal keeps its size");
        }
    }

    fn kill(&self) {
        self.control.kill();
    }
}

/// Most bytes of a stream that are handed on after the program's end: what the largest pipe of an ordinary kernel holds
/// (pipe(7)). Others may hold the stream open, and write to it without an end.
const LEFT: usize = 1 << 20;

/// Hands on what a program writes. Others may hold the stream open after its end: then what there is is handed on, and
/// nothing is waited for.
async fn pump(mut from: OutputStream, mut to: Sink<'_>, mut ended: watch::Receiver<bool>) {
    let mut buffer = BytesMut::new();
    let mut is_ended = false;
    let mut left = LEFT;
    while left > 0 {
        let read = if is_ended {
            let read = from.read_now(&mut buffer);
            left = left.saturating_sub(*read.as_ref().unwrap_or(&0));
            read
        } else {
            tokio::select! {
                biased;
                read = from.read(&mut buffer) => read,
                _ = ended.wait_for(|ended| *ended) => {
                    is_ended = true;
                    continue;
                }
            }
        };
        match read {
            Ok(0) => return,
            Ok(_) => to.take(buffer.split().freeze()).await,
            Err(error) => return tracing::warn!(%error, "what a program writes cannot be read"),
        }
    }
}
