use std::{io::Read, path::Path};

use cooper_core::model::ResultId;

use super::{apply, archive::ArchiveReader, write_changes};
use crate::{
    confine::{Kind, Owner, Root, Time},
    limits::Limits,
    meta::Meta,
    snapshot::{Durability, Snapshots, Writer},
    state::StateDir,
};

struct States {
    _dir: tempfile::TempDir,
    snapshots: Snapshots,
}

impl States {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let snapshots =
            Snapshots::open(&state, meta, &Limits::default(), Durability::ProcessDeath).unwrap();
        Self {
            _dir: dir,
            snapshots,
        }
    }

    fn change(&self, parent: &ResultId, change: impl FnOnce(&Tree)) -> ResultId {
        let writer: Writer = self.snapshots.writer(parent).unwrap();
        change(&Tree(writer.root().unwrap()));
        writer.commit("test").unwrap()
    }

    fn archive(&self, result: &ResultId) -> Vec<u8> {
        let meta = self.snapshots.meta();
        let layer = meta.result(result).unwrap().layers.pop().unwrap();
        let below = meta.layer(&layer).unwrap().parent.unwrap();
        let changes = Root::open(&self.snapshots.layer_dir(&layer)).unwrap();
        let view = self.snapshots.view(&below).unwrap().root().unwrap();
        let mut archive = Vec::new();
        write_changes(&changes, Some(&view), &mut archive).unwrap();
        archive
    }

    /// One line for each entry of the topmost layer.
    fn entries(&self, result: &ResultId) -> Vec<String> {
        let archive = self.archive(result);
        let mut reader = ArchiveReader::new(&archive[..], &Limits::default());
        let mut lines = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let path = entry.path.display();
            let link = entry.link.display();
            lines.push(match entry.kind {
                super::archive::EntryKind::Directory => format!("{path}/"),
                super::archive::EntryKind::Symlink => format!("{path} -> {link}"),
                super::archive::EntryKind::HardLink => format!("{path} = {link}"),
                super::archive::EntryKind::File => format!("{path}: {content}"),
                other => format!("{path} {other:?}"),
            });
        }
        lines
    }
}

/// A directory to change.
struct Tree(Root);

impl Tree {
    fn write(&self, path: &str, content: &str) {
        use std::io::Write;
        let mut file = self.0.create_file(Path::new(path), 0o644).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        drop(file);
        self.age(path, 5);
    }

    fn overwrite(&self, path: &str, content: &str) {
        self.remove(path);
        self.write(path, content);
    }

    fn overwrite_if_there(&self, path: &str, content: &str) {
        if self
            .0
            .metadata(Path::new(path), crate::confine::Last::NoFollow)
            .is_ok()
        {
            self.remove(path);
        }
        self.write(path, content);
    }

    fn mkdir(&self, path: &str) {
        self.0.mkdir_all(Path::new(path), 0o755, None).unwrap();
    }

    fn remove(&self, path: &str) {
        self.0.remove_all(Path::new(path)).unwrap();
    }

    fn link(&self, from: &str, to: &str) {
        self.0.hardlink(Path::new(from), Path::new(to)).unwrap();
    }

    fn chown(&self, path: &str, uid: u32) {
        let node = self.node(path);
        node.set_owner(Owner { uid, gid: 0 }).unwrap();
    }

    fn age(&self, path: &str, seconds: i64) {
        let time = Time { seconds, nanos: 0 };
        self.node(path).set_times(time, time).unwrap();
    }

    fn node(&self, path: &str) -> crate::confine::Node {
        let last = crate::confine::Last::NoFollow;
        self.0.resolve(Path::new(path), last).unwrap()
    }
}

fn scratch() -> ResultId {
    ResultId::scratch()
}

#[test]
fn entries_come_in_the_order_of_their_names_one_directory_at_a_time() {
    let states = States::new();
    let result = states.change(&scratch(), |tree| {
        for name in ["foo.d", "foo", "foo-bar"] {
            tree.mkdir(name);
            tree.write(&format!("{name}/x"), name);
        }
        tree.0.symlink(Path::new("/etc"), Path::new("a")).unwrap();
        tree.0.mknod(Path::new("p"), Kind::Fifo, 0o600, 0).unwrap();
        tree.0
            .mknod(Path::new("q"), Kind::Socket, 0o600, 0)
            .unwrap();
    });
    assert_eq!(
        states.entries(&result),
        [
            "a -> /etc",
            "foo/",
            "foo/x: foo",
            "foo-bar/",
            "foo-bar/x: foo-bar",
            "foo.d/",
            "foo.d/x: foo.d",
            "p Fifo",
        ],
        "sockets are left out"
    );
}

