use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cooper_proto::{platform, reference::Reference};

use super::attest;
use super::cache::{self, Caches};
use super::context::{self, ContextFolders, ContextPlace, DockerfilePlace};
use super::error::UsageError;
use super::flags::BuildFlags;
use super::layout;
use super::output::{self, Output, OutputContext, Target};
use super::secret::{self, SecretSource};
use super::several;
use super::ssh::{self, SshSource};

const HOST_NETWORK: &str = "network.host";
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What the command line asks for, in the engine's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Options of the Dockerfile frontend (parity sheet A8).
    pub options: BTreeMap<String, String>,
    /// Permissions that the build asks for.
    pub entitlements: Vec<String>,
    /// Where the result goes.
    pub outputs: Vec<Output>,
    /// Caches that are kept elsewhere.
    pub caches: Caches,
    /// Folders that the session offers, by name.
    pub folders: BTreeMap<String, PathBuf>,
    /// Folders of OCI layouts that the session offers, by the name of their store.
    pub layouts: BTreeMap<String, PathBuf>,
    /// Secrets that the session offers, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of SSH agents by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// What the user should know before the build.
    pub notes: Vec<String>,
}

/// What stands around a command line.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Folder that relative paths start from.
    pub here: &'a Path,
    /// The environment.
    pub variables: &'a BTreeMap<String, String>,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
}

/// Turns flags into a plan.
///
/// # Errors
/// When a flag has a value that cannot be used, or asks for what is not built.
pub fn plan(
    flags: &BuildFlags,
    folders: &ContextFolders,
    around: Surroundings<'_>,
) -> Result<Plan, UsageError> {
    let mut plan = Plan {
        secrets: secret::parse(&flags.solve.secret, around.here, |name| {
            around.variables.contains_key(name)
        })?,
        ssh: ssh::parse(&flags.solve.ssh, around.here, around.variables)?,
        entitlements: entitlements(flags)?,
        outputs: outputs(flags, around)?,
        caches: cache::parse(&flags.cache_from, &flags.cache_to, around.here)?
            .with_variables(around.variables),
        ..Plan::default()
    };
    places(folders, around, &mut plan)?;
    simple_options(flags, &mut plan.options)?;
    plan.options.extend(attest::options(flags)?);
    for argument in &flags.build_arg {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), around.variables.get(argument).cloned()),
        };
        if name.is_empty() {
            return Err(UsageError::plain(format!(
                "invalid value {argument:?} of --build-arg: it has no name"
            )));
        }
        if let Some(value) = value {
            plan.options.insert(format!("build-arg:{name}"), value);
        }
    }
    // As buildx: times of the image follow the environment unless a flag says otherwise.
    let epoch = around.variables.get(SOURCE_DATE_EPOCH);
    if let Some(epoch) = epoch.filter(|epoch| !epoch.is_empty()) {
        plan.options
            .entry(format!("build-arg:{SOURCE_DATE_EPOCH}"))
            .or_insert_with(|| epoch.clone());
    }
    for label in &flags.label {
        let (name, value) = label.split_once('=').unwrap_or((label, ""));
        if name.is_empty() {
            return Err(UsageError::plain(format!(
                "invalid value {label:?} of --label: it has no name"
            )));
        }
        plan.options.insert(format!("label:{name}"), value.into());
    }
    plan.notes.extend(unnamed(flags, &plan.outputs));
    for named in &flags.build_context {
        named_context(named, around.here, &mut plan)?;
    }
    Ok(plan)
}

/// Where context and Dockerfile are.
fn places(
    folders: &ContextFolders,
    around: Surroundings<'_>,
    plan: &mut Plan,
) -> Result<(), UsageError> {
    let mut option = |key: &str, value: &str| plan.options.insert(key.to_owned(), value.to_owned());
    match &folders.context {
        ContextPlace::Folder(folder) => {
            plan.folders.insert("context".into(), folder.clone());
        }
        ContextPlace::Remote { address, ssh } => {
            option("context", address);
            // As buildx: who may fetch the repository by hand may fetch it so.
            if *ssh && plan.ssh.is_empty() && around.variables.contains_key("SSH_AUTH_SOCK") {
                plan.ssh = ssh::parse(&["default".to_owned()], around.here, around.variables)?;
            }
        }
    }
    match &folders.dockerfile {
        DockerfilePlace::Folder { folder, name } => {
            plan.folders.insert("dockerfile".into(), folder.clone());
            option("filename", name);
            if matches!(folders.context, ContextPlace::Remote { .. }) {
                option("dockerfilekey", "dockerfile");
            }
        }
        DockerfilePlace::InContext(Some(name)) => {
            option("filename", name);
        }
        DockerfilePlace::InContext(None) => {}
        DockerfilePlace::Url(url) => {
            return Err(UsageError::plain(format!(
                "the Dockerfile {url} is not fetched yet"
            )));
        }
    }
    Ok(())
}

