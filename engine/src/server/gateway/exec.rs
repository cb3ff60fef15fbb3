//! The conversation about the programs in a frontend's containers (parity sheet E, ExecProcess).

use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_proto::frontend::exec_message::Input;
use cooper_proto::frontend::{ExecMessage, InitMessage};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::program::{Act, Ears, Orders, Told, Voice, follow, orders};
use super::signal::signal_number;
use crate::bridge::BuildBridge;
use crate::job::GatewayReturn;
use crate::server::status::{refusal, status_from_failure};

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
        programs: BTreeMap::new(),
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
    /// The programs that were asked for. One that has ended, or never began, hears nothing.
    programs: BTreeMap<String, Orders>,
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
                // What is asked goes before what there is to tell: see `start`.
                biased;
                message = messages.next(), if !is_over => match message {
                    None => {
                        // Programs that wait for input get no more.
                        is_over = true;
                        self.programs.clear();
                    }
                    Some(message) => {
                        let work = beside(&mut running, self.take(message?)).await?;
                        running.extend(work);
                    }
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
                let program = self.program(&id)?;
                if file.fd == 0 {
                    program.input(file).await;
                }
            }
            Some(Input::Resize(size)) => {
                let (rows, columns) = (cells(size.rows), cells(size.cols));
                self.program(&id)?.act(Act::Resize { rows, columns }).await;
            }
            Some(Input::Signal(signal)) => {
                let program = self.program(&id)?;
                let number = signal_number(&signal.name).ok_or_else(|| {
                    let words = format!("Unknown signal {}", signal.name);
                    refusal(Code::InvalidArgument, &words)
                })?;
                program.act(Act::Signal(number)).await;
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

    fn program(&self, id: &str) -> Result<&Orders, Status> {
        let program = self.programs.get(id);
        program.ok_or_else(|| {
            let words = format!("IO for process {id:?} not found");
            refusal(Code::NotFound, &words)
        })
    }

    /// The first program of a container is said to have started when it has, others at once, as BuildKit does: its clients
    /// read no news of a further program while one before it has more to say than was taken.
    async fn start(&mut self, id: String, init: InitMessage) -> Result<Work, Status> {
        if self.programs.contains_key(&id) {
            let words = format!("Process {id} already exists");
            return Err(refusal(Code::AlreadyExists, &words));
        }
        if self.programs.len() >= MAX_PROCESSES {
            return Err(Status::resource_exhausted("too many processes"));
        }
        let is_begun = self.frontend.containers.is_begun(&init.container_id);
        let is_begun = is_begun.map_err(|failure| status_from_failure(&failure))?;
        let (orders, ears) = orders();
        let voice = Voice::new(id.clone(), init.fds.clone(), self.tell.clone());
        self.programs.insert(id, orders);
        if is_begun {
            return Ok(self.begin_beside(init, ears, voice));
        }
        let started = self.frontend.containers.start(&self.bridge, init).await;
        Ok(Box::pin(async move {
            voice.started().await;
            follow(started, ears, voice).await;
        }))
    }

    fn begin_beside(&self, init: InitMessage, ears: Ears, voice: Voice) -> Work {
        let (bridge, frontend) = (Arc::clone(&self.bridge), Arc::clone(&self.frontend));
        Box::pin(async move {
            voice.started().await;
            let started = frontend.containers.start(&bridge, init).await;
            follow(started, ears, voice).await;
        })
    }
}

/// Does one thing while programs go on.
async fn beside<T>(running: &mut FuturesUnordered<Work>, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
}

fn cells(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
