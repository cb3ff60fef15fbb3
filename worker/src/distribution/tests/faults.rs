use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use cooper_proto::Digest;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    anonymous, distribution,
    fake::{Asked, Fake, Reply},
    name, store,
};
use crate::distribution::{Access, DistributionError};

/// Pseudo-random bytes that do not compress and never repeat.
fn bytes(length: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(7);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes[..]);
    bytes
}

/// Serves a blob and honours ranges.
fn serve_blob(asked: &Asked, blob: &[u8]) -> Reply {
    match asked.headers.get("range") {
        None => Reply::new(200).body(blob),
        Some(range) => {
            let start: usize = range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap();
            Reply::new(206)
                .header(
                    "content-range",
                    format!("bytes {start}-{}/{}", blob.len() - 1, blob.len()),
                )
                .body(&blob[start..])
        }
    }
}

// RT-20: a third of all answers are faults of some kind.
#[tokio::test]
async fn a_blob_arrives_whole_through_a_registry_that_fails_a_third_of_the_time() {
    for seed in 0..20 {
        let blob = bytes(100_000);
        let digest = Digest::sha256_of(&blob);
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let served = blob.clone();
        let registry = Fake::serve(move |asked| {
            let mut random = random.lock().unwrap();
            if !random.random_bool(0.3) {
                return serve_blob(asked, &served);
            }
            match random.random_range(0..8) {
                0 => Reply::new(429).header("retry-after", "0"),
                1 => Reply::new(500),
                2 => Reply::new(502),
                3 => Reply::new(503),
                4 => Reply::new(504),
                5 => Reply::reset(),
                _ => serve_blob(asked, &served).cut(random.random_range(0..50_000)),
            }
        })
        .await;
        let repository = distribution()
            .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
            .unwrap();
        let (_dir, store) = store();
        let mut seen = 0;
        repository
            .pull_blob(&store, (&digest, 100_000), &[], |at| seen = at)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(seen, 100_000);
        assert_eq!(store.read(&digest, 100_000).unwrap(), blob);
        assert!(registry.asked().len() < 40, "seed {seed}");
    }
}

#[tokio::test]
async fn what_breaks_off_is_resumed_and_not_begun_again() {
    let blob = bytes(30_000);
    let digest = Digest::sha256_of(&blob);
    let served = blob.clone();
    let registry = Fake::serve(move |asked| serve_blob(asked, &served).cut(10_000)).await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let (_dir, store) = store();
    repository
        .pull_blob(&store, (&digest, 30_000), &[], |_| ())
        .await
        .unwrap();
    let ranges: Vec<_> = registry
        .asked()
        .iter()
        .map(|it| it.headers.get("range").cloned())
        .collect();
    assert_eq!(
        ranges,
        [
            None,
            Some("bytes=10000-".into()),
            Some("bytes=20000-".into())
        ]
    );
}

#[tokio::test]
async fn a_host_without_ranges_is_read_from_the_start() {
    let blob = bytes(30_000);
    let digest = Digest::sha256_of(&blob);
    let round = AtomicUsize::new(0);
    let served = blob.clone();
    let registry = Fake::serve(move |_| {
        let reply = Reply::new(200).body(served.clone());
        match round.fetch_add(1, Ordering::Relaxed) {
            0 => reply.cut(12_345),
            _ => reply,
        }
    })
    .await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let (_dir, store) = store();
    repository
        .pull_blob(&store, (&digest, 30_000), &[], |_| ())
        .await
        .unwrap();
    assert_eq!(store.read(&digest, 30_000).unwrap(), blob);
}

