//! Sources and targets made to hurt (security.md T-A11, T-A22, T-C9).

use std::path::Path;
use std::time::{Duration, Instant};

use cooper_proto::pb;

use super::{FileOpError, Stop, copy, make_file, owner};
use crate::confine::{Kind, Last, Owner, Root};
use crate::limits::Limits;
use crate::userns::Identity;

struct Fixture {
    place: tempfile::TempDir,
    source: Root,
    target: Root,
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().expect("a directory");
    let open = |name: &str| {
        let path = place.path().join(name);
        std::fs::create_dir(&path).expect("made");
        Root::open(&path).expect("opened")
    };
    let (source, target) = (open("source"), open("target"));
    Fixture {
        source,
        target,
        place,
    }
}

const SPECIAL: [(&str, Kind, u64); 4] = [
    ("fifo", Kind::Fifo, 0),
    ("socket", Kind::Socket, 0),
    ("null", Kind::CharDevice, 0x103),
    ("loop", Kind::BlockDevice, 0x700),
];

/// Those that can be made here: a plain user makes no devices, so that no state of theirs has one.
fn special() -> impl Iterator<Item = (&'static str, Kind, u64)> {
    let is_mapped = Identity::of_this_process().is_mapped();
    let is_device = |kind| matches!(kind, Kind::CharDevice | Kind::BlockDevice);
    SPECIAL
        .into_iter()
        .filter(move |(_, kind, _)| !(is_mapped && is_device(*kind)))
}

fn within(limit: Duration, what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    assert!(start.elapsed() < limit, "{what} took {:?}", start.elapsed());
}

fn action(src: &str, dest: &str) -> pb::FileActionCopy {
    pb::FileActionCopy {
        src: src.to_owned(),
        dest: dest.to_owned(),
        mode: -1,
        timestamp: -1,
        create_dest_path: true,
        follow_symlink: true,
        allow_wildcard: true,
        attempt_unpack_docker_compatibility: true,
        ..pb::FileActionCopy::default()
    }
}

fn perform(fixture: &Fixture, action: &pb::FileActionCopy) -> Result<(), FileOpError> {
    let (limits, stop) = (Limits::default(), Stop::default());
    copy(
        &fixture.source,
        &fixture.target,
        action,
        None,
        &limits,
        &stop,
    )
}

#[test]
fn t_a22_special_files_are_copied_and_replaced_without_being_opened() {
    let fixture = fixture();
    std::fs::write(fixture.place.path().join("source/plain"), "plain").expect("written");
    for (name, kind, device) in special() {
        for root in [&fixture.source, &fixture.target] {
            root.mknod(Path::new(name), kind, 0o666, device)
                .expect("made");
        }
    }
    for (name, kind, device) in special() {
        within(Duration::from_secs(2), name, || {
            perform(&fixture, &action(name, &format!("/copied-{name}"))).expect("copied");
            let copied = fixture
                .target
                .metadata(Path::new(&format!("copied-{name}")), Last::NoFollow)
                .expect("there");
            let expected = if kind == Kind::Socket {
                Kind::File
            } else {
                kind
            };
            assert_eq!((copied.kind, copied.special_device), (expected, device));
            perform(&fixture, &action("plain", &format!("/{name}"))).expect("replaced");
        });
        let path = fixture.place.path().join("target").join(name);
        assert_eq!(std::fs::read_to_string(path).expect("text"), "plain");
    }
}

#[test]
fn t_a22_a_made_file_replaces_a_special_one_and_does_not_write_into_it() {
    let fixture = fixture();
    for (name, kind, device) in special() {
        fixture
            .target
            .mknod(Path::new(name), kind, 0o666, device)
            .expect("made");
        let action = pb::FileActionMkFile {
            path: name.to_owned(),
            mode: 0o644,
            data: b"data".to_vec(),
            timestamp: -1,
            ..pb::FileActionMkFile::default()
        };
        within(Duration::from_secs(2), name, || {
            make_file(&fixture.target, &action, None).expect("made");
        });
        let metadata = fixture
            .target
            .metadata(Path::new(name), Last::NoFollow)
            .expect("there");
        assert!(metadata.is_file());
    }
}

// T-C6
#[test]
fn links_in_source_and_target_lead_nowhere_else() {
    let fixture = fixture();
    let outside = fixture.place.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("secret"), "secret").expect("written");
    std::fs::write(fixture.place.path().join("source/f"), "f").expect("written");
    for (root, link) in [(&fixture.source, "out"), (&fixture.target, "out")] {
        root.symlink(&outside, Path::new(link)).expect("made");
        root.symlink(Path::new("../outside"), Path::new("up"))
            .expect("made");
    }
    for from in ["/out/secret", "/up/secret", "../outside/secret", "/out/*"] {
        perform(&fixture, &action(from, "/x")).expect_err(from);
    }
    for to in ["/out/f", "/up/f", "../outside/f", "/out/"] {
        perform(&fixture, &action("/f", to)).expect("inside the target");
    }
    let names: Vec<_> = outside.read_dir().expect("there").collect();
    assert_eq!(names.len(), 1);
}

