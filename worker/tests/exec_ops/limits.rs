use cooper_core::model::{FailureKind, LinuxResources};
use cooper_core::ports::OpOutcome;

use crate::bench::{Bench, bench, instance, sh};

/// Whether this machine's control groups have the controller, of either version.
fn has_controller(name: &str) -> bool {
    let of_version_one = std::path::Path::new("/sys/fs/cgroup").join(name).is_dir();
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    of_version_one || unified.is_ok_and(|names| names.split_whitespace().any(|own| own == name))
}

async fn run(bench: &Bench, script: &str, limits: LinuxResources) -> OpOutcome {
    let never = Box::pin(std::future::pending());
    bench
        .run_with(&[&bench.image], &sh(script), Some(limits), never)
        .await
}

fn groups_of(bench: &Bench) -> usize {
    let name = format!("cooper-{}", instance(&bench.temp));
    let found = std::process::Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-path",
            &format!("*/{name}/*"),
            "-type",
            "d",
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&found.stdout).lines().count()
}

#[tokio::test]
async fn step_beyond_its_memory_is_said_to_be_out_of_memory() {
    let bench = bench();
    let limits = LinuxResources {
        memory: 32 << 20,
        ..LinuxResources::default()
    };
    let script = "/bin/busybox dd if=/dev/zero of=/dev/null bs=256M count=1";
    let outcome = run(&bench, script, limits).await;
    let OpOutcome::Failed(failure) = outcome else {
        panic!("{outcome:?}")
    };
    if has_controller("memory") {
        assert!(
            failure
                .message
                .ends_with("did not complete successfully: cannot allocate memory"),
            "{failure:?}"
        );
        assert_eq!(failure.kind, FailureKind::Exit { code: 137 });
    } else {
        assert_eq!(failure.kind, FailureKind::Unsupported);
    }
    assert_eq!(groups_of(&bench), 0, "no group is left");
}

#[tokio::test]
async fn limits_are_in_the_files_of_the_step_s_group() {
    let bench = bench();
    if !has_controller("cpu") || !has_controller("cpuset") {
        return;
    }
    let limits = LinuxResources {
        cpu_period: 50_000,
        cpu_quota: 25_000,
        cpuset_cpus: "0".into(),
        ..LinuxResources::default()
    };
    let script = "grep ^Cpus_allowed_list /proc/self/status";
    let outcome = run(&bench, script, limits.clone()).await;
    assert!(matches!(outcome, OpOutcome::Success(_)), "{outcome:?}");
    assert_eq!(bench.output(), "Cpus_allowed_list:\t0\n");
    let wrong = LinuxResources {
        cpuset_cpus: "4000".into(),
        ..limits
    };
    let outcome = run(&bench, "true", wrong).await;
    let OpOutcome::Failed(failure) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(failure.message.contains("cpuset.cpus"), "{failure}");
    assert_eq!(groups_of(&bench), 0, "no group is left");
}

#[tokio::test]
async fn step_lies_below_the_parent_that_it_names() {
    let bench = bench();
    let parent = format!("parent-{}", instance(&bench.temp));
    let mut exec = sh("cat /proc/self/cgroup");
    exec.meta.as_mut().unwrap().cgroup_parent = format!("/{parent}");
    bench.succeeds(&exec).await;
    let output = bench.output();
    let inside = format!(":/{parent}/buildkit/");
    assert!(
        output.lines().any(|line| line.contains(&inside)) || output.contains("::/\n"),
        "{output}"
    );
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let parent = tree.unwrap().path().join(&parent);
        let below = parent.join("buildkit");
        if below.is_dir() {
            std::fs::remove_dir(below).unwrap();
            std::fs::remove_dir(parent).unwrap();
        }
    }
}
