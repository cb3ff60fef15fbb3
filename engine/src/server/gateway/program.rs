//! One program of a frontend's containers: what it is told, and what is told of it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, LogStream};
use cooper_core::ports::{HeldProcess, ProcessOutput};
use cooper_proto::frontend::exec_message::Input;
use cooper_proto::frontend::{DoneMessage, ExecMessage, ExitMessage, FdMessage, StartedMessage};
use cooper_proto::rpc;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::{Code, Status};

use crate::server::status::status_from_failure;

/// What a frontend is told of its programs.
pub(super) type Told = Result<ExecMessage, Status>;

/// The exit code that stands for "it could not be run".
const UNKNOWN_EXIT: u32 = 255;

/// Most bytes of input that wait for one program. Its frontend waits with what is more.
const MAX_WAITING: usize = 1 << 20;

/// Most acts that wait for a program that has not begun.
const MAX_ACTS: usize = 64;

/// The way to a program.
pub(super) struct Orders {
    input: mpsc::UnboundedSender<Piece>,
    acts: mpsc::Sender<Act>,
    space: Arc<Semaphore>,
}

/// The program's end of [`Orders`].
pub(super) struct Ears {
    input: mpsc::UnboundedReceiver<Piece>,
    acts: mpsc::Receiver<Act>,
}

/// A piece of input, with the space that it takes.
struct Piece {
    data: Bytes,
    is_last: bool,
    _space: Option<OwnedSemaphorePermit>,
}

/// What is done to a program, whatever of its input it has not read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Signal(i32),
    Resize { rows: u16, columns: u16 },
}

/// A way to a program that need not be there yet.
pub(super) fn orders() -> (Orders, Ears) {
    let (input, given) = mpsc::unbounded_channel();
    let (acts, asked) = mpsc::channel(MAX_ACTS);
    let orders = Orders {
        input,
        acts,
        space: Arc::new(Semaphore::new(MAX_WAITING)),
    };
    let ears = Ears {
        input: given,
        acts: asked,
    };
    (orders, ears)
}

impl Orders {
    /// Hands a piece of input on, when there is space for it. A program that has ended takes none.
    pub(super) async fn input(&self, file: FdMessage) {
        if self.input.is_closed() {
            return;
        }
        let size = u32::try_from(file.data.len().min(MAX_WAITING)).unwrap_or(0);
        let space = tokio::select! {
            space = Arc::clone(&self.space).acquire_many_owned(size) => space.ok(),
            () = self.input.closed() => return,
        };
        let piece = Piece {
            data: file.data,
            is_last: file.eof,
            _space: space,
        };
        let _unread = self.input.send(piece);
    }

    /// Has something done to the program. Nothing is done to one that has ended.
    pub(super) async fn act(&self, act: Act) {
        let _unheard = self.acts.send(act).await;
    }
}

/// Tells of a program that was started, or not, to its end.
pub(super) async fn follow(
    started: Result<Arc<dyn HeldProcess>, Failure>,
    ears: Ears,
    voice: Voice,
) {
    let voice = Arc::new(voice);
    let ended = match started {
        Ok(process) => {
            let run = process.run(Arc::<Voice>::clone(&voice));
            tokio::select! {
                ended = run => ended,
                () = feed(process.as_ref(), ears.input) => unreachable!("feeding goes on for ever"),
                () = act(process.as_ref(), ears.acts) => unreachable!("acting goes on for ever"),
            }
        }
        Err(failure) => {
            drop(ears);
            Err(failure)
        }
    };
    voice.ended(ended).await;
}

/// Gives a program its input. Does not end by itself.
async fn feed(process: &dyn HeldProcess, mut input: mpsc::UnboundedReceiver<Piece>) {
    while let Some(piece) = input.recv().await {
        if !piece.data.is_empty() {
            process.write(piece.data).await;
        }
        if piece.is_last {
            process.close_input().await;
        }
    }
    process.close_input().await;
    std::future::pending().await
}

