use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use super::{
    LayerError, apply,
    archive::{ArchiveWriter, Header},
};
use crate::userns::Identity;
use crate::{
    confine::{Last, Root},
    limits::Limits,
};

pub(super) fn file(name: &str) -> Header {
    Header {
        name: name.into(),
        flag: b'0',
        mode: 0o644,
        mtime: 1_000_000_000,
        ..Header::default()
    }
}

pub(super) fn dir(name: &str) -> Header {
    Header {
        flag: b'5',
        mode: 0o755,
        ..file(name)
    }
}

pub(super) fn symlink(name: &str, target: &str) -> Header {
    Header {
        flag: b'2',
        mode: 0o777,
        link: target.into(),
        ..file(name)
    }
}

pub(super) fn hardlink(name: &str, target: &str) -> Header {
    Header {
        flag: b'1',
        link: target.into(),
        ..file(name)
    }
}

pub(super) fn archive(entries: &[(Header, &str)]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new());
    for (header, content) in entries {
        let header = Header {
            size: content.len() as u64,
            ..header.clone()
        };
        writer.file(&header, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

/// A folder `in` to unpack into, beside a victim that nothing may touch.
pub(super) struct Sandbox {
    pub(super) dir: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("victim"), "untouched").unwrap();
        let victim = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.path().join("victim"), victim).unwrap();
        Self { dir }
    }

    pub(super) fn apply(&self, entries: &[(Header, &str)]) -> Result<(), LayerError> {
        let root = Root::open(&self.dir.path().join("in")).unwrap();
        apply(&archive(entries)[..], &root, &Limits::default()).map(drop)
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("in").join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(super) fn victim_is_untouched(&self) {
        let victim = self.dir.path().join("victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        let metadata = fs::metadata(&victim).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        assert_eq!((metadata.uid(), metadata.nlink()), (0, 1));
        let xattrs = Root::open(self.dir.path())
            .unwrap()
            .resolve(Path::new("victim"), Last::NoFollow)
            .unwrap()
            .xattrs()
            .unwrap();
        assert_eq!(xattrs, []);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
    }
}

fn is_whiteout(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let metadata = fs::symlink_metadata(path).unwrap();
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(sandbox: &Sandbox, name: &str) -> bool {
    Root::open(&sandbox.path(name))
        .unwrap()
        .resolve(Path::new("."), Last::NoFollow)
        .unwrap()
        .xattrs()
        .unwrap()
        .iter()
        .any(|(name, value)| name == crate::mount::opaque_mark() && value == b"y")
}

#[test]
fn each_kind_of_entry_is_made_with_its_attributes() {
    let sandbox = Sandbox::new();
    let owned = Header {
        uid: 1000,
        gid: 2000,
        mode: 0o4751,
        records: vec![
            (String::from("SCHILY.xattr.user.x"), b"\x00\n=".to_vec()),
            (String::from("mtime"), b"12.5".to_vec()),
        ],
        mtime: 12,
        ..file("d/f")
    };
    let null = Header {
        flag: b'3',
        device_major: 1,
        device_minor: 3,
        mode: 0o666,
        ..file("null")
    };
    let pipe = Header {
        flag: b'6',
        ..file("pipe")
    };
    sandbox
        .apply(&[
            (dir("d/"), ""),
            (owned, "content"),
            (hardlink("h", "d/f"), ""),
            (symlink("s", "/d/f"), ""),
            (null, ""),
            (pipe, ""),
        ])
        .unwrap();
    let metadata = fs::symlink_metadata(sandbox.path("d/f")).unwrap();
    assert_eq!((metadata.uid(), metadata.nlink()), (0, 2), "the link's say");
    assert_eq!(sandbox.read("h"), "content");
    assert_eq!(fs::read_link(sandbox.path("s")).unwrap(), Path::new("/d/f"));
    let null = fs::metadata(sandbox.path("null")).map(|null| null.rdev());
    if Identity::of_this_process().is_mapped() {
        assert!(null.is_err(), "a plain user makes no devices");
    } else {
        assert_eq!(null.unwrap(), rustix::fs::makedev(1, 3));
    }
    assert_eq!(
        fs::metadata(sandbox.path("d")).unwrap().mtime(),
        1_000_000_000
    );
}

#[test]
fn owner_mode_time_and_attributes_of_a_file_are_those_of_its_entry() {
    let sandbox = Sandbox::new();
    let owned = Header {
        uid: 1000,
        gid: 3_000_000,
        mode: 0o4751,
        records: vec![
            (String::from("SCHILY.xattr.user.x"), b"\x00\n=".to_vec()),
            (String::from("SCHILY.xattr.trusted.x"), b"1".to_vec()),
            (
                String::from("SCHILY.xattr.user.overlay.opaque"),
                b"y".to_vec(),
            ),
        ],
        mtime: 12,
        ..file("f")
    };
    sandbox.apply(&[(owned, "content")]).unwrap();
    let metadata = fs::metadata(sandbox.path("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1000, 3_000_000));
    assert_eq!(metadata.mode() & 0o7777, 0o4751);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (12, 0));
    let root = Root::open(&sandbox.path("")).unwrap();
    let node = root.resolve(Path::new("f"), Last::NoFollow).unwrap();
    let xattrs = node.xattrs().unwrap();
    assert_eq!(xattrs, [("user.x".into(), b"\x00\n=".to_vec())]);
}

#[test]
fn a_file_capability_survives() {
    let sandbox = Sandbox::new();
    let value = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capable = Header {
        mode: 0o755,
        uid: 7,
        records: vec![(
            String::from("SCHILY.xattr.security.capability"),
            value.to_vec(),
        )],
        ..file("ping")
    };
    sandbox.apply(&[(capable, "")]).unwrap();
    let root = Root::open(&sandbox.path("")).unwrap();
    let node = root.resolve(Path::new("ping"), Last::NoFollow).unwrap();
    let xattrs = node.xattrs().unwrap();
    assert_eq!(xattrs, [("security.capability".into(), value.to_vec())]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_unless_both_are_directories() {
    let sandbox = Sandbox::new();
    sandbox
        .apply(&[
            (dir("d"), ""),
            (file("d/x"), "1"),
            (file("f"), "1"),
            (
                Header {
                    mode: 0o700,
                    ..dir("d")
                },
                "",
            ),
            (file("f"), "2"),
            (file("e/y"), "3"),
            (file("e"), "4"),
        ])
        .unwrap();
    assert_eq!(sandbox.read("d/x"), "1");
    assert_eq!(sandbox.read("f"), "2");
    assert_eq!(sandbox.read("e"), "4");
    let mode = fs::metadata(sandbox.path("d")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let sandbox = Sandbox::new();
    sandbox
        .apply(&[
            (file(".wh.gone"), ""),
            (dir("d"), ""),
            (file("d/.wh..wh..opq"), ""),
            (file("d/kept"), "1"),
            (dir(".wh..wh.plnk"), ""),
        ])
        .unwrap();
    assert!(is_whiteout(&sandbox.path("gone")));
    assert!(is_opaque(&sandbox, "d"));
    assert_eq!(sandbox.read("d/kept"), "1");
    let mut names: Vec<_> = fs::read_dir(sandbox.path(""))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["d", "gone"]);
}

#[test]
fn a_whiteout_hides_what_is_below_and_not_what_the_layer_itself_has() {
    for whiteout_first in [true, false] {
        let sandbox = Sandbox::new();
        let mut entries = [(file(".wh.d"), ""), (dir("d"), ""), (file("d/x"), "1")];
        if !whiteout_first {
            entries.rotate_left(1);
        }
        sandbox.apply(&entries).unwrap();
        assert_eq!(sandbox.read("d/x"), "1");
        assert!(is_opaque(&sandbox, "d"), "{whiteout_first}");
    }
}

#[test]
fn missing_parents_are_made_the_same_way_each_time() {
    let sandbox = Sandbox::new();
    sandbox.apply(&[(file("a/b/c"), "1")]).unwrap();
    for name in ["a", "a/b"] {
        let metadata = fs::metadata(sandbox.path(name)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o755);
        assert_eq!((metadata.uid(), metadata.mtime()), (0, 0));
    }
}

#[test]
fn a_file_with_holes_has_its_length_and_takes_no_room_for_them() {
    let sandbox = Sandbox::new();
    let records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n32 GNU.sparse.realsize=10000000\n21 GNU.sparse.name=f\n";
    let pax = Header {
        flag: b'x',
        ..file("p")
    };
    let mut content = String::from("1\n9000000\n5\n");
    content.push_str(&"\0".repeat(512 - content.len()));
    content.push_str("hello");
    sandbox
        .apply(&[(pax, records), (file("f"), &content)])
        .unwrap();
    let metadata = fs::metadata(sandbox.path("f")).unwrap();
    assert_eq!(metadata.len(), 10_000_000);
    assert!(metadata.blocks() * 512 < 1_000_000);
    let read = fs::read(sandbox.path("f")).unwrap();
    assert_eq!(&read[9_000_000..9_000_005], b"hello");
}

#[test]
fn the_root_entry_changes_nothing() {
    let sandbox = Sandbox::new();
    let before = fs::metadata(sandbox.path("")).unwrap().mode();
    let root = Header {
        mode: 0o700,
        uid: 5,
        ..dir("./")
    };
    sandbox.apply(&[(root, ""), (file("./a"), "1")]).unwrap();
    let after = fs::metadata(sandbox.path("")).unwrap();
    assert_eq!((after.mode(), after.uid()), (before, 0));
    assert_eq!(sandbox.read("a"), "1");
}

#[test]
fn times_before_1970_and_after_2262_become_1970() {
    let sandbox = Sandbox::new();
    for mtime in [-5, 13_569_465_600] {
        let far = Header { mtime, ..file("f") };
        sandbox.apply(&[(far, "")]).unwrap();
        assert_eq!(fs::metadata(sandbox.path("f")).unwrap().mtime(), 0);
    }
}

#[test]
fn a_large_directory_is_unpacked_and_made_into_the_same_archive_again() {
    let sandbox = Sandbox::new();
    let mut entries = vec![(dir("d/"), String::new())];
    for number in 0..20_000 {
        entries.push((file(&format!("d/{number:05}")), format!("{number}")));
    }
    let entries: Vec<_> = entries
        .iter()
        .map(|(header, content)| (header.clone(), content.as_str()))
        .collect();
    sandbox.apply(&entries).unwrap();
    let root = Root::open(&sandbox.path("")).unwrap();
    let mut again = Vec::new();
    super::write_changes(&root, None, &mut again).unwrap();
    assert!(again == archive(&entries));
}
