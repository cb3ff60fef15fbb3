use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{ContentSelector, Failure, FailureKind, OpEvent, ResultId, SessionId};
use cooper_core::ports::{
    Cancelled, Credentials, DirFilter, EventSink, Events, ExportTarget, ExportTargetRequest,
    LocalDir, OpRequest, Session, Sessions, SourceKeyRequest,
};
use cooper_proto::{Digest, pb};

use super::LocalSource;
use crate::checksum::ContentSums;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::state::StateDir;

/// A client in this process that offers one directory as `context`.
struct Client {
    id: SessionId,
    directory: PathBuf,
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &SessionId {
        &self.id
    }

    fn shared_key(&self) -> &'static str {
        "shared"
    }

    async fn local_dir(&self, name: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        match name {
            "context" => Ok(LocalDir::OnDisk(self.directory.clone())),
            other => Err(Failure::new(FailureKind::NotFound, format!("no {other}"))),
        }
    }

    async fn secret(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }

    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports of a test"))
    }
}

struct OneClient(Arc<Client>);

#[async_trait]
impl Sessions for OneClient {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        if *id == self.0.id {
            Ok(self.0.clone())
        } else {
            Err(Failure::new(FailureKind::Infrastructure, "no such session"))
        }
    }
}

struct Deaf;

impl EventSink for Deaf {
    fn emit(&self, _: OpEvent) {}
}

struct Fixture {
    place: tempfile::TempDir,
    snapshots: Snapshots,
    sums: ContentSums,
    source: LocalSource,
}

fn open(place: tempfile::TempDir) -> Fixture {
    let state = StateDir::open(&place.path().join("state")).expect("opened");
    let meta = Meta::open(&state.meta()).expect("opened");
    let limits = Limits::default();
    let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath);
    let snapshots = snapshots.expect("opened");
    let sums = ContentSums::new(snapshots.clone());
    let client = Arc::new(Client {
        id: SessionId(String::from("s1")),
        directory: place.path().join("context"),
    });
    let source = LocalSource::new(&state, &snapshots, &sums, Arc::new(OneClient(client)));
    Fixture {
        place,
        snapshots,
        sums,
        source,
    }
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(place.path().join("context")).expect("made");
    open(place)
}

impl Fixture {
    /// Ends the process, as far as the state folder can tell.
    fn close(self) -> tempfile::TempDir {
        self.place
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.place.path().join("context").join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    async fn run(&self, attributes: &[(&str, &str)]) -> Result<ResultId, Failure> {
        let events: Events = Arc::new(Deaf);
        let never: Cancelled = Box::pin(std::future::pending());
        let request = OpRequest {
            vertex: Digest::sha256_of("v"),
            op: op(attributes),
            name: String::from("load build context"),
            inputs: Vec::new(),
            pin: None,
            build: None,
            sessions: vec![SessionId(String::from("s1"))],
            resources: None,
        };
        let mut results = self.source.run(&request, &events, never).await?;
        Ok(results.pop().expect("one output"))
    }

    fn inode(&self, result: &ResultId, path: &str) -> u64 {
        let view = self.snapshots.view(result).expect("kept");
        let metadata = view
            .root()
            .expect("mounted")
            .metadata(Path::new(path), crate::confine::Last::NoFollow);
        metadata.expect("there").inode
    }

    fn digest(&self, result: &ResultId) -> Digest {
        let selectors = [ContentSelector {
            path: String::from("/"),
            ..ContentSelector::default()
        }];
        let digest = self.sums.with(result, |sums| sums.selectors(&selectors));
        digest.expect("readable")
    }

    fn names(&self, result: &ResultId) -> Vec<String> {
        let view = self.snapshots.view(result).expect("kept");
        let mut names = Vec::new();
        view.root()
            .expect("mounted")
            .walk::<crate::confine::ConfineError>(Path::new("."), |path, _, _| {
                names.push(path.to_string_lossy().into_owned());
                Ok(crate::confine::Visit::Enter)
            })
            .expect("readable");
        names
    }
}

fn op(attributes: &[(&str, &str)]) -> Arc<pb::Op> {
    let attrs = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Arc::new(pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: String::from("local://context"),
            attrs: attrs.collect(),
        })),
        ..pb::Op::default()
    })
}

