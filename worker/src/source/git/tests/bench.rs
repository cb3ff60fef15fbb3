use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, JobId, OpEvent, Pin, ResultId, SessionId};
use cooper_core::ports::{
    Credentials, DirFilter, EventSink, Events, ExportTarget, ExportTargetRequest, GitMeta,
    LocalDir, OpRequest, Session, Sessions, SourceKey, SourceKeyRequest, SourceQuery,
};
use cooper_proto::{Digest, pb};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::confine::Root;
use crate::content::ContentStore;
use crate::distribution::{Distribution, DistributionConfig};
use crate::images::ImageStore;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::source::Blobs;
use crate::source::git::{GitSettings, GitSource};
use crate::state::StateDir;

/// A repository to fetch from, with a work tree.
pub(super) struct Origin {
    folder: tempfile::TempDir,
}

impl Origin {
    /// A repository with one commit on `master` that has `file` and `sub/inner`.
    pub(super) fn new(format: &str) -> Self {
        let origin = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(origin.tree().join("sub")).unwrap();
        origin.git(&[
            "init",
            "-q",
            "-b",
            "master",
            &format!("--object-format={format}"),
        ]);
        origin.git(&["config", "uploadpack.allowReachableSHA1InWant", "true"]);
        origin.commit(&[("file", "one"), ("sub/inner", "in")], "first");
        origin
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.path().join("r")
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        git(&self.tree(), arguments)
    }

    pub(super) fn commit(&self, files: &[(&str, &str)], message: &str) -> String {
        for (name, content) in files {
            std::fs::write(self.tree().join(name), content).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["update-server-info"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

pub(super) fn git(tree: &Path, arguments: &[&str]) -> String {
    std::fs::create_dir_all(tree).unwrap();
    let output = Command::new("git")
        .current_dir(tree)
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "n")
        .env("GIT_AUTHOR_EMAIL", "e@e")
        .env("GIT_COMMITTER_NAME", "n")
        .env("GIT_COMMITTER_EMAIL", "e@e")
        .env("GIT_COMMITTER_DATE", "@1000000000 +0000")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server on the loopback that ends with this.
pub(super) struct Server {
    pub(super) address: String,
    /// Requests of a web server.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Git's own protocol.
    pub(super) async fn git(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let folder = folder.to_owned();
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the server is dropped"
        )]
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = stream.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                let input = std::os::fd::OwnedFd::from(stream.try_clone().unwrap());
                let output = std::os::fd::OwnedFd::from(stream);
                let mut base = std::ffi::OsString::from("--base-path=");
                base.push(&folder);
                let mut served = tokio::process::Command::new("git")
                    .args(["daemon", "--inetd", "--export-all"])
                    .arg(base)
                    .arg(&folder)
                    .env("GIT_CONFIG_COUNT", "1")
                    .env("GIT_CONFIG_KEY_0", "safe.directory")
                    .env("GIT_CONFIG_VALUE_0", "*")
                    .stdin(Stdio::from(input))
                    .stdout(Stdio::from(output))
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                // Each conversation is short, and the next one waits for it.
                served.wait().await.unwrap();
            }
        });
        Self {
            address,
            requests: Arc::default(),
            task,
        }
    }

    /// Files, to those who send `authorization`, if it is not empty.
    pub(super) async fn web(folder: &Path, authorization: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (folder, seen) = (folder.to_owned(), Arc::clone(&requests));
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the server is dropped"
        )]
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let path = path.split('?').next().unwrap_or_default();
                let file = std::fs::read(folder.join(path.trim_start_matches('/')));
                let allowed = authorization.is_empty() || head.contains(authorization);
                let (status, body) = match file {
                    _ if !allowed => ("401 No", Vec::new()),
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 No", Vec::new()),
                };
                seen.lock().push(head);
                let head = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) secrets: BTreeMap<String, String>,
    /// Where its OCI layout is.
    pub(super) layout: Option<PathBuf>,
}

struct Named(SessionId, BTreeMap<String, String>, Option<PathBuf>);

