use std::process::Command;

use cooper_proto::Digest;

use super::{anonymous, distribution, name, registry::Registry, store};
use crate::distribution::{Access, BlobFile, Distribution, Pushed, Repository};

fn push_to(distribution: &Distribution, registry: &Registry, path: &str) -> Repository {
    distribution
        .repository(&name(&registry.address, path), Access::Push, &anonymous())
        .unwrap()
}

fn blob(dir: &std::path::Path, bytes: &[u8]) -> BlobFile {
    let digest = Digest::sha256_of(bytes);
    let path = dir.join(digest.hex());
    std::fs::write(&path, bytes).unwrap();
    BlobFile {
        digest,
        size: bytes.len() as u64,
        path,
    }
}

#[tokio::test]
async fn a_real_registry_takes_blobs_whole_in_pieces_and_by_mounting() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let small = blob(dir.path(), b"small");
    let large = blob(dir.path(), &vec![7; 1_000_000]);
    let empty = blob(dir.path(), b"");
    let mut config = super::quick();
    config.upload_piece_bytes = 300_000;
    let distribution = Distribution::new(config).unwrap();
    let first = push_to(&distribution, &registry, "first");
    for file in [&small, &large, &empty] {
        let mut seen = 0;
        let pushed = first.push_blob(file, &[], |at| seen = at).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
        assert_eq!(seen, file.size);
        let pushed = first.push_blob(file, &[], |_| ()).await.unwrap();
        assert_eq!(pushed, Pushed::Existed);
    }
    let sources = [name(&registry.address, "first")];
    let second = push_to(&distribution, &registry, "second").with_sources(&sources);
    let pushed = second.push_blob(&large, &sources, |_| ()).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    let missing = blob(dir.path(), b"other");
    let pushed = second.push_blob(&missing, &sources, |_| ()).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);

    let (_dir, store) = store();
    for file in [&small, &large] {
        let pulled = first
            .pull_blob(&store, (&file.digest, file.size), &[], |_| ())
            .await
            .unwrap();
        assert_eq!(*pulled.digest(), file.digest);
    }
}

#[tokio::test]
async fn a_pushed_manifest_is_what_skopeo_sees() {
    let registry = Registry::start();
    let dir = tempfile::tempdir().unwrap();
    let config = blob(
        dir.path(),
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let distribution = distribution();
    let repository = push_to(&distribution, &registry, "a/b");
    repository.push_blob(&config, &[], |_| ()).await.unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        config.digest, config.size
    );
    assert!(!repository.has_manifest("v1").await.unwrap());
    repository
        .push_manifest("v1", media_type, &manifest.clone().into())
        .await
        .unwrap();
    assert!(repository.has_manifest("v1").await.unwrap());
    let fetched = repository.manifest("v1").await.unwrap();
    assert_eq!(fetched.media_type, media_type);
    assert_eq!(fetched.bytes, manifest);
    let seen = Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/a/b:v1", registry.address))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(seen.stdout).unwrap(), manifest);
    let refused = repository
        .push_manifest(
            "v2",
            media_type,
            &manifest
                .replace(config.digest.hex(), &"0".repeat(64))
                .into(),
        )
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("MANIFEST_BLOB_UNKNOWN"),
        "{refused}"
    );
}
