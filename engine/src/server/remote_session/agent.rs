use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_core::ports::{ChunkSink, ChunkSource, SshAgent, SshConnection};
use cooper_proto::ssh_forward::BytesMessage;
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use super::stream::{Conversation, over};

const FORWARD: &str = "/moby.sshforward.v1.SSH/ForwardAgent";

/// Header that says which of a client's agents is meant (parity sheet D).
pub(super) const AGENT: &str = "buildkit.ssh.id";

/// One method of the service: a client that has it has the other.
pub(super) const METHOD: &str = "/moby.sshforward.v1.SSH/CheckAgent";

/// An SSH agent at the other end of a connection.
pub(super) struct RemoteAgent {
    channel: Channel,
    metadata: MetadataMap,
}

impl RemoteAgent {
    /// The agent that the metadata names.
    pub(super) fn new(channel: Channel, metadata: MetadataMap) -> Self {
        Self { channel, metadata }
    }
}

#[async_trait]
impl SshAgent for RemoteAgent {
    async fn connect(&self) -> Result<SshConnection, Failure> {
        let metadata = self.metadata.clone();
        let mut call = Conversation::begin(self.channel.clone(), FORWARD, metadata);
        let outgoing = call.take_outgoing();
        Ok(SshConnection {
            sink: Box::new(ToAgent { outgoing }),
            source: Box::new(FromAgent(call)),
        })
    }
}

struct ToAgent {
    outgoing: Option<mpsc::Sender<BytesMessage>>,
}

#[async_trait]
impl ChunkSink for ToAgent {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        let outgoing = self.outgoing.as_ref().ok_or_else(over)?;
        let sent = outgoing.send(BytesMessage { data: chunk }).await;
        sent.map_err(|_| over())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), Failure> {
        // What the agent still says comes out of the other way.
        self.outgoing = None;
        Ok(())
    }
}

struct FromAgent(Conversation<BytesMessage>);

#[async_trait]
impl ChunkSource for FromAgent {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.receive().await?.map(|message| message.data))
    }
}
