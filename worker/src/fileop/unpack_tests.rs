use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cooper_proto::pb;

use super::{FileOpError, Stop, copy};
use crate::confine::{Owner, Root};
use crate::limits::Limits;

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

impl Fixture {
    fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.place.path().join("source").join(name), content).expect("written");
    }

    fn add(&self, src: &str, dest: &str, owner: Option<Owner>) -> Result<(), FileOpError> {
        let action = pb::FileActionCopy {
            src: src.to_owned(),
            dest: dest.to_owned(),
            mode: -1,
            timestamp: -1,
            create_dest_path: true,
            follow_symlink: true,
            attempt_unpack_docker_compatibility: true,
            ..pb::FileActionCopy::default()
        };
        let (limits, stop) = (Limits::default(), Stop::default());
        copy(&self.source, &self.target, &action, owner, &limits, &stop)
    }

    fn text(&self, path: &str) -> String {
        let path = self.place.path().join("target").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    }
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_uid(21);
    header.set_gid(22);
    header.set_mtime(1_000_000);
    header
}

fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, text) in entries {
        match kind {
            tar::EntryType::Symlink | tar::EntryType::Link => {
                let mut header = header(*kind, 0);
                builder.append_link(&mut header, path, text).expect("added");
            }
            kind => {
                let mut header = header(*kind, text.len() as u64);
                builder
                    .append_data(&mut header, path, text.as_bytes())
                    .expect("added");
            }
        }
    }
    builder.into_inner().expect("finished")
}

use tar::EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn archives_of_every_compression_are_unpacked() {
    let plain = archive(&[("d", Directory, ""), ("d/f", Regular, "content")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).expect("compressed");
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(&plain).expect("compressed");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&plain).expect("compressed");
    let forms = [
        ("plain", plain.clone()),
        ("gzip", gzip.finish().expect("finished")),
        ("bzip2", bzip2.finish().expect("finished")),
        ("xz", xz.finish().expect("finished")),
        (
            "zstd",
            zstd::encode_all(plain.as_slice(), 3).expect("compressed"),
        ),
    ];
    for (name, bytes) in forms {
        let fixture = fixture();
        fixture.put(name, &bytes);
        fixture.add(name, "/to/", None).expect(name);
        assert_eq!(fixture.text("to/d/f"), "content", "{name}");
        let file = fixture.place.path().join("target/to/d/f");
        let metadata = file.metadata().expect("there");
        assert_eq!(
            (metadata.uid(), metadata.gid(), metadata.mtime()),
            (21, 22, 1_000_000)
        );
        assert_eq!(metadata.mode() & 0o7777, 0o640);
        let directory = file.parent().expect("has one").metadata().expect("there");
        assert_eq!(directory.mtime(), 1_000_000);
    }
}

#[test]
fn what_is_no_archive_is_copied() {
    let fixture = fixture();
    let compressed = zstd::encode_all(&b"text"[..], 3).expect("compressed");
    for (name, content) in [
        ("text", b"just text".to_vec()),
        ("empty", Vec::new()),
        ("zeroes", vec![0; 2048]),
        ("compressed", compressed),
    ] {
        fixture.put(name, &content);
        fixture.add(name, "/to/", None).expect(name);
        let copied = fixture.place.path().join("target/to").join(name);
        assert_eq!(std::fs::read(copied).expect("copied"), content, "{name}");
    }
}

#[test]
fn an_owner_is_given_to_all_that_is_unpacked() {
    let fixture = fixture();
    fixture.put("a", &archive(&[("implied/f", Regular, "x")]));
    let owner = Owner { uid: 31, gid: 32 };
    fixture.add("a", "/to", Some(owner)).expect("unpacked");
    for path in ["to", "to/implied", "to/implied/f"] {
        let metadata = fixture.place.path().join("target").join(path).metadata();
        let metadata = metadata.expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (31, 32), "{path}");
    }
}

#[test]
fn t_a28_links_in_an_archive_work_and_stay_inside() {
    let fixture = fixture();
    let outside = fixture.place.path().join("outside");
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("victim"), "intact").expect("written");
    fixture
        .target
        .mkdir_all(Path::new("to/usr/lib"), 0o755, None)
        .expect("made");
    fixture
        .target
        .symlink(Path::new("/usr/lib"), Path::new("to/lib"))
        .expect("made");
    let out = outside.to_str().expect("UTF-8");
    fixture.put(
        "a",
        &archive(&[
            ("lib/one", Regular, "one"),
            ("abs", Symlink, "/usr"),
            ("abs/lib/two", Regular, "two"),
            ("hard", Link, "abs/lib/two"),
            ("implied/parents/three", Regular, "three"),
            ("evil", Symlink, out),
            ("evil/victim", Regular, "overwritten"),
            ("up", Symlink, "../../outside"),
            ("up/victim", Regular, "overwritten"),
        ]),
    );
    fixture.add("a", "/to", None).expect("unpacked");
    assert_eq!(fixture.text("to/usr/lib/one"), "one");
    assert_eq!(fixture.text("to/usr/lib/two"), "two");
    assert_eq!(fixture.text("to/hard"), "two");
    assert_eq!(fixture.text("to/implied/parents/three"), "three");
    let victim = std::fs::read_to_string(outside.join("victim")).expect("there");
    assert_eq!(victim, "intact");
}

#[test]
fn a_damaged_archive_is_an_error() {
    let fixture = fixture();
    let mut bytes = archive(&[("f", Regular, &"x".repeat(2000))]);
    bytes.truncate(1200);
    fixture.put("a", &bytes);
    let error = fixture.add("a", "/to", None).expect_err("cut off");
    assert!(
        error.to_string().starts_with("failed to unpack /a: "),
        "{error}"
    );
}
