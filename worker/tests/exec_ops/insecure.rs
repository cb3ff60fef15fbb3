use cooper_proto::pb;

use crate::bench::{bench, has_own_groups, is_plain_user, other_ids, sh};

/// A device that any root may write to, so that only a guard keeps a step from it: the kernel's log.
const WRITE_A_DEVICE: &str = "/bin/busybox mknod /log c 1 11 && echo test > /log";

#[tokio::test]
async fn sandboxed_step_makes_devices_and_cannot_use_them() {
    let bench = bench();
    if is_plain_user() {
        let script = "/bin/busybox mknod /disk b 8 0 2>&1 || /bin/busybox mknod /null c 1 3 2>&1 || echo refused";
        let results = bench.succeeds(&sh(script)).await;
        let output = bench.output();
        assert!(
            output.ends_with("Operation not permitted\nrefused\n"),
            "{output}"
        );
        assert_eq!(bench.changes(&results[0]), [""; 0]);
        return;
    }
    let script = format!(
        "/bin/busybox mknod /disk b 8 0 && {{ {WRITE_A_DEVICE}; }} 2>&1 || echo refused; \
         /bin/busybox mknod /null c 1 3 && echo x > /null && cat /null && echo usable"
    );
    let results = bench.succeeds(&sh(&script)).await;
    let output = bench.output();
    assert!(output.ends_with("refused\nusable\n"), "{output}");
    assert_eq!(bench.changes(&results[0]), ["disk", "log", "null"]);
}

#[tokio::test]
async fn insecure_step_has_the_rights_of_the_engine() {
    let bench = bench();
    // All rights over its user namespace are none over the machine's devices.
    let devices = match is_plain_user() {
        true => format!("! {{ {WRITE_A_DEVICE}; }} 2>/dev/null"),
        false => format!("{WRITE_A_DEVICE} && test -c /dev/fuse && test -b /dev/loop0"),
    };
    let groups = match is_plain_user() && !has_own_groups() {
        true => "true",
        false => "for tree in /sys/fs/cgroup/*; do mkdir $tree/below || exit 1; break; done",
    };
    let script = format!(
        "{devices} && mkdir /m && \
         /bin/busybox mount -t tmpfs none /m && /bin/busybox umount /m && \
         grep ^CapEff /proc/self/status && grep ^Seccomp: /proc/self/status && {groups}"
    );
    let mut exec = sh(&script);
    exec.security = pb::SecurityMode::Insecure.into();
    bench.succeeds(&exec).await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = status
        .lines()
        .find(|line| line.starts_with("CapEff"))
        .unwrap();
    assert_eq!(bench.output(), format!("{own}\nSeccomp:\t0\n"));
    let mut as_user = sh("grep ^CapEff /proc/self/status");
    as_user.security = pb::SecurityMode::Insecure.into();
    let (user, _) = other_ids(1000, 0);
    as_user.meta.as_mut().unwrap().user = user.to_string();
    bench.succeeds(&as_user).await;
    assert_eq!(bench.output(), format!("{own}\n"));
}

#[tokio::test]
async fn device_of_another_name_on_the_machine_is_given_under_its_own() {
    let bench = bench();
    let folder = bench.temp.path().join("cdi");
    std::fs::create_dir(&folder).unwrap();
    let spec = "cdiVersion: 0.6.0\nkind: test.com/zero\ndevices:\n- name: own\n  containerEdits:\n    \
         deviceNodes:\n    - {path: /dev/own/zero, hostPath: /dev/zero}\n- name: none\n  containerEdits:\n    \
         deviceNodes:\n    - {path: /dev/none, hostPath: /dev/none, type: c, major: 1, minor: 5}\n";
    std::fs::write(folder.join("zero.yaml"), spec).unwrap();
    let script =
        "test -c /dev/own/zero && /bin/busybox head -c 1 /dev/own/zero | /bin/busybox wc -c";
    let mut exec = sh(script);
    let device = |name: &str| pb::CdiDevice {
        name: format!("test.com/zero={name}"),
        optional: false,
    };
    exec.cdi_devices = vec![device("own")];
    bench.succeeds(&exec).await;
    assert_eq!(bench.output(), "1\n");
    if is_plain_user() {
        exec.cdi_devices = vec![device("none")];
        let outcome = bench.run(&exec).await;
        let told = format!("{outcome:?}");
        assert!(told.contains("no /dev/none outside"), "{told}");
    }
}

#[tokio::test]
async fn step_gets_the_devices_that_it_asks_for_and_no_others() {
    let bench = bench();
    let folder = bench.temp.path().join("cdi");
    std::fs::create_dir(&folder).unwrap();
    let (node, script) = match is_plain_user() {
        // One that everybody may open, where the machine has it.
        true if !std::path::Path::new("/dev/fuse").exists() => return,
        true => (
            "{path: /dev/log/kernel, hostPath: /dev/fuse}",
            ": <> $LOG && echo written; test -e /dev/fuse || echo refused",
        ),
        false => (
            "{path: /dev/log/kernel, type: c, major: 1, minor: 11}",
            "echo test > $LOG && echo written; \
             /bin/busybox mknod /mem c 1 1; /bin/busybox head -c 1 /mem 2>/dev/null || echo refused",
        ),
    };
    let spec = format!(
        "cdiVersion: 0.6.0\nkind: test.com/log\ndevices:\n- name: kernel\n  containerEdits:\n    \
         env: [LOG=/dev/log/kernel]\n    deviceNodes:\n    - {node}\n"
    );
    std::fs::write(folder.join("log.yaml"), spec).unwrap();
    let mut exec = sh(script);
    exec.cdi_devices = vec![pb::CdiDevice {
        name: "test.com/log=kernel".into(),
        optional: false,
    }];
    bench.succeeds(&exec).await;
    assert_eq!(bench.output(), "written\nrefused\n");
    exec.cdi_devices[0].name = "test.com/log=none".into();
    let failure = bench.fails(&exec).await;
    assert!(failure.message.contains("is not registered"), "{failure}");
}
