use std::{
    io::{Cursor, Write},
    path::Path,
    process::Command,
};

use cooper_proto::{oci::media_type, platform, reference::Reference};

use super::{ImageStore, ImportOptions, ImportSource, Imported};
use crate::{
    content::ContentStore,
    layer::Layers,
    limits::Limits,
    meta::Meta,
    snapshot::{Durability, Snapshots},
    state::StateDir,
};

/// A state folder with an image store.
pub(crate) struct Fixture {
    pub(crate) _dir: tempfile::TempDir,
    pub(crate) images: ImageStore,
    pub(crate) layers: Layers,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let limits = Limits::default();
        let meta = Meta::open(&state.meta()).unwrap();
        let content = ContentStore::open(state.root(), &limits).unwrap();
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath).unwrap();
        let layers = Layers::new(content.clone(), snapshots.clone(), limits.clone());
        Self {
            images: ImageStore::new(&content, &snapshots, &limits),
            layers,
            _dir: dir,
        }
    }

    pub(crate) fn import(&self, source: ImportSource, name: Option<&str>) -> Vec<Imported> {
        let options = ImportOptions {
            name: name.map(reference),
            now_ns: 1_700_000_000_000_000_000,
            ..ImportOptions::default()
        };
        self.images.import(&self.layers, source, &options).unwrap()
    }

    /// An image of one file, `/hello`.
    pub(crate) fn import_hello(&self, name: &str, content: &str) -> Imported {
        let archive = root_archive(content);
        let source = ImportSource::Archive(Box::new(Cursor::new(archive)));
        self.import(source, Some(name)).remove(0)
    }
}

pub(crate) fn reference(name: &str) -> Reference {
    name.parse().unwrap()
}

/// The archive of a root file system with the file `hello`.
pub(crate) fn root_archive(content: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_600_000_000);
    builder
        .append_data(&mut header, "hello", content.as_bytes())
        .unwrap();
    builder.into_inner().unwrap()
}

fn compressed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[tokio::test]
async fn an_archive_becomes_the_same_image_however_it_is_compressed() {
    let plain = root_archive("hi");
    let mut digests = Vec::new();
    for program in ["cat", "gzip", "bzip2", "xz"] {
        let archive = match program {
            "cat" => plain.clone(),
            program => compressed(program, &plain),
        };
        let fixture = Fixture::new();
        let source = ImportSource::Archive(Box::new(Cursor::new(archive)));
        let image = fixture.import(source, Some("busybox")).remove(0);
        assert_eq!(
            image.name,
            Some(reference("docker.io/library/busybox:latest"))
        );
        digests.push(image.target.digest.clone());
        // Manifest, configuration, layer; what was spooled is gone.
        let blobs = fixture.images.content().list().unwrap();
        assert_eq!(blobs.len(), 3, "{program}: {blobs:?}");
        let listed = fixture.images.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            listed[0].variants[0].platform,
            platform::format(&platform::host())
        );
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[tokio::test]
async fn options_of_docker_import_end_in_the_configuration() {
    let fixture = Fixture::new();
    let options = ImportOptions {
        name: Some(reference("base:1")),
        platform: Some(platform::parse("linux/arm/v7", &platform::host()).unwrap()),
        changes: vec!["CMD [\"sh\"]".into(), "ENV A=1".into()],
        message: "from nowhere".into(),
        now_ns: 1_700_000_000_120_000_000,
    };
    let source = ImportSource::Archive(Box::new(Cursor::new(root_archive("x"))));
    fixture
        .images
        .import(&fixture.layers, source, &options)
        .unwrap();
    let wanted = options.platform.clone().unwrap();
    let image = fixture
        .images
        .inspect(&reference("base:1"), &wanted)
        .await
        .unwrap();
    assert_eq!(image.platform, "linux/arm/v7");
    assert_eq!(image.config.config.cmd, ["sh"]);
    assert_eq!(
        image.config.created.as_deref(),
        Some("2023-11-14T22:13:20.12Z")
    );
    let history = image.history();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].entry.comment, "from nowhere");
    assert_eq!(history[0].layer, Some(image.manifest.layers[0].clone()));
    let bad = ImportOptions {
        changes: vec!["RUN x".into()],
        ..options
    };
    let source = ImportSource::Archive(Box::new(Cursor::new(root_archive("y"))));
    assert!(
        fixture
            .images
            .import(&fixture.layers, source, &bad)
            .is_err()
    );
    assert_eq!(fixture.images.content().list().unwrap().len(), 3);
}

#[test]
fn a_directory_becomes_an_image() {
    let fixture = Fixture::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::write(dir.path().join("bin/sh"), "x").unwrap();
    std::os::unix::fs::symlink("sh", dir.path().join("bin/ash")).unwrap();
    let source = ImportSource::Directory(dir.path().to_owned());
    fixture.import(source, Some("rootfs"));
    let layers = fixture.layers.snapshots().meta().layers().unwrap();
    let unpacked = fixture.layers.snapshots().layer_dir(&layers[0].id);
    assert_eq!(
        std::fs::read_to_string(unpacked.join("bin/ash")).unwrap(),
        "x"
    );
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    for bytes in [
        &b"this is no archive at all"[..],
        &[0x1f, 0x8b, 8, 0],
        &[7; 5000],
    ] {
        let fixture = Fixture::new();
        let source = ImportSource::Archive(Box::new(Cursor::new(bytes.to_vec())));
        let options = ImportOptions::default();
        let result = fixture.images.import(&fixture.layers, source, &options);
        assert!(result.is_err(), "{result:?}");
        assert_eq!(fixture.images.content().list().unwrap(), []);
    }
}

