use cooper_core::model::FailureKind;
use cooper_core::ports::OpOutcome;
use cooper_proto::pb;

use crate::bench::{bench, mount, sh};

#[tokio::test]
async fn bind_is_read_only_or_its_changes_are_thrown_away() {
    let bench = bench();
    let tool = bench
        .succeeds(&sh("mkdir -p /opt/sub; echo tool > /opt/sub/file"))
        .await;
    let mut exec = sh("cat /a/file /b; echo x > /w/new && ls /w; echo x > /a/new; ls /");
    let bind = pb::Mount {
        input: 1,
        ..mount(pb::MountType::Bind, "/a")
    };
    exec.mounts.extend([
        pb::Mount {
            selector: "/opt/sub".into(),
            readonly: true,
            ..bind.clone()
        },
        pb::Mount {
            selector: "/opt/sub/file".into(),
            dest: "/b".into(),
            readonly: true,
            ..bind.clone()
        },
        pb::Mount {
            selector: "opt/sub".into(),
            dest: "/w".into(),
            ..bind.clone()
        },
    ]);
    let outcome = bench
        .run_on(
            &[&bench.image, &tool[0]],
            &exec,
            Box::pin(std::future::pending()),
        )
        .await;
    let OpOutcome::Success(results) = outcome else {
        panic!("{outcome:?}")
    };
    let output = bench.output();
    assert!(output.starts_with("tool\ntool\nfile\nnew\n"), "{output}");
    assert!(
        output.contains("can't create /a/new: Read-only file system"),
        "{output}"
    );
    assert_eq!(bench.changes(&results[0]), [""; 0], "no stub is left");
    let again = bench
        .run_on(
            &[&bench.image, &tool[0]],
            &exec,
            Box::pin(std::future::pending()),
        )
        .await;
    assert!(matches!(again, OpOutcome::Success(_)));
    assert!(!bench.changes(&tool[0]).contains(&"opt/sub/new".to_owned()));
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn t_c19_selector_cannot_leave_its_state() {
    let bench = bench();
    let hostile = bench
        .succeeds(&sh(
            "ln -s / /root-link; ln -s /etc/shadow /shadow; ln -s ../../../../etc /etc-link",
        ))
        .await;
    let mut exec = sh("ls /m");
    for (selector, expected) in [
        ("/root-link", Some("bin")),
        ("/shadow", None),
        ("/etc-link", None),
        ("/../..", Some("bin")),
    ] {
        exec.mounts.truncate(1);
        let bind = mount(pb::MountType::Bind, "/m");
        exec.mounts.push(pb::Mount {
            input: 1,
            selector: selector.into(),
            readonly: true,
            ..bind
        });
        let outcome = bench
            .run_on(
                &[&bench.image, &hostile[0]],
                &exec,
                Box::pin(std::future::pending()),
            )
            .await;
        match (outcome, expected) {
            (OpOutcome::Success(_), Some(name)) => assert!(bench.output().starts_with(name)),
            (OpOutcome::Failed(failure), None) => {
                assert_eq!(failure.kind, FailureKind::NotFound, "{selector}")
            }
            (outcome, _) => panic!("{selector}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn outputs_come_in_the_order_of_their_indexes() {
    let bench = bench();
    let mut exec = sh("echo 1 > /a; echo 2 > /second/b");
    exec.mounts[0].output = 1;
    exec.mounts.push(pb::Mount {
        output: 0,
        ..mount(pb::MountType::Bind, "/second")
    });
    exec.mounts.push(pb::Mount {
        input: 0,
        output: 2,
        readonly: true,
        ..mount(pb::MountType::Bind, "/third")
    });
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.changes(&results[0]), ["b"]);
    assert_eq!(bench.changes(&results[1]), ["a"]);
    assert_eq!(results[2], bench.image);
}

#[tokio::test]
async fn root_without_output_or_read_only_keeps_nothing() {
    let bench = bench();
    let mut exec = sh("echo x > /x");
    exec.mounts[0].output = -1;
    assert_eq!(bench.succeeds(&exec).await, []);
    exec.mounts[0].readonly = true;
    let failure = bench.fails(&exec).await;
    assert_eq!(failure.kind, FailureKind::Exit { code: 1 }, "{failure}");
    assert!(bench.output().contains("Read-only file system"));
    exec.mounts[0].output = 0;
    exec.meta.as_mut().unwrap().args[2] = "true".into();
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.changes(&results[0]), [""; 0], "no stub is left");
}

#[tokio::test]
async fn tmpfs_has_its_size_and_vanishes() {
    let bench = bench();
    let mut exec = sh("echo x > /t/x; grep -c ' /t tmpfs .*size=1024k' /proc/self/mounts");
    let tmpfs_opt = Some(pb::TmpfsOpt { size: 1 << 20 });
    exec.mounts.push(pb::Mount {
        tmpfs_opt,
        ..mount(pb::MountType::Tmpfs, "/t")
    });
    let results = bench.succeeds(&exec).await;
    assert_eq!(bench.output(), "1\n");
    assert_eq!(bench.changes(&results[0]), [""; 0]);
}
