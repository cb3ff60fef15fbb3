use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, OpEvent, ResultId, SessionId};
use cooper_core::ports::{
    Credentials, DirFilter, EventSink, Events, ExportTarget, ExportTargetRequest, LocalDir,
    OpRequest, Session, Sessions, SourceKeyRequest,
};
use cooper_proto::{Digest, pb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{BlobSource, Blobs};
use crate::confine::Last;
use crate::distribution::{Distribution, tests::quick};
use crate::images::tests::Fixture;
use crate::limits::Limits;

struct Client(SessionId, PathBuf);

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        &self.0
    }

    fn shared_key(&self) -> &'static str {
        ""
    }

    async fn local_dir(&self, name: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported(name))
    }

    async fn secret(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }

    async fn oci_layout(&self, _: &str) -> Result<PathBuf, Failure> {
        Ok(self.1.clone())
    }
}

struct OneClient(PathBuf);

#[async_trait]
impl Sessions for OneClient {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(Arc::new(Client(id.clone(), self.0.clone())))
    }
}

struct Deaf;

impl EventSink for Deaf {
    fn emit(&self, _: OpEvent) {}
}

struct Bench {
    fixture: Fixture,
    layout: tempfile::TempDir,
    source: BlobSource,
}

impl Bench {
    fn new() -> Self {
        let (fixture, layout) = (Fixture::new(), tempfile::tempdir().unwrap());
        fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        fs::write(layout.path().join("oci-layout"), "{}").unwrap();
        let distribution = Distribution::new(quick()).unwrap();
        let client = OneClient(layout.path().to_owned());
        let blobs = Blobs::new(&fixture.images, &distribution, Arc::new(client));
        let source = BlobSource::new(fixture.layers.snapshots(), &Limits::default(), blobs);
        Self {
            fixture,
            layout,
            source,
        }
    }

    fn put(&self, name: &Digest, bytes: &[u8]) {
        let blobs = self.layout.path().join("blobs/sha256");
        fs::write(blobs.join(name.hex()), bytes).unwrap();
    }

    async fn run(&self, op: &Arc<pb::Op>) -> Result<ResultId, Failure> {
        let request = OpRequest {
            vertex: Digest::sha256_of("v"),
            op: Arc::clone(op),
            name: String::new(),
            inputs: Vec::new(),
            pin: None,
            build: None,
            sessions: vec![SessionId("s".into())],
            resources: None,
        };
        let events: Events = Arc::new(Deaf);
        let mut results = self.source.run(&request, &events).await?;
        Ok(results.pop().unwrap())
    }

    fn key(&self, op: &Arc<pb::Op>) -> Result<String, Failure> {
        let request = SourceKeyRequest {
            vertex: Digest::sha256_of("v"),
            op: Arc::clone(op),
            index: 0,
            pin: None,
            build: None,
            sessions: Vec::new(),
        };
        self.source.key(&request).map(|key| key.key)
    }

    fn is_empty(&self) -> bool {
        let meta = self.fixture.layers.snapshots().meta();
        meta.results().unwrap().is_empty()
    }
}

fn op(identifier: &str, attributes: &[(&str, &str)]) -> Arc<pb::Op> {
    Arc::new(pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: identifier.to_owned(),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })),
        ..pb::Op::default()
    })
}

