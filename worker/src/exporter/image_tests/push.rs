use super::bench::{Bench, single, succeed};
use crate::distribution::Access;
use crate::distribution::Anonymous;
use crate::distribution::Distribution;
use crate::distribution::Keychain;
use crate::distribution::Repository;
use crate::distribution::RepositoryName;
use crate::distribution::tests::quick;
use crate::distribution::tests::registry::Registry;
use crate::images::tests::reference;
use bytes::Bytes;
use cooper_core::model::ResultId;
use cooper_core::ports::Events;
use cooper_core::ports::ExportPart;
use cooper_core::ports::ExportRequest;
use cooper_proto::Digest;
use cooper_proto::oci::Index;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

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

// RT-17: the registry refused a blob that went bad on our disk, again and again.
#[tokio::test]
async fn a_blob_that_went_bad_fails_one_push_and_is_made_again_for_the_next() {
    let bench = Bench::new();
    let registry = Registry::start();
    let result = bench.result();
    let name = format!("{}/healed:1", registry.address);
    let push = [("name", name.as_str()), ("push", "true")];
    bench
        .export("image", &push[..1], single(&result))
        .await
        .unwrap();
    let wanted = crate::layer::Wanted::default();
    let layers = bench.fixture.layers.archives(&result, wanted).unwrap();
    let path = bench
        .fixture
        .images
        .content()
        .blob_path(&layers[0].blob.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let failure = bench.export("image", &push, single(&result)).await;
    let message = failure.unwrap_err().message;
    assert!(message.contains("was damaged on disk"), "{message}");
    bench.export("image", &push, single(&result)).await.unwrap();
    assert!(repository(&registry, "healed").manifest("1").await.is_ok());
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
