//! Two ends of a packet stream in memory.

use async_trait::async_trait;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::PacketStream;
use cooper_proto::fsutil::Packet;
use tokio::sync::mpsc;

/// Room for each direction's packets: as much as a receiver may have asked for.
const CAPACITY: usize = 64;

pub(super) struct Channel {
    to_peer: mpsc::Sender<Packet>,
    from_peer: mpsc::Receiver<Packet>,
    /// Packets that went through this end, for tests that count them.
    pub(super) sent: Vec<Packet>,
}

pub(super) fn pair() -> (Channel, Channel) {
    let (left_sender, left) = mpsc::channel(CAPACITY);
    let (right_sender, right) = mpsc::channel(CAPACITY);
    let channel = |to_peer, from_peer| Channel {
        to_peer,
        from_peer,
        sent: Vec::new(),
    };
    (channel(left_sender, right), channel(right_sender, left))
}

#[async_trait]
impl PacketStream for Channel {
    async fn send(&mut self, packet: Packet) -> Result<(), Failure> {
        self.sent.push(packet.clone());
        self.to_peer
            .send(packet)
            .await
            .map_err(|_| Failure::new(FailureKind::Infrastructure, "the peer is gone"))
    }

    async fn receive(&mut self) -> Result<Option<Packet>, Failure> {
        Ok(self.from_peer.recv().await)
    }
}