#[test]
fn only_what_changed_is_in_a_layer_with_its_parents() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("etc/deep/er");
        tree.mkdir("var");
        tree.write("etc/deep/er/a", "1");
        tree.write("etc/deep/b", "1");
        tree.write("var/c", "1");
    });
    let above = states.change(&below, |tree| {
        tree.overwrite("etc/deep/er/a", "2");
        tree.write("new", "3");
    });
    assert_eq!(
        states.entries(&above),
        [
            "etc/",
            "etc/deep/",
            "etc/deep/er/",
            "etc/deep/er/a: 2",
            "new: 3"
        ]
    );
}

#[test]
fn what_was_only_copied_up_is_left_out() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("d");
        tree.write("d/a", "1");
        tree.write("b", "1");
    });
    let above = states.change(&below, |tree| {
        tree.chown("d/a", 5);
        tree.chown("d/a", 0);
        tree.chown("b", 5);
    });
    assert_eq!(states.entries(&above), ["b: 1"]);
}

#[test]
fn a_deleted_name_is_a_whiteout_of_1970() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("d/e");
        tree.write("d/a", "1");
        tree.write("d/e/b", "1");
    });
    let above = states.change(&below, |tree| {
        tree.remove("d/a");
        tree.remove("d/e");
        tree.write("temporary", "");
        tree.remove("temporary");
    });
    assert_eq!(states.entries(&above), ["d/", "d/.wh.a: ", "d/.wh.e: "]);
    let archive = states.archive(&above);
    let whiteout = &archive[512..1024];
    assert_eq!(&whiteout[100..108], b"0000000\0");
    assert_eq!(&whiteout[136..148], b"00000000000\0");
}

#[test]
fn a_replaced_directory_lists_what_is_gone_of_the_old_one() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("d/sub");
        tree.write("d/a", "1");
        tree.write("d/b", "1");
        tree.write("d/same", "1");
        tree.write("d/sub/x", "1");
        tree.mkdir("d/z");
    });
    let above = states.change(&below, |tree| {
        tree.remove("d");
        tree.mkdir("d");
        tree.write("d/b", "2");
        tree.write("d/same", "1");
        tree.write("d/c", "3");
        tree.write("d/z", "now a file");
    });
    assert_eq!(
        states.entries(&above),
        [
            "d/",
            "d/.wh.a: ",
            "d/b: 2",
            "d/c: 3",
            "d/.wh.sub: ",
            "d/z: now a file"
        ]
    );
}

#[test]
fn names_of_one_file_are_links_to_the_first() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("d");
        tree.write("d/b", "1");
        tree.link("d/b", "a");
        tree.link("d/b", "c");
    });
    assert_eq!(states.entries(&below), ["a: 1", "c = a", "d/", "d/b = a"]);
}

#[test]
fn an_empty_change_is_an_empty_archive() {
    let states = States::new();
    let below = states.change(&scratch(), |tree| tree.write("a", "1"));
    let above = states.change(&below, |_| ());
    assert_eq!(states.archive(&above), [0; 1024]);
}

#[test]
fn a_layer_unpacks_to_what_it_was_made_of() {
    let states = States::new();
    let long = format!("{}/{}", "x".repeat(120), "ü".repeat(100));
    let below = states.change(&scratch(), |tree| {
        tree.mkdir("d/e");
        tree.write("d/e/f", "1");
        tree.write("gone", "1");
        tree.mkdir("opaque");
        tree.write("opaque/old", "1");
    });
    let above = states.change(&below, |tree| {
        tree.mkdir(&"x".repeat(120));
        tree.write(&long, "long");
        tree.remove("gone");
        tree.remove("opaque");
        tree.mkdir("opaque");
        tree.write("opaque/new", "2");
        tree.chown("d/e/f", 3_000_000);
        for path in ["opaque", "d", "d/e", &"x".repeat(120)] {
            tree.age(path, 9);
        }
    });
    let first = states.archive(&above);
    let unpacked = tempfile::tempdir().unwrap();
    let root = Root::open(unpacked.path()).unwrap();
    apply(&first[..], &root, &Limits::default()).unwrap();
    let view = states.snapshots.view(&below).unwrap().root().unwrap();
    let mut second = Vec::new();
    write_changes(&root, Some(&view), &mut second).unwrap();
    assert!(first == second);
}

#[test]
fn files_of_equal_size_written_in_one_tick_of_the_clock_are_a_change() {
    let states = States::new();
    let time = Time {
        seconds: 5,
        nanos: 584_605_939,
    };
    let write = |tree: &Tree, content: &str| {
        tree.overwrite_if_there("motd", content);
        tree.node("motd").set_times(time, time).unwrap();
    };
    let one = states.change(&scratch(), |tree| write(tree, "one"));
    let two = states.change(&one, |tree| write(tree, "two"));
    assert_eq!(states.entries(&two).len(), 1, "the change is lost");
}
