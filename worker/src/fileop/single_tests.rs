use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use cooper_proto::pb;

use super::{ModeChange, make_directory, make_file, make_symlink, remove};
use crate::confine::{Kind, Last, Owner, Root};

fn fixture() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = Root::open(directory.path()).expect("opened");
    (directory, root)
}

fn file(path: &str, data: &str) -> pb::FileActionMkFile {
    pb::FileActionMkFile {
        path: path.to_owned(),
        mode: 0o640,
        data: data.as_bytes().to_vec(),
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    }
}

fn directory(path: &str, make_parents: bool) -> pb::FileActionMkDir {
    pb::FileActionMkDir {
        path: path.to_owned(),
        mode: 0o4711,
        make_parents,
        timestamp: 5_000_000_000,
        ..pb::FileActionMkDir::default()
    }
}

const OWNER: Option<Owner> = Some(Owner { uid: 11, gid: 12 });

#[test]
fn directories_are_made_with_mode_owner_and_time() {
    let (place, root) = fixture();
    make_directory(&root, &directory("/a/b/c", true), OWNER).expect("made");
    for path in ["a", "a/b", "a/b/c"] {
        let metadata = place.path().join(path).metadata().expect("there");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o711, "{path}");
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mtime()),
            (11, 12, 5),
            "{path}"
        );
    }
    let error = make_directory(&root, &directory("/x/y", false), None).expect_err("no parent");
    assert_eq!(error.to_string(), "mkdir /x/y: no such file or directory");
    std::fs::write(place.path().join("f"), "").expect("written");
    let error = make_directory(&root, &directory("/f/y", true), None).expect_err("a file above");
    assert_eq!(error.to_string(), "mkdir /f/y: not a directory");
    make_directory(&root, &directory("/f", false), None).expect("what is there stays");
    assert!(place.path().join("f").is_file());
}

#[test]
fn a_directory_behind_links_is_made_inside() {
    let (place, root) = fixture();
    root.symlink(Path::new("/../../../else/where"), Path::new("link"))
        .expect("made");
    make_directory(&root, &directory("/link/x", true), None).expect("made");
    assert!(place.path().join("else/where/x").is_dir());
}

#[test]
fn files_are_made_and_replaced() {
    let (place, root) = fixture();
    make_file(&root, &file("f", "one"), OWNER).expect("made");
    let path = place.path().join("f");
    let first = path.metadata().expect("there");
    assert_eq!(first.mode() & 0o7777, 0o640);
    assert_eq!((first.uid(), first.gid()), (11, 12));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).expect("changed");
    let longer = pb::FileActionMkFile {
        timestamp: 7_000_000_000,
        ..file("/f", "2")
    };
    make_file(&root, &longer, None).expect("replaced");
    let second = path.metadata().expect("there");
    assert_eq!((second.mode() & 0o7777, second.mtime()), (0o4755, 7));
    assert_eq!(std::fs::read_to_string(&path).expect("text"), "2");
    let error = make_file(&root, &file("/no/f", ""), None).expect_err("no directory");
    assert_eq!(error.to_string(), "open /no/f: no such file or directory");
    std::fs::create_dir(place.path().join("d")).expect("made");
    let error = make_file(&root, &file("/d", ""), None).expect_err("a directory");
    assert_eq!(error.to_string(), "open /d: is a directory");
}

#[test]
fn a_link_is_made_once() {
    let (place, root) = fixture();
    let action = pb::FileActionSymlink {
        oldpath: String::from("/some/where"),
        newpath: String::from("/link"),
        timestamp: 9_000_000_000,
        ..pb::FileActionSymlink::default()
    };
    make_symlink(&root, &action, OWNER).expect("made");
    let path = place.path().join("link");
    assert_eq!(path.read_link().expect("a link"), Path::new("/some/where"));
    let metadata = path.symlink_metadata().expect("there");
    assert_eq!((metadata.uid(), metadata.mtime()), (11, 9));
    let other = pb::FileActionSymlink {
        newpath: String::from("/none/link"),
        ..action
    };
    make_symlink(&root, &other, None).expect_err("no directory");
}

fn removal(path: &str) -> pb::FileActionRm {
    pb::FileActionRm {
        path: path.to_owned(),
        ..pb::FileActionRm::default()
    }
}

#[test]
fn removal_takes_trees_wildcards_and_links_and_says_what_is_missing() {
    let (place, root) = fixture();
    for path in ["d/e/f", "keep/x", "a1", "a2", "b1"] {
        root.mkdir_all(Path::new(path), 0o755, None).expect("made");
    }
    root.symlink(Path::new("keep"), Path::new("link"))
        .expect("made");
    remove(&root, &removal("/d")).expect("removed");
    remove(&root, &removal("link")).expect("removed");
    let wildcard = pb::FileActionRm {
        allow_wildcard: true,
        ..removal("/a?")
    };
    remove(&root, &wildcard).expect("removed");
    let mut left: Vec<_> = place
        .path()
        .read_dir()
        .expect("there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["b1", "keep"]);
    assert!(place.path().join("keep/x").exists());
    let error = remove(&root, &removal("/d")).expect_err("gone");
    assert_eq!(error.to_string(), "lstat /d: no such file or directory");
    let lenient = pb::FileActionRm {
        allow_not_found: true,
        ..removal("/d/e")
    };
    remove(&root, &lenient).expect("nothing to do");
    remove(&root, &removal("/")).expect_err("the root stays");
}

#[test]
fn t_a14_removal_above_the_root_is_an_error_and_the_sibling_survives() {
    let (place, outer) = fixture();
    for path in ["root/a", "victim/x"] {
        outer.mkdir_all(Path::new(path), 0o755, None).expect("made");
    }
    let root = outer.subroot(Path::new("root")).expect("opened");
    for path in [
        "..",
        "../..",
        "a/../..",
        "../victim",
        "/../victim",
        "a/../../victim",
        ".",
    ] {
        for allow_wildcard in [false, true] {
            let action = pb::FileActionRm {
                allow_wildcard,
                allow_not_found: true,
                ..removal(path)
            };
            remove(&root, &action).expect_err(path);
        }
    }
    root.symlink(Path::new("../victim"), Path::new("out"))
        .expect("made");
    root.symlink(Path::new("/../../victim"), Path::new("abs"))
        .expect("made");
    for path in ["out/x", "abs/x"] {
        remove(&root, &removal(path)).expect_err("the link stays inside");
    }
    remove(&root, &removal("out")).expect("the link itself goes");
    assert!(place.path().join("victim/x").exists());
    assert!(place.path().join("root/a").exists());
}

#[test]
fn symbolic_modes_keep_what_they_do_not_name() {
    let (_place, root) = fixture();
    root.mknod(Path::new("f"), Kind::File, 0o600, 0)
        .expect("made");
    let metadata = root
        .metadata(Path::new("f"), Last::NoFollow)
        .expect("there");
    let apply = |text: &str| ModeChange::parse(text).expect(text).apply(&metadata);
    assert_eq!(apply("u=rwX,go=rX"), 0o644);
    assert_eq!(apply("a+x"), 0o711);
    assert_eq!(apply("4750"), 0o4750);
    for wrong in ["", "x", "u", "8", "77777", "u+q", "u+r,", "-1"] {
        ModeChange::parse(wrong).expect_err(wrong);
    }
}