fn named(name: &str) -> pb::UserOpt {
    pb::UserOpt {
        user: Some(pb::user_opt::User::ByName(pb::NamedUserOpt {
            name: name.to_owned(),
            input: 0,
        })),
    }
}

fn numbered(id: u32) -> pb::UserOpt {
    pb::UserOpt {
        user: Some(pb::user_opt::User::ById(id)),
    }
}

fn resolve(
    root: &Root,
    user: Option<pb::UserOpt>,
    group: Option<pb::UserOpt>,
) -> Result<Option<Owner>, FileOpError> {
    struct Held(Root);
    impl AsRef<Root> for Held {
        fn as_ref(&self) -> &Root {
            &self.0
        }
    }
    let chown = pb::ChownOpt { user, group };
    owner::resolve(Some(&chown), |_| Ok(Held(root.try_clone()?)))
}

#[test]
fn owners_are_found_by_name_in_the_inputs_files() {
    let fixture = fixture();
    let root = &fixture.source;
    let owner = |uid, gid| Some(Owner { uid, gid });
    assert_eq!(
        resolve(root, Some(named("x")), None).expect("none"),
        owner(0, 0)
    );
    root.mkdir(Path::new("etc"), 0o755).expect("made");
    let etc = fixture.place.path().join("source/etc");
    std::fs::write(
        etc.join("passwd"),
        "\nroot:x:0:0:r:/:/s\napp:x:1000:1001::/:\n1000:x:5:6::/:\n",
    )
    .expect("written");
    std::fs::write(etc.join("group"), "root:x:0:\nstaff:x:50:app\n").expect("written");
    for (user, group, expected) in [
        (Some(named("app")), None, owner(1000, 1001)),
        (Some(named("app")), Some(named("staff")), owner(1000, 50)),
        (Some(named("app")), Some(named("nobody")), owner(1000, 1001)),
        (Some(named("1000")), None, owner(5, 6)),
        (Some(named("unknown")), None, owner(0, 0)),
        (Some(numbered(7)), None, owner(7, 7)),
        (Some(numbered(7)), Some(numbered(8)), owner(7, 8)),
        (None, Some(named("staff")), owner(0, 50)),
    ] {
        assert_eq!(resolve(root, user, group).expect("resolved"), expected);
    }
}

#[test]
fn t_c9_numbers_that_are_no_ids_are_errors_and_not_root() {
    let fixture = fixture();
    let root = &fixture.source;
    root.mkdir(Path::new("etc"), 0o755).expect("made");
    let passwd = fixture.place.path().join("source/etc/passwd");
    for id in [
        "4294967295",
        "4294967296",
        "-1",
        "0x0",
        "+0",
        "",
        "9999999999999999999",
        "1 2",
    ] {
        std::fs::write(&passwd, format!("app:x:{id}:1::/:\n")).expect("written");
        resolve(root, Some(named("app")), None).expect_err(id);
        std::fs::write(&passwd, format!("app:x:1:{id}::/:\n")).expect("written");
        resolve(root, Some(named("app")), None).expect_err(id);
    }
    resolve(root, Some(numbered(u32::MAX)), None).expect_err("means no change to the kernel");
    std::fs::write(&passwd, "app:x:2147483648:4294967294::/:\n").expect("written");
    let owner = resolve(root, Some(named("app")), None).expect("a large id is one");
    assert_eq!(
        owner,
        Some(Owner {
            uid: 1 << 31,
            gid: u32::MAX - 1
        })
    );
}

#[test]
fn t_a11_user_files_that_are_huge_or_special_fail_at_once() {
    let fixture = fixture();
    let root = &fixture.source;
    root.mkdir(Path::new("etc"), 0o755).expect("made");
    let passwd = Path::new("etc/passwd");
    let check = |what: &str| {
        within(Duration::from_secs(1), what, || {
            resolve(root, Some(named("app")), None).expect_err(what);
        });
        root.remove_file(passwd).expect("removed");
    };
    root.create_file(passwd, 0o644)
        .expect("made")
        .set_len(2 << 30)
        .expect("sparse");
    check("2 GiB");
    root.mknod(passwd, Kind::Fifo, 0o644, 0).expect("made");
    check("a pipe");
    if !Identity::of_this_process().is_mapped() {
        root.mknod(passwd, Kind::CharDevice, 0o644, 0x105)
            .expect("made");
        check("/dev/zero");
    }
    root.symlink(Path::new("/etc/loop"), passwd).expect("made");
    root.symlink(Path::new("passwd"), Path::new("etc/loop"))
        .expect("made");
    check("a circle of links");
}
