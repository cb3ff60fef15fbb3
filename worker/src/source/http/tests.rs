//! Against a server of our own on the loopback.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, JobId, OpEvent, Pin, ResultId, SessionId};
use cooper_core::ports::{
    ChecksumAlgorithm, ChecksumRequest, ChunkSource, Credentials, DirFilter, EventSink, Events,
    ExportTarget, ExportTargetRequest, LocalDir, OpRequest, Session, Sessions, SourceKey,
    SourceKeyRequest, SourceQuery,
};
use cooper_proto::{Digest, pb};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::HttpSource;
use crate::confine::Last;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::state::StateDir;

#[derive(Clone, Default)]
struct Route {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    etag: String,
}

#[derive(Default)]
struct Site {
    routes: Mutex<BTreeMap<String, Route>>,
    /// Method, path and lower-case header lines of each request.
    requests: Mutex<Vec<(String, String, String)>>,
}

/// A server that knows just enough HTTP.
struct Server {
    site: Arc<Site>,
    address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
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

    fn put(&self, path: &str, route: Route) {
        self.site.routes.lock().insert(path.to_owned(), route);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<(String, String, String)> {
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
struct Client {
    id: Option<SessionId>,
    secrets: BTreeMap<String, String>,
    upload: Vec<Bytes>,
}

struct Chunks(std::vec::IntoIter<Bytes>);

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

struct One(Arc<Client>);

#[async_trait]
impl Sessions for One {
    async fn session(&self, _: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(Arc::clone(&self.0) as Arc<dyn Session>)
    }
}

struct Deaf;

impl EventSink for Deaf {
    fn emit(&self, _: OpEvent) {}
}

struct Bench {
    _folder: tempfile::TempDir,
    snapshots: Snapshots,
    source: HttpSource,
    events: Events,
}

impl Bench {
    fn new(client: Client, limits: &Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let snapshots = Snapshots::open(&state, meta, limits, Durability::ProcessDeath).unwrap();
        let source = HttpSource::new(&snapshots, limits, Arc::new(One(Arc::new(client)))).unwrap();
        Self {
            _folder: folder,
            snapshots,
            source,
            events: Arc::new(Deaf),
        }
    }

    fn plain() -> Self {
        Self::new(Client::default(), &Limits::default())
    }

    async fn key(&self, op: &Arc<pb::Op>, build: Option<&str>) -> Result<SourceKey, Failure> {
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

    async fn run(&self, op: &Arc<pb::Op>, pin: Option<Pin>) -> Result<ResultId, Failure> {
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
    async fn fetch(&self, op: &Arc<pb::Op>, name: &str) -> (String, Vec<u8>) {
        let key = self.key(op, None).await.unwrap();
        let result = self.run(op, Some(key.pin)).await.unwrap();
        let root = self.snapshots.view(&result).unwrap().root().unwrap();
        let bytes = root.read_small(Path::new(name), 1 << 20).unwrap();
        self.snapshots.meta().pins().unpin(&result);
        (key.key, bytes)
    }
}

fn op(url: &str, attributes: &[(&str, &str)]) -> Arc<pb::Op> {
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

fn file(body: &[u8], etag: &str) -> Route {
    Route {
        body: body.to_vec(),
        etag: etag.to_owned(),
        ..Route::default()
    }
}

fn methods(requests: &[(String, String, String)]) -> Vec<&str> {
    requests.iter().map(|it| it.0.as_str()).collect()
}

#[tokio::test]
async fn a_file_is_fetched_once_until_its_etag_changes() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", "\"e1\""));
    server.put("/g", file(b"another", "\"e1\""));
    let f = op(&server.url("/f"), &[]);
    let first = bench.fetch(&f, "f").await;
    assert_eq!(first.1, b"one");
    assert_eq!(methods(&server.requests()), ["GET"]);
    assert_eq!(bench.fetch(&f, "f").await, first);
    assert_eq!(methods(&server.requests()), ["HEAD"]);
    // An ETag says nothing about another URL.
    assert_eq!(
        bench.fetch(&op(&server.url("/g"), &[]), "g").await.1,
        b"another"
    );
    assert_eq!(methods(&server.requests()), ["GET"]);
    server.put("/f", file(b"two", "W/\"e2\""));
    let second = bench.fetch(&f, "f").await;
    assert_eq!(second.1, b"two");
    assert_ne!(second.0, first.0);
    assert_eq!(methods(&server.requests()), ["HEAD", "GET"]);
    // Weak ETags count, and what was seen before is still known.
    assert_eq!(bench.fetch(&f, "f").await, second);
    server.put("/f", file(b"one", "\"e1\""));
    assert_eq!(bench.fetch(&f, "f").await, first);
    assert_eq!(methods(&server.requests()), ["HEAD", "HEAD"]);
}

#[tokio::test]
async fn a_build_sees_one_state_of_a_url() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", "\"e1\""));
    let f = op(&server.url("/f"), &[]);
    let query = SourceQuery {
        source: pb::SourceOp {
            identifier: server.url("/f"),
            ..pb::SourceOp::default()
        },
        build: Some(JobId("b".into())),
        checksum: Some(ChecksumRequest {
            algorithm: ChecksumAlgorithm::Sha512,
            suffix: Bytes::from_static(b"!"),
        }),
        ..SourceQuery::default()
    };
    let meta = bench.source.meta(&query, &[], &bench.events).await.unwrap();
    assert_eq!(meta.digest, Digest::sha256_of("one"));
    let sum = cooper_proto::Algorithm::Sha512.digest("one!");
    assert_eq!(meta.checksum, Some(sum.to_string()));
    server.put("/f", file(b"two", "\"e2\""));
    let first = bench.key(&f, Some("b")).await.unwrap();
    assert_eq!(first, bench.key(&f, Some("b")).await.unwrap());
    assert_eq!(methods(&server.requests()), ["GET"]);
    // What it saw is not removed under it.
    let id = ResultId(first.pin.0["result"].clone());
    assert!(bench.snapshots.meta().pins().is_pinned(&id));
    bench.source.end_build(&JobId("b".into()));
    assert!(!bench.snapshots.meta().pins().is_pinned(&id));
    assert_ne!(first.key, bench.key(&f, Some("c")).await.unwrap().key);
}

