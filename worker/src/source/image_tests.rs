use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cooper_core::{
    model::{Failure, FailureKind, OpEvent, ResultId, SessionId},
    ports::{
        EventSink, Events, ImageQuery, OpRequest, ResolveMode, Session, Sessions, SourceKeyRequest,
    },
};
use cooper_proto::{
    Digest,
    oci::{Descriptor, ImageConfig, Manifest, media_type},
    pb,
};

use super::ImageSource;
use crate::{
    distribution::{
        Access, Anonymous, BlobFile, Distribution, DistributionConfig, Keychain, RepositoryName,
        tests::{quick, registry::Registry},
    },
    images::tests::{Fixture, reference, root_archive},
};

struct NoSessions;

#[async_trait]
impl Sessions for NoSessions {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Err(Failure::new(
            FailureKind::Infrastructure,
            format!("no session {id}"),
        ))
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<OpEvent>>);

impl EventSink for Seen {
    fn emit(&self, event: OpEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Seen {
    fn ids(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                OpEvent::Status(status) if status.completed => Some(status.id.clone()),
                _ => None,
            })
            .collect()
    }
}

fn source(fixture: &Fixture) -> ImageSource {
    let distribution = Distribution::new(quick()).unwrap();
    ImageSource::new(
        &fixture.images,
        &fixture.layers,
        &distribution,
        Arc::new(NoSessions),
    )
}

fn op(name: &str, attributes: &[(&str, &str)]) -> Arc<pb::Op> {
    Arc::new(pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: format!("docker-image://{name}"),
            attrs: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })),
        ..pb::Op::default()
    })
}

fn key_request(op: &Arc<pb::Op>, index: u32) -> SourceKeyRequest {
    SourceKeyRequest {
        vertex: Digest::sha256_of("vertex"),
        op: Arc::clone(op),
        index,
        pin: None,
        build: None,
        sessions: Vec::new(),
    }
}

fn run_request(op: &Arc<pb::Op>) -> OpRequest {
    OpRequest {
        vertex: Digest::sha256_of("vertex"),
        op: Arc::clone(op),
        name: String::from("FROM"),
        inputs: Vec::new(),
        pin: None,
        build: None,
        sessions: Vec::new(),
        resources: None,
    }
}

fn events() -> (Arc<Seen>, Events) {
    let seen = Arc::new(Seen::default());
    (Arc::clone(&seen), seen)
}

fn hello(fixture: &Fixture, result: &ResultId) -> Option<String> {
    let view = fixture.layers.snapshots().view(result).ok()?;
    let bytes = view
        .root()
        .ok()?
        .read_small(std::path::Path::new("hello"), 100)
        .ok()?;
    String::from_utf8(bytes).ok()
}

/// Pushes an image of one plain layer whose configuration claims a diff id.
async fn push(registry: &Registry, name: &str, content: &str, claimed: Option<Digest>) -> Digest {
    let keychain: Arc<dyn Keychain> = Arc::new(Anonymous);
    let repository = Distribution::new(DistributionConfig::default())
        .unwrap()
        .repository(
            &RepositoryName {
                registry: registry.address.clone(),
                path: name.into(),
            },
            Access::Push,
            &keychain,
        )
        .unwrap();
    let layer = root_archive(content);
    let mut config = ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = vec![claimed.unwrap_or_else(|| Digest::sha256_of(&layer))];
    let config = config.to_bytes().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&layer, &config] {
        let blob = BlobFile {
            digest: Digest::sha256_of(bytes),
            size: bytes.len() as u64,
            path: dir.path().join("blob"),
        };
        std::fs::write(&blob.path, bytes).unwrap();
        repository.push_blob(&blob, &[], |_| ()).await.unwrap();
    }
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, &config),
        vec![Descriptor::of(media_type::OCI_LAYER, &layer)],
    );
    let bytes = manifest.to_bytes().unwrap();
    repository
        .push_manifest("1", media_type::OCI_MANIFEST, &bytes.clone().into())
        .await
        .unwrap();
    Digest::sha256_of(&bytes)
}

#[tokio::test]
async fn an_image_of_the_local_store_needs_no_registry() {
    let fixture = Fixture::new();
    let image = fixture.import_hello("busybox", "local");
    let source = source(&fixture);
    let (seen, events) = events();
    let op = op("docker.io/library/busybox:latest", &[]);
    let key = source.key(&key_request(&op, 0), &events).await.unwrap();
    assert!(key.more);
    assert_eq!(key.pin.0["digest"], image.target.digest.to_string());
    let chain = source.key(&key_request(&op, 1), &events).await.unwrap();
    assert_eq!(
        chain.key,
        Digest::sha256_of(root_archive("local")).to_string()
    );
    assert!(!chain.more);
    let results = source.run(&run_request(&op), &events).await.unwrap();
    assert_eq!(hello(&fixture, &results[0]).as_deref(), Some("local"));
    assert_eq!(seen.ids(), ["resolve docker.io/library/busybox:latest"]);
}

#[tokio::test]
async fn what_a_key_was_made_of_is_what_runs_though_the_name_moved() {
    let fixture = Fixture::new();
    fixture.import_hello("a", "old");
    let source = source(&fixture);
    let (_, events) = events();
    let op = op("docker.io/library/a:latest", &[]);
    let key = source.key(&key_request(&op, 0), &events).await.unwrap();
    fixture.import_hello("a", "new");
    let mut request = run_request(&op);
    request.pin = Some(key.pin);
    let results = source.run(&request, &events).await.unwrap();
    assert_eq!(hello(&fixture, &results[0]).as_deref(), Some("old"));
}

