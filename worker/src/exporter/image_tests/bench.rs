use crate::distribution::Distribution;
use crate::distribution::tests::quick;
use crate::exporter::ArchiveExporter;
use crate::exporter::ImageExporter;
use crate::exporter::Variant;
use crate::images::tests::Fixture;
use crate::source::ImageSource;
use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::Failure;
use cooper_core::model::FailureKind;
use cooper_core::model::OpEvent;
use cooper_core::model::ResultId;
use cooper_core::model::SessionId;
use cooper_core::ports::ChunkSink;
use cooper_core::ports::Credentials;
use cooper_core::ports::DirFilter;
use cooper_core::ports::EventSink;
use cooper_core::ports::Events;
use cooper_core::ports::ExportPart;
use cooper_core::ports::ExportRequest;
use cooper_core::ports::ExportResponse;
use cooper_core::ports::ExportTarget;
use cooper_core::ports::ExportTargetRequest;
use cooper_core::ports::Exporter;
use cooper_core::ports::LocalDir;
use cooper_core::ports::Session;
use cooper_core::ports::Sessions;
use cooper_proto::Digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

/// A client that keeps what it is sent.
#[derive(Default)]
pub(super) struct Client {
    pub(super) id: Option<SessionId>,
    pub(super) received: Arc<Mutex<Vec<u8>>>,
    pub(super) targets: Mutex<Vec<ExportTargetRequest>>,
}

pub(super) struct Sink(pub(super) Arc<Mutex<Vec<u8>>>);

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

pub(super) struct OneClient(pub(super) Arc<Client>);

#[async_trait]
impl Sessions for OneClient {
    async fn session(&self, _: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(self.0.clone())
    }
}

#[derive(Default)]
pub(super) struct Seen(pub(super) Mutex<Vec<String>>);

impl EventSink for Seen {
    fn emit(&self, event: OpEvent) {
        if let OpEvent::Status(status) = event
            && status.completed
        {
            self.0.lock().unwrap().push(status.id);
        }
    }
}

pub(super) struct Bench {
    pub(super) fixture: Fixture,
    pub(super) client: Arc<Client>,
    pub(super) source: ImageSource,
    pub(super) distribution: Distribution,
    pub(super) seen: Arc<Seen>,
}

impl Bench {
    pub(super) fn new() -> Self {
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

    pub(super) fn sessions(&self) -> Arc<dyn Sessions> {
        Arc::new(OneClient(self.client.clone()))
    }

    /// A result of two layers: one file each, the second made by `RUN two`.
    pub(super) fn result(&self) -> ResultId {
        let below = self.with_file(&ResultId::scratch(), "one");
        self.with_file(&below, "two")
    }

    pub(super) fn with_file(&self, parent: &ResultId, name: &str) -> ResultId {
        use std::io::Write;
        let writer = self.fixture.layers.snapshots().writer(parent).unwrap();
        let root = writer.root().unwrap();
        let mut file = root.create_file(Path::new(name), 0o644).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        drop(file);
        writer.commit(&format!("RUN {name}")).unwrap()
    }

    pub(super) async fn export(
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

    pub(super) fn received(&self) -> Vec<u8> {
        self.client.received.lock().unwrap().clone()
    }

    pub(super) fn document(&self, digest: &str) -> Value {
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

pub(super) fn single(result: &ResultId) -> ExportRequest {
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

pub(super) fn succeed(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}
