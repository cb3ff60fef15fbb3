use std::collections::BTreeSet;
use std::path::Path;

use cooper_worker::exec::{ContainerMount, ExitStatus, Network, RunError, Source, User};
use cooper_worker::mount::{DetachedMount, TmpfsOptions};

use crate::sandbox::{helper, sandbox};

#[tokio::test]
async fn output_and_exit_code_arrive() {
    let ran = sandbox().sh("echo out; echo err >&2; exit 7").await;
    assert_eq!(ran.status.unwrap(), ExitStatus::Exited(7));
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[tokio::test]
async fn signal_is_told_from_an_exit_code() {
    // The first process of a PID namespace ignores its own signals; the kernel's are not ignored.
    let ran = sandbox()
        .sh("ulimit -c 0; ulimit -t 1; while :; do :; done")
        .await;
    assert!(
        matches!(ran.status, Ok(ExitStatus::Signaled(9 | 24))),
        "{:?}",
        ran.status
    );
}

#[tokio::test]
async fn environment_arrives_as_given() {
    let mut sandbox = sandbox();
    // A runtime may add a home where none is said.
    sandbox.template.env = ["PATH=/bin", "Z=1", "A=2", "M=x y", "HOME=/"]
        .map(String::from)
        .into();
    assert_eq!(
        sandbox.run(&["env"]).await.succeeded(),
        "PATH=/bin\nZ=1\nA=2\nM=x y\nHOME=/\n"
    );
}

#[tokio::test]
async fn default_file_systems_are_there() {
    let script = "grep -c . /proc/self/mounts >/dev/null && test -c /dev/null && test -c /dev/urandom \
                  && test -d /dev/pts && test -d /dev/shm && test -d /dev/mqueue && test -d /sys/kernel \
                  && echo x > /dev/null && test \"$(readlink /dev/fd)\" = /proc/self/fd && readlink /proc/self \
                  && ! touch /sys/x 2>/dev/null && ! echo 1 > /proc/sys/vm/overcommit_memory";
    assert_eq!(sandbox().sh(script).await.stdout.lines().count(), 1);
}

#[tokio::test]
async fn machine_is_hidden() {
    let script = "echo $$; cat /proc/sys/kernel/hostname; ls /proc/acpi /proc/scsi 2>/dev/null | grep -v : ; \
                  cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null; ls /; ls /proc/self/fd";
    let stdout = sandbox().sh(script).await.stdout;
    let lines: Vec<_> = stdout.split_whitespace().collect();
    // `ls` itself holds a fourth descriptor on the directory that it lists.
    assert_eq!(
        lines,
        [
            "1",
            "buildkitsandbox",
            "bin",
            "dev",
            "proc",
            "sys",
            "0",
            "1",
            "2",
            "3"
        ]
    );
}

#[tokio::test]
async fn user_groups_and_capabilities_are_the_ones_asked_for() {
    let mut sandbox_of_user = sandbox();
    sandbox_of_user.template.user = User {
        uid: 1000,
        gid: 1000,
        additional_gids: vec![1000, 29],
    };
    let stdout = sandbox_of_user
        .sh("id -u; id -G; grep -E '^Cap|^Seccomp:' /proc/self/status")
        .await
        .succeeded();
    let words: Vec<_> = stdout.split_whitespace().collect();
    assert_eq!(&words[..3], ["1000", "1000", "29"]);
    assert_eq!(words[words.len() - 1], "2", "a seccomp filter is in force");
    let stdout = sandbox()
        .sh("grep -E '^Cap' /proc/self/status")
        .await
        .succeeded();
    let values: Vec<_> = stdout
        .lines()
        .map(|line| line.split_whitespace().last().unwrap())
        .collect();
    // Inheritable, permitted, effective, bounding, ambient (T-B4).
    assert_eq!(
        values,
        [
            "0000000000000000",
            "00000000a80425fb",
            "00000000a80425fb",
            "00000000a80425fb",
            "0000000000000000"
        ]
    );
}

#[tokio::test]
async fn t_b5_file_closed_to_the_group_cannot_be_read_by_a_member() {
    let mut sandbox = sandbox();
    let secret = sandbox.path("secret");
    std::fs::write(&secret, "no").unwrap();
    std::os::unix::fs::chown(&secret, Some(0), Some(1000)).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o604)).unwrap();
    sandbox.template.user = User {
        uid: 1000,
        gid: 1000,
        additional_gids: vec![1000],
    };
    let ran = sandbox.run(&["cat", "/secret"]).await;
    assert_eq!(
        (ran.status.unwrap(), ran.stdout.as_str()),
        (ExitStatus::Exited(1), "")
    );
}