fn simple_options(
    flags: &BuildFlags,
    options: &mut BTreeMap<String, String>,
) -> Result<(), UsageError> {
    let mut set = |key: &str, value: String| options.insert(key.to_owned(), value);
    if let [target] = several::targets(flags).as_slice() {
        set("target", target.clone());
    }
    if flags.solve.no_cache {
        // An empty list of stages means all of them.
        set("no-cache", String::new());
    } else if !flags.no_cache_filter.is_empty() {
        set("no-cache", flags.no_cache_filter.join(","));
    }
    if flags.pull {
        set("image-resolve-mode", "pull".into());
    }
    if !flags.platform.is_empty() {
        set("platform", platforms(&flags.platform)?);
    }
    match flags.network.as_str() {
        "" | "default" => None,
        "none" | "host" => set("force-network-mode", flags.network.clone()),
        other => {
            return Err(UsageError::new(
                format!("network mode {other:?} is not supported"),
                "known are default, host and none",
            ));
        }
    };
    if !flags.add_host.is_empty() {
        set("add-hosts", hosts(&flags.add_host)?);
    }
    if let Some(size) = &flags.shm_size {
        set("shm-size", bytes(size)?.to_string());
    }
    if !flags.ulimit.is_empty() {
        set("ulimit", ulimits(&flags.ulimit)?);
    }
    if let Some(parent) = &flags.cgroup_parent {
        set("cgroup-parent", parent.clone());
    }
    Ok(())
}

fn platforms(texts: &[String]) -> Result<String, UsageError> {
    let host = platform::host();
    let read = |text: &String| {
        let text = text.trim();
        let text = if text == "local" {
            platform::format(&host)
        } else {
            text.to_owned()
        };
        platform::parse(&text, &host)
            .map(|p| platform::format(&p))
            .map_err(|error| UsageError::plain(format!("invalid value of --platform: {error}")))
    };
    let all: Vec<String> = texts.iter().map(read).collect::<Result<_, _>>()?;
    Ok(all.join(","))
}

/// `HOST:ADDRESS` or `HOST=ADDRESS`, where the address may be of IPv6 and in brackets.
fn hosts(texts: &[String]) -> Result<String, UsageError> {
    let mut all = Vec::new();
    for text in texts {
        let invalid = |what: &str| {
            UsageError::new(
                format!("invalid value {text:?} of --add-host: {what}"),
                "for example db:10.0.0.2",
            )
        };
        let (host, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(|| invalid("it has no address"))?;
        let address = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        if address == "host-gateway" {
            return Err(UsageError::unsupported("the address host-gateway"));
        }
        if host.is_empty() {
            return Err(invalid("it has no name"));
        }
        let address: std::net::IpAddr = address
            .parse()
            .map_err(|_| invalid("its address is no IP address"))?;
        all.push(format!("{host}={address}"));
    }
    Ok(all.join(","))
}

/// A number with a unit as Docker's flags write it: `64m`, `1g`, `512`, with or without a final `b`.
fn bytes(text: &str) -> Result<u64, UsageError> {
    let invalid = || UsageError::new(format!("invalid size {text:?}"), "for example 64m");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &lower[digits.len()..];
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| invalid())?;
    number.checked_mul(1 << shift).ok_or_else(invalid)
}

fn ulimits(texts: &[String]) -> Result<String, UsageError> {
    let mut all = Vec::new();
    for text in texts {
        let invalid = || {
            UsageError::new(
                format!("invalid value {text:?} of --ulimit"),
                "for example nofile=1024:2048",
            )
        };
        let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let soft: i64 = soft.parse().map_err(|_| invalid())?;
        let hard: i64 = hard.parse().map_err(|_| invalid())?;
        all.push(format!("{name}={soft}:{hard}"));
    }
    Ok(all.join(","))
}

fn entitlements(flags: &BuildFlags) -> Result<Vec<String>, UsageError> {
    let mut all = Vec::new();
    for text in flags.solve.allow.iter().flat_map(|a| a.split(',')) {
        match text {
            HOST_NETWORK | "security.insecure" | "device" => all.push(text.to_owned()),
            _ if text.starts_with("device=") => all.push(text.to_owned()),
            _ => {
                return Err(UsageError::new(
                    format!("unknown entitlement {text:?}"),
                    "known are network.host, security.insecure, device and device=NAME",
                ));
            }
        }
    }
    if flags.network == "host" && !all.iter().any(|e| e == HOST_NETWORK) {
        all.push(HOST_NETWORK.to_owned());
    }
    Ok(all)
}