/// Copies an OCI layout with skopeo, Debian's tool of the trade.
fn skopeo(from: &str, to: &str) {
    let done = Command::new("skopeo")
        .args(["--insecure-policy", "copy", from, to])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The image of a fixture as an OCI layout directory that others can read.
fn layout_of(fixture: &Fixture, image: &Imported, path: &Path) {
    let content = fixture.images.content();
    for blob in content.list().unwrap() {
        let target = path.join(format!("blobs/sha256/{}", blob.0.hex()));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(content.blob_path(&blob.0), target).unwrap();
    }
    std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entry = image.target.clone();
    entry.annotations.insert(
        super::import_layout::REF_NAME.into(),
        "example.com/hello:1".into(),
    );
    let index = cooper_proto::oci::Index::new(media_type::OCI_INDEX, vec![entry]);
    std::fs::write(path.join("index.json"), index.to_bytes().unwrap()).unwrap();
}

#[tokio::test]
async fn images_of_skopeo_come_in_by_every_door_with_the_same_layers() {
    let from = Fixture::new();
    let image = from.import_hello("hello", "hi");
    let dir = tempfile::tempdir().unwrap();
    let layout = dir.path().join("layout");
    layout_of(&from, &image, &layout);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let source = format!("oci:{}:example.com/hello:1", path("layout"));
    skopeo(&source, &format!("oci-archive:{}:x", path("oci.tar")));
    skopeo(
        &source,
        &format!("docker-archive:{}:hello:2", path("docker.tar")),
    );
    let doors = [
        ("layout", "example.com/hello:1"),
        ("oci.tar", "named:1"),
        ("docker.tar", "docker.io/library/hello:2"),
    ];
    for (door, name) in doors {
        let to = Fixture::new();
        let source = match door {
            "layout" => ImportSource::Directory(layout.clone()),
            file => ImportSource::Archive(Box::new(std::fs::File::open(path(file)).unwrap())),
        };
        let given = (door == "oci.tar").then_some(name);
        let imported = to.import(source, given);
        assert_eq!(imported[0].name, Some(reference(name)), "{door}");
        let image = to
            .images
            .inspect(&reference(name), &platform::host())
            .await
            .unwrap();
        let diff_id = &image.config.rootfs.diff_ids[0];
        assert_eq!(
            *diff_id,
            cooper_proto::Digest::sha256_of(root_archive("hi")),
            "{door}"
        );
        // Nothing stays that the image does not need.
        assert_eq!(to.images.content().list().unwrap().len(), 3, "{door}");
    }
}

#[test]
fn tag_and_remove_share_blobs_until_the_last_name_goes() {
    let fixture = Fixture::new();
    fixture.import_hello("a", "hi");
    fixture
        .images
        .tag(&reference("a"), &reference("b:2"), 1)
        .unwrap();
    let removed = fixture.images.remove(&reference("a")).unwrap();
    assert_eq!(removed.blobs, []);
    assert!(fixture.images.remove(&reference("a")).is_err());
    let removed = fixture.images.remove(&reference("b:2")).unwrap();
    assert_eq!(removed.blobs.len(), 3);
    assert_eq!(removed.layers.len(), 1);
    assert_eq!(fixture.layers.snapshots().meta().layers().unwrap(), []);
    assert!(removed.bytes > 0);
    assert_eq!(fixture.images.content().list().unwrap(), []);
    let unknown = fixture.images.tag(&reference("a"), &reference("c"), 1);
    assert!(unknown.is_err());
}

#[tokio::test]
async fn removal_takes_nothing_while_a_build_is_under_way() {
    let fixture = Fixture::new();
    fixture.import_hello("a", "hi");
    let hold = fixture.images.gate().hold().await;
    let removed = fixture.images.remove(&reference("a")).unwrap();
    assert!(removed.postponed);
    assert_eq!(removed.blobs, []);
    drop(hold);
    assert_eq!(fixture.images.content().list().unwrap().len(), 3);
    // What was postponed goes with the next.
    fixture.import_hello("b", "ho");
    let removed = fixture.images.remove(&reference("b")).unwrap();
    assert_eq!(removed.blobs.len(), 6);
    assert_eq!(fixture.images.content().list().unwrap(), []);
}

#[test]
fn layers_that_results_stand_on_keep_their_blobs() {
    let fixture = Fixture::new();
    fixture.import_hello("a", "hi");
    let layers = fixture.layers.snapshots().meta().layers().unwrap();
    let chain = vec![layers[0].id.clone()];
    fixture.layers.snapshots().compose(chain, "kept").unwrap();
    let removed = fixture.images.remove(&reference("a")).unwrap();
    assert_eq!(removed.blobs.len(), 2, "manifest and configuration");
    assert_eq!(removed.layers, []);
    assert_eq!(fixture.images.content().list().unwrap().len(), 1);
}
