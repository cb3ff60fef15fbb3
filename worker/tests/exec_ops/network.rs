use std::path::{Path, PathBuf};
use std::process::Command;

use cooper_proto::pb;
use cooper_worker::network::{DnsSettings, NetworkMode, NetworkSettings, Networks};

use crate::bench::{Bench, bench_on, sh};

/// Where Debian keeps CNI plugins.
const PLUGINS: &str = "/usr/lib/cni";

/// Calls one test of this file again where all that it does to networks is gone with it.
const IN_ITS_OWN_NETWORK: &str = r#"
set -eu
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
"$1" --exact "network::$2"
"#;

/// Whether this is the machine whose networks may be changed; if not, the test has run on one that is.
fn is_own_machine(test: &str) -> bool {
    let mark = Path::new("network-of-a-test");
    if mark.exists() {
        return true;
    }
    let here = tempfile::tempdir().unwrap();
    std::fs::write(here.path().join(mark), "").unwrap();
    let output = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", IN_ITS_OWN_NETWORK, "sh"])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .current_dir(here.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    false
}

fn bridge() -> NetworkSettings {
    NetworkSettings {
        mode: NetworkMode::Bridge,
        cni_programs: PLUGINS.into(),
        pool_size: 2,
        bridge_name: "cooper-test0".into(),
        bridge_subnet: "10.99.0.0/24".into(),
        ..NetworkSettings::default()
    }
}

/// Addresses that are taken on the bridge.
fn leases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/var/lib/cni/networks/buildkit");
    entries
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("10.")
        })
        .collect()
}

async fn succeeds(bench: &Bench, mode: pb::NetMode, hostname: &str, script: &str) -> String {
    let mut exec = sh(script);
    exec.network = mode.into();
    exec.meta.as_mut().unwrap().hostname = hostname.into();
    bench.succeeds(&exec).await;
    bench.output()
}

const INTERFACES: &str = "for i in /sys/class/net/*; do echo ${i##*/}; done";

#[tokio::test]
async fn steps_are_on_a_bridge_the_machine_or_alone() {
    if !is_own_machine("steps_are_on_a_bridge_the_machine_or_alone") {
        return;
    }
    let bench = bench_on(&NetworkSettings {
        dns: DnsSettings {
            nameservers: vec!["10.99.0.77".into()],
            ..DnsSettings::default()
        },
        ..bridge()
    });
    let script = format!(
        "{INTERFACES}; /bin/busybox ip route | grep ^default; \
         /bin/busybox ping -c 1 -W 5 10.99.0.1 >/dev/null && cat /etc/resolv.conf | grep ^nameserver"
    );
    let connected = "eth0\nlo\ndefault via 10.99.0.1 dev eth0 \nnameserver 10.99.0.77\n";
    for _ in 0..3 {
        assert_eq!(
            succeeds(&bench, pb::NetMode::Unset, "", &script).await,
            connected
        );
    }
    assert_eq!(leases().len(), 2, "the pool is used again and again");
    let with_name = succeeds(&bench, pb::NetMode::Unset, "web", INTERFACES).await;
    assert_eq!(with_name, "eth0\nlo\n");
    assert_eq!(leases().len(), 2, "a network for a name is not kept");
    let alone = succeeds(&bench, pb::NetMode::None, "", INTERFACES).await;
    assert_eq!(alone, "lo\n");
    let of_machine = succeeds(&bench, pb::NetMode::Host, "", INTERFACES).await;
    assert!(of_machine.contains("cooper-test0\n"), "{of_machine}");
    drop(bench);
    assert_eq!(leases(), [""; 0].map(PathBuf::from));
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(!interfaces.contains("cooper-test0"), "{interfaces}");
}

#[tokio::test]
async fn what_a_killed_engine_left_is_undone_at_the_next_start() {
    if !is_own_machine("what_a_killed_engine_left_is_undone_at_the_next_start") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = NetworkSettings {
        pool_size: 0,
        ..bridge()
    };
    let first = Networks::open(&settings, folder.path()).unwrap();
    let lease = first.join("").unwrap().unwrap();
    // As after kill -9: nobody undoes anything.
    std::mem::forget((lease, first));
    assert_eq!(leases().len(), 1);
    let second = Networks::open(&settings, folder.path()).unwrap();
    assert_eq!(leases(), [""; 0].map(PathBuf::from));
    // The bridge is used again, and is ours to remove as it was before.
    assert!(has_bridge());
    drop(second);
    assert!(!has_bridge());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn has_bridge() -> bool {
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap();
    interfaces.contains("cooper-test0")
}

#[tokio::test]
async fn a_bridge_of_a_killed_engine_goes_when_the_next_one_wants_none() {
    if !is_own_machine("a_bridge_of_a_killed_engine_goes_when_the_next_one_wants_none") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::mem::forget(Networks::open(&bridge(), folder.path()).unwrap());
    assert!(has_bridge());
    let plain = NetworkSettings {
        mode: NetworkMode::Host,
        ..NetworkSettings::default()
    };
    drop(Networks::open(&plain, folder.path()).unwrap());
    assert!(!has_bridge());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn settings_that_lead_nowhere_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |settings: NetworkSettings| {
        Networks::open(&settings, folder.path())
            .unwrap_err()
            .to_string()
    };
    let no_config = error(NetworkSettings {
        mode: NetworkMode::Cni,
        cni_programs: folder.path().into(),
        cni_config: "/no/such/cni.json".into(),
        ..NetworkSettings::default()
    });
    assert!(
        no_config.contains("cni config \"/no/such/cni.json\""),
        "{no_config}"
    );
    let no_plugin = error(NetworkSettings {
        mode: NetworkMode::Bridge,
        cni_programs: folder.path().into(),
        ..NetworkSettings::default()
    });
    assert!(no_plugin.contains("CNI bridge"), "{no_plugin}");
}
