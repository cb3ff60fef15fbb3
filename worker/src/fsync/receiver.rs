use std::collections::{HashMap, VecDeque};
use std::io::Write;

use cooper_core::ports::{FileStat, PacketStream};
use cooper_proto::fsutil::{Packet, packet::PacketType};
use futures::FutureExt as _;
use prost::Message as _;
use tokio::sync::mpsc;

use super::apply::{Applier, Changes, ReceiveOptions};
use super::error::SyncError;
use crate::confine::{Node, Root};

/// How many files are asked for at a time.
///
/// Small enough that the requests always fit into what a stream buffers: while we wait for room to send one, nobody
/// takes what the peer sends.
const REQUESTS_IN_FLIGHT: usize = 64;

/// How many packets are handed to the side that writes at a time, where as many came: each hand-over wakes a thread.
const BATCH: usize = 32;

/// How many batches wait for the disk.
const WAITING_BATCHES: usize = 4;

/// Makes `destination` equal to what the peer sends, asking for the content of files that differ.
///
/// `progress` is told the size of each packet.
///
/// # Errors
/// `Protocol` for entries that are out of order, lead outside or link to what was not sent; the peer is told. What was
/// written before stays.
///
/// # Cancel
/// Dropping the future stops the transfer after the packet that is being written.
pub async fn receive(
    stream: &mut dyn PacketStream,
    destination: Root,
    options: ReceiveOptions,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Changes, SyncError> {
    let (batches, incoming) = mpsc::channel(WAITING_BATCHES);
    let (outgoing, mut to_send) = mpsc::unbounded_channel();
    let writer = tokio::task::spawn_blocking(move || {
        Writer::new(destination, options, outgoing)?.run(incoming)
    });
    let shuffled = shuffle(stream, batches, &mut to_send, progress).await;
    let written = writer.await.map_err(|error| SyncError::Content {
        path: String::new(),
        source: error.into(),
    })?;
    // What the writer found wrong is the cause of what the stream then ran into.
    match (written, shuffled) {
        (Err(SyncError::Ended), Err(error)) => Err(error),
        (Err(error), _) => {
            let _ = stream.send(error_packet(&error)).await;
            Err(error)
        }
        (Ok(_), Err(error)) => Err(error),
        (Ok(changes), Ok(())) => {
            drain(stream).await?;
            Ok(changes)
        }
    }
}

/// Carries packets between the stream and the writer until the writer is done.
async fn shuffle(
    stream: &mut dyn PacketStream,
    batches: mpsc::Sender<Vec<Packet>>,
    to_send: &mut mpsc::UnboundedReceiver<Vec<Packet>>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), SyncError> {
    loop {
        tokio::select! {
            biased;
            packets = to_send.recv() => {
                let Some(packets) = packets else {
                    return Ok(());
                };
                for packet in packets {
                    let is_last = packet.r#type() == PacketType::PacketFin;
                    stream.send(packet).await?;
                    if is_last {
                        return Ok(());
                    }
                }
            },
            (batch, ended) = next_batch(stream) => {
                for packet in &batch {
                    progress(packet.encoded_len() as u64);
                }
                if !batch.is_empty() && batches.send(batch).await.is_err() {
                    return Ok(());
                }
                ended?;
            }
        }
    }
}

/// Waits for a packet and takes those that came with it, too; and says how the stream ended behind them, if it did.
async fn next_batch(stream: &mut dyn PacketStream) -> (Vec<Packet>, Result<(), SyncError>) {
    let mut batch = Vec::new();
    let mut next = Some(stream.receive().await);
    loop {
        match next {
            Some(Ok(Some(packet))) => batch.push(packet),
            Some(Ok(None)) => return (batch, Err(SyncError::Ended)),
            Some(Err(failure)) => return (batch, Err(failure.into())),
            None => return (batch, Ok(())),
        }
        if batch.len() == BATCH {
            return (batch, Ok(()));
        }
        next = stream.receive().now_or_never();
    }
}

/// Waits for the sender to confirm the end and to close the stream.
async fn drain(stream: &mut dyn PacketStream) -> Result<(), SyncError> {
    while let Some(packet) = stream.receive().await? {
        if packet.r#type() == PacketType::PacketErr {
            return Err(peer_error(&packet));
        }
    }
    Ok(())
}