#[tokio::test]
async fn an_unchanged_directory_is_the_same_result_also_after_a_restart() {
    let fixture = fixture();
    fixture.write("a/f", "one");
    fixture.write("g", "two");
    let first = fixture.run(&[]).await.expect("synced");
    assert_eq!(fixture.names(&first), ["a", "a/f", "g"]);
    assert_eq!(fixture.run(&[]).await.expect("synced"), first);
    let again = open(fixture.close());
    assert_eq!(again.run(&[]).await.expect("synced"), first);
}

#[tokio::test]
async fn a_damaged_note_of_the_last_result_is_as_none() {
    let fixture = fixture();
    fixture.write("f", "one");
    fixture.run(&[]).await.expect("synced");
    let mirrors = fixture.place.path().join("state/locals");
    let entries = std::fs::read_dir(mirrors).expect("listed");
    let paths = entries.map(|entry| entry.expect("read").path());
    let notes: Vec<_> = paths.filter(|path| path.is_file()).collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    std::fs::write(&notes[0], [0xff, 0xfe]).expect("damaged");
    let again = fixture.run(&[]).await.expect("synced");
    assert_eq!(fixture.names(&again), ["f"]);
}

#[tokio::test]
async fn what_is_fetched_again_and_is_the_same_is_the_same_result() {
    let fixture = fixture();
    fixture.write("Dockerfile", "FROM scratch");
    let attributes = [("local.differ", "none")];
    let first = fixture.run(&attributes).await.expect("made");
    let second = fixture.run(&attributes).await.expect("made");
    assert_eq!(first, second);
    fixture.write("Dockerfile", "FROM others");
    assert_ne!(fixture.run(&attributes).await.expect("made"), first);
}

#[tokio::test]
async fn a_change_gives_a_new_result_that_shares_the_rest_and_leaves_the_old_one_alone() {
    let fixture = fixture();
    fixture.write("a/f", "one");
    fixture.write("g", "two");
    let first = fixture.run(&[]).await.expect("synced");
    let before = fixture.digest(&first);
    fixture.write("g", "two and more");
    let second = fixture.run(&[]).await.expect("synced");
    assert_ne!(first, second);
    assert_eq!(fixture.inode(&first, "a/f"), fixture.inode(&second, "a/f"));
    assert_ne!(fixture.inode(&first, "g"), fixture.inode(&second, "g"));
    assert_ne!(fixture.digest(&second), before);
    assert_eq!(fixture.digest(&first), before);
    fixture.write("g", "two");
    let third = fixture.run(&[]).await.expect("synced");
    assert_eq!(fixture.digest(&third), before);
}

#[tokio::test]
async fn results_belong_to_root_and_touch_nothing_of_the_client() {
    let fixture = fixture();
    fixture.write("f", "mine");
    let path = fixture.place.path().join("context/f");
    std::os::unix::fs::chown(&path, Some(1234), Some(1234)).expect("changed");
    let result = fixture.run(&[]).await.expect("synced");
    let view = fixture.snapshots.view(&result).expect("kept");
    let metadata = view
        .root()
        .expect("mounted")
        .metadata(Path::new("f"), crate::confine::Last::NoFollow);
    let metadata = metadata.expect("there");
    assert_eq!((metadata.owner.uid, metadata.owner.gid), (0, 0));
    let client = path.metadata().expect("there");
    assert_eq!((client.uid(), client.nlink()), (1234, 1));
    assert_ne!(client.ino(), metadata.inode);
}