#[tokio::test]
async fn attempts_are_bounded() {
    let registry = Fake::serve(|_| Reply::new(503).body("later")).await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let error = repository.manifest("latest").await.unwrap_err().to_string();
    assert!(error.contains("503") && error.contains("later"), "{error}");
    assert_eq!(registry.asked().len(), 8);
    // A blob that never gets further is given up too.
    let stuck = Fake::serve(|_| Reply::new(200).body("hello").cut(0)).await;
    let repository = distribution()
        .repository(&name(&stuck.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let (_dir, store) = store();
    let result = repository
        .pull_blob(&store, (&Digest::sha256_of("hello"), 5), &[], |_| ())
        .await;
    assert!(result.is_err());
    assert_eq!(stuck.asked().len(), 8);
}

// RT-20: 413 and 403 fail fast with the body shown.
#[tokio::test]
async fn what_will_not_pass_fails_at_once_in_the_registrys_words() {
    for status in [400, 403, 404, 405, 413] {
        let registry = Fake::serve(move |_| {
            Reply::new(status)
                .body(r#"{"errors":[{"code":"DENIED","message":"quota of me exceeded"}]}"#)
        })
        .await;
        let repository = distribution()
            .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
            .unwrap();
        let error = repository.manifest("latest").await.unwrap_err().to_string();
        assert!(error.contains(&status.to_string()), "{error}");
        assert!(error.contains("quota of me exceeded"), "{error}");
        assert_eq!(registry.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_long_retry_after_is_an_error_and_a_short_one_is_obeyed() {
    let registry = Fake::serve(|_| Reply::new(429).header("retry-after", "3600")).await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    assert!(repository.manifest("latest").await.is_err());
    assert_eq!(registry.asked().len(), 1);
    let round = AtomicUsize::new(0);
    let registry = Fake::serve(move |_| match round.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(429).header("retry-after", "1"),
        _ => Reply::new(200).body("{}"),
    })
    .await;
    let repository = distribution()
        .repository(&name(&registry.address, "a"), Access::Pull, &anonymous())
        .unwrap();
    let before = std::time::Instant::now();
    repository.manifest("latest").await.unwrap();
    assert!(before.elapsed() >= std::time::Duration::from_secs(1));
}

/// A registry's upload API, in memory, that may lose connections.
#[derive(Default)]
struct Uploads {
    open: Option<Vec<u8>>,
    done: Vec<(String, Vec<u8>)>,
}

fn take_upload(asked: &Asked, uploads: &Mutex<Uploads>) -> Reply {
    let mut uploads = uploads.lock().unwrap();
    let at = |length: usize| format!("0-{}", length.saturating_sub(1));
    match asked.method.as_str() {
        "HEAD" => Reply::new(404),
        "POST" => {
            uploads.open = Some(Vec::new());
            Reply::new(202).header("location", "/upload/1?state=x")
        }
        "DELETE" => {
            uploads.open = None;
            Reply::new(204)
        }
        _ if uploads.open.is_none() => Reply::new(404),
        "GET" => {
            let length = uploads.open.as_ref().unwrap().len();
            Reply::new(204)
                .header("range", at(length))
                .header("location", "/upload/1?state=y")
        }
        "PATCH" => {
            let open = uploads.open.as_mut().unwrap();
            let start = asked.headers["content-range"].split('-').next().unwrap();
            if start.parse::<usize>().unwrap() != open.len() {
                return Reply::new(416);
            }
            open.extend(&asked.body);
            Reply::new(202)
                .header("range", at(open.len()))
                .header("location", "/upload/1?state=z")
        }
        "PUT" => {
            let mut bytes = uploads.open.take().unwrap();
            bytes.extend(&asked.body);
            let digest = asked.target.split("digest=").nth(1).unwrap().to_owned();
            uploads.done.push((digest.replace("%3A", ":"), bytes));
            Reply::new(201)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_upload_survives_faults_and_sends_no_piece_twice_that_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    let blob = bytes(100_000);
    std::fs::write(&path, &blob).unwrap();
    let digest = Digest::sha256_of(&blob);
    for seed in 0..10 {
        let uploads = Arc::new(Mutex::new(Uploads::default()));
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let state = Arc::clone(&uploads);
        let registry = Fake::serve(move |asked| {
            let mut random = random.lock().unwrap();
            match random.random_range(0..10) {
                0 => Reply::new(503),
                1 => Reply::reset(),
                // The piece arrived and the answer did not.
                2 if asked.method == "PATCH" => {
                    take_upload(asked, &state);
                    Reply::reset()
                }
                _ => take_upload(asked, &state),
            }
        })
        .await;
        let mut config = super::quick();
        config.upload_piece_bytes = 9_000;
        config.retry.attempts = 20;
        let repository = crate::distribution::Distribution::new(config)
            .unwrap()
            .repository(&name(&registry.address, "a"), Access::Push, &anonymous())
            .unwrap();
        let file = crate::distribution::BlobFile {
            digest: digest.clone(),
            size: 100_000,
            path: path.clone(),
        };
        repository
            .push_blob(&file, &[], |_| ())
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let done = uploads.lock().unwrap();
        assert_eq!(done.done.last().unwrap().0, digest.to_string());
        assert!(done.done.last().unwrap().1 == blob, "seed {seed}");
    }
}

#[tokio::test]
async fn a_certificate_or_name_that_is_wrong_is_not_tried_again() {
    let error = distribution()
        .repository(&name("registry.invalid", "a"), Access::Pull, &anonymous())
        .unwrap()
        .manifest("latest")
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            DistributionError::Transport {
                retryable: false,
                ..
            }
        ),
        "{error:?}"
    );
}
