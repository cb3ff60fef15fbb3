//! Archives, compressed or not.

use std::io::{Cursor, Read, sink};
use std::os::unix::ffi::OsStrExt;

use cooper_worker::confine::Root;
use cooper_worker::layer;
use cooper_worker::layer::archive::{ArchiveReader, Entry, EntryKind};
use cooper_worker::limits::Limits;

use crate::listings::{Listed, Peer, hidden_from};

const BLOCK: usize = 512;

fn limits() -> Limits {
    Limits {
        layer_unpacked_bytes: 1 << 20,
        layer_entries: 200,
        ..Limits::default()
    }
}

/// A layer, unpacked; nothing appears beside the folder that it is unpacked into.
pub(crate) fn apply(data: &[u8]) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let inside = folder.path().join("root");
    std::fs::create_dir(&inside).expect("there is room for a folder");
    let root = Root::open(&inside).expect("a new folder can be opened");
    let _either = layer::apply(Cursor::new(repaired(data)), &root, &limits());
    let beside = std::fs::read_dir(folder.path()).expect("the folder is there");
    assert_eq!(beside.count(), 1, "something was made outside");
}

/// A compressed layer, unpacked to nowhere.
pub(crate) fn decompress(data: &[u8]) {
    if let Ok(reader) = layer::decompress(Cursor::new(data.to_vec()), &limits()) {
        let _either = std::io::copy(&mut reader.take(64 << 20), &mut sink());
    }
}

/// An archive as we read it and as GNU tar and Python do: they see no entry that we do not. We may refuse it.
pub(crate) fn headers(data: &[u8]) {
    let archive = repaired(data);
    let Some(ours) = listed(&archive) else {
        return;
    };
    for peer in [Peer::Python, Peer::Tar] {
        let theirs = peer.list(&archive);
        let hidden = hidden_from(&ours, &theirs);
        assert!(
            hidden.is_empty(),
            "{peer:?} sees {hidden:?}, and we see {ours:?}"
        );
    }
}

fn listed(archive: &[u8]) -> Option<Vec<Listed>> {
    let mut reader = ArchiveReader::new(Cursor::new(archive), &limits());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        std::io::copy(&mut reader, &mut sink()).ok()?;
        found.push(listed_entry(&entry));
    }
    Some(found)
}

fn listed_entry(entry: &Entry) -> Listed {
    let (kind, size) = match entry.kind {
        EntryKind::File => ('-', entry.length),
        EntryKind::Directory => ('d', 0),
        EntryKind::Symlink => ('l', 0),
        EntryKind::HardLink => ('h', 0),
        EntryKind::Fifo => ('p', 0),
        EntryKind::CharDevice => ('c', 0),
        EntryKind::BlockDevice => ('b', 0),
    };
    let name = entry.path.as_os_str().as_bytes().to_vec();
    Listed { name, kind, size }
}

/// Makes checksums right, so that not every change of a header ends the archive, and ends it properly. Takes away what
/// the programs that we compare with are known to read wrongly.
fn repaired(data: &[u8]) -> Vec<u8> {
    let mut archive = data.to_vec();
    archive.resize(data.len().next_multiple_of(BLOCK), 0);
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        // Python takes the times that GNU's headers have there for the beginning of a name.
        if block[257..].starts_with(b"ustar  \0") && block[156] != b'S' {
            block[345..369].fill(0);
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let digits: String = block[124..136]
            .iter()
            .map(|byte| char::from(*byte))
            .collect();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        if matches!(
            block[156],
            0 | b'0' | b'7' | b'x' | b'g' | b'L' | b'K' | b'S'
        ) {
            at = at
                .saturating_add(size)
                .checked_next_multiple_of(BLOCK)
                .unwrap_or(usize::MAX - BLOCK);
        }
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}
