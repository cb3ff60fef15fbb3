use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_engine::FrontendImages;
use cooper_worker::cdi::CdiSettings;
use cooper_worker::distribution::{DistributionConfig, KeyPair, RegistryConfig};
use cooper_worker::network::{DnsSettings, NetworkMode, NetworkSettings};

use super::EngineSettings;
use super::address::Address;
use super::file::{
    CONTAINERD_KEYS, ConfigFile, ContainerdTable, OciTable, RegistryTable, TlsTable,
    UNBUILT_WORKER_KEYS,
};
use super::flags::DaemonFlags;
use super::garbage;
use super::secure::TlsFiles;

/// What a daemon is told by its flags and its file together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonOptions {
    /// Folder in which everything is kept.
    pub root: PathBuf,
    /// Where to listen.
    pub addresses: Vec<Address>,
    /// TLS for addresses of networks; none without.
    pub tls: Option<TlsFiles>,
    /// Owner of the sockets.
    pub socket_uid: Option<u32>,
    /// Group of the sockets, by name or number.
    pub socket_group: Option<String>,
    /// Lowest level of messages to log.
    pub log_level: String,
    /// Whether messages are JSON.
    pub log_json: bool,
    /// What the engine is told.
    pub engine: EngineSettings,
}

/// Why a daemon does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Flags or keys ask for what is not built.
    #[error("not supported yet: {}", .0.join(", "))]
    Unsupported(Vec<String>),
    /// A value cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The file is no configuration.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, with the line.
        reason: String,
    },
}

const DEFAULT_SOCKET: &str = "unix:///run/cooper/cooperd.sock";
const DEFAULT_ROOT: &str = "/var/lib/cooper";