#[tokio::test]
async fn dangerous_calls_are_filtered() {
    for script in [
        "mount -t tmpfs none /bin",
        "busybox unshare -m true",
        "busybox chroot / busybox umount /proc",
    ] {
        let ran = sandbox().sh(script).await;
        assert!(
            matches!(ran.status, Ok(ExitStatus::Exited(code)) if code != 0),
            "{script}: {:?}",
            ran.status
        );
    }
}

#[tokio::test]
async fn network_is_the_machines_or_nothing() {
    let interfaces = |network| async move {
        let mut sandbox = sandbox();
        sandbox.template.network = network;
        sandbox
            .sh("ip -o link | grep -c .; ip -o link show lo | grep -c UP")
            .await
            .stdout
    };
    assert_eq!(interfaces(Network::None).await, "1\n1\n");
    // Two lines of headings, then one for each; /sys may show another network than that of this process.
    let own = std::fs::read_to_string("/proc/net/dev").unwrap();
    let own = own.lines().count() - 2;
    assert!(
        interfaces(Network::Host)
            .await
            .starts_with(&format!("{own}\n"))
    );
}

#[tokio::test]
async fn missing_program_and_missing_directory_are_named() {
    let ran = sandbox().run(&["no-such-program"]).await;
    assert_eq!(
        ran.status.unwrap_err().to_string(),
        "exec \"no-such-program\": executable file not found in $PATH"
    );
    let mut nowhere = sandbox();
    nowhere.template.cwd = "/no/where".into();
    let error = nowhere.run(&["true"]).await.status.unwrap_err();
    assert!(
        matches!(&error, RunError::Request { step, .. } if step == "enter the working directory /no/where")
    );
}

