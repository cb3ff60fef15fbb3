use std::fs;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::CapabilitySet;

use super::error::EnterError;
use super::id_map::IdMap;
use super::identity::Identity;
use super::subordinate::ranges;
use crate::mount::{DetachedMount, TmpfsOptions};
use crate::sys::{
    Fork, Namespaces, exit_now, fork_into, separate_mounts, separate_users_and_mounts,
};

/// What was done to have rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entered {
    /// Nothing: this process may mount on this machine.
    Nothing,
    /// It was in a user namespace already.
    Already,
    /// It is in a user namespace with the ids that the user was given.
    Mapped,
    /// It is in a user namespace that has no id but root's.
    Single {
        /// Why there are no others.
        why: String,
    },
}

/// How the ids of a new namespace are set.
enum Plan {
    /// By this user, whose own id alone it may be.
    Single { why: String },
    /// By newuidmap(1) and newgidmap(1), which know what a user was given.
    Given { users: IdMap, groups: IdMap },
    /// By ourselves: a root without the right to mount may name all its ids.
    Whole { users: IdMap, groups: IdMap },
}

/// Gives this process the right to mount and to own files of several users: where it lacks them, it goes into a user
/// namespace of its own, as root. It stays the same process.
///
/// Call it before any thread is started, and before anything asks [`Identity::of_this_process`].
///
/// # Errors
/// Where there can be no user namespace, or it would be without rights.
pub fn enter() -> Result<Entered, EnterError> {
    let capabilities = rustix::thread::capabilities(None)
        .map_err(|errno| EnterError::step("read the capabilities")(errno.into()))?;
    if capabilities.effective.contains(CapabilitySet::SYS_ADMIN) {
        if !Identity::read().is_mapped() {
            return Ok(Entered::Nothing);
        }
        // Whoever made the namespace may have left the mounts to somebody else.
        separate_mounts().map_err(EnterError::step("have mounts of its own"))?;
        may_mount()?;
        return Ok(Entered::Already);
    }
    let entered = enter_with(plan(capabilities.effective)?)?;
    become_root()?;
    may_mount()?;
    Ok(entered)
}

fn plan(capabilities: CapabilitySet) -> Result<Plan, EnterError> {
    let sets_ids = CapabilitySet::SETUID | CapabilitySet::SETGID;
    if capabilities.contains(sets_ids) {
        let own = Identity::read();
        return Ok(Plan::Whole {
            users: own.users().for_child(),
            groups: own.groups().for_child(),
        });
    }
    let single = |why: &str| Ok(Plan::Single { why: why.into() });
    if rustix::thread::no_new_privs().unwrap_or(false) {
        return single("newuidmap cannot work with no_new_privs (allowPrivilegeEscalation: false)");
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let given = |file: &str| {
        ranges(Path::new(file), uid.as_raw()).map_err(EnterError::step("read the user's ids"))
    };
    let (users, groups) = (given("/etc/subuid")?, given("/etc/subgid")?);
    if users.is_empty() || groups.is_empty() {
        return single("the user has no ranges in /etc/subuid and /etc/subgid");
    }
    Ok(Plan::Given {
        users: IdMap::with_further(uid.as_raw(), &users),
        groups: IdMap::with_further(gid.as_raw(), &groups),
    })
}

fn enter_with(plan: Plan) -> Result<Entered, EnterError> {
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    let failure = match plan {
        Plan::Single { why } => {
            separate_users_and_mounts().map_err(EnterError::refused)?;
            Some(why)
        }
        Plan::Whole { users, groups } => map_from_outside(write_maps(users, groups))?,
        Plan::Given { users, groups } => map_from_outside(run_programs(users, groups))?,
    };
    match failure {
        None => Ok(Entered::Mapped),
        Some(why) => {
            set_own_id(own)?;
            Ok(Entered::Single { why })
        }
    }
}

/// Goes into a new namespace and has `map` set its ids from outside, by a process that is left behind for that and gets
/// this one's id. Returns what went wrong with it.
fn map_from_outside(map: impl FnOnce(u32) -> io::Result<()>) -> Result<Option<String>, EnterError> {
    let step = EnterError::step;
    let (go_read, go_write) = io::pipe().map_err(step("make a pipe"))?;
    let (answer_read, answer_write) = io::pipe().map_err(step("make a pipe"))?;
    let this = std::process::id();
    match fork_into(Namespaces::default(), None).map_err(EnterError::refused)? {
        Fork::Child => {
            drop((go_write, answer_read));
            exit_now(i32::from(
                map_when_told(this, go_read, answer_write, map).is_err(),
            ))
        }
        Fork::Parent(child) => {
            drop((go_read, answer_write));
            let separated = separate_users_and_mounts();
            let answer = match &separated {
                Ok(()) => ask(go_write, answer_read),
                // The child ends when it is told nothing.
                Err(_) => {
                    drop(go_write);
                    Ok(None)
                }
            };
            rustix::process::waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED)
                .map_err(|errno| step("wait for who sets ids")(errno.into()))?;
            separated.map_err(EnterError::refused)?;
            answer.map_err(step("hear from who sets ids"))
        }
    }
}

