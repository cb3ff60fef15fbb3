//! Frontend options (features.md A8), read once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cooper_core::attest::{ScanOptions, Wanted};
use cooper_core::model::FailureKind;
use cooper_core::ports::ResolveMode;
use cooper_proto::pb;

use crate::diagnostic::Fault;
use crate::golang::number::parse_bool;
use crate::golang::quote::quote;
use crate::instruction::csv_fields;
use crate::lint;
use crate::platform::{self, Platform};

/// Names and texts, as a client sends them.
pub type Texts = BTreeMap<String, String>;

/// Which stages take nothing from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these names.
    Stages(Vec<String>),
}

/// The options of a conversion.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each field is the option of that name")]
pub struct Options {
    pub all: Texts,
    pub target: String,
    pub filename: String,
    pub build_args: Texts,
    pub labels: Texts,
    pub no_cache: NoCache,
    pub resolve_mode: ResolveMode,
    pub extra_hosts: Vec<pb::HostIp>,
    pub shm_size: i64,
    pub ulimits: Vec<pb::Ulimit>,
    pub cgroup_parent: String,
    pub hostname: String,
    pub network: pb::NetMode,
    pub multi_platform: bool,
    pub platforms: Vec<Platform>,
    pub resources: Option<pb::LinuxResources>,
    pub cache_namespace: String,
    pub lint: Option<lint::Options>,
    pub sbom: Option<ScanOptions>,
}

const CAPS: [&str; 4] = [
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

impl Options {
    /// Reads options; `host` completes platforms.
    ///
    /// # Errors
    /// An option of the wrong form, one that BuildKit has removed, or one that is not built yet.
    pub fn read(all: &Texts, host: &Platform) -> Result<Self, Fault> {
        refuse(all)?;
        let text = |key: &str| all.get(key).cloned().unwrap_or_default();
        let platforms = platforms(&text("platform"), host)?;
        Ok(Self {
            target: text("target"),
            filename: all
                .get("filename")
                .cloned()
                .unwrap_or_else(|| "Dockerfile".to_owned()),
            build_args: with_prefix(all, "build-arg:"),
            labels: with_prefix(all, "label:"),
            no_cache: no_cache(all.get("no-cache")),
            resolve_mode: resolve_mode(&text("image-resolve-mode"))?,
            extra_hosts: extra_hosts(&text("add-hosts"))
                .map_err(|fault| fault.within("failed to parse additional hosts"))?,
            shm_size: number(all, "shm-size")
                .map_err(|fault| fault.within("failed to parse shm size"))?,
            ulimits: ulimits(&text("ulimit"))
                .map_err(|fault| fault.within("failed to parse ulimit"))?,
            cgroup_parent: text("cgroup-parent"),
            hostname: match text("build-arg:BUILDKIT_SANDBOX_HOSTNAME") {
                given if given.is_empty() => text("hostname"),
                given => given,
            },
            network: network(&text("force-network-mode"))?,
            multi_platform: multi_platform(all, platforms.len() > 1)?,
            platforms,
            resources: resources(all)
                .map_err(|fault| fault.within("failed to parse resource limits"))?,
            cache_namespace: text("build-arg:BUILDKIT_CACHE_MOUNT_NS"),
            lint: lint_options(all)?,
            sbom: Wanted::read(all)?.sbom,
            all: all.clone(),
        })
    }

    /// Whether a stage takes nothing from the cache.
    #[must_use]
    pub fn ignores_cache(&self, stage: &str) -> bool {
        match &self.no_cache {
            NoCache::None => false,
            NoCache::All => true,
            NoCache::Stages(names) => names.iter().any(|name| name.eq_ignore_ascii_case(stage)),
        }
    }

    /// An option's text, or the empty text.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.all.get(key).map_or("", String::as_str)
    }
}

