use clap::Parser;
use cooper_worker::gc::GcPolicy;

use super::*;

fn options(line: &[&str], text: &str) -> Result<DaemonOptions, OptionsError> {
    let flags = DaemonFlags::try_parse_from(["cooperd"].iter().chain(line)).unwrap();
    let file = read_file(Path::new("buildkitd.toml"), text)?;
    let defaults = Defaults {
        root: "/var/lib/cooper".into(),
        address: Some("unix:///run/cooper/cooperd.sock".into()),
    };
    combine(&flags, &file, &defaults)
}

// drop-in.md: how BuildKit's own test framework starts the daemon.
#[test]
fn launch_of_buildkits_tests_is_understood() {
    let line = [
        "--oci-worker=true",
        "--containerd-worker=false",
        "--oci-worker-gc=false",
        "--oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true",
        "--root",
        "/tmp/r",
        "--addr",
        "unix:///tmp/r/buildkitd.sock",
        "--debug",
    ];
    let text = r#"
            insecure-entitlements = ["network.host", "security.insecure"]
            provenanceEnvDir = "/tmp/p"
            [registry."docker.io"]
            mirrors = ["localhost:5000"]
            [otel]
            socketPath = "/tmp/otel.sock"
            [cdi]
            specDirs = ["/tmp/cdi"]
            [worker.oci]
            networkMode = "host"
            max-parallelism = 2
            [worker.containerd]
            networkMode = "host"
            max-parallelism = 2
        "#;
    let options = options(&line, text).unwrap();
    assert_eq!(options.root, Path::new("/tmp/r"));
    let socket = Address::Unix("/tmp/r/buildkitd.sock".into());
    assert_eq!(options.addresses, [socket]);
    assert_eq!(options.log_level, "debug");
    assert_eq!(options.engine.garbage, GcPolicy::Unneeded);
    let engine = options.engine;
    assert_eq!(engine.max_parallelism, NonZeroUsize::new(2));
    assert!(engine.entitlements.contains("security.insecure"));
    assert!(engine.entitlements.contains("device"));
    let docker = &engine.distribution.registries["docker.io"];
    assert_eq!(docker.mirrors, ["localhost:5000"]);
    let sandbox = "org.mobyproject.buildkit.worker.sandbox";
    assert_eq!(engine.labels[sandbox], "true");
}

#[test]
fn output_of_steps_may_be_limited_or_not() {
    let output = |line: &[&str]| options(line, "").map(|it| it.engine.output).unwrap();
    assert_eq!(output(&[]), OutputLimits::default());
    let all = ["--step-log-max-size=-1", "--step-log-max-speed=-1"];
    let none = OutputLimits {
        size: None,
        speed: None,
    };
    assert_eq!(output(&all), none);
    assert_eq!(output(&["--step-log-max-size=7"]).size, Some(7));
}

// T-B9
#[test]
fn another_runtime_is_taken_from_the_flag_or_the_file_and_may_be_refused_for_its_age() {
    let runtime = |line: &[&str], text: &str| options(line, text).map(|it| it.engine.runtime);
    let file = "[worker.oci]\nbinary = \"/usr/bin/runc\"\noldBinary = \"refuse\"\n";
    let of = |binary: &str, old| {
        Some(RuntimeSettings {
            binary: binary.into(),
            old,
        })
    };
    assert_eq!(runtime(&[], "").unwrap(), None);
    assert_eq!(
        runtime(&[], file).unwrap(),
        of("/usr/bin/runc", OldRuntime::Refuse)
    );
    assert_eq!(
        runtime(&["--oci-worker-binary=runc"], "").unwrap(),
        of("runc", OldRuntime::Warn)
    );
    assert!(runtime(&["--oci-worker-old-binary=never"], "").is_err());
}

#[test]
fn what_is_not_built_is_named() {
    for (line, text, name) in [
        (
            &["--containerd-worker=true"][..],
            "",
            "--containerd-worker=true",
        ),
        (
            &["--oci-worker-snapshotter=stargz"],
            "",
            "snapshotter stargz",
        ),
        (&["--addr", "npipe:////x"], "", "--addr=npipe:////x"),
        (
            &[],
            "[worker.containerd]\nenabled = true",
            "worker.containerd.enabled",
        ),
        (
            &[],
            "[frontend.'dockerfile.v0']\nenabled = false",
            "frontend.\"dockerfile.v0\".enabled=false",
        ),
    ] {
        let error = options(line, text).unwrap_err();
        assert_eq!(error, OptionsError::Unsupported(vec![name.to_owned()]));
    }
}

#[test]
fn flags_and_keys_of_a_daemon_without_root_are_understood() {
    let line = [
        "--rootless",
        "--oci-worker-rootless",
        "--oci-worker-no-process-sandbox",
        "--oci-worker-snapshotter=fuse-overlayfs",
    ];
    let by_flags = options(&line, "").unwrap();
    assert!(by_flags.makes_namespace && by_flags.engine.shares_processes);
    let snapshotter = by_flags.engine.snapshotter;
    assert_eq!(snapshotter, Some(Snapshotter::FuseOverlayfs));
    let keys = "[worker.oci]\nrootless = false\nnoProcessSandbox = true\nsnapshotter = 'native'";
    let by_keys = options(&[], keys).unwrap();
    assert!(!by_keys.makes_namespace && by_keys.engine.shares_processes);
    assert_eq!(by_keys.engine.snapshotter, Some(Snapshotter::Native));
    assert_eq!(options(&[], "").unwrap().engine.snapshotter, None);
}

#[test]
fn unknown_key_is_an_error_with_its_line() {
    let error = options(&[], "debug = true\n[worker]\nocy = 1\n").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("line 3") && text.contains("ocy"), "{text}");
    let unknown = options(&[], "[worker.oci]\nbinari = 'x'\n").unwrap_err();
    assert!(unknown.to_string().contains("binari"));
}

#[test]
fn pages_are_shown_where_flag_or_file_say() {
    let shown = |line: &[&str], text| options(line, text).unwrap().debug_address;
    let local = Some(Address::Tcp("127.0.0.1:6060".into()));
    assert_eq!(shown(&["--debugaddr=127.0.0.1:6060"], ""), local);
    let file = "[grpc]\ndebugAddress = 'tcp://127.0.0.1:6060'";
    assert_eq!(shown(&[], file), local);
    let socket = Some(Address::Unix("/run/d.sock".into()));
    assert_eq!(shown(&["--debugaddr=unix:///run/d.sock"], file), socket);
    assert_eq!(shown(&[], ""), None);
    assert!(options(&["--debugaddr=here"], "").is_err());
}

#[test]
fn values_that_cannot_be_used_are_refused() {
    for (line, text) in [
        (&["--addr=/tmp/x"][..], ""),
        (&["--tlscert", "x"], ""),
        (&[], "[grpc.tls]\nca = 'a'"),
        (&["--log-level=loud"], ""),
        (&["--log-format=xml"], ""),
        (&["--allow-insecure-entitlement=all"], ""),
        (&["--oci-max-parallelism=many"], ""),
        (&[], "[history]\nmaxAge = 'soon'"),
    ] {
        assert!(options(line, text).is_err(), "{line:?} {text}");
    }
    let kept = options(&[], "[history]\nmaxAge = '48h'\nmaxEntries = 7").unwrap();
    assert_eq!(
        kept.engine.history_age,
        Some(Duration::from_secs(48 * 3600))
    );
    assert_eq!(kept.engine.history_entries, Some(7));
}