#[tokio::test]
async fn t_b1_helper_s_program_cannot_be_written_from_inside() {
    let before = std::fs::read(env!("CARGO_BIN_EXE_cooper-container-helper")).unwrap();
    let sandbox = sandbox();
    // The interpreter of this script is whatever the first process still is when it becomes the script.
    let trap = sandbox.path("bin/trap");
    std::fs::write(&trap, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = sandbox.run(&["trap"]).await;
    assert!(
        !matches!(ran.status, Ok(ExitStatus::Signaled(_))),
        "{:?}",
        ran.status
    );
    let flags = rustix::fs::fstatvfs(helper()).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    assert_eq!(
        std::fs::read(env!("CARGO_BIN_EXE_cooper-container-helper")).unwrap(),
        before
    );
}

#[tokio::test]
async fn t_b2_t_b10_image_with_linked_system_directories_is_refused() {
    for name in ["proc", "sys", "dev"] {
        let sandbox = sandbox();
        std::fs::create_dir(sandbox.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", sandbox.path(name)).unwrap();
        let error = sandbox.run(&["true"]).await.status.unwrap_err();
        assert!(
            error.to_string().contains("symbolic link"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn t_b7_working_directory_cannot_be_a_descriptor_of_the_machine() {
    for process in ["self", "1", "thread-self"] {
        for descriptor in 0..=24 {
            let mut sandbox = sandbox();
            sandbox.template.cwd = format!("/proc/{process}/fd/{descriptor}").into();
            let ran = sandbox.run(&["ls"]).await;
            assert!(
                matches!(ran.status, Err(RunError::Request { .. })),
                "{process} {descriptor}: {:?}",
                ran.status
            );
        }
    }
}

#[tokio::test]
async fn t_b9_image_with_linked_devices_gets_real_ones() {
    let sandbox = sandbox();
    std::fs::create_dir(sandbox.path("dev")).unwrap();
    std::fs::write(sandbox.path("trap"), "").unwrap();
    std::os::unix::fs::symlink("/trap", sandbox.path("dev/null")).unwrap();
    std::os::unix::fs::symlink("/trap", sandbox.path("dev/console")).unwrap();
    let (ran, temp) = sandbox
        .run_until(
            &["sh", "-c", "echo x > /dev/null; test -c /dev/null"],
            std::future::pending(),
        )
        .await;
    ran.succeeded();
    assert_eq!(
        std::fs::metadata(temp.path().join("trap")).unwrap().len(),
        0
    );
}

#[tokio::test]
async fn whole_and_partial_mounts_appear_and_keep_their_rights() {
    let mut sandbox = sandbox();
    let stage = DetachedMount::tmpfs(TmpfsOptions {
        size: 1 << 20,
        mode: 0o755,
    })
    .unwrap();
    let root = stage.root().unwrap();
    root.mkdir_all(Path::new("sub/dir"), 0o755, None).unwrap();
    std::io::Write::write_all(
        &mut root.create_file(Path::new("sub/dir/file"), 0o644).unwrap(),
        b"part",
    )
    .unwrap();
    let part = |path: &str| {
        let node = root
            .resolve(Path::new(path), cooper_worker::confine::Last::Follow)
            .unwrap();
        Source::Part(node.into_fd())
    };
    sandbox.mounts = vec![
        ContainerMount {
            destination: "/a".into(),
            source: part("sub/dir"),
            read_only: true,
        },
        ContainerMount {
            destination: "/etc/one".into(),
            source: part("sub/dir/file"),
            read_only: false,
        },
        ContainerMount {
            destination: "/dev/shm".into(),
            source: Source::Whole(
                DetachedMount::tmpfs(TmpfsOptions {
                    size: 4096,
                    mode: 0o700,
                })
                .unwrap(),
            ),
            read_only: false,
        },
    ];
    sandbox.stages = vec![stage];
    let script = "cat /a/file; ls /a; touch /a/x 2>/dev/null && echo writable; echo changed > /etc/one; cat /a/file; \
                  ls -ld /dev/shm | grep -c drwx------; cat /proc/self/mounts";
    let stdout = sandbox.sh(script).await.succeeded();
    let mounts = stdout
        .strip_prefix("partfile\nchanged\n1\n")
        .unwrap_or_else(|| panic!("{stdout}"));
    // Nothing of the machine's mounts is left: not the old root, not the stages.
    let mut places: Vec<_> = mounts
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    places.retain(|place| !place.starts_with("/proc/") && !place.starts_with("/sys/"));
    // Without a control group, the devices are mounts.
    let devices = ["null", "zero", "full", "random", "urandom", "tty"];
    places.retain(|place| !devices.iter().any(|name| *place == format!("/dev/{name}")));
    places.sort_unstable();
    let own = [
        "/",
        "/a",
        "/dev",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/etc/one",
        "/proc",
        "/sys",
    ];
    assert_eq!(places, own);
}

#[tokio::test]
async fn machine_s_mounts_never_change() {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (ran, _temp) = sandbox().run_until(&["true"], std::future::pending()).await;
    ran.succeeded();
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        before
    );
}

#[tokio::test]
async fn nothing_outlives_its_container() {
    let marker = "31.4159";
    let ran = sandbox()
        .sh(&format!("sleep {marker} & sleep {marker} & echo started"))
        .await;
    assert_eq!(ran.succeeded(), "started\n");
    assert_eq!(processes_with(marker), 0);
}

#[tokio::test]
async fn cancelled_container_is_gone_with_all_its_processes() {
    let marker = "27.1828";
    let script = format!("sleep {marker} & echo ready > /ready; trap '' TERM INT; sleep {marker}");
    let sandbox = sandbox();
    let ready = sandbox.path("ready");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &ready,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let cancelled = async move {
        tokio::task::spawn_blocking(move || std::fs::read(ready).unwrap())
            .await
            .unwrap();
    };
    let begun = std::time::Instant::now();
    let (ran, _temp) = sandbox.run_until(&["sh", "-c", &script], cancelled).await;
    assert_eq!(ran.status.unwrap(), ExitStatus::Cancelled);
    assert_eq!(processes_with(marker), 0);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
}

#[tokio::test]
async fn t_b7_every_descriptor_of_the_engine_closes_on_exec() {
    let inherited = descriptors_that_survive_exec();
    let (_program, _mount) = (
        helper(),
        DetachedMount::tmpfs(TmpfsOptions::default()).unwrap(),
    );
    sandbox().run(&["true"]).await.succeeded();
    let now = descriptors_that_survive_exec();
    assert!(now.is_subset(&inherited), "{now:?} {inherited:?}");
}

fn descriptors_that_survive_exec() -> BTreeSet<String> {
    let survives = |entry: std::fs::DirEntry| {
        // A descriptor may be closed by another test meanwhile.
        let info = std::fs::read_to_string(entry.path()).ok()?;
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        let close_on_exec = u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 != 0;
        (!close_on_exec).then(|| entry.file_name().into_string().unwrap())
    };
    std::fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|entry| survives(entry.unwrap()))
        .collect()
}

/// How many processes on this machine have this text among their arguments.
fn processes_with(marker: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .filter(|arguments| {
            arguments
                .split(|byte| *byte == 0)
                .any(|argument| argument == marker.as_bytes())
        })
        .count()
}

// T-B6
#[tokio::test]
async fn control_groups_cannot_be_changed_from_inside() {
    let script = "for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do \
                  mkdir $tree/made 2>/dev/null && echo made; \
                  test -e $tree/cgroup.procs && echo 0 2>/dev/null > $tree/cgroup.procs && echo joined; \
                  done; grep -c cgroup.*rw, /proc/self/mounts";
    assert_eq!(sandbox().sh(script).await.stdout, "0\n");
}
