use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{
    Attestation, AttestationKind, Failure, FailureKind, OpEvent, ResultId, SessionId,
};
use cooper_core::ports::{
    ChunkSink, Credentials, DirFilter, EventSink, ExportPart, ExportRequest, ExportTarget,
    ExportTargetRequest, Exporter, LocalDir, Predicate, Session, Sessions, StatementSource,
};
use parking_lot::Mutex;

use super::{LocalExporter, TarExporter};
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::state::StateDir;

/// A client with one directory and one stream.
struct Client {
    id: SessionId,
    directory: PathBuf,
    stream: Arc<Mutex<Vec<u8>>>,
}

struct Clients(Arc<Client>);

#[async_trait]
impl Sessions for Clients {
    async fn session(&self, _: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(self.0.clone())
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        &self.id
    }
    fn shared_key(&self) -> &str {
        ""
    }
    async fn local_dir(&self, _: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported("local directories"))
    }
    async fn secret(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }
    async fn export_target(&self, request: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Ok(match request.directory {
            true => ExportTarget::Directory(self.directory.clone()),
            false => ExportTarget::Stream(Box::new(Sink(self.stream.clone()))),
        })
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl ChunkSink for Sink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.0.lock().extend_from_slice(&chunk);
        Ok(())
    }
    async fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.0.lock().extend_from_slice(b"END");
        Ok(())
    }
}

struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: OpEvent) {}
}

struct Fixture {
    _temp: tempfile::TempDir,
    client: Arc<Client>,
    snapshots: Snapshots,
    result: ResultId,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDir::open(&temp.path().join("state")).unwrap();
    let meta = Meta::open(&state.meta()).unwrap();
    let snapshots =
        Snapshots::open(&state, meta, &Limits::default(), Durability::ProcessDeath).unwrap();
    let writer = snapshots.writer(&ResultId::scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir_all(Path::new("dir"), 0o750, None).unwrap();
    root.create_file(Path::new("dir/file"), 0o640)
        .unwrap()
        .write_all(b"content")
        .unwrap();
    root.hardlink(Path::new("dir/file"), Path::new("second"))
        .unwrap();
    root.symlink(Path::new("/etc/passwd"), Path::new("link"))
        .unwrap();
    drop(root);
    let result = writer.commit("files").unwrap();
    let directory = temp.path().join("out");
    let client = Arc::new(Client {
        id: SessionId("s".into()),
        directory,
        stream: Arc::default(),
    });
    Fixture {
        _temp: temp,
        client,
        snapshots,
        result,
    }
}

/// What a frontend says of platforms.
fn mapping(platforms: &[&str]) -> BTreeMap<String, bytes::Bytes> {
    let entries: Vec<_> = platforms
        .iter()
        .map(|id| {
            let (os, architecture) = id.split_once('/').unwrap();
            let platform = serde_json::json!({"os": os, "architecture": architecture});
            serde_json::json!({"ID": id, "Platform": platform})
        })
        .collect();
    if entries.is_empty() {
        return BTreeMap::new();
    }
    let listed = serde_json::json!({"Platforms": entries}).to_string();
    [("refs.platforms".to_owned(), listed.into())].into()
}

impl Fixture {
    fn request(&self, attributes: &[(&str, &str)], platforms: &[&str]) -> ExportRequest {
        let part = |platform: Option<String>| ExportPart {
            platform,
            result: Some(self.result.clone()),
            inline_cache: None,
        };
        let mut parts: Vec<_> = platforms
            .iter()
            .map(|&platform| part(Some(platform.into())))
            .collect();
        if parts.is_empty() {
            parts.push(part(None));
        }
        ExportRequest {
            attributes: attributes
                .iter()
                .map(|&(key, value)| (key.into(), value.into()))
                .collect(),
            parts,
            metadata: mapping(platforms),
            sessions: vec![SessionId("s".into())],
            ..ExportRequest::default()
        }
    }

    async fn local(&self, request: ExportRequest) -> Result<(), Failure> {
        let exporter = LocalExporter::new(
            self.snapshots.clone(),
            Arc::new(Clients(self.client.clone())),
        );
        exporter
            .export(request, Arc::new(Silent), Box::pin(std::future::pending()))
            .await
            .map(drop)
    }