#[tokio::test]
async fn a_file_that_went_is_fetched_again_and_must_be_the_same() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"one", ""));
    let f = op(&server.url("/f"), &[]);
    let key = bench.key(&f, None).await.unwrap();
    let id = ResultId(key.pin.0["result"].clone());
    let gone = bench.snapshots.meta().remove_results(vec![id.clone()]);
    assert_eq!(gone.unwrap(), [id]);
    bench.run(&f, Some(key.pin.clone())).await.unwrap();
    assert_eq!(methods(&server.requests()), ["GET", "GET"]);
    server.put("/f", file(b"two", ""));
    let other = Pin(BTreeMap::from([(
        "digest".into(),
        key.pin.0["digest"].clone(),
    )]));
    let failure = bench.run(&f, Some(other)).await.unwrap_err();
    let words = format!(
        "digest mismatch {}: {}",
        Digest::sha256_of("two"),
        Digest::sha256_of("one")
    );
    assert_eq!(failure.message, words);
}

#[tokio::test]
async fn a_checksum_puts_the_download_off_and_is_kept_to() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put("/f", file(b"content", "\"e\""));
    for algorithm in [
        cooper_proto::Algorithm::Sha256,
        cooper_proto::Algorithm::Sha384,
        cooper_proto::Algorithm::Sha512,
    ] {
        let sum = algorithm.digest("content");
        let right = op(&server.url("/f"), &[("http.checksum", sum.as_str())]);
        let key = bench.key(&right, None).await.unwrap();
        assert!(server.requests().is_empty());
        bench.run(&right, Some(key.pin)).await.unwrap();
        assert_eq!(methods(&server.requests()), ["GET"]);
        let sum = algorithm.digest("other");
        let wrong = op(&server.url("/f"), &[("http.checksum", sum.as_str())]);
        let pin = bench.key(&wrong, None).await.unwrap().pin;
        let failure = bench.run(&wrong, Some(pin)).await.unwrap_err();
        assert!(failure.message.starts_with("digest mismatch "), "{failure}");
        server.requests();
    }
    let results = bench.snapshots.meta().results().unwrap();
    assert_eq!(results.len(), 3, "what did not match was not kept");
}

#[tokio::test]
async fn a_file_looks_as_its_attributes_and_the_server_say() {
    let (server, bench) = (Server::start().await, Bench::plain());
    let date = "Sunday, 06-Nov-94 08:49:37 UTC";
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(b"content").unwrap();
    server.put(
        "/x",
        Route {
            headers: vec![
                ("Last-Modified", date.into()),
                ("Content-Encoding", "gzip".into()),
                (
                    "Content-Disposition",
                    "attachment; filename=\"../my img.jpg\"".into(),
                ),
            ],
            body: zipped.finish().unwrap(),
            ..Route::default()
        },
    );
    let attributes = [("http.perm", "04741"), ("http.uid", "5"), ("http.gid", "6")];
    let x = op(&server.url("/x"), &attributes);
    let key = bench.key(&x, None).await.unwrap();
    let result = bench.run(&x, Some(key.pin)).await.unwrap();
    let root = bench.snapshots.view(&result).unwrap().root().unwrap();
    let path = Path::new("my img.jpg");
    assert_eq!(root.read_small(path, 100).unwrap(), b"content");
    let metadata = root.metadata(path, Last::NoFollow).unwrap();
    assert_eq!(metadata.mode & 0o7777, 0o741);
    assert_eq!((metadata.owner.uid, metadata.owner.gid), (5, 6));
    assert_eq!(metadata.mtime.seconds, 784_111_777);
    let request = &server.requests()[0];
    assert!(request.2.contains("accept-encoding: gzip"), "{}", request.2);
}

