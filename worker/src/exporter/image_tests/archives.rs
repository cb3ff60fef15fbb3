use super::bench::{Bench, single, succeed};
use cooper_core::ports::ExportRequest;
use cooper_proto::Digest;
use serde_json::Value;

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
