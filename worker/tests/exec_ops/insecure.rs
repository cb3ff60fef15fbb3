use cooper_proto::pb;

use crate::bench::{bench, sh};

/// A device that any root may write to, so that only a guard keeps a step from it: the kernel's log.
const WRITE_A_DEVICE: &str = "/bin/busybox mknod /log c 1 11 && echo test > /log";

#[tokio::test]
async fn sandboxed_step_makes_devices_and_cannot_use_them() {
    let bench = bench();
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
    let script = format!(
        "{WRITE_A_DEVICE} && test -c /dev/fuse && test -b /dev/loop0 && mkdir /m && \
         /bin/busybox mount -t tmpfs none /m && /bin/busybox umount /m && \
         grep ^CapEff /proc/self/status && grep ^Seccomp: /proc/self/status && \
         for tree in /sys/fs/cgroup/*; do mkdir $tree/below || exit 1; break; done"
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
    as_user.meta.as_mut().unwrap().user = "1000".into();
    bench.succeeds(&as_user).await;
    assert_eq!(bench.output(), format!("{own}\n"));
}

#[tokio::test]
async fn step_gets_the_devices_that_it_asks_for_and_no_others() {
    let bench = bench();
    let folder = bench.temp.path().join("cdi");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(
        folder.join("log.yaml"),
        "cdiVersion: 0.6.0\nkind: test.com/log\ndevices:\n- name: kernel\n  containerEdits:\n    \
         env: [LOG=/dev/log/kernel]\n    deviceNodes:\n    - {path: /dev/log/kernel, type: c, major: 1, minor: 11}\n",
    )
    .unwrap();
    let mut exec = sh("echo test > $LOG && echo written; \
         /bin/busybox mknod /mem c 1 1; /bin/busybox head -c 1 /mem 2>/dev/null || echo refused");
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
