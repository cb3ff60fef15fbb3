use std::path::{Component, Path, PathBuf};

use cooper_core::model::{LinuxResources, ResultId};
use cooper_core::ports::OpRequest;
use cooper_proto::pb;

use super::stop::Stop;
use crate::exec::{DEFAULT_PATH, ExtraHost, ResourceLimit, Security};
use crate::mount::{Sharing, StubDepth};

/// The host name of a container that asks for none, as BuildKit's.
const DEFAULT_HOSTNAME: &str = "buildkitsandbox";

/// An `ExecOp` that was understood whole: everything in it is known and built.
#[derive(Debug)]
pub(super) struct ExecRequest {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: PathBuf,
    pub(super) user: String,
    pub(super) hostname: String,
    pub(super) extra_hosts: Vec<ExtraHost>,
    pub(super) rlimits: Vec<ResourceLimit>,
    pub(super) network: pb::NetMode,
    /// The host name that the op asks for itself; may be empty.
    pub(super) own_name: String,
    pub(super) security: Security,
    pub(super) cgroup_parent: String,
    pub(super) limits: Option<LinuxResources>,
    pub(super) valid_exit_codes: Vec<i32>,
    pub(super) stub_depth: StubDepth,
    pub(super) root: RootRequest,
    /// Ordered by destination, so that what is mounted below another mount comes after it.
    pub(super) mounts: Vec<MountRequest>,
    pub(super) secret_env: Vec<pb::SecretEnv>,
    pub(super) devices: Vec<pb::CdiDevice>,
    pub(super) description: String,
}

/// What becomes `/`.
#[derive(Debug)]
pub(super) struct RootRequest {
    /// Its position among the op's mounts.
    pub(super) index: usize,
    pub(super) input: ResultId,
    pub(super) read_only: bool,
    pub(super) output: Option<i64>,
}

/// What is mounted elsewhere.
#[derive(Debug)]
pub(super) struct MountRequest {
    /// Its position among the op's mounts.
    pub(super) index: usize,
    pub(super) destination: PathBuf,
    pub(super) selector: PathBuf,
    pub(super) read_only: bool,
    pub(super) output: Option<i64>,
    /// The state that it starts from; none is an empty one.
    pub(super) input: Option<ResultId>,
    pub(super) kind: MountKind,
}

#[derive(Debug)]
pub(super) enum MountKind {
    Bind,
    Cache { id: String, sharing: Sharing },
    Tmpfs { size: u64 },
    Secret(pb::SecretOpt),
    Ssh(pb::SshOpt),
}

impl ExecRequest {
    /// Reads an op. Nothing unknown is half-understood: it is refused by its name.
    pub(super) fn new(request: &OpRequest, exec: &pb::ExecOp) -> Result<Self, Stop> {
        let meta = exec
            .meta
            .as_ref()
            .ok_or_else(|| Stop::invalid("the exec op has no process"))?;
        if meta.args.is_empty() {
            return Err(Stop::invalid("the exec op has no arguments"));
        }
        refuse_unbuilt(request)?;
        let cwd = absolute(Path::new("/"), &meta.cwd);
        let mut root = None;
        let mut mounts = Vec::new();
        for (index, mount) in exec.mounts.iter().enumerate() {
            if clean(Path::new(&mount.dest)) == Path::new("/") && mount.dest.starts_with('/') {
                if root.replace(root_request(request, index, mount)?).is_some() {
                    return Err(Stop::invalid("the exec op has two root mounts"));
                }
            } else {
                mounts.push(mount_request(request, index, mount, &cwd)?);
            }
        }
        mounts.sort_by(|a, b| a.destination.cmp(&b.destination));
        Ok(Self {
            env: environment(meta),
            args: meta.args.clone(),
            cwd,
            user: meta.user.clone(),
            hostname: if meta.hostname.is_empty() {
                DEFAULT_HOSTNAME.into()
            } else {
                meta.hostname.clone()
            },
            extra_hosts: extra_hosts(meta)?,
            rlimits: rlimits(meta)?,
            network: network(exec)?,
            own_name: meta.hostname.clone(),
            security: security(exec)?,
            cgroup_parent: meta.cgroup_parent.clone(),
            limits: request.resources.clone(),
            valid_exit_codes: meta.valid_exit_codes.clone(),
            stub_depth: if meta.remove_mount_stubs_recursive {
                StubDepth::WholePath
            } else {
                StubDepth::LastName
            },
            root: root.ok_or_else(|| Stop::invalid("the exec op has no root mount"))?,
            mounts,
            secret_env: exec.secretenv.clone(),
            devices: exec.cdi_devices.clone(),
            description: request.name.clone(),
        })
    }

