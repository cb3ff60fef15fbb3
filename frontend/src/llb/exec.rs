//! Steps that run a process.

use std::rc::Rc;

use cooper_proto::pb;

use super::caps;
use super::graph::Output;
use super::vertex::Notes;

/// No input, no output.
const NONE: i64 = -1;

/// A process, its environment and its mounts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exec {
    /// Arguments, folder, user and the like; in `env` only what comes after `environment`.
    pub(crate) meta: pb::Meta,
    /// The stage's variables, written as the field [`Exec::ENVIRONMENT`]; all its steps share them.
    pub(crate) environment: Rc<[u8]>,
    /// Network.
    pub(crate) network: pb::NetMode,
    /// Whether it may do more than a container usually may.
    pub(crate) security: pb::SecurityMode,
    /// The root file system.
    pub(crate) root: Option<Output>,
    /// File systems, in the order they were asked for.
    pub(crate) mounts: Vec<ExecMount>,
    /// Secrets in the environment.
    pub(crate) secret_env: Vec<pb::SecretEnv>,
    /// Secrets in files.
    pub(crate) secrets: Vec<pb::Mount>,
    /// SSH agents.
    pub(crate) ssh: Vec<pb::Mount>,
    /// Devices.
    pub(crate) devices: Vec<pb::CdiDevice>,
}

/// A mounted file system.
#[derive(Clone, Debug)]
pub(crate) struct ExecMount {
    /// Where.
    pub(crate) target: String,
    /// What; `None` is the empty file system.
    pub(crate) source: Option<Output>,
    /// The part of it, or empty for all.
    pub(crate) selector: String,
    /// Whether it cannot be written to.
    pub(crate) read_only: bool,
    /// How it is kept.
    pub(crate) kind: MountKind,
}

/// How a mount is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// What is written is the mount's output.
    Output,
    /// What is written is thrown away.
    Discard,
    /// It outlives the step.
    Cache(pb::CacheOpt),
    /// In memory.
    Tmpfs(i64),
}

impl Exec {
    /// The number of the field `env` in `Meta`.
    pub(crate) const ENVIRONMENT: u32 = 2;

    /// Notes the capabilities that this needs.
    pub(super) fn need(&self, notes: &mut Notes) {
        let mut when = |needed: bool, cap: &'static str| {
            if needed {
                notes.caps.insert(cap);
            }
        };
        let any = |test: fn(&ExecMount) -> bool| self.mounts.iter().any(test);
        when(true, caps::EXEC_BASE);
        when(true, caps::EXEC_DEFAULT_PATH);
        when(!self.meta.ulimit.is_empty(), caps::EXEC_ULIMIT);
        when(self.network != pb::NetMode::Unset, caps::EXEC_NETWORK);
        when(
            self.security == pb::SecurityMode::Insecure,
            caps::EXEC_SECURITY,
        );
        when(self.meta.proxy_env.is_some(), caps::EXEC_PROXY);
        when(
            any(|mount| !mount.selector.is_empty()),
            caps::MOUNT_SELECTOR,
        );
        let cached = any(|mount| matches!(mount.kind, MountKind::Cache(_)));
        when(cached, caps::MOUNT_CACHE);
        when(cached, caps::MOUNT_CACHE_SHARING);
        when(
            any(|mount| matches!(mount.kind, MountKind::Tmpfs(_))),
            caps::MOUNT_TMPFS,
        );
        when(
            any(|mount| matches!(mount.kind, MountKind::Tmpfs(size) if size > 0)),
            caps::MOUNT_TMPFS_SIZE,
        );
        let binds = any(|mount| {
            mount.source.is_some() && matches!(mount.kind, MountKind::Output | MountKind::Discard)
        });
        when(self.root.is_some() || binds, caps::MOUNT_BIND);
        when(
            !self.secrets.is_empty() || !self.secret_env.is_empty(),
            caps::MOUNT_SECRET,
        );
        when(!self.secret_env.is_empty(), caps::EXEC_SECRET_ENV);
        when(!self.ssh.is_empty(), caps::MOUNT_SSH);
        when(!self.devices.is_empty(), caps::EXEC_CDI);
        let limited = notes.resources.is_some();
        if limited {
            notes.caps.insert(caps::EXEC_LINUX_RESOURCES);
        }
    }

    /// The mounts that bring file systems in, the root among them, by target.
    fn sorted(&self) -> Vec<ExecMount> {
        let root = ExecMount {
            target: "/".to_owned(),
            source: self.root,
            selector: String::new(),
            read_only: false,
            kind: MountKind::Output,
        };
        let mut mounts = vec![root];
        mounts.extend(self.mounts.iter().cloned());
        mounts.sort_by(|left, right| left.target.cmp(&right.target));
        mounts
    }

    /// What it reads, in the order in which it is written down.
    pub(super) fn inputs(&self) -> Vec<Output> {
        let mut inputs = Vec::new();
        for output in self.sorted().into_iter().filter_map(|mount| mount.source) {
            if !inputs.contains(&output) {
                inputs.push(output);
            }
        }
        inputs
    }

    /// The op but for `environment`, and its inputs by way of `input`.
    pub(super) fn to_pb(&self, input: &mut dyn FnMut(Output) -> i64) -> pb::ExecOp {
        let mut outputs = 0;
        let mut mounts: Vec<pb::Mount> = Vec::new();
        for mount in self.sorted() {
            let output = if mount.kind == MountKind::Output && !mount.read_only {
                outputs += 1;
                outputs - 1
            } else {
                NONE
            };
            let mut written = pb::Mount {
                input: mount.source.map_or(NONE, &mut *input),
                dest: mount.target,
                readonly: mount.read_only,
                output,
                selector: mount.selector,
                ..pb::Mount::default()
            };
            match mount.kind {
                MountKind::Output | MountKind::Discard => {}
                MountKind::Cache(cache) => {
                    written.set_mount_type(pb::MountType::Cache);
                    written.cache_opt = Some(cache);
                }
                MountKind::Tmpfs(size) => {
                    written.set_mount_type(pb::MountType::Tmpfs);
                    written.tmpfs_opt = Some(pb::TmpfsOpt { size });
                }
            }
            mounts.push(written);
        }
        mounts.extend(self.secrets.iter().cloned());
        mounts.extend(self.ssh.iter().cloned());
        pb::ExecOp {
            meta: Some(self.meta.clone()),
            mounts,
            network: self.network.into(),
            security: self.security.into(),
            secretenv: self.secret_env.clone(),
            cdi_devices: self.devices.clone(),
        }
    }
}
