//! Trees as a hostile image would ship them.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;
use crate::userns::Identity;

/// A root next to a `victim` directory that nothing may reach.
struct Fixture {
    _temp: tempfile::TempDir,
    outside: PathBuf,
    inside: PathBuf,
    root: Root,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let (outside, inside) = (temp.path().join("victim"), temp.path().join("root"));
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("canary"), "alive").unwrap();
    std::fs::create_dir(&inside).unwrap();
    let root = Root::open(&inside).unwrap();
    Fixture {
        outside,
        inside,
        root,
        _temp: temp,
    }
}

impl Fixture {
    fn canary_is_alive(&self) {
        assert_eq!(
            std::fs::read_to_string(self.outside.join("canary")).unwrap(),
            "alive"
        );
        assert_eq!(
            std::fs::read_dir(&self.outside).unwrap().count(),
            1,
            "something was written outside"
        );
    }
}

fn p(path: &str) -> &Path {
    Path::new(path)
}

#[test]
fn absolute_link_is_read_inside_the_root() {
    let f = fixture();
    symlink("/etc/passwd", f.inside.join("link")).unwrap();
    assert!(f.root.open_read(p("link")).unwrap_err().is_not_found());
    std::fs::create_dir(f.inside.join("etc")).unwrap();
    std::fs::write(f.inside.join("etc/passwd"), "ours").unwrap();
    assert_eq!(f.root.read_small(p("/link"), 100).unwrap(), b"ours");
}

#[test]
fn parent_components_stop_at_the_root() {
    let f = fixture();
    for path in [
        "../victim/canary",
        "/../../victim/canary",
        "a/../../victim/canary",
    ] {
        assert!(
            f.root
                .resolve(p(path), Last::Follow)
                .unwrap_err()
                .is_not_found(),
            "{path}"
        );
    }
    symlink("../victim", f.inside.join("up")).unwrap();
    assert!(f.root.open_read(p("up/canary")).unwrap_err().is_not_found());
}

#[test]
fn nul_byte_is_refused() {
    let f = fixture();
    let error = f.root.create_file(p("a\0b"), 0o644).unwrap_err();
    assert!(
        matches!(
            error,
            ConfineError::Refused {
                reason: Refusal::Nul,
                ..
            }
        ),
        "{error}"
    );
    assert!(f.root.mkdir_all(p("x\0y/z"), 0o755, None).is_err());
}

#[test]
fn magic_links_are_not_followed() {
    let f = fixture();
    let proc_root = Root::open(p("/proc")).unwrap();
    assert!(proc_root.resolve(p("self/root"), Last::Follow).is_err());
    assert!(proc_root.resolve(p("self/cwd"), Last::Follow).is_err());
    drop(f);
}

// T-A22
#[test]
fn pipe_device_and_socket_are_not_opened_for_reading() {
    let f = fixture();
    f.root.mknod(p("pipe"), Kind::Fifo, 0o644, 0).unwrap();
    let mut special = vec!["pipe", "socket", "to-pipe"];
    // A plain user makes no devices.
    if !Identity::of_this_process().is_mapped() {
        let zero = rustix::fs::makedev(1, 5);
        f.root
            .mknod(p("zero"), Kind::CharDevice, 0o644, zero)
            .unwrap();
        special.push("zero");
    }
    let _socket = std::os::unix::net::UnixListener::bind(f.inside.join("socket")).unwrap();
    symlink("pipe", f.inside.join("to-pipe")).unwrap();
    for path in special {
        let error = f.root.read_small(p(path), 100).unwrap_err();
        assert!(
            matches!(
                error,
                ConfineError::Refused {
                    reason: Refusal::NotRegular,
                    ..
                }
            ),
            "{path}: {error}"
        );
    }
}