    pub(super) fn is_valid_exit(&self, code: i32) -> bool {
        if self.valid_exit_codes.is_empty() {
            code == 0
        } else {
            self.valid_exit_codes.contains(&code)
        }
    }
}

fn refuse_unbuilt(request: &OpRequest) -> Result<(), Stop> {
    match &request.op.platform {
        Some(platform) if !runs_here(platform) => Err(Stop::unsupported(format!(
            "running programs of {}/{} on this machine",
            platform.os, platform.architecture
        ))),
        _ => Ok(()),
    }
}

/// Programs of another architecture are the kernel's to run: it has an emulator for them (binfmt_misc) or says that it
/// knows no such format. An image may also have programs of this machine under another platform's name.
fn runs_here(platform: &pb::Platform) -> bool {
    matches!(platform.os.as_str(), "" | "linux")
}

/// What is not known is refused, and never taken for the ordinary (T-A10).
fn security(exec: &pb::ExecOp) -> Result<Security, Stop> {
    match pb::SecurityMode::try_from(exec.security) {
        Ok(pb::SecurityMode::Sandbox) => Ok(Security::Sandbox),
        Ok(pb::SecurityMode::Insecure) => Ok(Security::Insecure),
        Err(_) => Err(Stop::invalid(format!(
            "invalid security mode {}",
            exec.security
        ))),
    }
}

fn network(exec: &pb::ExecOp) -> Result<pb::NetMode, Stop> {
    pb::NetMode::try_from(exec.network)
        .map_err(|_| Stop::invalid(format!("invalid network mode {}", exec.network)))
}

fn environment(meta: &pb::Meta) -> Vec<String> {
    let mut env = meta.env.clone();
    if let Some(proxy) = &meta.proxy_env {
        let values = [
            ("HTTP_PROXY", &proxy.http_proxy),
            ("HTTPS_PROXY", &proxy.https_proxy),
            ("FTP_PROXY", &proxy.ftp_proxy),
            ("NO_PROXY", &proxy.no_proxy),
            ("ALL_PROXY", &proxy.all_proxy),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
            env.push(format!("{name}={value}"));
            env.push(format!("{}={value}", name.to_lowercase()));
        }
    }
    if !has_variable(&env, "PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    env
}

pub(super) fn has_variable(env: &[String], name: &str) -> bool {
    env.iter().any(|variable| {
        variable
            .split_once('=')
            .is_some_and(|(found, _)| found == name)
    })
}

fn extra_hosts(meta: &pb::Meta) -> Result<Vec<ExtraHost>, Stop> {
    let host = |host: &pb::HostIp| {
        host.ip.parse::<std::net::IpAddr>().map_err(|_| {
            Stop::invalid(format!(
                "the address {:?} of the extra host {:?} is not an IP address",
                host.ip, host.host
            ))
        })?;
        if host.host.is_empty()
            || host
                .host
                .contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(Stop::invalid(format!(
                "the extra host {:?} is not a host name",
                host.host
            )));
        }
        Ok(ExtraHost {
            name: host.host.clone(),
            address: host.ip.clone(),
        })
    };
    meta.extra_hosts.iter().map(host).collect()
}

fn rlimits(meta: &pb::Meta) -> Result<Vec<ResourceLimit>, Stop> {
    let limit = |ulimit: &pb::Ulimit| {
        if ulimit.name.is_empty() || !ulimit.name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Stop::invalid(format!(
                "invalid ulimit name {:?}",
                ulimit.name
            )));
        }
        // -1 is "unlimited", which is also what its bits say.
        Ok(ResourceLimit {
            kind: format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase()),
            hard: ulimit.hard.cast_unsigned(),
            soft: ulimit.soft.cast_unsigned(),
        })
    };
    meta.ulimit.iter().map(limit).collect()
}

