use cooper_core::model::{FailureKind, LinuxResources};
use cooper_core::ports::OpOutcome;

use cooper_worker::cgroup::{CgroupRequest, Cgroups};

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
    groups(&format!("cooper-{}", instance(&bench.temp)))
}

/// Groups of steps of the engine of this name, below its own place and below parents that steps named.
fn groups(name: &str) -> usize {
    let found = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-path"])
        .args([&format!("*/{name}/*"), "-o", "-name", &format!("{name}-*")])
        .output()
        .unwrap();
    String::from_utf8_lossy(&found.stdout).lines().count()
}

fn remove_parent(name: &str) {
    for tree in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let parent = tree.unwrap().path().join(name);
        let below = parent.join("buildkit");
        if below.is_dir() {
            std::fs::remove_dir(below).unwrap();
            std::fs::remove_dir(parent).unwrap();
        }
    }
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
    // Control groups that were handed to a user lie below others.
    let inside = format!("/{parent}/buildkit/");
    assert!(
        output.lines().any(|line| line.contains(&inside)) || output.contains("::/\n"),
        "{output}"
    );
    remove_parent(&parent);
}

#[test]
fn groups_below_a_parent_that_a_killed_engine_left_are_removed_at_the_next_start() {
    let temp = tempfile::tempdir().unwrap();
    let name = format!("reap{}", instance(&temp).to_lowercase());
    let file = temp.path().join("parents");
    let open = || {
        let groups = Cgroups::of_this_machine(&name, "").unwrap();
        groups.noting(&file).unwrap()
    };
    let wanted = |id| CgroupRequest {
        id,
        parent: "/reap-parent",
        limits: None,
        everywhere: false,
    };
    // As after kill -9: nobody removes anything.
    std::mem::forget(open().make(wanted("left")).unwrap());
    let mine = format!("cooper-{name}");
    assert!(groups(&mine) > 0, "the machine has control groups");
    // Another engine's, below the same parent.
    let other = Cgroups::of_this_machine(&format!("{name}x"), "").unwrap();
    let others = other.make(wanted("used")).unwrap();
    drop(open());
    assert_eq!(groups(&mine), 0);
    assert!(groups(&format!("{mine}x")) > 0);
    drop(others);
    remove_parent("reap-parent");
}