#[test]
fn sparse_file_beyond_the_cap_is_refused() {
    let f = fixture();
    std::fs::File::create(f.inside.join("group"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    let error = f.root.read_small(p("group"), 1 << 20).unwrap_err();
    assert!(matches!(
        error,
        ConfineError::Refused {
            reason: Refusal::TooLarge { cap: 0x10_0000 },
            ..
        }
    ));
}

#[test]
fn created_entries_never_follow_a_link_in_their_place() {
    let f = fixture();
    symlink(f.outside.join("new"), f.inside.join("file")).unwrap();
    assert!(
        f.root
            .create_file(p("file"), 0o644)
            .unwrap_err()
            .is_already_exists()
    );
    assert!(
        f.root
            .mkdir(p("file"), 0o755)
            .unwrap_err()
            .is_already_exists()
    );
    assert!(
        f.root
            .symlink(p("x"), p("file"))
            .unwrap_err()
            .is_already_exists()
    );
    assert!(
        f.root
            .mknod(p("file"), Kind::Fifo, 0o644, 0)
            .unwrap_err()
            .is_already_exists()
    );
    f.canary_is_alive();
}

#[test]
fn created_entries_land_inside_through_a_linked_parent() {
    let f = fixture();
    symlink(&f.outside, f.inside.join("dir")).unwrap();
    assert!(
        f.root
            .create_file(p("dir/new"), 0o644)
            .unwrap_err()
            .is_not_found()
    );
    f.root.mkdir_all(&f.outside, 0o755, None).unwrap();
    f.root
        .create_file(p("dir/new"), 0o644)
        .unwrap()
        .write_all(b"in")
        .unwrap();
    assert_eq!(
        f.root.read_small(&f.outside.join("new"), 10).unwrap(),
        b"in"
    );
    f.canary_is_alive();
}

#[test]
fn mkdir_all_makes_the_target_of_a_dangling_link_inside() {
    let f = fixture();
    symlink("/abs/target", f.inside.join("link")).unwrap();
    let made = f
        .root
        .mkdir_all(p("/link/a/../b"), 0o751, Some(Owner { uid: 12, gid: 34 }))
        .unwrap();
    assert_eq!(
        made,
        [
            p("abs"),
            p("abs/target"),
            p("abs/target/a"),
            p("abs/target/b")
        ]
    );
    let metadata = f.root.metadata(p("abs/target/b"), Last::NoFollow).unwrap();
    assert_eq!(
        (metadata.mode, metadata.owner),
        (0o751, Owner { uid: 12, gid: 34 })
    );
    assert!(
        f.root
            .mkdir_all(p("link/a"), 0o700, None)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn mkdir_all_cannot_climb_out() {
    let f = fixture();
    symlink("../../../victim", f.inside.join("up")).unwrap();
    f.root.mkdir_all(p("up/inner"), 0o755, None).unwrap();
    f.root.mkdir_all(p("../../x/../y"), 0o755, None).unwrap();
    assert!(f.inside.join("victim/inner").is_dir());
    assert!(f.inside.join("y").is_dir());
    f.canary_is_alive();
}

#[test]
fn mkdir_all_gives_up_on_a_loop_and_on_a_file() {
    let f = fixture();
    symlink("b", f.inside.join("a")).unwrap();
    symlink("a", f.inside.join("b")).unwrap();
    let error = f.root.mkdir_all(p("a/x"), 0o755, None).unwrap_err();
    assert!(
        matches!(
            error,
            ConfineError::Refused {
                reason: Refusal::TooManyLinks,
                ..
            }
        ),
        "{error}"
    );
    std::fs::write(f.inside.join("file"), "").unwrap();
    let error = f.root.mkdir_all(p("file/x"), 0o755, None).unwrap_err();
    assert!(
        matches!(
            error,
            ConfineError::Refused {
                reason: Refusal::NotADirectory,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn removal_refuses_parent_components_and_the_root() {
    let f = fixture();
    std::fs::create_dir(f.inside.join("a")).unwrap();
    for path in ["..", "../..", "a/../..", "../victim", "a/.."] {
        let error = f.root.remove_all(p(path)).unwrap_err();
        assert!(
            matches!(
                error,
                ConfineError::Refused {
                    reason: Refusal::ParentComponent,
                    ..
                }
            ),
            "{path}: {error}"
        );
    }
    for path in ["", "/", "."] {
        let error = f.root.remove_all(p(path)).unwrap_err();
        assert!(
            matches!(
                error,
                ConfineError::Refused {
                    reason: Refusal::NoName,
                    ..
                }
            ),
            "{path}: {error}"
        );
    }
    f.canary_is_alive();
}

// T-A14
#[test]
fn removal_takes_the_link_and_not_its_target() {
    let f = fixture();
    std::fs::create_dir_all(f.inside.join("tree/sub")).unwrap();
    symlink(&f.outside, f.inside.join("tree/sub/out")).unwrap();
    symlink(&f.outside, f.inside.join("link")).unwrap();
    f.root.remove_all(p("link")).unwrap();
    f.root.remove_all(p("tree")).unwrap();
    assert!(f.root.read_dir(p("/")).unwrap().is_empty());
    f.canary_is_alive();
}

#[test]
fn removal_of_a_very_deep_tree_needs_few_descriptors() {
    let f = fixture();
    let mut dir = f.root.try_clone().unwrap();
    for _ in 0..3000 {
        dir.mkdir(p("d"), 0o755).unwrap();
        dir.create_file(p("f"), 0o644).unwrap();
        dir = dir.subroot(p("d")).unwrap();
    }
    f.root.remove_all(p("d")).unwrap();
    assert_eq!(
        f.root.read_dir(p("/")).unwrap().len(),
        1,
        "only the outermost file is left"
    );
}

// T-A27
#[test]
fn owner_mode_times_and_xattrs_act_on_the_object_itself() {
    let f = fixture();
    symlink(f.outside.join("canary"), f.inside.join("link")).unwrap();
    let before = std::fs::metadata(f.outside.join("canary")).unwrap();
    let link = f.root.resolve(p("link"), Last::NoFollow).unwrap();
    link.set_owner(Owner { uid: 7, gid: 8 }).unwrap();
    link.set_times(
        Time {
            seconds: 5,
            nanos: 6,
        },
        Time {
            seconds: 7,
            nanos: 8,
        },
    )
    .unwrap();
    assert!(link.set_mode(0o600).is_err(), "a link has no mode");
    assert!(
        link.set_xattr(OsStr::new("user.a"), b"b").is_err(),
        "a link has no user attributes"
    );
    let set = link.set_xattr(OsStr::new("trusted.a"), b"b");
    if Identity::of_this_process().is_mapped() {
        // That is for a root of the machine alone.
        assert!(set.is_err());
        assert_eq!(link.xattrs().unwrap(), []);
    } else {
        set.unwrap();
        assert_eq!(
            link.xattrs().unwrap(),
            [("trusted.a".into(), b"b".to_vec())]
        );
    }
    let metadata = link.metadata().unwrap();
    assert_eq!(
        (metadata.owner, metadata.mtime),
        (
            Owner { uid: 7, gid: 8 },
            Time {
                seconds: 7,
                nanos: 8
            }
        )
    );
    let after = std::fs::metadata(f.outside.join("canary")).unwrap();
    assert_eq!(
        (before.uid(), before.mtime(), before.mode()),
        (after.uid(), after.mtime(), after.mode())
    );
}

#[test]
fn mode_keeps_set_id_bits_when_set_after_the_owner() {
    let f = fixture();
    f.root.create_file(p("tool"), 0o600).unwrap();
    let node = f.root.resolve(p("tool"), Last::NoFollow).unwrap();
    node.set_owner(Owner { uid: 1, gid: 2 }).unwrap();
    node.set_mode(0o6755).unwrap();
    assert_eq!(
        std::fs::metadata(f.inside.join("tool"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o6755
    );
}

#[test]
fn hardlink_links_the_link_itself() {
    let f = fixture();
    symlink(f.outside.join("canary"), f.inside.join("link")).unwrap();
    f.root.hardlink(p("link"), p("second")).unwrap();
    assert!(
        f.root
            .metadata(p("second"), Last::NoFollow)
            .unwrap()
            .is_symlink()
    );
    let node = f.root.resolve(p("link"), Last::NoFollow).unwrap();
    f.root.hardlink_node(&node, p("third")).unwrap();
    assert!(
        f.root
            .metadata(p("third"), Last::NoFollow)
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        std::fs::metadata(f.outside.join("canary")).unwrap().nlink(),
        1
    );
}

#[test]
fn rename_stays_inside_and_moves_links_themselves() {
    let f = fixture();
    symlink(&f.outside, f.inside.join("link")).unwrap();
    f.root.rename(p("/link"), p("../moved")).unwrap();
    assert!(
        f.root
            .metadata(p("moved"), Last::NoFollow)
            .unwrap()
            .is_symlink()
    );
    f.root.create_file(p("taken"), 0o644).unwrap();
    assert!(
        f.root
            .rename_new(p("moved"), p("taken"))
            .unwrap_err()
            .is_already_exists()
    );
    f.canary_is_alive();
}

#[test]
fn walk_is_ordered_and_follows_no_link() {
    let f = fixture();
    for dir in ["b", "a/y", "a/x"] {
        f.root.mkdir_all(p(dir), 0o755, None).unwrap();
    }
    symlink(&f.outside, f.inside.join("a/out")).unwrap();
    let mut seen = Vec::new();
    f.root
        .walk(p("/"), |path, _, _| {
            seen.push(path.to_str().unwrap().to_owned());
            Ok::<_, ConfineError>(if path == p("b") {
                Visit::Skip
            } else {
                Visit::Enter
            })
        })
        .unwrap();
    assert_eq!(seen, ["a", "a/out", "a/x", "a/y", "b"]);
}

#[test]
fn cleanup_by_exact_path_refuses_a_component_that_became_a_link() {
    let f = fixture();
    f.root.mkdir_all(p("a/b"), 0o755, None).unwrap();
    f.root.resolve_without_links(p("a/b")).unwrap();
    std::fs::rename(f.inside.join("a"), f.inside.join("real")).unwrap();
    symlink("real", f.inside.join("a")).unwrap();
    assert!(f.root.resolve_without_links(p("a/b")).is_err());
}
