use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::exec::config::{Process, ResourceLimit};
use crate::exec::protocol::SetupFailure;
use crate::userns::Identity;

/// Capabilities by number (linux/capability.h).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// More than any kernel has: numbers that it does not know end the loop early.
const MOST_CAPABILITIES: u64 = 64;

/// What this process may do, by name.
pub(in crate::exec) fn capabilities_of_this_process() -> Vec<String> {
    // Without an answer there is nothing that could be handed on.
    let own = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    let names = NAMES.iter().enumerate();
    names
        .filter(|(number, _)| own & (1 << number) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// Gives up all that the container's program must not have: user, groups and capabilities.
pub(super) fn drop_to(process: &Process) -> Result<(), SetupFailure> {
    let fail = |step: &'static str| move |errno: Errno| SetupFailure::machine(step, errno);
    let bounding = set_of(&process.capabilities.bounding)?;
    for number in 0..MOST_CAPABILITIES {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !bounding.contains(capability) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Err(Errno::INVAL) => break,
                answer => answer.map_err(fail("drop a capability"))?,
            }
        }
    }
    let user = &process.user;
    let groups: Vec<Gid> = user
        .additional_gids
        .iter()
        .map(|&gid| Gid::from_raw(gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let ambient = set_of(&process.capabilities.ambient)?;
    if !ambient.is_empty() {
        rustix::thread::set_keep_capabilities(true).map_err(fail("keep the capabilities"))?;
    }
    let identity = Identity::of_this_process();
    if !identity.has_user(user.uid) || !identity.has_group(user.gid) {
        let words = format!(
            "this user namespace has no user {} or group {}; a range in /etc/subuid and /etc/subgid gives the user more",
            user.uid, user.gid
        );
        return Err(SetupFailure::request("set the user", words));
    }
    // Where groups cannot be set at all, those of who runs the engine stay.
    if identity.may_set_groups() {
        rustix::thread::set_thread_groups(&groups).map_err(fail("set the supplementary groups"))?;
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(fail("set the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(fail("set the user"))?;
    let (effective, permitted) = match user.uid {
        _ if !ambient.is_empty() => (
            set_of(&process.capabilities.effective)?,
            set_of(&process.capabilities.permitted)?,
        ),
        0 => (
            set_of(&process.capabilities.effective)?,
            set_of(&process.capabilities.permitted)?,
        ),
        // Leaving root has taken them all.
        _ => (CapabilitySet::empty(), CapabilitySet::empty()),
    };
    // Inheritable stays empty in a sandbox (T-B4): it would survive `execve` of a program that its file gives none.
    let sets = CapabilitySets {
        effective,
        permitted,
        inheritable: set_of(&process.capabilities.inheritable)?,
    };
    rustix::thread::set_capabilities(None, sets).map_err(fail("set the capabilities"))?;
    for capability in ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .map_err(fail("set the ambient capabilities"))?;
    }
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(fail("set no_new_privs"))?;
    }
    Ok(())
}

fn set_of(names: &[String]) -> Result<CapabilitySet, SetupFailure> {
    names.iter().try_fold(CapabilitySet::empty(), |all, name| {
        let number = NAMES
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| {
                SetupFailure::request("set the capabilities", format!("{name} is not known"))
            })?;
        Ok(all | CapabilitySet::from_bits_retain(1 << number))
    })
}

pub(super) fn set_limits(limits: &[ResourceLimit]) -> Result<(), SetupFailure> {
    for limit in limits {
        let fail = |error: &dyn std::fmt::Display| {
            SetupFailure::request(format!("set {}", limit.kind), error)
        };
        let resource = resource(&limit.kind).ok_or_else(|| fail(&"not a known limit"))?;
        let value = |limit: u64| (limit != u64::MAX).then_some(limit);
        let new = Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        rustix::process::setrlimit(resource, new).map_err(|errno| fail(&errno))?;
    }
    Ok(())
}

fn resource(kind: &str) -> Option<Resource> {
    Some(match kind {
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_STACK" => Resource::Stack,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::DEFAULT_CAPABILITIES;

    #[test]
    fn default_capabilities_are_docker_s_bits() {
        let set = set_of(&DEFAULT_CAPABILITIES.map(String::from)).unwrap();
        assert_eq!(set.bits(), 0xa804_25fb, "CapEff of a container of dockerd");
    }

    #[test]
    fn unknown_capability_or_limit_is_refused() {
        assert!(set_of(&["CAP_EVERYTHING".to_owned()]).is_err());
        let limit = ResourceLimit {
            kind: "RLIMIT_FUN".into(),
            hard: 1,
            soft: 1,
        };
        assert!(set_limits(&[limit]).is_err());
    }
}
