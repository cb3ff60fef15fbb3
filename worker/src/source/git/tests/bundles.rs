use std::fs;
use std::path::Path;

use cooper_core::model::{FailureKind, Material, Pin};
use cooper_proto::Digest;

use super::bench::{Bench, Client, Origin, op, read};
use crate::source::git_material;

/// Nobody listens there.
const NOWHERE: &str = "git://127.0.0.1:1/r";

fn layout(folder: &Path) -> Client {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    Client {
        layout: Some(folder.to_owned()),
        ..Client::default()
    }
}

/// Puts bytes under a name that may not be theirs, and says where they are.
fn put(folder: &Path, name: &Digest, bytes: &[u8]) -> String {
    fs::write(folder.join("blobs/sha256").join(name.hex()), bytes).unwrap();
    format!("oci-layout+blob://store@{name}")
}

fn bundle(origin: &Origin) -> Vec<u8> {
    let path = origin.root().join("bundle");
    origin.git(&["bundle", "create", path.to_str().unwrap(), "--all"]);
    fs::read(path).unwrap()
}

#[tokio::test]
async fn a_commit_of_a_bundle_needs_no_server() {
    for format in ["sha1", "sha256"] {
        let (origin, folder) = (Origin::new(format), tempfile::tempdir().unwrap());
        let first = origin.git(&["rev-parse", "HEAD"]);
        let second = origin.commit(&[("file", "two")], "second");
        let client = layout(folder.path());
        let bytes = bundle(&origin);
        let place = put(folder.path(), &Digest::sha256_of(&bytes), &bytes);
        let bench = Bench::with("git".into(), client);
        for (fragment, commit, content) in [
            ("", &second, "two"),
            ("#master", &second, "two"),
            ("#master", &first, "one"),
        ] {
            let attributes = [
                ("git.bundle", place.as_str()),
                ("git.checksum", commit.as_str()),
            ];
            let (key, root) = bench.fetch(&op(NOWHERE, fragment, &attributes)).await;
            assert_eq!(&key, commit);
            assert_eq!(read(&root, "file").as_deref(), Some(content));
        }
        let kept = [
            ("git.bundle", place.as_str()),
            ("git.checksum", second.as_str()),
            ("git.keepgitdir", "true"),
        ];
        let (_, root) = bench.fetch(&op(NOWHERE, "#master", &kept)).await;
        let branch = read(&root, ".git/refs/heads/master").unwrap();
        assert_eq!(branch.trim(), second);
    }
}

#[test]
fn a_bundle_is_listed_beside_its_repository_whose_branch_goes_by_its_short_name() {
    let (commit, digest) = ("0".repeat(40), Digest::sha256_of("bundle"));
    let place = format!("oci-layout+blob://store@{digest}");
    let attributes = [
        ("git.bundle", place.as_str()),
        ("git.checksum", commit.as_str()),
    ];
    let pin = Pin([("object".to_owned(), commit.clone())].into());
    let material = git_material(&op(NOWHERE, "#master:sub", &attributes), &pin);
    let Some(Material::Git {
        url,
        bundle: Some(bundle),
        ..
    }) = material
    else {
        panic!("{material:?}");
    };
    assert!(url.ends_with("#master"), "{url}");
    assert!(bundle.local && bundle.digest == digest && bundle.reference.ends_with("store"));
}

#[tokio::test]
async fn a_bundle_that_is_written_can_be_read() {
    let (origin, folder) = (Origin::new("sha1"), tempfile::tempdir().unwrap());
    let commit = origin.git(&["rev-parse", "HEAD"]);
    let server = super::bench::Server::git(origin.root()).await;
    let bench = Bench::with("git".into(), layout(folder.path()));
    let url = format!("git://{}/r", server.address);
    let written = [
        ("git.checkoutbundle", "true"),
        ("git.checksum", commit.as_str()),
    ];
    let (_, root) = bench.fetch(&op(&url, "#master", &written)).await;
    let bytes = root.read_small(Path::new("bundle"), 1 << 20).unwrap();
    let place = put(folder.path(), &Digest::sha256_of(&bytes), &bytes);
    let attributes = [
        ("git.bundle", place.as_str()),
        ("git.checksum", commit.as_str()),
    ];
    let (_, root) = bench.fetch(&op(NOWHERE, "#master", &attributes)).await;
    assert_eq!(read(&root, "file").as_deref(), Some("one"));
}

// T-A20
#[tokio::test]
async fn what_is_not_the_bundle_that_was_named_is_not_used() {
    let (origin, folder) = (Origin::new("sha1"), tempfile::tempdir().unwrap());
    let commit = origin.git(&["rev-parse", "HEAD"]);
    let client = layout(folder.path());
    let bytes = bundle(&origin);
    let name = Digest::sha256_of(&bytes);
    let bench = Bench::with("git".into(), client);
    let text = b"no bundle at all".as_slice();
    let other = "0a".repeat(20);
    for (name, bytes, commit, words) in [
        (
            &name,
            &bytes[..bytes.len() - 1],
            &commit,
            "expected checksum",
        ),
        (
            &name,
            &[&bytes[..], b"x"].concat()[..],
            &commit,
            "expected checksum",
        ),
        (&name, text, &commit, "expected checksum"),
        (
            &Digest::sha256_of(text),
            text,
            &commit,
            "failed to import git bundle",
        ),
        (&name, &bytes[..], &other, "not found in bundle"),
    ] {
        let place = put(folder.path(), name, bytes);
        let attributes = [
            ("git.bundle", place.as_str()),
            ("git.checksum", commit.as_str()),
        ];
        let source = op(NOWHERE, "", &attributes);
        let key = bench.key(&source, None).await.unwrap();
        let failure = bench.run(&source, Some(key.pin)).await.unwrap_err();
        assert!(failure.message.contains(words), "{words}: {failure}");
        assert!(bench.snapshots.meta().results().unwrap().is_empty());
    }
    let absent = format!("oci-layout+blob://store@{}", Digest::sha256_of("absent"));
    let attributes = [
        ("git.bundle", absent.as_str()),
        ("git.checksum", commit.as_str()),
    ];
    let failure = bench
        .run(&op(NOWHERE, "", &attributes), None)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}