/// A registry that has the same bytes under every name.
async fn registry(body: &'static [u8], claimed: usize) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    #[expect(clippy::disallowed_methods, reason = "aborted at the test's end")]
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
            }
            let told = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {claimed}\r\n\r\n"
            );
            let _ = stream.write_all(&[told.as_bytes(), body].concat()).await;
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_blob_of_a_layout_is_a_file_as_it_is_wanted() {
    let bench = Bench::new();
    let name = Digest::sha256_of("a blob");
    bench.put(&name, b"a blob");
    let wanted = op(
        &format!("oci-layout+blob://not/real@{name}"),
        &[
            ("oci.store", "s"),
            ("http.filename", "../layer.tar"),
            ("http.uid", "123"),
            ("http.gid", "456"),
            ("http.perm", "0640"),
        ],
    );
    let result = bench.run(&wanted).await.unwrap();
    let view = bench.fixture.layers.snapshots().view(&result).unwrap();
    let root = view.root().unwrap();
    let path = Path::new("layer.tar");
    assert_eq!(root.read_small(path, 100).unwrap(), b"a blob");
    let metadata = root.metadata(path, Last::NoFollow).unwrap();
    assert_eq!((metadata.owner.uid, metadata.owner.gid), (123, 456));
    assert_eq!((metadata.mode & 0o777, metadata.mtime.seconds), (0o640, 0));
    let plain = op(
        &format!("oci-layout+blob://a@{name}"),
        &[("oci.store", "s")],
    );
    let result = bench.run(&plain).await.unwrap();
    let view = bench.fixture.layers.snapshots().view(&result).unwrap();
    let named = view.root().unwrap().read_small(Path::new(name.hex()), 100);
    assert_eq!(named.unwrap(), b"a blob");
}

#[tokio::test]
async fn the_key_is_of_the_blob_and_its_looks() {
    let bench = Bench::new();
    let name = Digest::sha256_of("a blob");
    let key = |attributes: &[(&str, &str)]| {
        bench.key(&op(
            &format!("docker-image+blob://host/a@{name}"),
            attributes,
        ))
    };
    let json = format!(r#"{{"Digest":"{name}","Filename":"x","Perm":0,"UID":1,"GID":2}}"#);
    let attributes = [("http.filename", "x"), ("http.uid", "1"), ("http.gid", "2")];
    assert_eq!(
        key(&attributes).unwrap(),
        Digest::sha256_of(json).to_string()
    );
    assert_ne!(key(&[]).unwrap(), key(&attributes).unwrap());
    for bad in [
        ("http.uid", "-1"),
        ("http.new", "1"),
        ("image.recordtype", "x"),
        ("oci.store", "s"),
    ] {
        assert!(key(&[bad]).is_err(), "{bad:?}");
    }
    for identifier in [
        "docker-image+blob://host/a:tag",
        "oci-layout+blob://a",
        "docker-image://a",
    ] {
        assert!(bench.key(&op(identifier, &[])).is_err(), "{identifier}");
    }
    let nameless = op(&format!("oci-layout+blob://a@{name}"), &[]);
    assert!(bench.key(&nameless).is_err());
}

// T-A20
#[tokio::test]
async fn bytes_that_are_not_what_their_name_says_are_not_kept() {
    let bench = Bench::new();
    let name = Digest::sha256_of("a blob");
    for (body, claimed) in [
        (&b"a glob"[..], 6),
        (b"a blo", 5),
        // Broken off.
        (b"a blo", 6),
        (b"a blob and more", 15),
        (b"", 0),
    ] {
        let (address, task) = registry(body, claimed).await;
        let wanted = op(&format!("docker-image+blob://{address}/a@{name}"), &[]);
        let failure = bench.run(&wanted).await.unwrap_err();
        assert!(bench.is_empty(), "{failure}");
        task.abort();
        bench.put(&name, body);
        let wanted = op(
            &format!("oci-layout+blob://a@{name}"),
            &[("oci.store", "s")],
        );
        let failure = bench.run(&wanted).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput);
        assert!(bench.is_empty(), "{failure}");
    }
    let (address, task) = registry(b"a blob", 6).await;
    let wanted = op(&format!("docker-image+blob://{address}/a@{name}"), &[]);
    bench.run(&wanted).await.unwrap();
    task.abort();
}

#[tokio::test]
async fn a_blob_that_nobody_has_is_not_found() {
    let bench = Bench::new();
    let name = Digest::sha256_of("absent");
    let wanted = op(
        &format!("oci-layout+blob://a@{name}"),
        &[("oci.store", "s")],
    );
    let failure = bench.run(&wanted).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}