    async fn tar(&self, request: ExportRequest) -> Result<Vec<u8>, Failure> {
        let exporter = TarExporter::new(
            self.snapshots.clone(),
            Arc::new(Clients(self.client.clone())),
        );
        exporter
            .export(request, Arc::new(Silent), Box::pin(std::future::pending()))
            .await?;
        let mut archive = std::mem::take(&mut *self.client.stream.lock());
        assert_eq!(
            archive.split_off(archive.len() - 3),
            b"END",
            "the stream was ended"
        );
        Ok(archive)
    }
}

#[tokio::test]
async fn directory_gets_the_files_and_keeps_its_own() {
    let fixture = fixture();
    let out = &fixture.client.directory;
    std::fs::create_dir(out).unwrap();
    std::fs::write(out.join("mine"), "").unwrap();
    fixture
        .local(fixture.request(&[("source-date-epoch", "1000000000")], &[]))
        .await
        .unwrap();
    assert_eq!(std::fs::read(out.join("dir/file")).unwrap(), b"content");
    assert_eq!(
        std::fs::read_link(out.join("link")).unwrap(),
        Path::new("/etc/passwd")
    );
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for name in ["dir", "dir/file", "second"] {
        assert_eq!(
            std::fs::metadata(out.join(name))
                .unwrap()
                .modified()
                .unwrap(),
            time,
            "{name}"
        );
    }
    assert!(out.join("mine").exists());
    fixture
        .local(fixture.request(&[("mode", "delete")], &[]))
        .await
        .unwrap();
    assert!(!out.join("mine").exists());
}

#[tokio::test]
async fn several_platforms_get_a_directory_each() {
    let fixture = fixture();
    let out = &fixture.client.directory;
    fixture
        .local(fixture.request(&[], &["linux/amd64", "linux/arm/v7"]))
        .await
        .unwrap();
    assert!(out.join("linux_amd64/dir/file").exists());
    assert!(out.join("linux_arm_v7/second").exists());
    let refused = fixture
        .local(fixture.request(&[("platform-split", "false")], &["a/b", "c/d"]))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    assert!(
        refused
            .message
            .starts_with("cannot overwrite dir/file from a/b with c/d")
    );
}

#[tokio::test]
async fn mirroring_removes_the_directory_of_a_platform_that_is_gone() {
    let fixture = fixture();
    let out = &fixture.client.directory;
    let both = ["linux/amd64", "linux/arm64"];
    fixture.local(fixture.request(&[], &both)).await.unwrap();
    let mirror = [("mode", "delete")];
    fixture
        .local(fixture.request(&mirror, &both[..1]))
        .await
        .unwrap();
    assert!(out.join("linux_amd64/dir/file").exists());
    assert!(!out.join("linux_arm64").exists());
}

// T-C22
#[tokio::test]
async fn link_in_the_destination_leads_nowhere_outside() {
    let fixture = fixture();
    let out = &fixture.client.directory;
    let victim = tempfile::tempdir().unwrap();
    std::fs::create_dir(out).unwrap();
    std::os::unix::fs::symlink(victim.path(), out.join("dir")).unwrap();
    fixture.local(fixture.request(&[], &[])).await.unwrap();
    assert_eq!(std::fs::read_dir(victim.path()).unwrap().count(), 0);
    assert!(out.join("dir/file").exists());
}

#[tokio::test]
async fn archive_has_every_entry_as_other_programs_read_it() {
    let fixture = fixture();
    let attributes = [("source-date-epoch", "1000000000")];
    let archive = fixture
        .tar(fixture.request(&attributes, &["linux/amd64", "linux/arm64"]))
        .await
        .unwrap();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), 1_000_000_000);
        let link = entry
            .link_name()
            .unwrap()
            .map(|link| link.display().to_string());
        entries.push((
            entry.path().unwrap().display().to_string(),
            header.entry_type(),
            link,
        ));
    }
    let of_platform = |platform: &str| {
        let path = |name: &str| format!("{platform}/{name}");
        [
            (path(""), tar::EntryType::Directory, None),
            (path("dir/"), tar::EntryType::Directory, None),
            (path("dir/file"), tar::EntryType::Regular, None),
            (
                path("link"),
                tar::EntryType::Symlink,
                Some("/etc/passwd".into()),
            ),
            (path("second"), tar::EntryType::Link, Some(path("dir/file"))),
        ]
    };
    assert_eq!(
        entries,
        [of_platform("linux_amd64"), of_platform("linux_arm64")].concat()
    );
}