/// What cannot be honoured is refused, never ignored.
fn refuse(all: &Texts) -> Result<(), Fault> {
    for cap in all
        .get("frontend.caps")
        .into_iter()
        .flat_map(|caps| caps.split(','))
    {
        let cap = cap.trim().trim_end_matches("+forward");
        if !cap.is_empty() && !CAPS.contains(&cap) {
            return Err(Fault {
                kind: FailureKind::Unsupported,
                ..Fault::new(format!("unsupported frontend capability {cap}"))
            });
        }
    }
    if all
        .get("override-copy-image")
        .is_some_and(|value| !value.is_empty())
    {
        return Err(Fault::new(
            "support for \"override-copy-image\" was removed in BuildKit 0.11",
        ));
    }
    if all
        .get("build-arg:BUILDKIT_DISABLE_FILEOP")
        .and_then(|value| parse_bool(value))
        == Some(true)
    {
        return Err(Fault::new(
            "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11",
        ));
    }
    Ok(())
}

/// The entries whose key starts with `prefix`, without it.
fn with_prefix(all: &Texts, prefix: &str) -> Texts {
    all.iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone())))
        .collect()
}

fn no_cache(value: Option<&String>) -> NoCache {
    match value.map(String::as_str) {
        None => NoCache::None,
        Some("") => NoCache::All,
        Some(names) => NoCache::Stages(names.split(',').map(str::to_owned).collect()),
    }
}

fn platforms(text: &str, host: &Platform) -> Result<Vec<Platform>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|item| match platform::parse(item, host) {
            Ok(platform) => Ok(platform::normalize(&platform)),
            Err(error) => Err(Fault::new(format!(
                "failed to parse target platform {item}: {error}"
            ))),
        })
        .collect()
}

fn resolve_mode(text: &str) -> Result<ResolveMode, Fault> {
    match text {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::ForcePull),
        "local" => Ok(ResolveMode::PreferLocal),
        other => Err(Fault::new(format!("invalid image-resolve-mode: {other}"))
            .suggest(other, ["default", "pull", "local"])),
    }
}

fn network(text: &str) -> Result<pb::NetMode, Fault> {
    match text {
        "" | "sandbox" => Ok(pb::NetMode::Unset),
        "none" => Ok(pb::NetMode::None),
        "host" => Ok(pb::NetMode::Host),
        other => Err(Fault::new(format!("invalid netmode {other}"))
            .suggest(other, ["sandbox", "none", "host"])),
    }
}

fn multi_platform(all: &Texts, several: bool) -> Result<bool, Fault> {
    let given = ["build-arg:BUILDKIT_MULTI_PLATFORM", "multi-platform"]
        .iter()
        .filter_map(|key| all.get(*key))
        .find(|value| !value.is_empty());
    let Some(given) = given else {
        return Ok(several);
    };
    match parse_bool(given) {
        None => Err(Fault::new(format!(
            "invalid boolean value for multi-platform: {given}"
        ))),
        Some(false) if several => Err(Fault::new(
            "conflicting config: returning multiple target platforms is not allowed",
        )),
        Some(wanted) => Ok(wanted),
    }
}

fn lint_options(all: &Texts) -> Result<Option<lint::Options>, Fault> {
    let Some(text) = all.get("build-arg:BUILDKIT_DOCKERFILE_CHECK") else {
        return Ok(None);
    };
    match lint::Options::parse(text) {
        Ok(options) => Ok(Some(options)),
        Err(error) => Err(Fault::new(format!(
            "failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: {error}"
        ))),
    }
}

fn extra_hosts(text: &str) -> Result<Vec<pb::HostIp>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let fields = csv_fields(text).map_err(Fault::new)?;
    fields
        .iter()
        .map(|field| {
            let field = field.to_lowercase();
            let Some((host, address)) = field.split_once('=') else {
                return Err(Fault::new(format!("invalid key-value pair {field}")));
            };
            let Ok(ip) = address.parse::<IpAddr>() else {
                return Err(Fault::new(format!("failed to parse IP {address}")));
            };
            Ok(pb::HostIp {
                host: host.to_owned(),
                ip: ip.to_canonical().to_string(),
            })
        })
        .collect()
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn ulimits(text: &str) -> Result<Vec<pb::Ulimit>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    csv_fields(text)
        .map_err(Fault::new)?
        .iter()
        .map(|field| ulimit(field))
        .collect()
}