fn ask(mut go: io::PipeWriter, mut answer: io::PipeReader) -> io::Result<Option<String>> {
    go.write_all(b"+")?;
    drop(go);
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    match text.as_str() {
        "+" => Ok(None),
        "" => Ok(Some("the process that sets ids ended early".into())),
        _ => Ok(Some(text)),
    }
}

fn map_when_told(
    process: u32,
    mut go: io::PipeReader,
    mut answer: io::PipeWriter,
    map: impl FnOnce(u32) -> io::Result<()>,
) -> io::Result<()> {
    let mut byte = [0];
    if go.read(&mut byte)? == 0 {
        return Ok(());
    }
    match map(process) {
        Ok(()) => answer.write_all(b"+"),
        Err(error) => answer.write_all(error.to_string().as_bytes()),
    }
}

fn write_maps(users: IdMap, groups: IdMap) -> impl FnOnce(u32) -> io::Result<()> {
    move |process| {
        fs::write(format!("/proc/{process}/uid_map"), users.text())?;
        fs::write(format!("/proc/{process}/gid_map"), groups.text())
    }
}

fn run_programs(users: IdMap, groups: IdMap) -> impl FnOnce(u32) -> io::Result<()> {
    move |process| {
        run_program("newuidmap", process, &users)?;
        run_program("newgidmap", process, &groups)
    }
}

fn run_program(name: &str, process: u32, map: &IdMap) -> io::Result<()> {
    let failed = |what: &dyn std::fmt::Display| io::Error::other(format!("{name}: {what}"));
    let output = Command::new(name)
        .arg(process.to_string())
        .args(map.arguments())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(&"not found (Debian's package uidmap has it)"),
            _ => failed(&error),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(&said.trim().replace('\n', "; ")))
}

/// Makes the user's own id, and own group, the only ones where there are none yet.
fn set_own_id((uid, gid): (Uid, Gid)) -> Result<(), EnterError> {
    let is_empty = |path: &str| fs::read_to_string(path).is_ok_and(|text| text.trim().is_empty());
    if is_empty("/proc/self/gid_map") {
        // A group that gives less than others have could be left otherwise (user_namespaces(7)).
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/gid_map", &IdMap::single(gid.as_raw()).text())?;
    }
    if is_empty("/proc/self/uid_map") {
        write("/proc/self/uid_map", &IdMap::single(uid.as_raw()).text())?;
    }
    Ok(())
}

/// One write, as the kernel wants it.
fn write(path: &str, text: &str) -> Result<(), EnterError> {
    File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(EnterError::Ids)
}

fn become_root() -> Result<(), EnterError> {
    let failed = |errno: rustix::io::Errno| EnterError::Ids(errno.into());
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).map_err(failed)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).map_err(failed)
}

/// A namespace may be there and give no rights, which is better said now.
fn may_mount() -> Result<(), EnterError> {
    DetachedMount::tmpfs(TmpfsOptions::default())
        .map(drop)
        .map_err(EnterError::Powerless)
}
