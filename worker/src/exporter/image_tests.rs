use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::{
    model::{Failure, FailureKind, OpEvent, ResultId, SessionId},
    ports::{
        ChunkSink, Credentials, DirFilter, EventSink, Events, ExportPart, ExportRequest,
        ExportResponse, ExportTarget, ExportTargetRequest, Exporter, LocalDir, Session, Sessions,
    },
};
use cooper_proto::{Digest, oci::Index, platform};
use serde_json::Value;

use super::{ArchiveExporter, ImageExporter, Variant};
use crate::{
    distribution::{
        Access, Anonymous, Distribution, Keychain, Repository, RepositoryName,
        tests::{quick, registry::Registry},
    },
    images::tests::{Fixture, reference},
    source::ImageSource,
};

/// A client that keeps what it is sent.
#[derive(Default)]
struct Client {
    id: Option<SessionId>,
    received: Arc<Mutex<Vec<u8>>>,
    targets: Mutex<Vec<ExportTargetRequest>>,
}

struct Sink(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl ChunkSink for Sink {
    async fn send(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.0.lock().unwrap().extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        self.id.as_ref().unwrap()
    }

    fn shared_key(&self) -> &str {
        ""
    }

    async fn local_dir(&self, name: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::new(FailureKind::NotFound, name))
    }

    async fn secret(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn export_target(&self, request: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        self.targets.lock().unwrap().push(request);
        self.received.lock().unwrap().clear();
        Ok(ExportTarget::Stream(Box::new(Sink(Arc::clone(
            &self.received,
        )))))
    }
}

struct OneClient(Arc<Client>);

#[async_trait]
impl Sessions for OneClient {
    async fn session(&self, _: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(self.0.clone())
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl EventSink for Seen {
    fn emit(&self, event: OpEvent) {
        if let OpEvent::Status(status) = event
            && status.completed
        {
            self.0.lock().unwrap().push(status.id);
        }
    }
}

struct Bench {
    fixture: Fixture,
    client: Arc<Client>,
    source: ImageSource,
    distribution: Distribution,
    seen: Arc<Seen>,
}

impl Bench {
    fn new() -> Self {
        let client = Arc::new(Client {
            id: Some(SessionId("s".into())),
            ..Client::default()
        });
        let fixture = Fixture::new();
        let distribution = Distribution::new(quick()).unwrap();
        let sessions = Arc::new(OneClient(client.clone()));
        let source = ImageSource::new(&fixture.images, &fixture.layers, &distribution, sessions);
        Self {
            fixture,
            client,
            source,
            distribution,
            seen: Arc::default(),
        }
    }

    fn sessions(&self) -> Arc<dyn Sessions> {
        Arc::new(OneClient(self.client.clone()))
    }

    /// A result of two layers: one file each, the second made by `RUN two`.
    fn result(&self) -> ResultId {
        let below = self.with_file(&ResultId::scratch(), "one");
        self.with_file(&below, "two")
    }

    fn with_file(&self, parent: &ResultId, name: &str) -> ResultId {
        use std::io::Write;
        let writer = self.fixture.layers.snapshots().writer(parent).unwrap();
        let root = writer.root().unwrap();
        let mut file = root.create_file(Path::new(name), 0o644).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        drop(file);
        writer.commit(&format!("RUN {name}")).unwrap()
    }

    async fn export(
        &self,
        kind: &str,
        attributes: &[(&str, &str)],
        request: ExportRequest,
    ) -> Result<ExportResponse, Failure> {
        let (images, layers) = (&self.fixture.images, &self.fixture.layers);
        let exporter: Box<dyn Exporter> = match kind {
            "image" => Box::new(ImageExporter::new(
                images,
                layers,
                &self.source,
                &self.distribution,
                self.sessions(),
            )),
            kind => {
                let variant = match kind {
                    "oci" => Variant::Oci,
                    _ => Variant::Docker,
                };
                let sessions = self.sessions();
                Box::new(ArchiveExporter::new(
                    variant,
                    images,
                    layers,
                    &self.source,
                    sessions,
                ))
            }
        };
        let attributes: BTreeMap<String, String> = attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        exporter.describe(&attributes)?;
        let request = ExportRequest {
            attributes,
            sessions: vec![SessionId("s".into())],
            ..request
        };
        let events: Events = self.seen.clone();
        let never = Box::pin(std::future::pending());
        exporter.export(request, events, never).await
    }

    fn received(&self) -> Vec<u8> {
        self.client.received.lock().unwrap().clone()
    }

    fn document(&self, digest: &str) -> Value {
        let digest: Digest = digest.parse().unwrap();
        let bytes = self
            .fixture
            .images
            .content()
            .read(&digest, 1 << 22)
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }
}

fn single(result: &ResultId) -> ExportRequest {
    ExportRequest {
        parts: vec![ExportPart {
            platform: None,
            result: Some(result.clone()),
            inline_cache: None,
        }],
        metadata: BTreeMap::from([(
            "containerimage.config".to_owned(),
            Bytes::from_static(br#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"history":[{"created_by":"COPY one"}]}"#),
        )]),
        now_ns: 1_700_000_000_000_000_000,
        ..ExportRequest::default()
    }
}

fn succeed(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn an_oci_archive_is_taken_by_skopeo_and_umoci() {
    for compression in ["gzip", "zstd", "uncompressed"] {
        let bench = Bench::new();
        let attributes = [("name", "a/b:1,c"), ("compression", compression)];
        let request = single(&bench.result());
        let response = bench.export("oci", &attributes, request).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a.tar"), bench.received()).unwrap();
        let source = format!("oci-archive:{}:1", path("a.tar"));
        let seen = succeed("skopeo", &["inspect", "--raw", &source]);
        assert_eq!(
            Digest::sha256_of(&seen).to_string(),
            response["containerimage.digest"]
        );
        assert_eq!(
            response["image.name"],
            "docker.io/a/b:1,docker.io/library/c:latest"
        );
        // Debian 12's umoci does not know zstd.
        if compression == "zstd" {
            continue;
        }
        succeed(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                &source,
                &format!("oci:{}:1", path("layout")),
            ],
        );
        let image = format!("{}:1", path("layout"));
        succeed("umoci", &["unpack", "--image", &image, &path("bundle")]);
        let rootfs = dir.path().join("bundle/rootfs");
        for name in ["one", "two"] {
            assert_eq!(std::fs::read_to_string(rootfs.join(name)).unwrap(), name);
        }
    }
}

#[tokio::test]
async fn a_docker_archive_is_taken_by_skopeo_and_names_the_image_as_docker_does() {
    let bench = Bench::new();
    let request = single(&bench.result());
    let attributes = [("name", "hello:1,example.com/x")];
    let response = bench.export("docker", &attributes, request).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.tar");
    std::fs::write(&path, bench.received()).unwrap();
    let source = format!("docker-archive:{}", path.display());
    let config = succeed("skopeo", &["inspect", "--config", "--raw", &source]);
    assert_eq!(
        Digest::sha256_of(&config).to_string(),
        response["containerimage.config.digest"]
    );
    let mut tags = None;
    let bytes = bench.received();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        names.push(entry.path().unwrap().to_str().unwrap().to_owned());
        if names.last().unwrap() == "manifest.json" {
            let manifest: Value = serde_json::from_reader(entry).unwrap();
            tags = Some(manifest[0]["RepoTags"].clone());
        }
    }
    assert_eq!(
        tags,
        Some(serde_json::json!(["hello:1", "example.com/x:latest"]))
    );
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    let target = bench.client.targets.lock().unwrap()[0].clone();
    assert!(!target.directory);
    assert_eq!(target.metadata, response);
    let seen = bench.seen.0.lock().unwrap().clone();
    let manifest = &response["containerimage.digest"];
    for status in [
        "exporting layers".to_owned(),
        format!("exporting manifest {manifest}"),
        "sending tarball".to_owned(),
    ] {
        assert!(seen.contains(&status), "{status}: {seen:?}");
    }
}

#[tokio::test]
async fn two_exports_of_one_result_have_equal_bytes() {
    let bench = Bench::new();
    let result = bench.result();
    let mut archives = Vec::new();
    for now_ns in [1_700_000_000_000_000_000, 1_800_000_000_000_000_000] {
        let request = ExportRequest {
            now_ns,
            ..single(&result)
        };
        bench
            .export("oci", &[("name", "a")], request)
            .await
            .unwrap();
        archives.push(Digest::sha256_of(bench.received()));
    }
    assert_eq!(archives[0], archives[1]);
}

#[tokio::test]
async fn an_image_is_named_in_the_local_store_with_history_for_every_layer() {
    let bench = Bench::new();
    let request = single(&bench.result());
    let attributes = [
        ("name", "app:1,app:2"),
        ("name-canonical", "true"),
        ("source-date-epoch", "1000"),
        ("annotation.a", "b"),
    ];
    let response = bench.export("image", &attributes, request).await.unwrap();
    let digest = &response["containerimage.digest"];
    for name in ["app:1", "app:2", &format!("app:1@{digest}")] {
        let found = bench
            .fixture
            .images
            .find(&reference(name))
            .unwrap()
            .unwrap();
        assert_eq!(found.digest.to_string(), *digest, "{name}");
    }
    let image = bench
        .fixture
        .images
        .inspect(&reference("app:1"), &platform::host())
        .await
        .unwrap();
    let history = image.history();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].entry.created_by, "COPY one");
    assert_eq!(history[1].entry.created_by, "RUN two");
    assert_eq!(history[1].entry.comment, "buildkit.exporter.image.v0");
    let epoch = Some("1970-01-01T00:16:40Z");
    assert!(
        history
            .iter()
            .all(|step| step.entry.created.as_deref() == epoch)
    );
    assert_eq!(image.manifest.annotations["a"], "b");
    let seen = bench.seen.0.lock().unwrap().clone();
    assert!(seen.contains(&"naming to app:2".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn docker_media_types_are_used_when_asked_for() {
    let bench = Bench::new();
    let request = single(&bench.result());
    let attributes = [("oci-mediatypes", "false")];
    let response = bench.export("image", &attributes, request).await.unwrap();
    let manifest = bench.document(&response["containerimage.digest"]);
    let types = [
        &manifest["mediaType"],
        &manifest["config"]["mediaType"],
        &manifest["layers"][0]["mediaType"],
    ];
    assert_eq!(
        types,
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        ]
    );
    assert_eq!(response.get("image.name"), None);
}

fn two_platforms(bench: &Bench) -> ExportRequest {
    let ids = ["linux/amd64", "linux/arm64"];
    let listed: Vec<Value> = ids
        .iter()
        .map(|id| {
            let (os, architecture) = id.split_once('/').unwrap();
            serde_json::json!({"ID": id, "Platform": {"os": os, "architecture": architecture}})
        })
        .collect();
    let mut metadata = BTreeMap::from([(
        "refs.platforms".to_owned(),
        Bytes::from(serde_json::json!({ "Platforms": listed }).to_string()),
    )]);
    for id in ids {
        let architecture = id.split_once('/').unwrap().1;
        let config = serde_json::json!({"os": "linux", "architecture": architecture});
        metadata.insert(
            format!("containerimage.config/{id}"),
            Bytes::from(config.to_string()),
        );
    }
    let shared = bench.with_file(&ResultId::scratch(), "shared");
    ExportRequest {
        parts: ids
            .iter()
            .map(|id| ExportPart {
                platform: Some((*id).to_owned()),
                result: Some(bench.with_file(&shared, &id.replace('/', "-"))),
                inline_cache: None,
            })
            .collect(),
        metadata,
        ..ExportRequest::default()
    }
}

fn repository(registry: &Registry, path: &str) -> Repository {
    let keychain: Arc<dyn Keychain> = Arc::new(Anonymous);
    let name = RepositoryName {
        registry: registry.address.clone(),
        path: path.into(),
    };
    Distribution::new(quick())
        .unwrap()
        .repository(&name, Access::Pull, &keychain)
        .unwrap()
}

#[tokio::test]
async fn several_platforms_are_pushed_as_an_index_and_not_given_to_docker() {
    let bench = Bench::new();
    let registry = Registry::start();
    let request = two_platforms(&bench);
    let name = format!("{}/multi:1", registry.address);
    let attributes = [
        ("name", name.as_str()),
        ("push", "true"),
        ("annotation-index.a", "b"),
        ("annotation-manifest-descriptor[linux/arm64].c", "d"),
    ];
    let response = bench
        .export("image", &attributes, request.clone())
        .await
        .unwrap();
    assert_eq!(response.get("containerimage.config.digest"), None);
    let fetched = repository(&registry, "multi").manifest("1").await.unwrap();
    assert_eq!(
        fetched.digest.to_string(),
        response["containerimage.digest"]
    );
    let index = Index::parse(&fetched.media_type, &fetched.bytes).unwrap();
    assert_eq!(index.annotations["a"], "b");
    assert_eq!(index.manifests.len(), 2);
    assert_eq!(index.manifests[1].annotations["c"], "d");
    let platform = index.manifests[1].platform.clone().unwrap();
    assert_eq!(platform.architecture, "arm64");
    let error = bench
        .export("docker", &[], request.clone())
        .await
        .unwrap_err();
    assert!(error.message.contains("manifest lists"), "{error}");
    bench
        .export("oci", &[("name", "x:1")], request)
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.tar");
    std::fs::write(&path, bench.received()).unwrap();
    let source = format!("oci-archive:{}:1", path.display());
    let raw = succeed("skopeo", &["inspect", "--raw", &source]);
    assert!(raw.contains("manifests"), "{raw}");
}

#[tokio::test]
async fn a_second_push_sends_nothing_and_pushing_by_digest_makes_no_tag() {
    let bench = Bench::new();
    let registry = Registry::start();
    let result = bench.result();
    let name = format!("{}/by-digest", registry.address);
    let by_digest = [
        ("name", name.as_str()),
        ("push", "true"),
        ("push-by-digest", "true"),
        ("store", "false"),
    ];
    let response = bench
        .export("image", &by_digest, single(&result))
        .await
        .unwrap();
    let pushed = repository(&registry, "by-digest");
    let digest = &response["containerimage.digest"];
    pushed.manifest(digest).await.unwrap();
    assert!(pushed.manifest("latest").await.is_err());
    assert_eq!(bench.fixture.images.find(&reference(&name)).unwrap(), None);
    let tagged = format!("{name}:1");
    let wrong = [
        ("name", tagged.as_str()),
        ("push", ""),
        ("push-by-digest", ""),
    ];
    let error = bench
        .export("image", &wrong, single(&result))
        .await
        .unwrap_err();
    assert!(error.message.contains("can't push tagged ref"), "{error}");
    let mut again = wrong.to_vec();
    again.pop();
    bench
        .export("image", &again, single(&result))
        .await
        .unwrap();
    assert!(pushed.manifest("1").await.is_ok());
}

#[tokio::test]
async fn a_base_images_layer_stays_the_registrys_and_is_mounted() {
    // A registry has a base; a fresh machine builds on it and pushes elsewhere in the same
    // registry, without ever having the layer.
    let bench = Bench::new();
    let registry = Registry::start();
    let base = format!("{}/base:1", registry.address);
    let attributes = [("name", base.as_str()), ("push", "true")];
    bench
        .export("image", &attributes, single(&bench.result()))
        .await
        .unwrap();

    let fresh = Bench::new();
    let op = Arc::new(cooper_proto::pb::Op {
        op: Some(cooper_proto::pb::op::Op::Source(
            cooper_proto::pb::SourceOp {
                identifier: format!("docker-image://{base}"),
                attrs: BTreeMap::new(),
            },
        )),
        ..cooper_proto::pb::Op::default()
    });
    let request = cooper_core::ports::OpRequest {
        vertex: Digest::sha256_of("v"),
        op,
        name: "FROM".into(),
        inputs: Vec::new(),
        pin: None,
        build: None,
        sessions: Vec::new(),
        resources: None,
    };
    let events: Events = fresh.seen.clone();
    let result = fresh.source.run(&request, &events).await.unwrap().remove(0);
    let mut export = single(&result);
    export.metadata.insert(
        "containerimage.config".into(),
        Bytes::from_static(br#"{"architecture":"amd64","os":"linux"}"#),
    );
    let derived = format!("{}/derived:1", registry.address);
    let attributes = [
        ("name", derived.as_str()),
        ("push", "true"),
        ("store", "false"),
    ];
    fresh
        .export("image", &attributes, export.clone())
        .await
        .unwrap();
    let fetched = repository(&registry, "derived")
        .manifest("1")
        .await
        .unwrap();
    let manifest: Value = serde_json::from_slice(&fetched.bytes).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    for layer in manifest["layers"].as_array().unwrap() {
        let digest: Digest = layer["digest"].as_str().unwrap().parse().unwrap();
        assert!(!fresh.fixture.images.content().contains(&digest));
        assert!(
            repository(&registry, "derived")
                .has_blob(&digest)
                .await
                .unwrap()
        );
    }
    // An archive needs the bytes, and gets them.
    fresh.export("oci", &[], export).await.unwrap();
    assert!(fresh.received().len() > 1024);
}

#[tokio::test]
async fn what_is_not_built_yet_answers_by_name() {
    let bench = Bench::new();
    let result = bench.result();
    for (kind, key, value) in [
        ("oci", "compression", "estargz"),
        ("image", "compression", "estargz"),
    ] {
        let error = bench
            .export(kind, &[(key, value)], single(&result))
            .await
            .unwrap_err();
        assert_eq!(error.kind, FailureKind::Unsupported, "{error}");
        assert!(error.message.contains(key), "{error}");
    }
}
