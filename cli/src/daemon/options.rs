use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_engine::FrontendImages;
use cooper_engine::progress::OutputLimits;
use cooper_worker::cdi::CdiSettings;
use cooper_worker::distribution::{DistributionConfig, KeyPair, RegistryConfig};
use cooper_worker::exec::OldRuntime;
use cooper_worker::local_worker::RuntimeSettings;
use cooper_worker::network::{DnsSettings, NetworkMode, NetworkSettings};
use cooper_worker::snapshot::Snapshotter;

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
    /// Where pages about the daemon are shown; nowhere without.
    pub debug_address: Option<Address>,
    /// TLS for addresses of networks; none without.
    pub tls: Option<TlsFiles>,
    /// Owner of the sockets.
    pub socket_uid: Option<u32>,
    /// Group of the sockets, by name or number.
    pub socket_group: Option<String>,
    /// How long builds that run may go on when the daemon is told to stop.
    pub drain: Duration,
    /// Lowest level of messages to log.
    pub log_level: String,
    /// Whether messages are JSON.
    pub log_json: bool,
    /// Whether to make a user namespace where rights are missing.
    pub makes_namespace: bool,
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

/// What applies where neither a flag nor the file says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    /// Folder in which everything is kept.
    pub(super) root: PathBuf,
    /// Where to listen; on the state folder's own socket alone when `None`.
    pub(super) address: Option<String>,
}

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
    defaults: &Defaults,
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
    let addresses: &[String] = if addresses.is_empty() {
        defaults.address.as_slice()
    } else {
        addresses
    };
    let root = flags.root.clone().or_else(|| file.root.clone());
    Ok(DaemonOptions {
        root: root.unwrap_or_else(|| defaults.root.clone()),
        addresses: addresses
            .iter()
            .map(|address| Address::parse(address))
            .collect::<Result<_, _>>()?,
        debug_address: debug_address(flags, file)?,
        tls: tls(flags, file)?,
        socket_uid: file.grpc.uid,
        socket_group: flags
            .group
            .clone()
            .or_else(|| file.grpc.gid.map(|gid| gid.to_string())),
        drain: flags.drain_timeout,
        log_level: level,
        log_json,
        makes_namespace: flags
            .oci_worker_rootless
            .or(file.worker.oci.rootless)
            .unwrap_or(true),
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
    let devices = devices(flags, file);
    if !devices.folders.is_empty() {
        // As buildkitd has it: who describes devices allows builds to ask for them.
        entitlements.insert(String::from("device"));
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
        provenance_folder: file.provenance_env_dir.clone(),
        entitlements,
        max_parallelism: parallelism,
        network: network(flags, file)?,
        devices,
        cgroup_parent: file.worker.oci.default_cgroup_parent.clone(),
        runtime: runtime(flags, file)?,
        output: output(flags),
        distribution,
        labels,
        frontend_images: FrontendImages {
            enabled: file.frontend.gateway.enabled != Some(false),
            allowed_repositories: file.frontend.gateway.allowed_repositories.clone(),
        },
        stores_images: false,
        garbage: garbage::policy(flags, &file.worker.oci)?,
        snapshotter: flags
            .oci_worker_snapshotter
            .as_ref()
            .or(file.worker.oci.snapshotter.as_ref())
            .and_then(|name| Snapshotter::named(name)),
        shares_processes: flags
            .oci_worker_no_process_sandbox
            .or(file.worker.oci.no_process_sandbox)
            .unwrap_or(false),
        history_entries: history.and_then(|h| h.max_entries),
        history_age: history
            .and_then(|h| h.max_age.as_ref())
            .map(duration)
            .transpose()?,
    })
}

/// How much output of running steps clients are sent; less than nothing is all.
fn output(flags: &DaemonFlags) -> OutputLimits {
    let default = OutputLimits::default();
    let limit = |asked: Option<i64>, default| asked.map_or(default, |asked| asked.try_into().ok());
    OutputLimits {
        size: limit(flags.step_log_max_size, default.size),
        speed: limit(flags.step_log_max_speed, default.speed),
    }
}

/// The runtime that is asked for; an empty name is none.
fn runtime(
    flags: &DaemonFlags,
    file: &ConfigFile,
) -> Result<Option<RuntimeSettings>, OptionsError> {
    let oci = &file.worker.oci;
    let binary = flags.oci_worker_binary.as_ref().or(oci.binary.as_ref());
    let old = flags
        .oci_worker_old_binary
        .as_ref()
        .or(oci.old_binary.as_ref());
    let old = match old.map_or("warn", String::as_str) {
        "warn" => OldRuntime::Warn,
        "refuse" => OldRuntime::Refuse,
        other => {
            let words =
                format!("what is done about an old runtime is warn or refuse, not {other:?}");
            return Err(OptionsError::Invalid(words));
        }
    };
    let binary = binary.filter(|binary| !binary.as_os_str().is_empty());
    Ok(binary.map(|binary| RuntimeSettings {
        binary: binary.clone(),
        old,
    }))
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

/// Where pages are shown. An address without a scheme is one of a network, as buildkitd has it.
fn debug_address(flags: &DaemonFlags, file: &ConfigFile) -> Result<Option<Address>, OptionsError> {
    let text = flags
        .debugaddr
        .as_ref()
        .or(file.grpc.debug_address.as_ref());
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.contains("://") {
        true => Address::parse(text).map(Some),
        false => Address::parse(&format!("tcp://{text}")).map(Some),
    }
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
    if let Some(name) = snapshotter.filter(|s| !["auto", ""].contains(&s.as_str())) {
        check(
            Snapshotter::named(name).is_none(),
            &format!("snapshotter {name}"),
        );
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
#[path = "options_tests.rs"]
mod tests;
