//! What clients send of their directories.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use cooper_core::model::Failure;
use cooper_core::ports::PacketStream;
use cooper_proto::fsutil::{Packet, packet::PacketType};
use cooper_worker::confine::{Owner, Root};
use cooper_worker::fsync::{Differ, MadeToo, ReceiveOptions, receive};
use prost::Message;
use tokio::runtime::Runtime;

use crate::pieces::pieces;

/// How often in all a packet of content waits for the request that it answers, a millisecond each time.
const WAITS: usize = 5;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    built.expect("a process can have a runtime")
});

/// A client that says what the input has, whatever it is asked.
struct Told {
    packets: VecDeque<Packet>,
    /// What was asked for; content is that of one of these.
    asked: Vec<u32>,
    waits: usize,
}

#[async_trait]
impl PacketStream for Told {
    async fn send(&mut self, packet: Packet) -> Result<(), Failure> {
        if packet.r#type() == PacketType::PacketReq {
            self.asked.push(packet.id);
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Option<Packet>, Failure> {
        let is_content = |packet: &Packet| packet.r#type() == PacketType::PacketData;
        if self.packets.front().is_some_and(is_content) {
            while self.asked.is_empty() && self.waits < WAITS {
                self.waits += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let mut next = self.packets.pop_front();
        if let Some(packet) = next.as_mut().filter(|packet| is_content(packet))
            && let Some(at) = (packet.id as usize).checked_rem(self.asked.len())
        {
            packet.id = self.asked[at];
        }
        Ok(next)
    }
}

/// How to receive, in one byte, and [`pieces`] that are packets. Nothing beside the folder they are for changes, though
/// a link in it leads there.
pub(crate) fn packets(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    let packets = pieces(rest).filter_map(|piece| Packet::decode(piece).ok());
    let mut told = Told {
        packets: packets.collect(),
        asked: Vec::new(),
        waits: 0,
    };
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let inside = folder.path().join("inside");
    furnish(folder.path(), &inside).expect("there is room for files");
    let root = Root::open(&inside).expect("a new folder can be opened");
    let mut progress = |_| {};
    let received = receive(&mut told, root, options(*how), &mut progress);
    let _either = RUNTIME.block_on(received);
    let victim = fs::read_to_string(folder.path().join("victim"));
    assert_eq!(victim.ok().as_deref(), Some("intact"));
    let beside = fs::read_dir(folder.path()).expect("the folder is there");
    assert_eq!(beside.count(), 2, "something was made outside");
}

/// A folder with a file of two names, a folder and a link out of it, beside a file that nobody may touch.
fn furnish(outside: &Path, inside: &Path) -> std::io::Result<()> {
    fs::write(outside.join("victim"), "intact")?;
    fs::create_dir_all(inside.join("d/e"))?;
    fs::write(inside.join("a"), "content")?;
    fs::hard_link(inside.join("a"), inside.join("d/b"))?;
    symlink("..", inside.join("z"))
}

fn options(how: u8) -> ReceiveOptions {
    let made = ["d/**", "a"];
    let made = (how & 8 != 0).then(|| MadeToo::new(&made).expect("these are patterns"));
    ReceiveOptions {
        merge: how & 1 != 0,
        differ: match how & 2 {
            0 => Differ::Metadata,
            _ => Differ::None,
        },
        owner: (how & 4 != 0).then_some(Owner { uid: 0, gid: 0 }),
        only_listed_but: made,
    }
}
