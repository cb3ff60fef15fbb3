use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cooper_core::ports::DirFilter;
use cooper_proto::fsutil::packet::PacketType;

use super::channel::{Channel, pair};
use super::tree_tests::{listing, open};
use super::{Changes, Differ, ReceiveOptions, SyncError, Tree, copy_tree, receive, send};
use crate::confine::{Kind, Last, Owner, Time};
use crate::userns::Identity;

fn tree(path: &Path) -> Tree {
    Tree::new(open(path), &DirFilter::default()).expect("no patterns")
}

pub(super) async fn transfer(
    from: &Path,
    to: &Path,
    options: ReceiveOptions,
) -> (Result<Changes, SyncError>, Channel) {
    let (mut sending, mut receiving) = pair();
    let tree = tree(from);
    let sender = async move {
        let sent = send(&mut sending, tree, &mut |_| {}).await;
        drop(sending);
        sent
    };
    let destination = open(to);
    let mut progress = |_| {};
    let receiver = receive(&mut receiving, destination, options, &mut progress);
    let (sent, received) = tokio::join!(sender, receiver);
    if received.is_ok() {
        sent.expect("the sender saw the end");
    }
    (received, receiving)
}

/// Everything that a transfer keeps, with times and contents.
fn state(path: &Path) -> Vec<String> {
    let tree = tree(path);
    let mut lines = Vec::new();
    tree.walk::<SyncError>(|stat, node| {
        let content = match node.map(crate::confine::Node::open_read) {
            Some(Ok(file)) => std::io::read_to_string(file).expect("text"),
            _ => String::new(),
        };
        lines.push(format!("{stat:?} {content:?}"));
        Ok(())
    })
    .expect("readable");
    lines
}

fn sample(path: &Path) {
    let root = open(path);
    root.mkdir_all(Path::new("d/e"), 0o750, Some(Owner { uid: 3, gid: 4 }))
        .expect("made");
    for (name, size) in [("d/one", 1), ("d/e/big", 200_000), ("zero", 0), ("a-b", 5)] {
        std::fs::write(path.join(name), "x".repeat(size)).expect("written");
    }
    root.symlink(Path::new("../nowhere"), Path::new("d/link"))
        .expect("made");
    root.hardlink(Path::new("d/one"), Path::new("d/two"))
        .expect("made");
    // A plain user makes no devices.
    if !Identity::of_this_process().is_mapped() {
        root.mknod(Path::new("null"), Kind::CharDevice, 0o666, 0x0103)
            .expect("made");
    }
    root.mknod(Path::new("pipe"), Kind::Fifo, 0o640, 0)
        .expect("made");
    let node = root
        .resolve(Path::new("a-b"), Last::NoFollow)
        .expect("there");
    node.set_mode(0o4711).expect("changed");
    node.set_xattr(std::ffi::OsStr::new("user.note"), b"\0\xff")
        .expect("set");
    let time = Time {
        seconds: 1_000_000_000,
        nanos: 123_456_789,
    };
    node.set_times(time, time).expect("set");
}

#[tokio::test]
async fn what_arrives_is_what_was_sent() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    sample(from.path());
    let (changes, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    let changes = changes.expect("received");
    assert_eq!(changes.content_bytes, 200_006);
    assert_eq!(state(from.path()), state(to.path()));
    let inode = |name: &str| to.path().join(name).metadata().expect("there").ino();
    assert_eq!(inode("d/one"), inode("d/two"));
}

