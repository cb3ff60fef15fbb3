//! Streams that try to get out of the destination (security.md T-A15).

use std::path::Path;

use cooper_core::ports::{FileStat, PacketStream};
use cooper_proto::fsutil::{Packet, packet::PacketType};

use super::channel::pair;
use super::mode;
use super::tree_tests::open;
use super::{ReceiveOptions, SyncError, receive};
use crate::confine::Kind;

fn entry(path: &str, kind: Kind) -> FileStat {
    FileStat {
        path: path.to_owned(),
        mode: mode::to_go(kind, 0o755),
        ..FileStat::default()
    }
}

fn link(path: &str, target: &str) -> FileStat {
    FileStat {
        linkname: target.to_owned(),
        ..entry(path, Kind::Symlink)
    }
}

fn hard(path: &str, target: &str) -> FileStat {
    FileStat {
        linkname: target.to_owned(),
        ..entry(path, Kind::File)
    }
}

async fn receive_all(to: &Path, entries: Vec<FileStat>) -> Result<(), SyncError> {
    let (mut sending, mut receiving) = pair();
    let sender = async move {
        for stat in entries.into_iter().map(Some).chain([None]) {
            let packet = Packet {
                r#type: PacketType::PacketStat.into(),
                stat,
                ..Packet::default()
            };
            if sending.send(packet).await.is_err() {
                return;
            }
        }
        while let Ok(Some(packet)) = sending.receive().await {
            if packet.r#type() != PacketType::PacketReq {
                return;
            }
            let end = Packet {
                r#type: PacketType::PacketData.into(),
                id: packet.id,
                ..Packet::default()
            };
            let _ = sending.send(end).await;
        }
    };
    let destination = open(to);
    let receiver = async move {
        let options = ReceiveOptions::default();
        receive(&mut receiving, destination, options, &mut |_| {}).await
    };
    let ((), received) = tokio::join!(sender, receiver);
    received.map(drop)
}

#[tokio::test]
async fn t_a15_streams_that_lead_outside_are_refused_and_write_nothing_there() {
    use Kind::{Directory, File};
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("victim"), "intact").expect("written");
    let out = outside.path().to_str().expect("UTF-8");
    let cases: Vec<Vec<FileStat>> = vec![
        vec![entry("/etc", Directory)],
        vec![entry(&format!("{out}/victim"), File)],
        vec![entry("..", Directory)],
        vec![entry("../x", File)],
        vec![entry("a", Directory), entry("a/../../x", File)],
        vec![entry("a", Directory), entry("a/..", Directory)],
        vec![entry(".", Directory)],
        vec![entry("", Directory)],
        vec![entry("./a", File)],
        vec![entry("a/", Directory)],
        vec![entry("a//b", File)],
        vec![entry("a\0b", File)],
        vec![link("a", out), entry("a/victim", File)],
        vec![link("a", out), hard("b", "a/victim")],
        vec![entry("a", File), entry("a/b", File)],
        vec![entry("a/b", File)],
        vec![entry("b", File), entry("a", File)],
        vec![entry("a", File), entry("a", File)],
        vec![entry("a", Directory), entry("a", Directory)],
        vec![
            entry("a", Directory),
            entry("a/c", File),
            entry("a/b", File),
        ],
        vec![entry("a", Directory), entry("b", File), entry("a/c", File)],
        vec![hard("a", "victim")],
        vec![hard("a", &format!("{out}/victim"))],
        vec![hard("a", "b"), entry("b", File)],
        vec![entry("a", Directory), hard("b", "a")],
        vec![link("a", out), hard("b", "a")],
        vec![FileStat {
            mode: 1 << 31 | 1 << 27,
            ..entry("a", File)
        }],
        vec![FileStat {
            devmajor: -1,
            ..entry("a", Kind::BlockDevice)
        }],
    ];
    for case in cases {
        let to = tempfile::tempdir().expect("a directory");
        // A peer may hope for a link that is already there.
        std::os::unix::fs::symlink(outside.path(), to.path().join("z")).expect("made");
        let shown = format!("{case:?}");
        let error = receive_all(to.path(), case).await.expect_err(&shown);
        assert!(matches!(error, SyncError::Protocol(_)), "{shown}: {error}");
        let names: Vec<_> = outside.path().read_dir().expect("there").collect();
        assert_eq!(names.len(), 1, "{shown}");
    }
    let content = std::fs::read_to_string(outside.path().join("victim")).expect("there");
    assert_eq!(content, "intact");
}

#[tokio::test]
async fn t_a15_a_link_that_was_there_is_replaced_and_not_followed() {
    let outside = tempfile::tempdir().expect("a directory");
    for merge in [false, true] {
        let to = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(outside.path(), to.path().join("d")).expect("made");
        let entries = [entry("d", Kind::Directory), entry("d/f", Kind::File)];
        let options = ReceiveOptions {
            merge,
            ..ReceiveOptions::default()
        };
        let mut applier = super::apply::Applier::new(open(to.path()), options).expect("readable");
        for stat in &entries {
            applier.entry(stat).expect("accepted");
        }
        applier.finish().expect("finished");
        assert!(
            to.path()
                .join("d")
                .symlink_metadata()
                .expect("there")
                .is_dir()
        );
        assert!(to.path().join("d/f").exists());
        assert_eq!(outside.path().read_dir().expect("there").count(), 0);
    }
}

#[tokio::test]
async fn content_that_was_not_asked_for_is_refused() {
    let (mut sending, mut receiving) = pair();
    let to = tempfile::tempdir().expect("a directory");
    let packet = Packet {
        r#type: PacketType::PacketData.into(),
        id: 7,
        data: b"x".to_vec().into(),
        ..Packet::default()
    };
    sending.send(packet).await.expect("sent");
    let error = receive(
        &mut receiving,
        open(to.path()),
        ReceiveOptions::default(),
        &mut |_| {},
    )
    .await
    .expect_err("refused");
    assert!(error.to_string().contains("not asked for"), "{error}");
    let told = sending.receive().await.expect("works").expect("an answer");
    assert_eq!(told.r#type(), PacketType::PacketErr);
}

#[tokio::test]
async fn a_sender_that_goes_away_is_an_error() {
    let (sending, mut receiving) = pair();
    drop(sending);
    let to = tempfile::tempdir().expect("a directory");
    let error = receive(
        &mut receiving,
        open(to.path()),
        ReceiveOptions::default(),
        &mut |_| {},
    )
    .await
    .expect_err("ended");
    assert!(matches!(error, SyncError::Ended), "{error}");
}

/// They would fill the receiver's memory if it kept them while it waits, and a sender may send them for ever.
#[tokio::test]
async fn extended_attributes_of_a_file_that_waits_for_content_are_with_the_file() {
    let to = tempfile::tempdir().expect("a directory");
    let mut sent = entry("a", Kind::File);
    sent.size = 1;
    sent.xattrs = [("user.note".to_owned(), vec![b'x'; 1000])].into();
    let mut applier =
        super::apply::Applier::new(open(to.path()), ReceiveOptions::default()).expect("readable");
    assert!(applier.entry(&sent).expect("accepted"), "it wants content");
    sent.xattrs.clear();
    let file = applier.open(&sent.path).expect("there");
    applier.content_written(&file, &sent, 1).expect("written");
    let kept = file.xattrs().expect("readable");
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].1.len(), 1000);
}