fn root_request(request: &OpRequest, index: usize, mount: &pb::Mount) -> Result<RootRequest, Stop> {
    if pb::MountType::try_from(mount.mount_type) != Ok(pb::MountType::Bind) {
        return Err(Stop::invalid(format!(
            "invalid mount type {} for /",
            mount.mount_type
        )));
    }
    if !clean(Path::new(&mount.selector)).as_os_str().eq("/") {
        return Err(Stop::unsupported("a root mount of a part of a state"));
    }
    let input = input(request, mount)?.unwrap_or_else(ResultId::scratch);
    Ok(RootRequest {
        index,
        input,
        read_only: mount.readonly,
        output: output(mount),
    })
}

fn mount_request(
    request: &OpRequest,
    index: usize,
    mount: &pb::Mount,
    cwd: &Path,
) -> Result<MountRequest, Stop> {
    let destination = absolute(cwd, &mount.dest);
    refuse_system_destination(&destination)?;
    let kind = match pb::MountType::try_from(mount.mount_type) {
        Ok(pb::MountType::Bind) => MountKind::Bind,
        Ok(pb::MountType::Cache) => cache_kind(mount, &destination)?,
        Ok(pb::MountType::Tmpfs) => {
            let size = mount.tmpfs_opt.as_ref().map_or(0, |options| options.size);
            let size = u64::try_from(size)
                .map_err(|_| Stop::invalid(format!("invalid tmpfs size {size}")))?;
            MountKind::Tmpfs { size }
        }
        Ok(pb::MountType::Secret) => {
            let options = mount
                .secret_opt
                .clone()
                .ok_or_else(|| Stop::invalid("invalid secret mount options"))?;
            if options.id.is_empty() {
                return Err(Stop::invalid("secret ID missing from mount options"));
            }
            MountKind::Secret(options)
        }
        Ok(pb::MountType::Ssh) => MountKind::Ssh(
            mount
                .ssh_opt
                .clone()
                .ok_or_else(|| Stop::invalid("invalid ssh mount options"))?,
        ),
        Err(_) => {
            return Err(Stop::invalid(format!(
                "mount type {} not implemented",
                mount.mount_type
            )));
        }
    };
    Ok(MountRequest {
        index,
        destination,
        selector: clean(Path::new(&mount.selector)),
        read_only: mount.readonly,
        output: output(mount),
        input: input(request, mount)?,
        kind,
    })
}

fn cache_kind(mount: &pb::Mount, destination: &Path) -> Result<MountKind, Stop> {
    let options = mount
        .cache_opt
        .clone()
        .ok_or_else(|| Stop::invalid("invalid cache mount options"))?;
    let sharing = match pb::CacheSharingOpt::try_from(options.sharing) {
        Ok(pb::CacheSharingOpt::Shared) => Sharing::Shared,
        Ok(pb::CacheSharingOpt::Private) => Sharing::Private,
        Ok(pb::CacheSharingOpt::Locked) => Sharing::Locked,
        Err(_) => {
            return Err(Stop::invalid(format!(
                "invalid cache sharing option: {}",
                options.sharing
            )));
        }
    };
    let id = if options.id.is_empty() {
        destination.display().to_string()
    } else {
        options.id
    };
    Ok(MountKind::Cache { id, sharing })
}

fn output(mount: &pb::Mount) -> Option<i64> {
    (mount.output >= 0).then_some(mount.output)
}

fn input(request: &OpRequest, mount: &pb::Mount) -> Result<Option<ResultId>, Stop> {
    let Ok(index) = usize::try_from(mount.input) else {
        return Ok(None);
    };
    let input = request
        .inputs
        .get(index)
        .ok_or_else(|| Stop::invalid(format!("missing input {}", mount.input)))?;
    Ok(Some(input.clone()))
}

/// The container's own file systems stay what they are (T-B9).
fn refuse_system_destination(destination: &Path) -> Result<(), Stop> {
    let own = ["/dev", "/proc", "/sys"].map(Path::new);
    let inside = ["/proc", "/sys"].map(Path::new);
    if own.contains(&destination) || inside.iter().any(|path| destination.starts_with(path)) {
        return Err(Stop::invalid(format!(
            "{} belongs to the container and cannot be mounted on",
            destination.display()
        )));
    }
    Ok(())
}

pub(super) fn absolute(base: &Path, path: &str) -> PathBuf {
    clean(&base.join(path))
}

/// The path from the root with `.` and `..` taken out as text, which is how the wire means destinations.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}
