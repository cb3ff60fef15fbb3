use std::path::Path;
use std::process::Command;

use crate::sandbox::{has_other_runtime, sandbox};

/// Calls this very test again, in a chroot to a directory that is no mount point and lies in a shared mount. What appears
/// in the machine's mounts then is a failure.
const IN_A_CHROOT: &str = r#"
set -eu
root=$1 programs=$2 self=$3
mount --make-rshared /
for directory in bin usr lib lib64 proc sys tmp "$programs"; do
    mkdir -p "$root/$directory"
    # With what is mounted below: the kernel lets a plain user take no part of it away.
    [ ! -e "/$directory" ] || mount --rbind "/$directory" "$root/$directory"
done
before=$(cat /proc/self/mountinfo)
chroot "$root" "$self" --exact chroot::container_runs_where_the_root_is_no_mount_point
[ "$(cat /proc/self/mountinfo)" = "$before" ]
"#;

#[tokio::test]
async fn container_runs_where_the_root_is_no_mount_point() {
    if has_other_runtime() {
        // runc needs a root that it can pivot away from.
        return;
    }
    let stat = rustix::fs::statx(
        rustix::fs::CWD,
        "/",
        rustix::fs::AtFlags::empty(),
        rustix::fs::StatxFlags::BASIC_STATS,
    )
    .unwrap();
    let in_chroot = !stat
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT);
    if in_chroot {
        let script = "echo here; ls /; ! grep -E '^[^ ]+ /(tmp|usr|bin)' /proc/self/mounts";
        let stdout = sandbox().sh(script).await.succeeded();
        assert_eq!(stdout, "here\nbin\ndev\nproc\nsys\n");
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    // The tests' programs lie one folder above this one.
    let programs = this.ancestors().nth(2).unwrap_or(Path::new("/"));
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", IN_A_CHROOT, "sh"])
        .args([root.path(), programs, &this])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).contains("1 passed"));
}
