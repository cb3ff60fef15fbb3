use cooper_core::model::FailureKind;
use cooper_proto::pb;

use crate::bench::{CANARY, bench, mount, other_ids, sh};

// T-E5
#[tokio::test]
async fn secret_is_seen_inside_and_never_on_disk() {
    let bench = bench();
    let mut exec = sh(
        "test \"$(cat /run/secrets/key)\" = \"$KEY\" && stat -c '%a %u:%g' /run/secrets/key && ls /run/secrets; test -z \"$NONE\"",
    );
    let (uid, gid) = other_ids(5, 6);
    let secret_opt = |id: &str, optional| {
        Some(pb::SecretOpt {
            id: id.into(),
            uid,
            gid,
            mode: 0o440,
            optional,
        })
    };
    let secret = mount(pb::MountType::Secret, "/run/secrets/key");
    exec.mounts.push(pb::Mount {
        secret_opt: secret_opt("key", false),
        ..secret.clone()
    });
    exec.mounts.push(pb::Mount {
        secret_opt: secret_opt("absent", true),
        dest: "/run/absent".into(),
        ..secret.clone()
    });
    exec.secretenv = vec![
        pb::SecretEnv {
            id: "key".into(),
            name: "KEY".into(),
            optional: false,
        },
        pb::SecretEnv {
            id: "absent".into(),
            name: "NONE".into(),
            optional: true,
        },
    ];
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.output(), format!("440 {uid}:{gid}\nkey\n"));
    assert_eq!(bench.changes(&results[0]), [""; 0]);
    let found = std::process::Command::new("grep")
        .args(["-arl", CANARY])
        .arg(bench.temp.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    exec.mounts[1].secret_opt = secret_opt("absent", false);
    let failure = bench.fails(&exec).await;
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::NotFound, "secret absent: not found")
    );
}