#[tokio::test]
async fn an_unchanged_tree_is_not_asked_for_again() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    sample(from.path());
    let (first, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    first.expect("received");
    let (second, channel) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    let second = second.expect("received");
    assert!(second.is_empty(), "{second:?}");
    assert_eq!(second.content_bytes, 0);
    let requests = channel
        .sent
        .iter()
        .filter(|packet| packet.r#type() == PacketType::PacketReq);
    assert_eq!(requests.count(), 0);
}

#[tokio::test]
async fn what_the_sender_no_longer_has_goes_and_what_changed_kind_is_replaced() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    sample(from.path());
    let (first, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    first.expect("received");
    let source = open(from.path());
    source.remove_all(Path::new("d")).expect("removed");
    std::fs::write(from.path().join("d"), "a file now").expect("written");
    source.remove_file(Path::new("zero")).expect("removed");
    source
        .mkdir_all(Path::new("pipe2/deep"), 0o755, None)
        .expect("made");
    source.remove_file(Path::new("pipe")).expect("removed");
    source.mkdir(Path::new("pipe"), 0o711).expect("made");
    let (second, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    let second = second.expect("received");
    assert_eq!(second.removed, ["zero"]);
    assert_eq!(second.changed, ["d", "pipe", "pipe2", "pipe2/deep"]);
    assert_eq!(state(from.path()), state(to.path()));
}

#[tokio::test]
async fn a_replaced_file_leaves_its_other_names_alone() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    let aside = tempfile::tempdir_in(to.path().parent().expect("has one")).expect("c");
    std::fs::write(from.path().join("f"), "first").expect("written");
    let (first, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    first.expect("received");
    std::fs::hard_link(to.path().join("f"), aside.path().join("kept")).expect("linked");
    std::fs::write(from.path().join("f"), "second").expect("written");
    let (second, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    assert_eq!(second.expect("received").changed, ["f"]);
    let read = |path: &Path| std::fs::read_to_string(path).expect("readable");
    assert_eq!(read(&aside.path().join("kept")), "first");
    assert_eq!(read(&to.path().join("f")), "second");
}

#[tokio::test]
async fn merging_keeps_what_was_not_sent_and_owner_can_be_forced() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    std::fs::write(from.path().join("f"), "new").expect("written");
    std::fs::write(to.path().join("mine"), "mine").expect("written");
    std::fs::write(to.path().join("f"), "old").expect("written");
    let options = ReceiveOptions {
        merge: true,
        owner: Some(Owner { uid: 55, gid: 66 }),
        ..ReceiveOptions::default()
    };
    let (changes, _) = transfer(from.path(), to.path(), options.clone()).await;
    assert_eq!(changes.expect("received").changed, ["f"]);
    assert!(to.path().join("mine").exists());
    let metadata = to.path().join("f").metadata().expect("there");
    assert_eq!((metadata.uid(), metadata.gid()), (55, 66));
    assert_eq!(
        std::fs::read_to_string(to.path().join("f")).expect("text"),
        "new"
    );
}

#[tokio::test]
async fn differ_none_fetches_what_looks_the_same() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    std::fs::write(from.path().join("f"), "same").expect("written");
    let options = ReceiveOptions {
        differ: Differ::None,
        ..ReceiveOptions::default()
    };
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let touch = || {
        let file = std::fs::File::options()
            .write(true)
            .open(from.path().join("f"));
        file.expect("open").set_modified(time).expect("set");
    };
    touch();
    let mut changed = Vec::new();
    for content in ["same", "same", "else", "else"] {
        std::fs::write(from.path().join("f"), content).expect("written");
        touch();
        let (changes, _) = transfer(from.path(), to.path(), options.clone()).await;
        let changes = changes.expect("received");
        assert_eq!(changes.content_bytes, 4);
        changed.push(changes.changed);
        assert_eq!(state(from.path()), state(to.path()));
    }
    let f = vec!["f".to_owned()];
    assert_eq!(changed, [f.clone(), vec![], f, vec![]]);
}

#[tokio::test]
async fn differ_none_keeps_names_of_one_file_together() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    std::fs::write(from.path().join("a"), "same").expect("written");
    std::fs::hard_link(from.path().join("a"), from.path().join("b")).expect("linked");
    std::fs::create_dir(from.path().join("d")).expect("made");
    std::os::unix::fs::symlink("a", from.path().join("l")).expect("linked");
    let options = ReceiveOptions {
        differ: Differ::None,
        ..ReceiveOptions::default()
    };
    for _ in 0..3 {
        let (changes, _) = transfer(from.path(), to.path(), options.clone()).await;
        changes.expect("received");
        assert_eq!(state(from.path()), state(to.path()));
        let inode = |name: &str| to.path().join(name).metadata().expect("there").ino();
        assert_eq!(inode("a"), inode("b"));
    }
}

#[tokio::test]
async fn many_files_need_no_room_for_all_requests() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    for number in 0..1500 {
        std::fs::write(from.path().join(format!("{number}")), number.to_string()).expect("written");
    }
    let (changes, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    assert_eq!(changes.expect("received").changed.len(), 1500);
    assert_eq!(state(from.path()), state(to.path()));
}

#[tokio::test]
async fn a_sender_that_cannot_read_tells_why() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    let name = std::ffi::OsStr::new("bad\u{fffd}");
    let mut bytes = std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec();
    bytes.truncate(5);
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&bytes);
    std::fs::write(from.path().join(name), "").expect("written");
    let (changes, _) = transfer(from.path(), to.path(), ReceiveOptions::default()).await;
    let error = changes.expect_err("refused").to_string();
    assert!(error.contains("UTF-8"), "{error}");
}

#[test]
fn a_copy_on_one_machine_equals_a_transfer_and_copies_nothing_twice() {
    let (from, to) = (
        tempfile::tempdir().expect("a"),
        tempfile::tempdir().expect("b"),
    );
    sample(from.path());
    let copy = || {
        let (source, options) = (tree(from.path()), ReceiveOptions::default());
        copy_tree(&source, open(to.path()), options, |_| Ok(())).expect("copied")
    };
    assert_eq!(copy().content_bytes, 200_006);
    assert_eq!(state(from.path()), state(to.path()));
    assert!(copy().is_empty());
    std::fs::set_permissions(
        from.path().join("zero"),
        std::fs::Permissions::from_mode(0o600),
    )
    .expect("changed");
    assert_eq!(copy().changed, ["zero"]);
    assert_eq!(
        listing(&tree(from.path())).expect("readable"),
        listing(&tree(to.path())).expect("readable")
    );
}
