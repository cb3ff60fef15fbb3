//! The conversation about the programs in a frontend's containers (parity sheet E, ExecProcess).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, LogStream};
use cooper_core::ports::{HeldProcess, ProcessOutput};
use cooper_proto::frontend::exec_message::Input;
use cooper_proto::frontend::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, StartedMessage,
};
use cooper_proto::rpc;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{Stream, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::signal::signal_number;
use crate::bridge::BuildBridge;
use crate::job::GatewayReturn;
use crate::server::status::status_from_failure;

/// What a frontend is told of its programs.
type Told = Result<ExecMessage, Status>;

/// The exit code that stands for "it could not be run".
const UNKNOWN_EXIT: u32 = 255;

/// Messages that wait for a frontend that is behind. Its programs wait with them.
const WAITING: usize = 32;

/// Most programs that one conversation may have had.
const MAX_PROCESSES: usize = 10_000;

/// Answers a frontend's messages. All its programs are killed when the answer is dropped.
pub(super) fn converse(
    bridge: Arc<BuildBridge>,
    frontend: Arc<GatewayReturn>,
    messages: impl Stream<Item = Result<ExecMessage, Status>> + Send + Unpin + 'static,
) -> BoxStream<'static, Told> {
    let (tell, told) = mpsc::channel(WAITING);
    let conversation = Conversation {
        bridge,
        frontend,
        tell: tell.clone(),
        processes: BTreeMap::new(),
    };
    let work = async move {
        if let Err(status) = conversation.run(messages).await {
            // A frontend that is gone needs no answer.
            let _unheard = tell.send(Err(status)).await;
        }
    };
    let told = tokio_stream::wrappers::ReceiverStream::new(told);
    let work = futures::stream::once(work).filter_map(|()| std::future::ready(None));
    futures::stream::select(told, work).boxed()
}

struct Conversation {
    bridge: Arc<BuildBridge>,
    frontend: Arc<GatewayReturn>,
    tell: mpsc::Sender<Told>,
    processes: BTreeMap<String, Slot>,
}

/// A program that was asked for, with its input in the order that it came; empty where it could not be started.
type Slot = Option<Program>;

#[derive(Clone)]
struct Program {
    process: Arc<dyn HeldProcess>,
    input: mpsc::UnboundedSender<FdMessage>,
}

/// Work for one program that goes on while others are talked about.
type Work = BoxFuture<'static, ()>;

impl Conversation {
    async fn run(
        mut self,
        mut messages: impl Stream<Item = Result<ExecMessage, Status>> + Unpin,
    ) -> Result<(), Status> {
        let mut running: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut is_over = false;
        while !is_over || !running.is_empty() {
            tokio::select! {
                message = messages.next(), if !is_over => match message {
                    None => {
                        // Programs that wait for input get no more.
                        is_over = true;
                        self.processes.clear();
                    }
                    Some(message) => running.extend(self.take(message?).await?),
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
        Ok(())
    }

    /// Does what a message says; what takes time is the answer.
    async fn take(&mut self, message: ExecMessage) -> Result<Option<Work>, Status> {
        let id = message.process_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("ProcessID required"));
        }
        match message.input {
            Some(Input::Init(init)) => return self.start(id, init).await.map(Some),
            Some(Input::File(file)) => {
                if let Some(program) = self.program(&id)?
                    && file.fd == 0
                {
                    // One that has ended takes none.
                    let _unread = program.input.send(file);
                }
            }
            Some(Input::Resize(size)) => {
                if let Some(program) = self.program(&id)? {
                    program.process.resize(cells(size.rows), cells(size.cols));
                }
            }
            Some(Input::Signal(signal)) => {
                let program = self.program(&id)?;
                let number = signal_number(&signal.name).ok_or_else(|| {
                    Status::invalid_argument(format!("Unknown signal {}", signal.name))
                })?;
                if let Some(program) = program {
                    let sent = program.process.signal(number);
                    sent.map_err(|failure| status_from_failure(&failure))?;
                }
            }
            // These are ours to say; and nothing at all is what an unknown message looks like.
            Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => {
                return Err(Status::invalid_argument(
                    "frontends do not send such a message",
                ));
            }
        }
        Ok(None)
    }

    fn program(&self, id: &str) -> Result<&Slot, Status> {
        let slot = self.processes.get(id);
        slot.ok_or_else(|| Status::not_found(format!("IO for process {id:?} not found")))
    }

    async fn start(&mut self, id: String, init: InitMessage) -> Result<Work, Status> {
        if self.processes.contains_key(&id) {
            return Err(Status::already_exists(format!(
                "Process {id} already exists"
            )));
        }
        if self.processes.len() >= MAX_PROCESSES {
            return Err(Status::resource_exhausted("too many processes"));
        }
        let container = self.frontend.containers.get(&init.container_id);
        container.map_err(|failure| status_from_failure(&failure))?;
        let fds = init.fds.clone();
        let started = self.frontend.containers.start(&self.bridge, init).await;
        let (input, given) = mpsc::unbounded_channel();
        let slot = started.as_ref().ok().map(|process| Program {
            process: Arc::clone(process),
            input,
        });
        self.processes.insert(id.clone(), slot);
        let voice = Voice {
            id,
            fds,
            tell: self.tell.clone(),
        };
        Ok(Box::pin(follow(started, given, voice)))
    }
}

/// Tells of a program from its start to its end.
async fn follow(
    started: Result<Arc<dyn HeldProcess>, Failure>,
    input: mpsc::UnboundedReceiver<FdMessage>,
    voice: Voice,
) {
    voice.say(Input::Started(StartedMessage {})).await;
    let voice = Arc::new(voice);
    let output = Arc::clone(&voice);
    let ended = match started {
        Ok(process) => {
            let run = process.run(output);
            tokio::select! {
                ended = run => ended,
                () = feed(process.as_ref(), input) => unreachable!("feeding goes on for ever"),
            }
        }
        Err(failure) => Err(failure),
    };
    for fd in voice.fds.iter().filter(|fd| **fd > 0) {
        voice.file(*fd, Bytes::new(), true).await;
    }
    voice.say(Input::Exit(exit(ended))).await;
    voice.say(Input::Done(DoneMessage {})).await;
}

/// Gives a program its input. Does not end by itself.
async fn feed(process: &dyn HeldProcess, mut input: mpsc::UnboundedReceiver<FdMessage>) {
    while let Some(file) = input.recv().await {
        if !file.data.is_empty() {
            process.write(file.data).await;
        }
        if file.eof {
            process.close_input().await;
        }
    }
    process.close_input().await;
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

fn cells(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The way to tell of one program.
struct Voice {
    id: String,
    /// The streams that the frontend wants carried.
    fds: Vec<u32>,
    tell: mpsc::Sender<Told>,
}

impl Voice {
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
}
