use std::path::Path;

use super::bench::{Bench, Origin, Server, op, read};
use crate::confine::Last;
use crate::gc::Room;

fn names(root: &crate::confine::Root, path: &str) -> Vec<String> {
    let entries = root.read_dir(Path::new(path)).unwrap();
    let mut names: Vec<String> = entries
        .into_iter()
        .map(|it| it.name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn references_of_all_kinds_lead_to_their_files() {
    for format in ["sha1", "sha256"] {
        let origin = Origin::new(format);
        let first = origin.git(&["rev-parse", "HEAD"]);
        origin.git(&["tag", "light"]);
        origin.git(&["tag", "-a", "-m", "t", "heavy"]);
        let tag = origin.git(&["rev-parse", "heavy"]);
        let second = origin.commit(&[("file", "two")], "second");
        let (server, bench) = (Server::git(origin.root()).await, Bench::new());
        let url = format!("git://{}/r", server.address);
        for (fragment, commit, content) in [
            ("", &second, "two"),
            ("#master", &second, "two"),
            ("#refs/heads/master", &second, "two"),
            ("#light", &first, "one"),
            ("#heavy", &first, "one"),
            (&format!("#{first}"), &first, "one"),
            (&format!("#{second}"), &second, "two"),
        ] {
            let (key, root) = bench.fetch(&op(&url, fragment, &[])).await;
            assert_eq!(&key, commit, "{fragment}");
            assert_eq!(read(&root, "file").as_deref(), Some(content), "{fragment}");
            assert_eq!(names(&root, "/"), ["file", "sub"]);
        }
        let (key, root) = bench.fetch(&op(&url, "#master:sub", &[])).await;
        assert_eq!(key, format!("{second}:sub"));
        assert_eq!(names(&root, "/"), ["inner"]);
        let meta = bench.meta(&op(&url, "#heavy", &[]), "b", true).await;
        assert_eq!((&meta.checksum, &meta.commit_checksum), (&tag, &first));
        assert_eq!(meta.reference, "refs/tags/heavy");
        assert!(meta.tag_object.starts_with(b"object "));
        assert!(meta.commit_object.starts_with(b"tree "));
        let missing = bench.key(&op(&url, "#nowhere", &[]), None).await;
        let told = missing.unwrap_err().message;
        assert!(
            told.starts_with("repository does not contain ref nowhere"),
            "{told}"
        );
    }
}

// T-A26
#[tokio::test]
async fn sources_of_one_build_that_want_different_things_share_what_the_server_said() {
    let origin = Origin::new("sha1");
    let commit = origin.git(&["rev-parse", "HEAD"]);
    origin.git(&["tag", "-a", "-m", "t", "v1"]);
    let tag = origin.git(&["rev-parse", "v1"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let plain = op(&url, "#v1", &[]);
    let kept = op(&url, "#v1", &[("git.keepgitdir", "true")]);
    let (one, other) = tokio::join!(bench.meta(&plain, "b", false), bench.key(&kept, Some("b")));
    assert_eq!((&one.checksum, &one.commit_checksum), (&tag, &commit));
    assert_eq!(other.unwrap().key, format!("{tag}.git#refs/tags/v1"));
    assert_eq!(bench.meta(&plain, "b", true).await.commit_checksum, commit);
    // The build goes on seeing the tag where it was.
    origin.commit(&[("file", "two")], "second");
    origin.git(&["tag", "-f", "v1"]);
    assert_eq!(bench.key(&plain, Some("b")).await.unwrap().key, commit);
    assert_ne!(bench.key(&plain, Some("c")).await.unwrap().key, commit);
}

#[tokio::test]
async fn a_kept_repository_is_of_one_commit_and_says_where_it_came_from() {
    let origin = Origin::new("sha1");
    let commit = origin.commit(&[("file", "two")], "second");
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let kept = op(&url, "#master", &[("git.keepgitdir", "true")]);
    let (key, root) = bench.fetch(&kept).await;
    assert_eq!(key, format!("{commit}.git#refs/heads/master"));
    assert_eq!(read(&root, ".git/HEAD").unwrap().trim(), commit);
    let branch = read(&root, ".git/refs/heads/master").unwrap();
    assert_eq!(branch.trim(), commit);
    let config = read(&root, ".git/config").unwrap();
    assert!(config.contains(&format!("url = {url}")), "{config}");
    assert!(!config.contains("file://"), "{config}");
    assert_eq!(read(&root, ".git/FETCH_HEAD"), None);
    assert_eq!(read(&root, ".git/shallow").unwrap().trim(), commit);
}

#[tokio::test]
async fn a_reference_that_moves_after_the_key_changes_nothing() {
    let origin = Origin::new("sha1");
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let source = op(&format!("git://{}/r", server.address), "#master", &[]);
    let key = bench.key(&source, None).await.unwrap();
    origin.commit(&[("file", "two")], "second");
    let root = bench.run(&source, Some(key.pin)).await.unwrap();
    assert_eq!(read(&root, "file").as_deref(), Some("one"));
}

#[tokio::test]
async fn expected_commits_are_kept_to() {
    let origin = Origin::new("sha1");
    let commit = origin.git(&["rev-parse", "HEAD"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let with = |fragment: &str, checksum: &str, by_commit| {
        let mut attributes = vec![("git.checksum", checksum)];
        if by_commit {
            attributes.push(("git.fetchbycommit", "true"));
        }
        op(&url, fragment, &attributes)
    };
    assert_eq!(
        bench.fetch(&with("#master", &commit[..8], false)).await.0,
        commit
    );
    assert_eq!(bench.fetch(&with("", &commit, true)).await.0, commit);
    assert_eq!(bench.fetch(&with("#master", &commit, true)).await.0, commit);
    let wrong = bench.key(&with("#master", "0123", false), None).await;
    assert_eq!(
        wrong.unwrap_err().message,
        format!("expected checksum to match 0123, got {commit}")
    );
    let nowhere = with("", &"0".repeat(40), true);
    let key = bench.key(&nowhere, None).await.unwrap();
    assert!(bench.run(&nowhere, Some(key.pin)).await.is_err());
}

#[tokio::test]
async fn files_have_the_commit_s_time_when_asked_for() {
    let origin = Origin::new("sha1");
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let (key, root) = bench.fetch(&op(&url, "", &[("git.mtime", "commit")])).await;
    assert!(key.ends_with("(mtime=commit)"));
    for path in ["file", "sub", "sub/inner", "."] {
        let metadata = root.metadata(Path::new(path), Last::NoFollow).unwrap();
        assert_eq!(metadata.mtime.seconds, 1_000_000_000, "{path}");
    }
    let mode = |path: &str| root.metadata(Path::new(path), Last::NoFollow).unwrap().mode;
    assert_eq!((mode("file") & 0o777, mode("sub") & 0o777), (0o644, 0o755));
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_come_along_unless_they_are_not_wanted() {
    let inner = Origin::new("sha1");
    let served = Server::git(inner.root()).await;
    let origin = Origin::new("sha1");
    let inner_url = format!("git://{}/r", served.address);
    origin.git(&["submodule", "--quiet", "add", &inner_url, "module"]);
    origin.commit(&[], "with a submodule");
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let (_, root) = bench.fetch(&op(&url, "", &[])).await;
    assert_eq!(read(&root, "module/file").as_deref(), Some("one"));
    assert_eq!(
        read(&root, "module/.git"),
        None,
        "it would name our folders"
    );
    let kept = op(&url, "", &[("git.keepgitdir", "true")]);
    let (_, root) = bench.fetch(&kept).await;
    let pointer = read(&root, "module/.git").unwrap();
    assert_eq!(pointer.trim(), "gitdir: ../.git/modules/module");
    let without = op(&url, "", &[("git.skipsubmodules", "true")]);
    let (key, root) = bench.fetch(&without).await;
    assert!(key.ends_with("(skip-submodules)"));
    assert_eq!(names(&root, "module"), Vec::<String>::new());
}

#[tokio::test]
async fn a_bundle_has_the_commit_under_its_reference() {
    let origin = Origin::new("sha1");
    let commit = origin.git(&["rev-parse", "HEAD"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let wanted = op(&url, "#master", &[("git.checkoutbundle", "true")]);
    let (key, root) = bench.fetch(&wanted).await;
    assert_eq!(key, format!("{commit}(bundle)"));
    let bytes = root.read_small(Path::new("bundle"), 1 << 20).unwrap();
    let path = bench.folder.path().join("b");
    std::fs::write(&path, bytes).unwrap();
    let heads = origin.git(&["bundle", "list-heads", path.to_str().unwrap()]);
    assert_eq!(heads, format!("{commit} refs/heads/master"));
}

#[tokio::test]
async fn a_repository_is_counted_and_let_go_and_fetched_again() {
    let origin = Origin::new("sha256");
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let source = op(&format!("git://{}/r", server.address), "#master", &[]);
    bench.fetch(&source).await;
    let room = bench.room();
    let records = room.records().unwrap();
    assert_eq!(records.len(), 1, "{records:?}");
    let record = &records[0];
    assert_eq!(record.record_type, "source.git.checkout");
    let told = format!("shared git repo for git://{}/r", server.address);
    assert_eq!(record.description, told);
    assert!(record.size > 0 && !record.in_use, "{record:?}");
    let ids = [
        record.id.clone(),
        "../state".to_owned(),
        "absent".to_owned(),
    ];
    assert_eq!(room.remove(&ids).unwrap(), std::slice::from_ref(&record.id));
    assert!(room.records().unwrap().is_empty());
    origin.commit(&[("file", "two")], "second");
    let (_, root) = bench.fetch(&source).await;
    assert_eq!(read(&root, "file").as_deref(), Some("two"));
    assert_eq!(room.records().unwrap().len(), 1);
}
