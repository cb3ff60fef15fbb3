use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::PacketStream;
use cooper_engine::server::failure_from_status;
use cooper_proto::fsutil::Packet;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Packets on their way to the daemon before the sender has to wait.
const WAITING: usize = 16;

/// The client's end of a DiffCopy call that the daemon made.
pub(super) struct ServedPackets {
    incoming: Streaming<Packet>,
    outgoing: mpsc::Sender<Result<Packet, Status>>,
}

impl ServedPackets {
    /// The end, and what is to be answered.
    pub(super) fn new(
        incoming: Streaming<Packet>,
    ) -> (Self, mpsc::Receiver<Result<Packet, Status>>) {
        let (outgoing, answers) = mpsc::channel(WAITING);
        (Self { incoming, outgoing }, answers)
    }

    /// Ends the call with an error.
    pub(super) async fn fail(self, status: Status) {
        // A daemon that is gone needs no answer.
        let _ = self.outgoing.send(Err(status)).await;
    }
}

#[async_trait]
impl PacketStream for ServedPackets {
    async fn send(&mut self, packet: Packet) -> Result<(), Failure> {
        self.outgoing.send(Ok(packet)).await.map_err(|_| {
            Failure::new(
                FailureKind::Infrastructure,
                "the engine ended the transfer before it was complete",
            )
        })
    }

    async fn receive(&mut self) -> Result<Option<Packet>, Failure> {
        let next = self.incoming.message().await;
        next.map_err(|status| failure_from_status(&status))
    }
}
