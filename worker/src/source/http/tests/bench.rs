use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, JobId, OpEvent, Pin, ResultId, SessionId};
use cooper_core::ports::{
    ChunkSource, Credentials, DirFilter, EventSink, Events, ExportTarget, ExportTargetRequest,
    LocalDir, OpRequest, Session, Sessions, SourceKey, SourceKeyRequest,
};
use cooper_proto::{Digest, pb};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::source::http::HttpSource;
use crate::state::StateDir;

#[derive(Clone, Default)]
pub(super) struct Route {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) etag: String,
}

#[derive(Default)]
pub(super) struct Site {
    routes: Mutex<BTreeMap<String, Route>>,
    /// Method, path and lower-case header lines of each request.
    requests: Mutex<Vec<(String, String, String)>>,
}

/// A server that knows just enough HTTP.
pub(super) struct Server {
    pub(super) site: Arc<Site>,
    pub(super) address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let site = Arc::new(Site::default());
        let served = Arc::clone(&site);
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the server is dropped"
        )]
        let task = tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                    head.push(byte[0]);
                }
                let answer = served.answer(&String::from_utf8_lossy(&head));
                let _ = stream.write_all(&answer).await;
            }
        });
        Self {
            site,
            address,
            task,
        }
    }

    pub(super) fn put(&self, path: &str, route: Route) {
        self.site.routes.lock().insert(path.to_owned(), route);
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn requests(&self) -> Vec<(String, String, String)> {
        std::mem::take(&mut *self.site.requests.lock())
    }
}

impl Site {
    fn answer(&self, head: &str) -> Vec<u8> {
        let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let headers = headers.to_ascii_lowercase();
        let route = self.routes.lock().get(path).cloned();
        self.requests
            .lock()
            .push((method.to_owned(), path.to_owned(), headers.clone()));
        let Some(route) = route else {
            return b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        };
        let same = !route.etag.is_empty() && headers.contains(&route.etag);
        let status = match route.status {
            0 if same => 304,
            0 => 200,
            status => status,
        };
        let mut answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n").into_bytes();
        if !route.etag.is_empty() {
            write!(answer, "ETag: {}\r\n", route.etag).unwrap();
        }
        for (name, value) in &route.headers {
            write!(answer, "{name}: {value}\r\n").unwrap();
        }
        if status != 304
            && !route
                .headers
                .iter()
                .any(|(name, _)| *name == "Content-Length")
        {
            write!(answer, "Content-Length: {}\r\n", route.body.len()).unwrap();
        }
        answer.extend(b"\r\n");
        if method == "GET" && status != 304 {
            answer.extend(&route.body);
        }
        answer
    }
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) id: Option<SessionId>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) upload: Vec<Bytes>,
}

pub(super) struct Chunks(std::vec::IntoIter<Bytes>);

#[async_trait]
impl ChunkSource for Chunks {
    async fn receive(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.next())
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        self.id.as_ref().expect("named when it is asked")
    }

    fn shared_key(&self) -> &'static str {
        ""
    }

    async fn local_dir(&self, name: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported(name))
    }

    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.secrets.get(id).cloned().map(Bytes::from))
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn upload(&self, host: &str, path: &str) -> Result<Box<dyn ChunkSource>, Failure> {
        assert_eq!((host, path), ("buildkit-session", "/abc"));
        Ok(Box::new(Chunks(self.upload.clone().into_iter())))
    }

    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }
}

pub(super) struct One(Arc<Client>);

#[async_trait]
impl Sessions for One {
    async fn session(&self, _: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(Arc::clone(&self.0) as Arc<dyn Session>)
    }
}

pub(super) struct Deaf;

impl EventSink for Deaf {
    fn emit(&self, _: OpEvent) {}
}

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) snapshots: Snapshots,
    pub(super) source: HttpSource,
    pub(super) events: Events,
}

impl Bench {
    pub(super) fn new(client: Client, limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let snapshots = Snapshots::open(&state, meta, limits, Durability::ProcessDeath).unwrap();
        let source = HttpSource::new(&snapshots, limits, Arc::new(One(Arc::new(client)))).unwrap();
        Self {
            folder,
            snapshots,
            source,
            events: Arc::new(Deaf),
        }
    }

    pub(super) fn plain() -> Self {
        Self::new(Client::default(), &Limits::default())
    }

    pub(super) async fn key(
        &self,
        op: &Arc<pb::Op>,
        build: Option<&str>,
    ) -> Result<SourceKey, Failure> {
        let request = SourceKeyRequest {
            vertex: Digest::sha256_of("v"),
            op: Arc::clone(op),
            index: 0,
            pin: None,
            build: build.map(|it| JobId(it.to_owned())),
            sessions: vec![SessionId("s".into())],
        };
        self.source.key(&request, &self.events).await
    }

    pub(super) async fn run(
        &self,
        op: &Arc<pb::Op>,
        pin: Option<Pin>,
    ) -> Result<ResultId, Failure> {
        let request = OpRequest {
            vertex: Digest::sha256_of("v"),
            op: Arc::clone(op),
            name: String::new(),
            inputs: Vec::new(),
            pin,
            build: None,
            sessions: vec![SessionId("s".into())],
            resources: None,
        };
        let mut results = self.source.run(&request, &self.events).await?;
        Ok(results.pop().unwrap())
    }

    /// The key, and the file's bytes.
    pub(super) async fn fetch(&self, op: &Arc<pb::Op>, name: &str) -> (String, Vec<u8>) {
        let key = self.key(op, None).await.unwrap();
        let result = self.run(op, Some(key.pin)).await.unwrap();
        let root = self.snapshots.view(&result).unwrap().root().unwrap();
        let bytes = root.read_small(Path::new(name), 1 << 20).unwrap();
        self.snapshots.meta().pins().unpin(&result);
        (key.key, bytes)
    }
}

pub(super) fn op(url: &str, attributes: &[(&str, &str)]) -> Arc<pb::Op> {
    Arc::new(pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: url.to_owned(),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })),
        ..pb::Op::default()
    })
}

pub(super) fn file(body: &[u8], etag: &str) -> Route {
    Route {
        body: body.to_vec(),
        etag: etag.to_owned(),
        ..Route::default()
    }
}

pub(super) fn methods(requests: &[(String, String, String)]) -> Vec<&str> {
    requests.iter().map(|it| it.0.as_str()).collect()
}
