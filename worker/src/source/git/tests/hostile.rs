use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::bench::{Bench, Client, Origin, Server, git, op, read};

fn holds(folder: &std::path::Path, text: &str) -> Vec<u8> {
    let found = Command::new("grep")
        .args(["-rlai", text])
        .arg(folder)
        .output();
    found.unwrap().stdout
}

// T-A2
#[tokio::test]
async fn passwords_reach_the_server_and_nothing_else() {
    let origin = Origin::new("sha1");
    // name:CANARY, x-access-token:CANARY
    for (authorization, name, secrets) in [
        ("basic bmFtZTpDQU5BUlk=", "name:CANARY@", vec![]),
        (
            "basic eC1hY2Nlc3MtdG9rZW46Q0FOQVJZ",
            "",
            vec![("T", "CANARY")],
        ),
        (
            "Authorization: CANARY",
            "",
            vec![("H", "CANARY"), ("T", "other")],
        ),
        (
            "Authorization: CANARY",
            "",
            vec![("H.127.0.0.1", "CANARY"), ("H", "other")],
        ),
    ] {
        let server = Server::web(origin.root(), authorization).await;
        let host = server.address.split(':').next().unwrap();
        let secrets = secrets.into_iter().map(|(id, value)| {
            let id = id.replace(host, &server.address);
            (id, value.to_owned())
        });
        let client = Client {
            secrets: secrets.collect(),
            ..Client::default()
        };
        let bench = Bench::with("git".into(), client);
        let url = format!("http://{name}{}/r/.git", server.address);
        for keep in ["true", "false"] {
            let attributes = [
                ("git.keepgitdir", keep),
                ("git.authheadersecret", "H"),
                ("git.authtokensecret", "T"),
            ];
            let source = op(&url, "#master", &attributes);
            let key = bench.key(&source, None).await.unwrap();
            assert!(!format!("{key:?}").contains("CANARY"));
            let root = bench.run(&source, Some(key.pin)).await.unwrap();
            assert_eq!(read(&root, "file").as_deref(), Some("one"));
        }
        assert!(!server.requests.lock().is_empty());
        for canary in ["CANARY", "bmFtZTpDQU5BUlk", "eC1hY2Nlc3MtdG9rZW46Q0FOQVJZ"] {
            assert_eq!(holds(bench.folder.path(), canary), b"", "{canary}");
        }
        let log = bench.log.0.lock().clone();
        assert!(!String::from_utf8_lossy(&log).contains("CANARY"));
        let wrong = Bench::new();
        let url = format!("http://u:CANARY2@{}/r/.git", server.address);
        let refused = wrong.key(&op(&url, "#master", &[]), None).await;
        let told = refused.unwrap_err().message;
        assert!(
            told.starts_with("failed to fetch remote http://xxxxx:xxxxx@"),
            "{told}"
        );
        assert!(!told.contains("CANARY2"), "{told}");
    }
}

// T-A12, T-C15
#[tokio::test]
async fn what_others_name_stands_behind_the_end_of_options() {
    let folder = tempfile::tempdir().unwrap();
    let (program, log) = (folder.path().join("git"), folder.path().join("log"));
    let id = "a".repeat(40);
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{log}\nenv >>{log}\n\
         case \"$1\" in ls-remote) printf '{id}\\trefs/heads/master\\n';; *) exit 1;; esac\n",
        log = log.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bench = Bench::with(program, Client::default());
    let url = "https://name:CANARY@host/r.git";
    let source = op(url, "#master", &[]);
    let key = bench.key(&source, None).await.unwrap();
    assert_eq!(key.key, id);
    let said = std::fs::read_to_string(&log).unwrap();
    let arguments = said.lines().next().unwrap();
    assert_eq!(
        arguments,
        "ls-remote -- https://host/r.git master master^{}"
    );
    for line in [
        "HOME=/dev/null",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_CONFIG_KEY_0=protocol.allow",
        "GIT_CONFIG_VALUE_0=never",
    ] {
        assert!(said.lines().any(|it| it == line), "{line} in {said}");
    }
    // Nothing else of the tests' own environment is there.
    assert!(!said.contains("CARGO"), "{said}");
    let refused = bench.run(&source, Some(key.pin)).await;
    assert!(refused.is_err());
    let said = std::fs::read_to_string(&log).unwrap();
    for line in said.lines().filter(|it| it.contains("fetch --")) {
        assert!(line.contains(" -- https://host/r.git "), "{line}");
    }
}