fn ulimit(field: &str) -> Result<pb::Ulimit, Fault> {
    let Some((name, limits)) = field.split_once('=') else {
        return Err(Fault::new(format!("invalid ulimit argument: {field}")));
    };
    if !ULIMITS.contains(&name) {
        return Err(Fault::new(format!("invalid ulimit type: {name}")).suggest(name, ULIMITS));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .map_err(|_| Fault::new(format!("invalid ulimit value {} of {name}", quote(text))))
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(Fault::new(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(pb::Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

fn number(all: &Texts, key: &str) -> Result<i64, Fault> {
    match all.get(key).map(String::as_str) {
        None | Some("") => Ok(0),
        Some(text) => text
            .parse()
            .map_err(|_| Fault::new(format!("invalid {key} value: {text}"))),
    }
}

fn resources(all: &Texts) -> Result<Option<pb::LinuxResources>, Fault> {
    let positive = |key: &str, least: i64| {
        let value = number(all, key)?;
        if value < least || (value == 0 && all.get(key).is_some_and(|text| !text.is_empty())) {
            let rule = if least < 0 {
                "-1 (unlimited) or > 0"
            } else {
                "> 0"
            };
            return Err(Fault::new(format!(
                "invalid {key} value: {value}: must be {rule}"
            )));
        }
        Ok(value)
    };
    let cpus = |key: &str| {
        let text = all.get(key).cloned().unwrap_or_default();
        if text.is_empty() || is_cpu_set(&text) {
            Ok(text)
        } else {
            Err(Fault::new(format!(
                "invalid {key} value: {text}: not a list of numbers and ranges"
            )))
        }
    };
    let resources = pb::LinuxResources {
        memory: positive("memory", 0)?,
        memory_swap: positive("memswap", -1)?,
        cpu_shares: positive("cpushares", 0)?.unsigned_abs(),
        cpu_period: positive("cpuperiod", 0)?.unsigned_abs(),
        cpu_quota: positive("cpuquota", 0)?,
        cpuset_cpus: cpus("cpusetcpus")?,
        cpuset_mems: cpus("cpusetmems")?,
    };
    Ok((resources != pb::LinuxResources::default()).then_some(resources))
}

/// `0-2,5`.
fn is_cpu_set(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if first <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Fault> {
        let all = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Options::read(&all, &platform::named("linux", "amd64"))
    }

    #[test]
    fn no_cache_is_all_or_some() {
        assert!(!read(&[]).unwrap().ignores_cache("a"));
        assert!(read(&[("no-cache", "")]).unwrap().ignores_cache("a"));
        let some = read(&[("no-cache", "A,b")]).unwrap();
        assert!(some.ignores_cache("a") && !some.ignores_cache("c"));
    }

    #[test]
    fn options_of_the_wrong_form_are_refused() {
        for pair in [
            ("platform", "x/y/z/w"),
            ("image-resolve-mode", "maybe"),
            ("add-hosts", "a"),
            ("add-hosts", "a=b"),
            ("ulimit", "nofil=1"),
            ("ulimit", "nofile=2:1"),
            ("memory", "0"),
            ("memswap", "-2"),
            ("cpusetcpus", "a"),
            ("shm-size", "1k"),
            ("force-network-mode", "bridge"),
            ("multi-platform", "perhaps"),
            ("frontend.caps", "moby.buildkit.frontend.nonsense"),
            ("attest:sbom", "generator="),
            ("attest:other", ""),
            ("build-arg:BUILDKIT_DOCKERFILE_CHECK", "nonsense"),
        ] {
            assert!(read(&[pair]).is_err(), "{pair:?}");
        }
        assert!(
            read(&[
                ("platform", "linux/amd64,linux/arm64"),
                ("multi-platform", "false")
            ])
            .is_err()
        );
    }

    #[test]
    fn several_platforms_make_a_map() {
        assert!(
            read(&[("platform", "linux/amd64,linux/arm64")])
                .unwrap()
                .multi_platform
        );
        assert!(!read(&[("platform", "linux/amd64")]).unwrap().multi_platform);
        assert!(read(&[("multi-platform", "1")]).unwrap().multi_platform);
    }
}