fn error_packet(error: &SyncError) -> Packet {
    Packet {
        r#type: PacketType::PacketErr.into(),
        data: error.to_string().into_bytes().into(),
        ..Packet::default()
    }
}

pub(super) fn peer_error(packet: &Packet) -> SyncError {
    SyncError::Peer(String::from_utf8_lossy(&packet.data).into_owned())
}

/// The side that blocks: owns the destination.
struct Writer {
    applier: Applier,
    outgoing: mpsc::UnboundedSender<Vec<Packet>>,
    /// Number that the next entry has.
    next_id: u32,
    all_sent: bool,
    wanted: VecDeque<(u32, FileStat)>,
    open: HashMap<u32, Open>,
}

struct Open {
    stat: FileStat,
    file: Node,
    bytes: u64,
}

impl Writer {
    fn new(
        destination: Root,
        options: ReceiveOptions,
        outgoing: mpsc::UnboundedSender<Vec<Packet>>,
    ) -> Result<Self, SyncError> {
        Ok(Self {
            applier: Applier::new(destination, options)?,
            outgoing,
            next_id: 0,
            all_sent: false,
            wanted: VecDeque::new(),
            open: HashMap::new(),
        })
    }

    fn run(mut self, mut incoming: mpsc::Receiver<Vec<Packet>>) -> Result<Changes, SyncError> {
        while !(self.all_sent && self.wanted.is_empty() && self.open.is_empty()) {
            let packets = incoming.blocking_recv().ok_or(SyncError::Ended)?;
            let mut requests = Vec::new();
            for packet in packets {
                self.take(packet)?;
                self.request(&mut requests)?;
            }
            if !requests.is_empty() {
                self.outgoing.send(requests).map_err(|_| SyncError::Ended)?;
            }
        }
        let changes = self.applier.finish()?;
        let end = Packet {
            r#type: PacketType::PacketFin.into(),
            ..Packet::default()
        };
        self.outgoing
            .send(vec![end])
            .map_err(|_| SyncError::Ended)?;
        Ok(changes)
    }

    fn take(&mut self, packet: Packet) -> Result<(), SyncError> {
        match packet.r#type() {
            PacketType::PacketStat => self.entry(packet.stat),
            PacketType::PacketData => self.data(packet.id, &packet.data),
            PacketType::PacketErr => Err(peer_error(&packet)),
            kind @ (PacketType::PacketReq | PacketType::PacketFin) => {
                Err(SyncError::Protocol(format!("unexpected {kind:?} packet")))
            }
        }
    }

    fn entry(&mut self, stat: Option<FileStat>) -> Result<(), SyncError> {
        if self.all_sent {
            return Err(SyncError::Protocol(String::from(
                "an entry after the last one",
            )));
        }
        let Some(mut stat) = stat else {
            self.all_sent = true;
            return Ok(());
        };
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(SyncError::Ended)?;
        if self.applier.entry(&stat)? {
            // The file has them: a client that sends many and no content does not fill our memory with them.
            stat.xattrs.clear();
            self.wanted.push_back((id, stat));
        }
        Ok(())
    }

    /// Asks for the content of the next files, as many as may be under way.
    fn request(&mut self, requests: &mut Vec<Packet>) -> Result<(), SyncError> {
        while self.open.len() < REQUESTS_IN_FLIGHT {
            let Some((id, stat)) = self.wanted.pop_front() else {
                break;
            };
            let file = self.applier.open(&stat.path)?;
            self.open.insert(
                id,
                Open {
                    stat,
                    file,
                    bytes: 0,
                },
            );
            requests.push(Packet {
                r#type: PacketType::PacketReq.into(),
                id,
                ..Packet::default()
            });
        }
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), SyncError> {
        let Some(open) = self.open.get_mut(&id) else {
            return Err(SyncError::Protocol(format!(
                "content of entry {id}, which was not asked for"
            )));
        };
        if !data.is_empty() {
            open.bytes += data.len() as u64;
            let written = open.file.file().map(|mut file| file.write_all(data));
            return written
                .unwrap_or(Ok(()))
                .map_err(|source| SyncError::Content {
                    path: open.stat.path.clone(),
                    source,
                });
        }
        if let Some(done) = self.open.remove(&id) {
            self.applier
                .content_written(&done.file, &done.stat, done.bytes)?;
        }
        Ok(())
    }
}