/// Reads the text of a configuration file.
///
/// # Errors
/// For a key that does not exist or a value of a wrong type, with the line.
pub(super) fn read_file(path: &Path, text: &str) -> Result<ConfigFile, OptionsError> {
    toml::from_str(text).map_err(|error| OptionsError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Puts flags and file together; flags win.
///
/// # Errors
/// When something is asked for that is not built, or a value cannot be used.
pub(super) fn combine(
    flags: &DaemonFlags,
    file: &ConfigFile,
) -> Result<DaemonOptions, OptionsError> {
    refuse_unbuilt(flags, file)?;
    let invalid = |what: String| OptionsError::Invalid(what);
    let debug = flags.debug.unwrap_or(file.debug);
    let trace = flags.trace.unwrap_or(file.trace);
    let level = flags.log_level.clone().or_else(|| file.log.level.clone());
    let level = if trace {
        "trace".into()
    } else if debug {
        "debug".into()
    } else {
        level.unwrap_or_else(|| "info".into())
    };
    if !["trace", "debug", "info", "warn", "error"].contains(&level.as_str()) {
        return Err(invalid(format!("unknown log level {level:?}")));
    }
    let format = flags.log_format.as_ref().or(file.log.format.as_ref());
    let log_json = match format.map_or("text", String::as_str) {
        "text" => false,
        "json" => true,
        other => return Err(invalid(format!("unsupported log format {other:?}"))),
    };
    let addresses = if flags.addr.is_empty() {
        &file.grpc.address
    } else {
        &flags.addr
    };
    let default = [DEFAULT_SOCKET.to_owned()];
    let addresses: &[String] = if addresses.is_empty() {
        &default
    } else {
        addresses
    };
    let root = flags.root.clone().or_else(|| file.root.clone());
    Ok(DaemonOptions {
        root: root.unwrap_or_else(|| DEFAULT_ROOT.into()),
        addresses: addresses
            .iter()
            .map(|address| Address::parse(address))
            .collect::<Result<_, _>>()?,
        tls: tls(flags, file)?,
        socket_uid: file.grpc.uid,
        socket_group: flags
            .group
            .clone()
            .or_else(|| file.grpc.gid.map(|gid| gid.to_string())),
        log_level: level,
        log_json,
        engine: engine_settings(flags, file)?,
    })
}

fn engine_settings(flags: &DaemonFlags, file: &ConfigFile) -> Result<EngineSettings, OptionsError> {
    let asked = flags
        .allow_insecure_entitlement
        .iter()
        .chain(&file.insecure_entitlements);
    let mut entitlements = std::collections::BTreeSet::new();
    for name in asked {
        if !["network.host", "security.insecure", "device"].contains(&name.as_str()) {
            let words = format!("invalid entitlement: {name}");
            return Err(OptionsError::Invalid(words));
        }
        entitlements.insert(name.clone());
    }
    let parallelism = match &flags.oci_max_parallelism {
        Some(text) if text == "num-cpu" => std::thread::available_parallelism().ok(),
        Some(text) => NonZeroUsize::new(text.parse().map_err(|_| {
            OptionsError::Invalid(format!("--oci-max-parallelism={text} is no number"))
        })?),
        None => file.worker.oci.max_parallelism.and_then(NonZeroUsize::new),
    };
    let mut labels = file.worker.oci.labels.clone();
    for label in &flags.oci_worker_labels {
        let (name, value) = label.split_once('=').ok_or_else(|| {
            OptionsError::Invalid(format!("--oci-worker-labels={label} is no NAME=VALUE"))
        })?;
        labels.insert(name.to_owned(), value.to_owned());
    }
    let mut distribution = DistributionConfig::default();
    if let Some(concurrency) = file.system.max_registry_concurrency {
        distribution.max_concurrency = concurrency.max(1);
    }
    distribution.registries = file
        .registry
        .iter()
        .map(|(host, table)| (host.clone(), registry(table)))
        .collect();
    let history = file.history.as_ref();
    Ok(EngineSettings {
        entitlements,
        max_parallelism: parallelism,
        network: network(flags, file)?,
        devices: devices(flags, file),
        cgroup_parent: file.worker.oci.default_cgroup_parent.clone(),
        distribution,
        labels,
        frontend_images: FrontendImages {
            enabled: file.frontend.gateway.enabled != Some(false),
            allowed_repositories: file.frontend.gateway.allowed_repositories.clone(),
        },
        stores_images: false,
        garbage: garbage::policy(flags, &file.worker.oci)?,
        history_entries: history.and_then(|h| h.max_entries),
        history_age: history
            .and_then(|h| h.max_age.as_ref())
            .map(duration)
            .transpose()?,
    })
}

/// Where devices for steps are described; without CDI nowhere.
fn devices(flags: &DaemonFlags, file: &ConfigFile) -> CdiSettings {
    let default = CdiSettings::default();
    let is_off = flags.cdi_disabled.or(file.cdi.disabled).unwrap_or(false);
    let folders = match (is_off, &flags.cdi_spec_dir, &file.cdi.spec_dirs) {
        (true, _, _) => Vec::new(),
        (false, flag, _) if !flag.is_empty() => flag.clone(),
        (false, _, key) if !key.is_empty() => key.clone(),
        (false, _, _) => default.folders,
    };
    CdiSettings {
        folders,
        auto_allowed: file.cdi.auto_allowed.clone(),
    }
}

/// How steps are connected; the keys and their defaults are buildkitd's.
fn network(flags: &DaemonFlags, file: &ConfigFile) -> Result<NetworkSettings, OptionsError> {
    let oci = &file.worker.oci;
    let mode = flags.oci_worker_net.as_ref().or(oci.network_mode.as_ref());
    let mode = match mode.map_or("auto", String::as_str) {
        "auto" | "" => NetworkMode::Auto,
        "host" => NetworkMode::Host,
        "cni" => NetworkMode::Cni,
        "bridge" => NetworkMode::Bridge,
        other => {
            let words = format!("invalid network mode: {other:?}");
            return Err(OptionsError::Invalid(words));
        }
    };
    let dns = file.dns.as_ref();
    if let Some(server) = dns
        .iter()
        .flat_map(|dns| &dns.nameservers)
        .find(|server| server.parse::<std::net::IpAddr>().is_err())
    {
        let words = format!("bad nameserver address {server:?}");
        return Err(OptionsError::Invalid(words));
    }
    let default = NetworkSettings::default();
    let flag_or = |flag: &Option<PathBuf>, key: &Option<PathBuf>| flag.clone().or(key.clone());
    Ok(NetworkSettings {
        mode,
        cni_config: flag_or(&flags.oci_cni_config_path, &oci.cni_config_path)
            .unwrap_or(default.cni_config),
        cni_programs: flag_or(&flags.oci_cni_binary_dir, &oci.cni_binary_path)
            .unwrap_or(default.cni_programs),
        pool_size: flags.oci_cni_pool_size.or(oci.cni_pool_size).unwrap_or(0),
        bridge_name: oci.bridge_name.clone().unwrap_or(default.bridge_name),
        bridge_subnet: oci.bridge_subnet.clone().unwrap_or(default.bridge_subnet),
        start_lock: flags.cni_init_lock_path.clone(),
        dns: dns.map_or_else(DnsSettings::default, |dns| DnsSettings {
            nameservers: dns.nameservers.clone(),
            options: dns.options.clone(),
            search_domains: dns.search_domains.clone(),
        }),
    })
}

fn registry(table: &RegistryTable) -> RegistryConfig {
    RegistryConfig {
        mirrors: table.mirrors.clone(),
        http: table.http,
        insecure: table.insecure.unwrap_or(false),
        ca: table.ca.clone(),
        keypair: table
            .keypair
            .iter()
            .map(|pair| KeyPair {
                key: pair.key.clone(),
                cert: pair.cert.clone(),
            })
            .collect(),
        tls_config_dir: table.tlsconfigdir.clone(),
        ..RegistryConfig::default()
    }
}

/// Seconds as a number, or a text with a unit.
pub(super) fn duration(value: &toml::Value) -> Result<Duration, OptionsError> {
    let parsed = match value {
        toml::Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        toml::Value::String(text) => match text.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => humantime::parse_duration(text).ok(),
        },
        _ => None,
    };
    parsed.ok_or_else(|| OptionsError::Invalid(format!("{value} is no duration")))
}

/// The files of TLS; flags win.
fn tls(flags: &DaemonFlags, file: &ConfigFile) -> Result<Option<TlsFiles>, OptionsError> {
    let table = file.grpc.tls.as_ref();
    let or_file = |flag: &Option<PathBuf>, key: fn(&TlsTable) -> &Option<PathBuf>| {
        flag.clone()
            .or_else(|| table.and_then(|table| key(table).clone()))
    };
    let cert = or_file(&flags.tlscert, |table| &table.cert);
    let key = or_file(&flags.tlskey, |table| &table.key);
    let ca = or_file(&flags.tlscacert, |table| &table.ca);
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key, ca })),
        (None, None) if ca.is_none() => Ok(None),
        _ => Err(OptionsError::Invalid(
            "you must specify key and cert files if one is specified".into(),
        )),
    }
}