#[tokio::test]
async fn refusals_are_told_by_their_status() {
    let (server, bench) = (Server::start().await, Bench::plain());
    for (status, kind) in [
        (401, FailureKind::Denied),
        (404, FailureKind::NotFound),
        (503, FailureKind::Infrastructure),
    ] {
        server.put(
            "/f",
            Route {
                status,
                ..Route::default()
            },
        );
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.message, format!("invalid response status {status}"));
        assert_eq!(failure.kind, kind);
    }
}

// T-C4
#[tokio::test]
async fn passwords_stay_with_the_origin_of_the_url() {
    let secrets = [
        ("HTTP_AUTH_TOKEN_127.0.0.1", "CANARY"),
        ("mine", "Basic CANARY"),
    ];
    let client = Client {
        secrets: secrets.map(|(id, value)| (id.into(), value.into())).into(),
        ..Client::default()
    };
    let bench = Bench::new(client, &Limits::default());
    let (server, other) = (Server::start().await, Server::start().await);
    let redirect = |location: String, status| Route {
        status,
        headers: vec![("Location", location)],
        ..Route::default()
    };
    other.put("/f", file(b"content", ""));
    server.put("/here", redirect("/there".into(), 302));
    server.put("/there", redirect(other.url("/f"), 307));
    for (url, attributes, want) in [
        (server.url("/here"), vec![], "authorization: bearer canary"),
        (
            server.url("/here"),
            vec![("http.authheadersecret", "mine")],
            "authorization: basic canary",
        ),
        (
            server.url("/here").replace("//", "//name:CANARY@"),
            vec![("http.authheadersecret", "mine")],
            "authorization: basic canary",
        ),
    ] {
        bench.key(&op(&url, &attributes), None).await.unwrap();
        let ours = server.requests();
        assert_eq!(ours.len(), 2);
        assert!(ours.iter().all(|it| it.2.contains(want)), "{ours:?}");
        let theirs = other.requests();
        assert_eq!(theirs.len(), 1);
        assert!(!theirs[0].2.contains("authorization"), "{theirs:?}");
    }
    let missing = op(&server.url("/f"), &[("http.authheadersecret", "no")]);
    let failure = bench.key(&missing, None).await.unwrap_err();
    assert!(
        failure
            .message
            .starts_with("failed to retrieve HTTP auth secret no"),
        "{failure}"
    );
    // T-A2
    let state = bench._folder.path();
    let found = std::process::Command::new("grep")
        .args(["-rlai", "canary"])
        .arg(state)
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{:?}", found.stdout);
}

#[tokio::test]
async fn redirects_end_and_lead_to_web_addresses_only() {
    let (server, bench) = (Server::start().await, Bench::plain());
    for location in ["/f", "ftp://127.0.0.1/f", "file:///etc/passwd"] {
        server.put(
            "/f",
            Route {
                status: 301,
                headers: vec![("Location", location.into())],
                ..Route::default()
            },
        );
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
        assert!(server.requests().len() <= 10);
    }
}

// T-C23
#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_also_when_it_grows_on_unpacking() {
    let limits = Limits {
        download_bytes: 1 << 20,
        ..Limits::default()
    };
    let (server, bench) = (
        Server::start().await,
        Bench::new(Client::default(), &limits),
    );
    let zeros = vec![0; (1 << 20) + 1];
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zipped.write_all(&zeros).unwrap();
    let bomb = Route {
        headers: vec![("Content-Encoding", "gzip".into())],
        body: zipped.finish().unwrap(),
        ..Route::default()
    };
    for route in [file(&zeros, ""), bomb] {
        server.put("/f", route);
        let f = op(&server.url("/f"), &[]);
        let failure = bench.key(&f, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
    }
    assert!(bench.snapshots.meta().results().unwrap().is_empty());
}

#[tokio::test]
async fn a_download_that_breaks_off_is_not_kept() {
    let (server, bench) = (Server::start().await, Bench::plain());
    server.put(
        "/f",
        Route {
            headers: vec![("Content-Length", "100".into())],
            body: b"short".to_vec(),
            ..Route::default()
        },
    );
    let failure = bench
        .key(&op(&server.url("/f"), &[]), None)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Infrastructure, "{failure}");
    assert!(bench.snapshots.meta().results().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_client_uploads_is_a_file_too() {
    let client = Client {
        upload: vec![Bytes::from_static(b"FROM "), Bytes::from_static(b"scratch")],
        ..Client::default()
    };
    let bench = Bench::new(client, &Limits::default());
    let op = op(
        "http://buildkit-session/abc",
        &[("http.filename", "context")],
    );
    assert_eq!(bench.fetch(&op, "context").await.1, b"FROM scratch");
}