#[tokio::test]
async fn a_registrys_layers_come_only_when_they_are_needed() {
    let registry = Registry::start();
    let digest = push(&registry, "a/b", "remote", None).await;
    let fixture = Fixture::new();
    let source = source(&fixture);
    let (seen, events) = events();
    let name = format!("{}/a/b:1", registry.address);
    let op = op(&name, &[]);
    let key = source.key(&key_request(&op, 0), &events).await.unwrap();
    // Nobody has looked yet whether its layers are what its configuration says.
    assert!(!key.more);
    let mut request = run_request(&op);
    request.pin = Some(key.pin.clone());
    let results = source.run(&request, &events).await.unwrap();
    let layer = Digest::sha256_of(root_archive("remote"));
    assert!(!fixture.images.content().contains(&layer));
    assert_eq!(hello(&fixture, &results[0]), None);
    source.ensure(&results[0], &[], &events).await.unwrap();
    assert_eq!(hello(&fixture, &results[0]).as_deref(), Some("remote"));
    let ids = seen.ids();
    assert!(ids.contains(&layer.to_string()), "{ids:?}");
    assert!(ids.contains(&format!("extracting {layer}")), "{ids:?}");
    assert!(
        source
            .key(&key_request(&op, 0), &events)
            .await
            .unwrap()
            .more
    );

    let query = ImageQuery {
        reference: name.clone(),
        platform: None,
        mode: ResolveMode::Default,
        log_name: String::new(),
        oci_layout_store: None,
    };
    assert_eq!(source.resolve(&query, &[]).await.unwrap().digest, digest);
    // A digest that this repository gave before needs no network.
    drop(registry);
    let pinned = ImageQuery {
        reference: format!("{name}@{digest}"),
        ..query.clone()
    };
    assert_eq!(source.resolve(&pinned, &[]).await.unwrap().digest, digest);
    assert!(source.resolve(&query, &[]).await.is_err());
}

// T-A21: a configuration with a foreign diff id, and two images that share a blob and lie
// about its diff id.
#[tokio::test]
async fn an_image_that_lies_about_a_diff_id_serves_nobody() {
    let registry = Registry::start();
    let good = Digest::sha256_of(root_archive("good"));
    push(&registry, "liar", "evil", Some(good.clone())).await;
    push(
        &registry,
        "other-liar",
        "evil",
        Some(Digest::sha256_of("x")),
    )
    .await;
    push(&registry, "honest", "good", None).await;
    let fixture = Fixture::new();
    let source = source(&fixture);
    let (_, events) = events();
    let named = |name: &str| op(&format!("{}/{name}:1", registry.address), &[]);
    for liar in ["liar", "other-liar"] {
        let op = named(liar);
        assert!(
            !source
                .key(&key_request(&op, 0), &events)
                .await
                .unwrap()
                .more
        );
        let result = source.run(&run_request(&op), &events).await.unwrap();
        let error = source.ensure(&result[0], &[], &events).await.unwrap_err();
        assert!(error.message.contains("its image says"), "{error}");
        assert_eq!(hello(&fixture, &result[0]), None);
    }
    let op = named("honest");
    assert!(
        !source
            .key(&key_request(&op, 0), &events)
            .await
            .unwrap()
            .more
    );
    let result = source.run(&run_request(&op), &events).await.unwrap();
    source.ensure(&result[0], &[], &events).await.unwrap();
    assert_eq!(hello(&fixture, &result[0]).as_deref(), Some("good"));
    // And now the liar gets what its configuration says, which is the honest layer.
    let op = named("liar");
    let result = source.run(&run_request(&op), &events).await.unwrap();
    assert_eq!(hello(&fixture, &result[0]).as_deref(), Some("good"));
}

#[tokio::test]
async fn checksum_limit_and_absence_are_checked() {
    let registry = Registry::start();
    let digest = push(&registry, "a", "x", None).await;
    let fixture = Fixture::new();
    let source = source(&fixture);
    let (_, events) = events();
    let name = format!("{}/a:1", registry.address);
    let ask = |name: &str, attributes: &[(&str, &str)]| {
        let request = key_request(&op(name, attributes), 0);
        let (source, events) = (source.clone(), events.clone());
        async move { source.key(&request, &events).await }
    };
    ask(&name, &[("image.checksum", digest.as_str())])
        .await
        .unwrap();
    let wrong = Digest::sha256_of("wrong");
    let error = ask(&name, &[("image.checksum", wrong.as_str())])
        .await
        .unwrap_err();
    assert!(
        error.message.contains("does not match expected checksum"),
        "{error}"
    );
    ask(&name, &[("image.layerlimit", "1")]).await.unwrap();
    let error = ask(&name, &[("image.layerlimit", "2")]).await.unwrap_err();
    assert!(
        error.message.contains("layer limit 2 is greater"),
        "{error}"
    );
    let error = ask(&name.replace(":1", ":2"), &[]).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::NotFound, "{error}");
    let local = reference("only-local");
    fixture.images.tag(&local, &local, 0).unwrap_err();
}