fn refuse_unbuilt(flags: &DaemonFlags, file: &ConfigFile) -> Result<(), OptionsError> {
    let mut unbuilt = flags.unbuilt.asked_for();
    let mut check = |asked: bool, name: &str| {
        if asked {
            unbuilt.push(name.to_owned());
        }
    };
    let is_off = |text: Option<&str>| text == Some("false");
    let oci_off = is_off(flags.oci_worker.as_deref()) || file.worker.oci.enabled == Some(false);
    check(
        oci_off,
        "a daemon without its own worker (oci-worker=false)",
    );
    check(file.proxy_network, "proxyNetwork");
    check(file.grpc.debug_address.is_some(), "grpc.debugAddress");
    check(
        file.grpc.security_descriptor.is_some(),
        "grpc.securityDescriptor",
    );
    check(!file.cache.is_empty(), "cache");
    let dockerfile_off = file.frontend.dockerfile.enabled == Some(false);
    check(dockerfile_off, "frontend.\"dockerfile.v0\".enabled=false");
    check_modes(flags, &file.worker.oci, &mut check)?;
    check_containerd(&file.worker.containerd, &mut check)?;
    if unbuilt.is_empty() {
        Ok(())
    } else {
        Err(OptionsError::Unsupported(unbuilt))
    }
}

fn check_modes(
    flags: &DaemonFlags,
    oci: &OciTable,
    check: &mut impl FnMut(bool, &str),
) -> Result<(), OptionsError> {
    let snapshotter = flags.oci_worker_snapshotter.as_ref();
    let snapshotter = snapshotter.or(oci.snapshotter.as_ref());
    if let Some(name) = snapshotter.filter(|s| !["auto", "overlayfs", ""].contains(&s.as_str())) {
        check(true, &format!("snapshotter {name}"));
    }
    unknown_keys("worker.oci", &oci.others, &[])?;
    for key in oci.others.keys() {
        check(true, &format!("worker.oci.{key}"));
    }
    Ok(())
}

fn check_containerd(
    table: &ContainerdTable,
    check: &mut impl FnMut(bool, &str),
) -> Result<(), OptionsError> {
    unknown_keys("worker.containerd", &table.others, CONTAINERD_KEYS)?;
    check(table.enabled == Some(true), "worker.containerd.enabled");
    Ok(())
}

fn unknown_keys(
    table: &str,
    keys: &BTreeMap<String, toml::Value>,
    further: &[&str],
) -> Result<(), OptionsError> {
    let unknown = keys.keys().find(|key| {
        !UNBUILT_WORKER_KEYS.contains(&key.as_str()) && !further.contains(&key.as_str())
    });
    match unknown {
        Some(key) => Err(OptionsError::Invalid(format!(
            "unknown key {key} in [{table}]"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use cooper_worker::gc::GcPolicy;

    use super::*;

    fn options(line: &[&str], text: &str) -> Result<DaemonOptions, OptionsError> {
        let flags = DaemonFlags::try_parse_from(["cooperd"].iter().chain(line)).unwrap();
        let file = read_file(Path::new("buildkitd.toml"), text)?;
        combine(&flags, &file)
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
        let docker = &engine.distribution.registries["docker.io"];
        assert_eq!(docker.mirrors, ["localhost:5000"]);
        let sandbox = "org.mobyproject.buildkit.worker.sandbox";
        assert_eq!(engine.labels[sandbox], "true");
    }

    #[test]
    fn what_is_not_built_is_named() {
        for (line, text, name) in [
            (
                &["--containerd-worker=true"][..],
                "",
                "--containerd-worker=true",
            ),
            (&["--rootless"], "", "--rootless=true"),
            (&["--addr", "npipe:////x"], "", "--addr=npipe:////x"),
            (&[], "[worker.oci]\nbinary = 'crun'", "worker.oci.binary"),
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
    fn unknown_key_is_an_error_with_its_line() {
        let error = options(&[], "debug = true\n[worker]\nocy = 1\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 3") && text.contains("ocy"), "{text}");
        let unknown = options(&[], "[worker.oci]\nbinari = 'x'\n").unwrap_err();
        assert!(unknown.to_string().contains("binari"));
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
}