fn outputs(flags: &BuildFlags, around: Surroundings<'_>) -> Result<Vec<Output>, UsageError> {
    let context = OutputContext {
        folder: Some(around.here),
        stdout_is_terminal: around.stdout_is_terminal,
    };
    let mut outputs = output::parse(&flags.output, context)?;
    let image = |push: bool| Output {
        kind: "image".into(),
        attributes: if push {
            [("push".to_owned(), "true".to_owned())].into()
        } else {
            BTreeMap::new()
        },
        target: Target::None,
        stage: None,
    };
    if flags.push {
        match outputs.iter_mut().find(|o| o.kind == "image") {
            Some(output) => {
                output.attributes.insert("push".into(), "true".into());
            }
            None => outputs.push(image(true)),
        }
    }
    if flags.load && !outputs.iter().any(|o| o.target == Target::DockerLoad) {
        outputs.push(Output {
            kind: "docker".into(),
            attributes: BTreeMap::new(),
            target: Target::DockerLoad,
            stage: None,
        });
    }
    // Without another wish, and beside what Docker gets, the image is kept here.
    let kept = outputs.iter().any(|o| o.kind == "image");
    if !kept && (outputs.is_empty() || flags.load) {
        outputs.push(image(false));
    }
    let names = tags(&flags.tags)?;
    for output in &mut outputs {
        let takes_names = matches!(output.kind.as_str(), "image" | "oci" | "docker");
        if takes_names && !names.is_empty() && !output.attributes.contains_key("name") {
            output.attributes.insert("name".into(), names.clone());
        }
        if output.kind == "image" {
            // A daemon keeps no image unasked.
            let stores = output.attributes.entry("store".into());
            stores.or_insert_with(|| "true".into());
        }
        let pushes = output.attributes.get("push").is_some_and(|p| p == "true");
        if pushes && !output.attributes.contains_key("name") {
            return Err(UsageError::new(
                "an image needs a name to be pushed",
                "give it one with --tag registry/name:tag",
            ));
        }
    }
    Ok(outputs)
}

/// Says that a name was given to nothing, or only to what goes elsewhere.
fn unnamed(flags: &BuildFlags, outputs: &[Output]) -> Option<String> {
    let is_kept = |output: &Output| output.kind == "image";
    if flags.tags.is_empty() || outputs.iter().any(is_kept) {
        return None;
    }
    let named = outputs
        .iter()
        .any(|o| matches!(o.kind.as_str(), "oci" | "docker"));
    Some(match named {
        true => "the name is written into the output and not kept in Cooper's own store; add --output type=image for that".to_owned(),
        false => "no output takes the name of --tag; add --output type=image to keep an image of that name".to_owned(),
    })
}

fn tags(texts: &[String]) -> Result<String, UsageError> {
    let read = |text: &String| {
        let reference: Reference = text
            .parse()
            .map_err(|error| UsageError::plain(format!("invalid tag {text:?}: {error}")))?;
        if reference.digest().is_some() {
            return Err(UsageError::plain(format!(
                "invalid tag {text:?}: a digest cannot be given to what is not built yet"
            )));
        }
        Ok(reference.with_default_tag().to_string())
    };
    let all: Vec<String> = texts.iter().map(read).collect::<Result<_, _>>()?;
    Ok(all.join(","))
}

fn named_context(text: &str, here: &Path, plan: &mut Plan) -> Result<(), UsageError> {
    let invalid = |what: &str| {
        UsageError::new(
            format!("invalid value {text:?} of --build-context: {what}"),
            "for example lib=../lib or base=docker-image://debian:12",
        )
    };
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| invalid("it is no NAME=VALUE"))?;
    let reference: Reference = name
        .to_lowercase()
        .parse()
        .map_err(|_| invalid("its name is not one that FROM could have"))?;
    let name = reference.familiar();
    let name = name.strip_suffix(":latest").unwrap_or(&name).to_owned();
    let key = format!("context:{name}");
    if value.starts_with("docker-image://") || value.starts_with("target:") {
        plan.options.insert(key, value.to_owned());
        return Ok(());
    }
    if let Some(place) = value.strip_prefix("oci-layout://") {
        let image = layout::find(place, here).map_err(|what| invalid(&what))?;
        // Any name will do that names this folder and no other.
        let path = image.folder.as_os_str().as_encoded_bytes();
        let store = cooper_proto::Digest::sha256_of(path).short().to_owned();
        let option = format!("oci-layout://{store}@{}", image.digest);
        plan.options.insert(key, option);
        plan.layouts.insert(store, image.folder);
        return Ok(());
    }
    if let Some(ContextPlace::Remote { address, .. }) = context::remote(value, here) {
        plan.options.insert(key, address);
        return Ok(());
    }
    if value.contains("://") {
        return Err(UsageError::unsupported(format!(
            "the build context {value}"
        )));
    }
    let path = here.join(value);
    if !path.is_dir() {
        return Err(invalid("there is no such folder"));
    }
    let folder = match name.as_str() {
        "context" | "dockerfile" => format!("_{name}"),
        _ => name,
    };
    plan.options.insert(key, format!("local:{folder}"));
    plan.folders.insert(folder, path);
    Ok(())
}