#[async_trait]
impl Session for Named {
    fn id(&self) -> &SessionId {
        &self.0
    }

    fn shared_key(&self) -> &'static str {
        ""
    }

    async fn local_dir(&self, name: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported(name))
    }

    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        Ok(self.1.get(id).cloned().map(Bytes::from))
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn oci_layout(&self, store: &str) -> Result<PathBuf, Failure> {
        let layout = self.2.clone().filter(|_| store == "store");
        layout.ok_or_else(|| Failure::new(FailureKind::NotFound, format!("no layout {store}")))
    }

    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }
}

#[async_trait]
impl Sessions for Client {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        let (secrets, layout) = (self.secrets.clone(), self.layout.clone());
        Ok(Arc::new(Named(id.clone(), secrets, layout)))
    }
}

/// Keeps what a build's log would have.
#[derive(Default)]
pub(super) struct Log(pub(super) Mutex<Vec<u8>>);

impl EventSink for Log {
    fn emit(&self, event: OpEvent) {
        if let OpEvent::Log { data, .. } = event {
            self.0.lock().extend_from_slice(&data);
        }
    }
}

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) snapshots: Snapshots,
    pub(super) log: Arc<Log>,
    source: GitSource,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with("git".into(), Client::default())
    }

    pub(super) fn with(program: PathBuf, client: Client) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let meta = Meta::open(&state.meta()).unwrap();
        let limits = Limits::default();
        let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath).unwrap();
        let settings = GitSettings {
            program,
            environment: [("PATH", "/usr/bin:/bin".into())].into(),
        };
        let content = ContentStore::open(state.root(), &limits).unwrap();
        let images = ImageStore::new(&content, &snapshots, &limits);
        let distribution = Distribution::new(DistributionConfig::default()).unwrap();
        let sessions: Arc<dyn Sessions> = Arc::new(client);
        let blobs = Blobs::new(&images, &distribution, Arc::clone(&sessions));
        let source = GitSource::new((&state, &snapshots, &limits), blobs, sessions, settings);
        Self {
            folder,
            snapshots,
            log: Arc::default(),
            source,
        }
    }

    pub(super) fn room(&self) -> crate::gc::FolderRoom {
        self.source.room()
    }

    fn events(&self) -> Events {
        Arc::<Log>::clone(&self.log)
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
        self.source.key(&request, &self.events()).await
    }

    pub(super) async fn run(&self, op: &Arc<pb::Op>, pin: Option<Pin>) -> Result<Root, Failure> {
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
        let mut results = self.source.run(&request, &self.events()).await?;
        let result: ResultId = results.pop().unwrap();
        Ok(self.snapshots.view(&result).unwrap().root().unwrap())
    }

    /// The key, and the files.
    pub(super) async fn fetch(&self, op: &Arc<pb::Op>) -> (String, Root) {
        let key = self.key(op, None).await.unwrap();
        (key.key, self.run(op, Some(key.pin)).await.unwrap())
    }

    pub(super) async fn meta(&self, op: &Arc<pb::Op>, build: &str, objects: bool) -> GitMeta {
        let Some(pb::op::Op::Source(source)) = &op.op else {
            panic!("a source");
        };
        let query = SourceQuery {
            source: source.clone(),
            build: Some(JobId(build.to_owned())),
            git_objects: objects,
            ..SourceQuery::default()
        };
        let sessions = [SessionId("s".into())];
        let events = self.events();
        let asked = self.source.meta(&query, &sessions, &events);
        asked.await.unwrap()
    }
}

pub(super) fn op(url: &str, fragment: &str, attributes: &[(&str, &str)]) -> Arc<pb::Op> {
    let full = [("git.fullurl", url)];
    let attrs = attributes.iter().chain(&full);
    Arc::new(pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: format!("git://host/r{fragment}"),
            attrs: attrs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })),
        ..pb::Op::default()
    })
}

pub(super) fn read(root: &Root, path: &str) -> Option<String> {
    let bytes = root.read_small(Path::new(path), 1 << 20).ok()?;
    Some(String::from_utf8(bytes).unwrap())
}
