use std::path::Path;

use cooper_core::model::FailureKind;
use cooper_core::ports::OpOutcome;
use cooper_proto::pb;
use cooper_worker::userns::Identity;

use crate::bench::{bench, other_ids, sh};

#[tokio::test]
async fn changes_become_a_result_and_stubs_do_not() {
    let bench = bench();
    let results = bench
        .succeeds(&sh("echo hello > /greeting; echo said"))
        .await;
    assert_eq!(bench.output(), "said\n");
    assert_eq!(bench.changes(&results[0]), ["greeting"]);
    assert_eq!(bench.read(&results[0], "greeting"), "hello\n");
    assert_eq!(bench.snapshots.meta().pins().count(&results[0]), 1);
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn failed_process_is_named_with_its_code_and_leaves_nothing() {
    let bench = bench();
    let failure = bench.fails(&sh("echo x > /x; exit 7")).await;
    assert_eq!(
        failure.message,
        "process \"/bin/sh -c echo x > /x; exit 7\" did not complete successfully: exit code: 7"
    );
    assert_eq!(failure.kind, FailureKind::Exit { code: 7 });
    assert_eq!(bench.half_made_layers(), 0);
}

#[tokio::test]
async fn exit_codes_can_be_declared_valid() {
    let bench = bench();
    let mut exec = sh("exit 7");
    exec.meta.as_mut().unwrap().valid_exit_codes = vec![7];
    bench.succeeds(&exec).await;
    exec.meta.as_mut().unwrap().args[2] = "exit 0".into();
    assert_eq!(bench.fails(&exec).await.kind, FailureKind::Exit { code: 0 });
}

#[tokio::test]
async fn missing_program_is_a_failure_of_the_process() {
    let bench = bench();
    let mut exec = sh("");
    exec.meta.as_mut().unwrap().args = vec!["nothing".into()];
    assert_eq!(
        bench.fails(&exec).await.message,
        "process \"nothing\" did not complete successfully: exec \"nothing\": executable file not found in $PATH"
    );
}

#[tokio::test]
async fn process_sees_what_its_meta_says() {
    let bench = bench();
    let mut exec = sh(
        "pwd; id -u; id -G; cat /etc/hosts; cat /proc/sys/kernel/hostname; ulimit -n; env | grep -v ^_",
    );
    let meta = exec.meta.as_mut().unwrap();
    meta.cwd = "/made/for/me".into();
    let (user, group) = other_ids(1000, 1001);
    meta.user = format!("{user}:{group}");
    meta.env = vec!["A=b c".into()];
    meta.hostname = "builder".into();
    meta.extra_hosts = vec![pb::HostIp {
        host: "db".into(),
        ip: "10.0.0.5".into(),
    }];
    meta.ulimit = vec![pb::Ulimit {
        name: "nofile".into(),
        soft: 77,
        hard: 78,
    }];
    let results = bench.succeeds(&exec).await;
    let expected = format!(
        "/made/for/me\n{user}\n{group}\n127.0.0.1\tlocalhost builder\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         10.0.0.5\tdb\nbuilder\n77\n"
    );
    let output = bench.output();
    let env = output
        .strip_prefix(&expected)
        .unwrap_or_else(|| panic!("{output}"));
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for variable in ["A=b c", path, "HOME=/"] {
        assert!(
            env.lines().any(|line| line == variable),
            "{variable}: {env}"
        );
    }
    let root = bench.snapshots.view(&results[0]).unwrap().root().unwrap();
    let made = root
        .metadata(
            Path::new("made/for/me"),
            cooper_worker::confine::Last::NoFollow,
        )
        .unwrap();
    assert_eq!(
        (made.owner.uid, made.owner.gid, made.mode),
        (user, group, 0o755)
    );
}

#[tokio::test]
async fn a_working_folder_of_a_user_that_there_is_not_is_the_step_s_fault() {
    let bench = bench();
    let mut exec = sh("pwd");
    let meta = exec.meta.as_mut().unwrap();
    meta.cwd = "/made/for/me".into();
    // The kernel takes no owner of this number anywhere, and one id of a user who has no other.
    meta.user = match Identity::of_this_process().is_single() {
        true => "1000".into(),
        false => u32::MAX.to_string(),
    };
    let failure = bench.fails(&exec).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput, "{failure}");
}

#[tokio::test]
async fn t_c19_working_directory_through_a_link_stays_inside() {
    let bench = bench();
    let first = bench
        .succeeds(&sh("ln -s /../../.. /up; ln -s /gone /dangling"))
        .await;
    let mut exec = sh("pwd; ls /");
    for (cwd, expected) in [("/up/there", "/there\n"), ("/dangling/x", "/gone/x\n")] {
        exec.meta.as_mut().unwrap().cwd = cwd.into();
        let outcome = bench
            .run_on(&[&first[0]], &exec, Box::pin(std::future::pending()))
            .await;
        assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
        assert!(bench.output().starts_with(expected));
    }
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

// T-C13
#[tokio::test]
async fn steps_whose_children_hold_their_output_open_end_and_leave_nothing() {
    let bench = bench();
    let exec = sh("sleep 1000 & echo said");
    // What is made once for all steps is there after the first.
    bench.succeeds(&exec).await;
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    for _ in 0..60 {
        bench.succeeds(&exec).await;
    }
    let after = (count("/proc/self/fd"), count("/proc/self/task"));
    // Threads for blocking work come and go; one more for each step would be many more.
    assert!(after.0 <= before.0 + 20, "{before:?} {after:?}");
    assert!(after.1 <= before.1 + 40, "{before:?} {after:?}");
    assert_eq!(bench.output(), "said\n".repeat(61));
}

// T-C14
#[tokio::test]
async fn nothing_of_a_state_is_loaded_into_the_engine() {
    let bench = bench();
    // What a name service of an image would be found by, and programs that could be taken for the machine's.
    let script = "mkdir -p /etc /lib /usr/lib; echo 'passwd: evil' > /etc/nsswitch.conf; \
                  for name in /lib/libnss_evil.so.2 /usr/lib/libnss_evil.so.2 /bin/xz /bin/tar /bin/unpigz; do \
                  cp /bin/busybox $name 2>/dev/null || /bin/busybox cp /bin/busybox $name; done; \
                  echo 'me:x:UID:GID::/:/bin/sh' > /etc/passwd";
    let (user, group) = other_ids(7, 8);
    let script = script.replace("UID", &user.to_string());
    let script = script.replace("GID", &group.to_string());
    let state = bench.succeeds(&sh(&script)).await;
    let mut exec = sh("id -u");
    exec.meta.as_mut().unwrap().user = "me".into();
    let outcome = bench
        .run_on(&[&state[0]], &exec, Box::pin(std::future::pending()))
        .await;
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    assert_eq!(bench.output(), format!("{user}\n"));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let folder = bench.temp.path().to_str().unwrap();
    let loaded: Vec<_> = maps
        .lines()
        .filter(|line| line.contains("evil") || line.contains(folder))
        // The store of metadata is a file that may be mapped.
        .filter(|line| !line.contains("meta.redb"))
        .collect();
    assert_eq!(loaded, [""; 0]);
}