#[tokio::test]
async fn attributes_select_what_is_sent() {
    let fixture = fixture();
    for path in ["keep/a", "keep/b.tmp", "other/c", "Dockerfile"] {
        fixture.write(path, path);
    }
    let attributes = [
        ("local.session", "s1"),
        ("local.includepattern", r#"["keep"]"#),
        ("local.excludepatterns", r#"["**/*.tmp"]"#),
        ("local.followpaths", r#"["Dockerfile"]"#),
        ("local.sharedkeyhint", "hint"),
        ("local.differ", "none"),
        ("local.unique", "x"),
    ];
    let result = fixture.run(&attributes).await.expect("synced");
    assert_eq!(fixture.names(&result), ["Dockerfile", "keep", "keep/a"]);
}

#[tokio::test]
async fn of_metadata_alone_there_is_a_list_and_what_was_asked_for() {
    let fixture = fixture();
    for path in ["keep/a", "other/c"] {
        fixture.write(path, path);
    }
    let whole = fixture.run(&[]).await.expect("synced");
    let attributes = [
        ("local.metadatatransfer", "true"),
        ("local.metadatatransferexclude", r#"["keep"]"#),
    ];
    let result = fixture.run(&attributes).await.expect("synced");
    assert_eq!(
        fixture.names(&result),
        [".fsutil-metadata", "keep", "keep/a"]
    );
    assert_eq!(fixture.run(&attributes).await.expect("synced"), result);
    // A mirror of its own: the whole directory is still known.
    assert_eq!(fixture.run(&[]).await.expect("synced"), whole);
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let fixture = fixture();
    for (key, value) in [
        ("local.metadatatransfer", "yes"),
        ("local.metadatatransferexclude", "not json"),
        ("local.unheard", "x"),
        ("local.differ", "other"),
        ("local.includepattern", "not json"),
        ("local.includepattern", r#"["[a-"]"#),
    ] {
        fixture.run(&[(key, value)]).await.expect_err(key);
    }
}

#[tokio::test]
async fn the_key_is_of_the_session_and_the_filter() {
    let fixture = fixture();
    let key = |attributes: &[(&str, &str)]| {
        let request = SourceKeyRequest {
            vertex: Digest::sha256_of("v"),
            op: op(attributes),
            index: 0,
            pin: None,
            build: None,
            sessions: vec![SessionId(String::from("s1"))],
        };
        fixture.source.key(&request).expect("readable").key
    };
    let plain = key(&[]);
    assert!(plain.starts_with("session:context:sha256:"), "{plain}");
    assert_eq!(plain, key(&[("local.session", "s1")]));
    assert_ne!(plain, key(&[("local.session", "s2")]));
    assert_ne!(plain, key(&[("local.includepattern", r#"["a"]"#)]));
    assert_eq!(plain, key(&[("local.metadatatransfer", "0")]));
    let listed = key(&[("local.metadatatransfer", "true")]);
    assert_ne!(plain, listed);
    let but = ("local.metadatatransferexclude", r#"["a"]"#);
    assert_ne!(listed, key(&[("local.metadatatransfer", "true"), but]));
}

#[tokio::test]
async fn a_stopped_sync_is_mended_by_the_next_one() {
    let fixture = fixture();
    fixture.write("f", "one");
    fixture.run(&[]).await.expect("synced");
    fixture.write("f", "other");
    fixture.write("g", "new");
    let request = OpRequest {
        vertex: Digest::sha256_of("v"),
        op: op(&[]),
        name: String::new(),
        inputs: Vec::new(),
        pin: None,
        build: None,
        sessions: vec![SessionId(String::from("s1"))],
        resources: None,
    };
    let events: Events = Arc::new(Deaf);
    let at_once: Cancelled = Box::pin(std::future::ready(()));
    // It may be done before it is stopped; what counts is what comes after.
    let _ = fixture.source.run(&request, &events, at_once).await;
    let result = fixture.run(&[]).await.expect("synced");
    assert_eq!(fixture.names(&result), ["f", "g"]);
}
