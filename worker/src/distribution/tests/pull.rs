use std::collections::BTreeMap;

use cooper_proto::Digest;

use super::{
    anonymous, distribution,
    fake::{Fake, Reply},
    name, quick, store,
};
use crate::distribution::{
    Access, Distribution, DistributionConfig, DistributionError, RegistryConfig,
};

fn mirrored(registry: &str, mirrors: &[String]) -> Distribution {
    let settings = RegistryConfig {
        mirrors: mirrors.to_vec(),
        ..RegistryConfig::default()
    };
    Distribution::new(DistributionConfig {
        registries: BTreeMap::from([(registry.to_owned(), settings)]),
        ..quick()
    })
    .unwrap()
}

// T-A20: other bytes, truncated, longer, the right size with the wrong hash.
#[tokio::test]
async fn bytes_that_are_not_the_blob_never_enter_the_store() {
    let digest = Digest::sha256_of("hello");
    for body in ["", "hell", "hello!", "HELLO"] {
        let registry = Fake::serve(move |_| Reply::new(200).body(body)).await;
        let repository = distribution()
            .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
            .unwrap();
        let (_dir, store) = store();
        let result = repository
            .pull_blob(&store, (&digest, 5), &[], |_| ())
            .await;
        assert!(result.is_err(), "{body:?}");
        assert_eq!(store.list().unwrap(), [], "{body:?}");
    }
}

#[tokio::test]
async fn a_manifest_must_have_the_digest_that_it_was_asked_by() {
    let registry = Fake::serve(|_| Reply::new(200).body("{}")).await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let right = Digest::sha256_of("{}");
    assert_eq!(
        repository.manifest(right.as_str()).await.unwrap().digest,
        right
    );
    let wrong = Digest::sha256_of("{ }");
    let error = repository.manifest(wrong.as_str()).await.unwrap_err();
    assert!(matches!(error, DistributionError::Digest { .. }), "{error}");
    assert_eq!(repository.manifest("tag").await.unwrap().digest, right);
}

// T-C8
#[tokio::test]
async fn a_huge_manifest_is_refused_before_it_fills_memory() {
    let announced =
        Fake::serve(|_| Reply::new(200).header("content-length", (1_u64 << 30).to_string())).await;
    let sent = Fake::serve(|_| Reply::new(200).body(vec![b' '; 5 << 20])).await;
    for registry in [announced, sent] {
        let repository = distribution()
            .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
            .unwrap();
        let error = repository.manifest("latest").await.unwrap_err();
        assert!(error.to_string().contains("4194304"), "{error}");
    }
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let upstream = Fake::serve(|_| Reply::new(200).body("{}")).await;
    let empty = Fake::serve(|_| Reply::new(404)).await;
    let broken = Fake::serve(|_| Reply::new(403)).await;
    let lying = Fake::serve(|_| Reply::new(200).body("lies")).await;
    let mirrors = [
        format!("{}/cache", empty.address),
        broken.address.clone(),
        lying.address.clone(),
    ];
    let distribution = mirrored(&upstream.address, &mirrors);
    let repository = distribution
        .repository(&name(&upstream.address, "a/b"), Access::Pull, &anonymous())
        .unwrap();
    let digest = Digest::sha256_of("{}");
    let manifest = repository.manifest(digest.as_str()).await.unwrap();
    assert_eq!(&manifest.bytes[..], b"{}");
    let asked = empty.asked();
    assert!(
        asked[0]
            .target
            .starts_with("/v2/cache/a/b/manifests/sha256:"),
        "{asked:?}"
    );
    assert!(asked[0].target.contains("?ns=127.0.0.1"), "{asked:?}");
    assert_eq!(broken.asked().len(), 1);
    assert_eq!(lying.asked().len(), 1);
    assert!(!upstream.asked()[0].target.contains("ns="));

    // Blobs too: wrong bytes of a mirror are not the end.
    let (_dir, store) = store();
    repository
        .pull_blob(&store, (&digest, 2), &[], |_| ())
        .await
        .unwrap();
    // And nothing is ever written to a mirror.
    let push = distribution
        .repository(&name(&upstream.address, "a/b"), Access::Push, &anonymous())
        .unwrap();
    push.has_blob(&digest).await.unwrap();
    assert_eq!(broken.asked().len(), 2);
}

#[tokio::test]
async fn https_of_a_registry_with_its_own_authority_is_verified() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cert = dir.path().join("ca.pem");
    let key = dir.path().join("key.pem");
    std::fs::write(&cert, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let registry = super::registry::Registry::start_with(&format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        cert.display(),
        key.display()
    ));
    let host = registry.address.replace("127.0.0.1", "localhost");
    let ask = |settings: RegistryConfig| {
        let config = DistributionConfig {
            registries: BTreeMap::from([(host.clone(), settings)]),
            ..quick()
        };
        let repository = Distribution::new(config)
            .unwrap()
            .repository(&name(&host, "a"), Access::Push, &anonymous())
            .unwrap();
        async move { repository.has_blob(&Digest::sha256_of("x")).await }
    };
    let settings = |ca: bool, insecure: bool| RegistryConfig {
        http: Some(false),
        ca: if ca { vec![cert.clone()] } else { Vec::new() },
        insecure,
        ..RegistryConfig::default()
    };
    assert!(!ask(settings(true, false)).await.unwrap());
    assert!(!ask(settings(false, true)).await.unwrap());
    let error = ask(settings(false, false)).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    // `registry.insecure` finds out by itself which of both it is.
    let plain = super::registry::Registry::start();
    for host in [&host, &plain.address] {
        let repository = distribution()
            .insecure_repository(&name(host, "a"), &anonymous())
            .unwrap();
        let digest = Digest::sha256_of("x");
        assert!(!repository.has_blob(&digest).await.unwrap(), "{host}");
    }
}
