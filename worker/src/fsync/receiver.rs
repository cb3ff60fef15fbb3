use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write;

use cooper_core::ports::{FileStat, PacketStream};
use cooper_proto::fsutil::{Packet, packet::PacketType};
use prost::Message as _;
use tokio::sync::mpsc;

use super::apply::{Applier, Changes, ReceiveOptions};
use super::error::SyncError;
use crate::confine::Root;

/// How many files are asked for at a time.
///
/// Small enough that the requests always fit into what a stream buffers: while we wait for room to send one, nobody
/// takes what the peer sends.
const REQUESTS_IN_FLIGHT: usize = 64;

/// How many packets wait for the disk.
const WAITING_PACKETS: usize = 128;

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
    let (packets, incoming) = mpsc::channel(WAITING_PACKETS);
    let (outgoing, mut to_send) = mpsc::unbounded_channel();
    let writer = tokio::task::spawn_blocking(move || {
        Writer::new(destination, options, outgoing)?.run(incoming)
    });
    let shuffled = shuffle(stream, packets, &mut to_send, progress).await;
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
    packets: mpsc::Sender<Packet>,
    to_send: &mut mpsc::UnboundedReceiver<Packet>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), SyncError> {
    loop {
        tokio::select! {
            biased;
            packet = to_send.recv() => match packet {
                Some(packet) => {
                    let is_last = packet.r#type() == PacketType::PacketFin;
                    stream.send(packet).await?;
                    if is_last {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            packet = stream.receive() => {
                let Some(packet) = packet? else {
                    return Err(SyncError::Ended);
                };
                progress(packet.encoded_len() as u64);
                if packets.send(packet).await.is_err() {
                    return Ok(());
                }
            }
        }
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
    outgoing: mpsc::UnboundedSender<Packet>,
    /// Number that the next entry has.
    next_id: u32,
    all_sent: bool,
    wanted: VecDeque<(u32, FileStat)>,
    open: HashMap<u32, Open>,
}

struct Open {
    stat: FileStat,
    file: File,
    bytes: u64,
}

impl Writer {
    fn new(
        destination: Root,
        options: ReceiveOptions,
        outgoing: mpsc::UnboundedSender<Packet>,
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

    fn run(mut self, mut incoming: mpsc::Receiver<Packet>) -> Result<Changes, SyncError> {
        while !(self.all_sent && self.wanted.is_empty() && self.open.is_empty()) {
            let packet = incoming.blocking_recv().ok_or(SyncError::Ended)?;
            match packet.r#type() {
                PacketType::PacketStat => self.entry(packet.stat)?,
                PacketType::PacketData => self.data(packet.id, &packet.data)?,
                PacketType::PacketErr => return Err(peer_error(&packet)),
                kind @ (PacketType::PacketReq | PacketType::PacketFin) => {
                    return Err(SyncError::Protocol(format!("unexpected {kind:?} packet")));
                }
            }
            self.request()?;
        }
        let changes = self.applier.finish()?;
        self.outgoing
            .send(Packet {
                r#type: PacketType::PacketFin.into(),
                ..Packet::default()
            })
            .map_err(|_| SyncError::Ended)?;
        Ok(changes)
    }

    fn entry(&mut self, stat: Option<FileStat>) -> Result<(), SyncError> {
        if self.all_sent {
            return Err(SyncError::Protocol(String::from(
                "an entry after the last one",
            )));
        }
        let Some(stat) = stat else {
            self.all_sent = true;
            return Ok(());
        };
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(SyncError::Ended)?;
        if self.applier.entry(&stat)? {
            self.wanted.push_back((id, stat));
        }
        Ok(())
    }

    fn request(&mut self) -> Result<(), SyncError> {
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
            let request = Packet {
                r#type: PacketType::PacketReq.into(),
                id,
                ..Packet::default()
            };
            self.outgoing.send(request).map_err(|_| SyncError::Ended)?;
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
            return open
                .file
                .write_all(data)
                .map_err(|source| SyncError::Content {
                    path: open.stat.path.clone(),
                    source,
                });
        }
        if let Some(done) = self.open.remove(&id) {
            drop(done.file);
            self.applier.content_written(&done.stat, done.bytes)?;
        }
        Ok(())
    }
}
