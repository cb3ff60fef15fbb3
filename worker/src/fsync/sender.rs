use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use cooper_core::ports::PacketStream;
use cooper_proto::fsutil::{Packet, packet::PacketType};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::mpsc;

use super::error::SyncError;
use super::folders::Entries;
use super::mode;
use super::receiver::peer_error;
use crate::confine::Kind;

/// Bytes of content in one packet: what BuildKit's own senders use.
const CHUNK_BYTES: usize = 32 * 1024;

/// How many packets are read ahead of the stream.
const WAITING_PACKETS: usize = 64;

/// Numbers of files that may be asked for, once each, and their paths.
type Offered = Arc<Mutex<HashMap<u32, String>>>;

/// Sends a tree to a peer that asks for what it needs, until the peer says that it has all.
///
/// `progress` is told the size of each packet.
///
/// # Errors
/// Where the tree cannot be read (the peer is told), or the peer gives up. A file that cannot be opened is sent as an
/// empty one, as the protocol has it.
///
/// # Cancel
/// Dropping the future stops the transfer after the packet that is being read.
pub async fn send(
    stream: &mut dyn PacketStream,
    tree: impl Entries,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), SyncError> {
    let tree = Arc::new(tree);
    let offered = Offered::default();
    let (packets, mut to_send) = mpsc::channel(WAITING_PACKETS);
    let (requests, requested) = mpsc::unbounded_channel();
    let walker = tokio::task::spawn_blocking({
        let (tree, offered, packets) = (tree.clone(), offered.clone(), packets.clone());
        move || walk(&*tree, &offered, &packets)
    });
    let reader = tokio::task::spawn_blocking(move || read(&*tree, requested, &packets));
    let answered = answer(stream, &offered, requests, &mut to_send, progress).await;
    // Both readers stop at their next packet.
    drop(to_send);
    let walked = joined(walker.await);
    let read = joined(reader.await);
    let cause = [walked, read].into_iter().find_map(|result| {
        result
            .err()
            .filter(|error| !matches!(error, SyncError::Ended))
    });
    let Some(error) = cause else {
        return answered;
    };
    let packet = Packet {
        r#type: PacketType::PacketErr.into(),
        data: error.to_string().into_bytes().into(),
        ..Packet::default()
    };
    let _ = stream.send(packet).await;
    Err(error)
}

fn joined(result: Result<Result<(), SyncError>, tokio::task::JoinError>) -> Result<(), SyncError> {
    result.unwrap_or_else(|error| {
        Err(SyncError::Content {
            path: String::new(),
            source: error.into(),
        })
    })
}

async fn answer(
    stream: &mut dyn PacketStream,
    offered: &Offered,
    requests: mpsc::UnboundedSender<(u32, String)>,
    to_send: &mut mpsc::Receiver<Packet>,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), SyncError> {
    loop {
        tokio::select! {
            biased;
            packet = stream.receive() => {
                let packet = packet?.ok_or(SyncError::Ended)?;
                match packet.r#type() {
                    PacketType::PacketReq => {
                        let path = offered.lock().remove(&packet.id).ok_or_else(|| {
                            SyncError::Protocol(format!("invalid file id {}", packet.id))
                        })?;
                        requests.send((packet.id, path)).map_err(|_| SyncError::Ended)?;
                    }
                    PacketType::PacketFin => {
                        stream.send(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() }).await?;
                        return Ok(());
                    }
                    PacketType::PacketErr => return Err(peer_error(&packet)),
                    kind @ (PacketType::PacketStat | PacketType::PacketData) => {
                        return Err(SyncError::Protocol(format!("unexpected {kind:?} packet")));
                    }
                }
            }
            packet = to_send.recv() => match packet {
                Some(packet) if packet.r#type() == PacketType::PacketErr => return Err(peer_error(&packet)),
                Some(packet) => {
                    progress(packet.encoded_len() as u64);
                    stream.send(packet).await?;
                }
                None => return Err(SyncError::Ended),
            },
        }
    }
}

/// Sends an entry for everything in the tree, and the end.
fn walk(
    tree: &impl Entries,
    offered: &Offered,
    packets: &mpsc::Sender<Packet>,
) -> Result<(), SyncError> {
    let mut id = 0;
    let entry = |stat| Packet {
        r#type: PacketType::PacketStat.into(),
        stat,
        ..Packet::default()
    };
    let walked = tree.visit(&mut |stat| {
        if mode::kind(stat.mode) == Some(Kind::File) {
            offered.lock().insert(id, stat.path.clone());
        }
        id += 1;
        packets
            .blocking_send(entry(Some(stat)))
            .map_err(|_| SyncError::Ended)
    });
    if let Err(error) = walked {
        // Wakes the side that waits for the peer; the peer is told by it.
        let _ = packets.blocking_send(Packet {
            r#type: PacketType::PacketErr.into(),
            ..Packet::default()
        });
        return Err(error);
    }
    packets
        .blocking_send(entry(None))
        .map_err(|_| SyncError::Ended)
}

/// Sends the content of what is asked for, in the order of the requests.
fn read(
    tree: &impl Entries,
    mut requested: mpsc::UnboundedReceiver<(u32, String)>,
    packets: &mpsc::Sender<Packet>,
) -> Result<(), SyncError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Some((id, path)) = requested.blocking_recv() {
        let send = |data: &[u8]| {
            packets
                .blocking_send(Packet {
                    r#type: PacketType::PacketData.into(),
                    id,
                    data: data.to_vec().into(),
                    ..Packet::default()
                })
                .map_err(|_| SyncError::Ended)
        };
        match tree.open(&path) {
            Ok(mut file) => loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => send(&buffer[..count])?,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source) => return Err(SyncError::Content { path, source }),
                }
            },
            Err(error) => tracing::warn!(%error, "sent as an empty file"),
        }
        send(&[])?;
    }
    Ok(())
}