#[derive(Debug)]
struct Fixed;

#[async_trait]
impl Predicate for Fixed {
    async fn json(&self) -> Result<Bytes, Failure> {
        Ok(Bytes::from_static(b"{\"a\":1}"))
    }
}

fn said() -> Vec<Attestation<StatementSource>> {
    vec![Attestation {
        kind: AttestationKind::InToto,
        metadata: BTreeMap::new(),
        source: StatementSource::Engine(Arc::new(Fixed)),
        path: "p.json".into(),
        predicate_type: "kind".into(),
        subjects: Vec::new(),
    }]
}

#[tokio::test]
async fn statements_lie_beside_the_files_that_they_are_about() {
    let fixture = fixture();
    let platforms = ["linux/amd64", "linux/arm64"];
    let attributes = [("attestation-prefix", "x."), ("source-date-epoch", "7")];
    let mut request = fixture.request(&attributes, &platforms);
    for id in platforms {
        request.attestations.insert(id.into(), said());
    }
    fixture.local(request.clone()).await.unwrap();
    let path = fixture.client.directory.join("linux_arm64/x.p.json");
    let statement: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(statement["predicate"], serde_json::json!({"a": 1}));
    let subjects = statement["subject"].as_array().unwrap();
    let names: Vec<_> = subjects.iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["dir/file", "second"]);
    let hex = cooper_proto::Digest::sha256_of("content").hex().to_owned();
    assert_eq!(subjects[0]["digest"], serde_json::json!({"sha256": hex}));
    let seven = std::time::UNIX_EPOCH + std::time::Duration::from_secs(7);
    let written = std::fs::metadata(&path).unwrap();
    assert_eq!(written.modified().unwrap(), seven);
    let archive = fixture.tar(request).await.unwrap();
    let mut archive = tar::Archive::new(archive.as_slice());
    let entries = archive.entries().unwrap();
    let names: Vec<_> = entries
        .map(|it| it.unwrap().path().unwrap().display().to_string())
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(names, ["linux_amd64/x.p.json", "linux_arm64/x.p.json"]);
}

#[tokio::test]
async fn statements_in_one_directory_end_in_their_platforms() {
    let fixture = fixture();
    let mut request = fixture.request(&[("platform-split", "false")], &["linux/amd64"]);
    request.attestations.insert("linux/amd64".into(), said());
    fixture.local(request).await.unwrap();
    let out = &fixture.client.directory;
    assert!(out.join("p.linux_amd64.json").exists());
    let mut twice = fixture.request(&[], &[]);
    twice.metadata = mapping(&["linux/amd64"]);
    let both = [said(), said()].concat();
    twice.attestations.insert("linux/amd64".into(), both);
    let failure = fixture.local(twice).await.unwrap_err();
    assert_eq!(failure.message, "duplicate attestation path name p.json");
}

#[tokio::test]
async fn a_statement_does_not_take_the_place_of_a_file() {
    let fixture = fixture();
    let mut request = fixture.request(&[], &[]);
    request.metadata = mapping(&["linux/amd64"]);
    let mut said = said();
    said[0].path = "second".into();
    request.attestations.insert("linux/amd64".into(), said);
    let failure = fixture.local(request).await.unwrap_err();
    assert!(failure.message.contains("second"), "{failure}");
}

#[tokio::test]
async fn attributes_with_values_that_cannot_be_are_named() {
    let fixture = fixture();
    let exporter = LocalExporter::new(
        fixture.snapshots.clone(),
        Arc::new(Clients(fixture.client.clone())),
    );
    let describe =
        |key: &str, value: &str| exporter.describe(&BTreeMap::from([(key.into(), value.into())]));
    assert_eq!(
        describe("dest", "out").unwrap(),
        "exporting to client directory"
    );
    for (key, value, kind) in [
        ("platform-split", "perhaps", FailureKind::InvalidInput),
        ("mode", "move", FailureKind::InvalidInput),
        ("source-date-epoch", "now", FailureKind::InvalidInput),
    ] {
        let failure = describe(key, value).unwrap_err();
        assert_eq!(failure.kind, kind);
        assert!(failure.message.contains(key), "{failure}");
    }
}
