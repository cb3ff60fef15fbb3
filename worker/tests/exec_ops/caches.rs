use cooper_core::ports::OpOutcome;
use cooper_proto::pb;

use crate::bench::{bench, cache, mount, sh};

#[tokio::test]
async fn cache_mount_keeps_its_content_between_ops() {
    let bench = bench();
    let mut exec = sh("cat /cache/count 2>/dev/null; echo x >> /cache/count");
    exec.mounts
        .push(cache("../../id", "/cache", pb::CacheSharingOpt::Shared));
    for expected in ["", "x\n", "x\nx\n"] {
        let results = bench.succeeds(&exec).await;
        assert_eq!(bench.output(), expected);
        assert_eq!(bench.changes(&results[0]), [""; 0]);
    }
}

#[tokio::test]
async fn cache_mount_starts_from_a_part_of_a_state() {
    let bench = bench();
    let base = bench
        .succeeds(&sh("mkdir -p -m 700 /seed/dir; echo 1 > /seed/file"))
        .await;
    let mut exec = sh("cat /cache/file; stat -c %a /cache/dir; echo 2 > /cache/file");
    let mount = cache("c", "/cache", pb::CacheSharingOpt::Locked);
    exec.mounts.push(pb::Mount {
        input: 1,
        selector: "/seed".into(),
        ..mount
    });
    for expected in ["1\n700\n", "2\n700\n"] {
        let outcome = bench
            .run_on(
                &[&bench.image, &base[0]],
                &exec,
                Box::pin(std::future::pending()),
            )
            .await;
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
        assert_eq!(bench.output(), expected);
    }
}

#[tokio::test]
async fn locked_caches_in_crossed_order_do_not_block_each_other() {
    let bench = bench();
    let locked = |id: &str, dest: &str| cache(id, dest, pb::CacheSharingOpt::Locked);
    let mut one = sh("mkdir /a/held && rm -r /a/held && mkdir /b/held && rm -r /b/held");
    let mut two = one.clone();
    one.mounts.extend([locked("a", "/a"), locked("b", "/b")]);
    two.mounts.extend([locked("b", "/a"), locked("a", "/b")]);
    let runs = (0..8).map(|number| bench.run(if number % 2 == 0 { &one } else { &two }));
    for outcome in futures::future::join_all(runs).await {
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn t_a4_t_b3_link_in_a_shared_cache_never_shows_the_machine() {
    let bench = bench();
    let mut attacker = sh(
        "i=0; while [ $i -lt 400 ]; do rm -rf /cache/sub; mkdir /cache/sub; rm -rf /cache/sub; \
                           ln -s / /cache/sub; i=$((i+1)); done; rm -rf /cache/sub; mkdir /cache/sub",
    );
    attacker
        .mounts
        .push(cache("shared", "/cache", pb::CacheSharingOpt::Shared));
    let mut victim = sh("ls /work /target/sub");
    victim
        .mounts
        .push(cache("shared", "/target", pb::CacheSharingOpt::Shared));
    victim
        .mounts
        .push(mount(pb::MountType::Tmpfs, "/target/sub/deep"));
    let attack = bench.run(&attacker);
    let watch = async {
        for _ in 0..40 {
            // Refused or run: whatever the link leads to is the container's own.
            if let OpOutcome::Fault(failure) = bench.run(&victim).await {
                assert!(!failure.message.is_empty());
            }
        }
    };
    let (outcome, ()) = tokio::join!(attack, watch);
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    let output = bench.output();
    assert!(
        !output.contains("vmlinuz") && !output.contains("lost+found") && !output.contains("boot"),
        "{output}"
    );
}

// T-B8
#[tokio::test]
async fn stubs_for_mounts_behind_a_link_that_flips_are_never_made_on_the_machine() {
    let bench = bench();
    let outside = tempfile::tempdir().unwrap();
    let mut attacker = sh(&format!(
        "i=0; while [ $i -lt 400 ]; do rm -rf /cache/sub; mkdir /cache/sub; rm -rf /cache/sub; \
         ln -s {} /cache/sub; i=$((i+1)); done",
        outside.path().display()
    ));
    let shared = || cache("shared", "/cache", pb::CacheSharingOpt::Shared);
    attacker.mounts.push(shared());
    let attack = bench.run(&attacker);
    let watch = async {
        for number in 0..40 {
            let mut victim = sh("true");
            let directory = format!("/cache/sub/directory{number}");
            let file = format!("/cache/sub/file{number}");
            victim.mounts.push(shared());
            victim.mounts.push(mount(pb::MountType::Tmpfs, &directory));
            victim.mounts.push(pb::Mount {
                secret_opt: Some(pb::SecretOpt {
                    id: "key".into(),
                    ..pb::SecretOpt::default()
                }),
                ..mount(pb::MountType::Secret, &file)
            });
            // Refused or run.
            drop(bench.run(&victim).await);
        }
    };
    let (outcome, ()) = tokio::join!(attack, watch);
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
