use super::bench::{Bench, single};
use crate::images::tests::reference;
use cooper_core::model::FailureKind;
use cooper_proto::platform;

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