// T-C16
#[tokio::test]
async fn a_submodule_cannot_be_a_folder_of_this_machine() {
    let secret = Origin::new("sha1");
    let origin = Origin::new("sha1");
    let path = secret.tree();
    for url in [
        path.to_str().unwrap(),
        &format!("file://{}", path.display()),
    ] {
        origin.git(&["submodule", "--quiet", "add", "--force", url, "stolen"]);
        origin.commit(&[], "steals");
        let (server, bench) = (Server::git(origin.root()).await, Bench::new());
        for keep in ["true", "false"] {
            let url = format!("git://{}/r", server.address);
            let source = op(&url, "", &[("git.keepgitdir", keep)]);
            let key = bench.key(&source, None).await.unwrap();
            let failure = bench.run(&source, Some(key.pin)).await.unwrap_err();
            assert!(
                failure.message.contains("transport 'file' not allowed"),
                "{failure}"
            );
        }
        origin.git(&["rm", "-q", "-f", "stolen"]);
        std::fs::remove_dir_all(origin.tree().join(".git/modules")).unwrap();
    }
}

// T-A1, T-A8, T-A29
#[tokio::test]
async fn links_of_a_repository_lead_nowhere_while_it_is_checked_out() {
    let origin = Origin::new("sha1");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("victim"), "untouched").unwrap();
    // First a link to a folder, then files below its name: who writes through it leaves the checkout.
    std::os::unix::fs::symlink(outside.path(), origin.tree().join("dir")).unwrap();
    origin.commit(&[], "a link");
    let blob = origin.git(&["hash-object", "-w", "file"]);
    origin.git(&["update-index", "--force-remove", "dir"]);
    let entry = format!("100644,{blob},dir/victim");
    origin.git(&["update-index", "--add", "--cacheinfo", &entry]);
    origin.git(&["commit", "-q", "-m", "below it"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let (_, root) = bench.fetch(&op(&url, "", &[])).await;
    assert_eq!(read(&root, "dir/victim").as_deref(), Some("one"));
    let victim = std::fs::read_to_string(outside.path().join("victim"));
    assert_eq!(victim.unwrap(), "untouched");
    let before = origin.git(&["rev-parse", "HEAD~1"]);
    let through = op(&url, &format!("#{before}:dir"), &[]);
    let key = bench.key(&through, None).await.unwrap();
    let failure = bench.run(&through, Some(key.pin)).await.unwrap_err();
    assert!(
        failure.message.starts_with("invalid subdir dir"),
        "{failure}"
    );
}

#[tokio::test]
async fn settings_of_the_machine_and_hooks_of_the_server_do_nothing() {
    let origin = Origin::new("sha1");
    let marker = origin.root().join("ran");
    for hook in ["post-checkout", "post-upload-pack", "reference-transaction"] {
        let path = origin.tree().join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(&origin.tree(), &["config", "core.sshCommand", "false"]);
    let (server, bench) = (Server::git(origin.root()).await, Bench::new());
    let url = format!("git://{}/r", server.address);
    let _ = std::fs::remove_file(&marker);
    let kept = op(&url, "", &[("git.keepgitdir", "true")]);
    let (_, root) = bench.fetch(&kept).await;
    assert!(!marker.exists());
    assert_eq!(read(&root, "file").as_deref(), Some("one"));
}
