use std::pin::Pin;

use cooper_core::ports::{Session as _, SshConnection};
use cooper_engine::server::status_from_failure;
use cooper_proto::ssh_forward::ssh_server::Ssh;
use cooper_proto::ssh_forward::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::services::SessionServices;

/// Header that says which agent is meant (parity sheet D).
const AGENT: &str = "buildkit.ssh.id";

/// Chunks on their way to the daemon before the agent has to wait.
const WAITING: usize = 16;

#[tonic::async_trait]
impl Ssh for SessionServices {
    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        let found = self.session.ssh_agent(&request.get_ref().id).await;
        found.map_err(|failure| status_from_failure(&failure))?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get(AGENT);
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let agent = self.session.ssh_agent(id).await;
        let agent = agent.map_err(|failure| status_from_failure(&failure))?;
        let connection = agent.connect().await;
        let connection = connection.map_err(|failure| status_from_failure(&failure))?;
        let (answers, waiting) = mpsc::channel(WAITING);
        self.transfers
            .spawn(forward(request.into_inner(), connection, answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(waiting))))
    }
}

/// Carries both ways until the agent says no more, or the daemon is gone.
async fn forward(
    mut requests: Streaming<BytesMessage>,
    connection: SshConnection,
    answers: mpsc::Sender<Result<BytesMessage, Status>>,
) {
    let SshConnection {
        mut sink,
        mut source,
    } = connection;
    let forth = async move {
        while let Ok(Some(message)) = requests.message().await {
            if sink.send(message.data).await.is_err() {
                return;
            }
        }
        // An agent that is gone already needs no end.
        let _ = sink.finish().await;
    };
    let back = async {
        loop {
            let answer = match source.receive().await {
                Ok(Some(data)) => Ok(BytesMessage { data }),
                Ok(None) => return,
                Err(failure) => Err(status_from_failure(&failure)),
            };
            let ended = answer.is_err();
            if answers.send(answer).await.is_err() || ended {
                return;
            }
        }
    };
    tokio::pin!(back);
    tokio::select! {
        () = &mut back => {}
        () = forth => tokio::select! {
            () = &mut back => {}
            () = answers.closed() => {}
        },
    }
}
