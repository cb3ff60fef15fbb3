use std::path::Path;
use std::process::Command;

use cooper_core::model::FailureKind;

use super::bench::{Bench, Origin, Server, op};

/// A new ssh key; returns its public line.
fn ssh_key(path: &Path) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("openssh-client is installed").success());
    std::fs::read_to_string(path.with_extension("pub")).unwrap()
}

#[tokio::test]
async fn commits_and_tags_are_taken_by_their_signatures() {
    let (origin, folder) = (Origin::new("sha1"), tempfile::tempdir().unwrap());
    let (mine, theirs) = (folder.path().join("mine"), folder.path().join("theirs"));
    let (my_line, their_line) = (ssh_key(&mine), ssh_key(&theirs));
    let signing = |key: &Path| format!("user.signingkey={}", key.display());
    let signed = |key: &Path, arguments: &[&str]| {
        let key = signing(key);
        let mut all = vec!["-c", "gpg.format=ssh", "-c", key.as_str()];
        all.extend(arguments);
        origin.git(&all)
    };
    origin.git(&["tag", "-a", "-m", "t", "plain"]);
    signed(
        &mine,
        &["commit", "-q", "-S", "--allow-empty", "-m", "by me"],
    );
    origin.git(&["tag", "light"]);
    origin.git(&["tag", "-a", "-m", "t", "unsigned"]);
    signed(&theirs, &["tag", "-s", "-m", "t", "by-them"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let require = ("git.sig.requiresignedtag", "true");
    let ignore = ("git.sig.ignoresignedtag", "true");
    for (tag, key, more, words) in [
        ("plain", &my_line, None, Some("git object is not signed")),
        ("light", &my_line, None, None),
        ("light", &their_line, None, Some("unknown key")),
        (
            "light",
            &my_line,
            Some(require),
            Some("no signed tag found"),
        ),
        ("unsigned", &my_line, None, None),
        (
            "unsigned",
            &my_line,
            Some(require),
            Some("git object is not signed"),
        ),
        ("by-them", &their_line, None, None),
        ("by-them", &their_line, Some(require), None),
        // The commit counts when the tag's signature does not.
        ("by-them", &my_line, None, None),
        ("by-them", &my_line, Some(require), Some("unknown key")),
        ("by-them", &their_line, Some(ignore), Some("unknown key")),
        ("by-them", &my_line, Some(ignore), None),
        (
            "by-them",
            &String::from("no key"),
            None,
            Some("failed to parse ssh public key"),
        ),
    ] {
        let mut attributes = vec![("git.sig.pubkey", key.as_str())];
        attributes.extend(more);
        let source = op(&url, &format!("#{tag}"), &attributes);
        // Before anything of it is reused, and before it is run without a key.
        for asked in [
            bench.key(&source, None).await.map(drop),
            bench.run(&source, None).await.map(drop),
        ] {
            match (asked, words) {
                (Ok(()), None) => {}
                (Err(failure), Some(words)) => {
                    assert!(failure.message.contains(words), "{tag} {words}: {failure}");
                    assert_ne!(failure.kind, FailureKind::Infrastructure);
                }
                (asked, _) => panic!("{tag} {more:?}: {asked:?}"),
            }
        }
    }
}