/// Does to a program what is asked. Does not end by itself.
async fn act(process: &dyn HeldProcess, mut acts: mpsc::Receiver<Act>) {
    while let Some(act) = acts.recv().await {
        match act {
            Act::Resize { rows, columns } => process.resize(rows, columns),
            Act::Signal(number) => {
                if let Err(failure) = process.signal(number) {
                    tracing::debug!(%failure, "a program was not sent a signal");
                }
            }
        }
    }
    std::future::pending().await
}

fn exit(ended: Result<i32, Failure>) -> ExitMessage {
    let failed = |code: u32, status: rpc::Status| ExitMessage {
        code,
        error: Some(status),
    };
    match ended {
        Ok(0) => ExitMessage::default(),
        Ok(code) => failed(
            u32::try_from(code).unwrap_or(UNKNOWN_EXIT),
            rpc::Status {
                code: Code::Unknown as i32,
                message: format!("exit code: {code}"),
                details: Vec::new(),
            },
        ),
        Err(failure) => {
            let status = status_from_failure(&failure);
            let decoded = rpc::Status::decode(status.details()).unwrap_or_default();
            failed(UNKNOWN_EXIT, decoded)
        }
    }
}

/// The way to tell of one program.
pub(super) struct Voice {
    id: String,
    /// The streams that the frontend wants carried.
    fds: Vec<u32>,
    tell: mpsc::Sender<Told>,
}

impl Voice {
    pub(super) fn new(id: String, fds: Vec<u32>, tell: mpsc::Sender<Told>) -> Self {
        Self { id, fds, tell }
    }

    pub(super) async fn started(&self) {
        self.say(Input::Started(StartedMessage {})).await;
    }

    async fn ended(&self, ended: Result<i32, Failure>) {
        for fd in self.fds.iter().filter(|fd| **fd > 0) {
            self.file(*fd, Bytes::new(), true).await;
        }
        self.say(Input::Exit(exit(ended))).await;
        self.say(Input::Done(DoneMessage {})).await;
    }

    async fn say(&self, input: Input) {
        let message = ExecMessage {
            process_id: self.id.clone(),
            input: Some(input),
        };
        // A frontend that is gone has its programs killed by who polls this.
        let _unheard = self.tell.send(Ok(message)).await;
    }

    async fn file(&self, fd: u32, data: Bytes, eof: bool) {
        self.say(Input::File(FdMessage { fd, eof, data })).await;
    }
}

#[async_trait]
impl ProcessOutput for Voice {
    async fn take(&self, stream: LogStream, data: Bytes) {
        let fd = match stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
        };
        if self.fds.contains(&fd) {
            self.file(fd, data, false).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use cooper_core::model::FailureKind;

    use super::*;

    #[test]
    fn an_exit_that_is_not_zero_says_why() {
        assert_eq!(exit(Ok(0)), ExitMessage::default());
        let failed = exit(Ok(137));
        assert_eq!(failed.code, 137);
        assert_eq!(failed.error.expect("a status").message, "exit code: 137");
        let denied = exit(Err(Failure::new(FailureKind::Denied, "no")));
        assert_eq!(denied.code, UNKNOWN_EXIT);
        assert_eq!(denied.error.expect("a status").message, "no");
    }

    #[tokio::test]
    async fn input_that_nobody_reads_waits_within_a_bound() {
        let (orders, mut ears) = orders();
        let piece = |size: usize| FdMessage {
            fd: 0,
            eof: false,
            data: vec![0; size].into(),
        };
        orders.input(piece(MAX_WAITING)).await;
        let more = orders.input(piece(1));
        tokio::pin!(more);
        assert!(futures::poll!(more.as_mut()).is_pending());
        let read = ears.input.recv().await.expect("the first piece");
        assert_eq!(read.data.len(), MAX_WAITING);
        assert!(
            futures::poll!(more.as_mut()).is_pending(),
            "it is being written"
        );
        drop(read);
        more.await;
        // More than fits at all goes alone; and nobody waits for a program that is gone.
        drop(ears);
        orders.input(piece(MAX_WAITING + 1)).await;
    }
}
