//! `RUN --mount` to mounts of an exec op.

use cooper_proto::pb;

use crate::diagnostic::{Fault, Lines};
use crate::expand::Variables;
use crate::golang::path::{base, clean, is_absolute, join};
use crate::instruction::mount::{Mount, Sharing, Type};
use crate::instruction::{Instruction, Run};
use crate::llb::{Action, Exec, ExecMount, FileActions, MountKind, Notes, Output, owner_by_id};
use crate::stage::Conversion;

/// Where steps find secrets that say no place.
const SECRETS: &str = "/run/secrets/";

/// Where programs look for the agent.
const AGENT: &str = "SSH_AUTH_SOCK";

impl Conversion<'_> {
    /// Reads the mounts of a RUN with variables replaced.
    pub(super) fn read_mounts(
        &mut self,
        at: usize,
        instruction: &Instruction,
        run: &Run,
    ) -> Result<Vec<Mount>, Fault> {
        run.mounts
            .iter()
            .map(|text| Mount::read(text, &mut |value| self.word(at, instruction.lines, value)))
            .collect()
    }

    /// Adds mounts to a step.
    pub(super) fn mount(
        &mut self,
        at: usize,
        mounts: &[Mount],
        sources: &[usize],
        lines: Lines,
        exec: &mut Exec,
    ) -> Result<(), Fault> {
        for (index, mount) in mounts.iter().enumerate() {
            let source = sources.get(index).copied();
            match mount.kind {
                Type::Secret => {
                    self.readable(mount, source)?;
                    let id = secret(mount, exec)?;
                    let noted = &mut self.nodes[at].noted;
                    noted.ask_secret(&id, mount.required, lines);
                }
                Type::Ssh => {
                    self.readable(mount, source)?;
                    ssh(mount, exec)?;
                    let id = match mount.id.as_str() {
                        "" => "default",
                        id => id,
                    };
                    let noted = &mut self.nodes[at].noted;
                    noted.ask_agent(id, mount.required, lines);
                }
                Type::Bind | Type::Cache | Type::Tmpfs => {
                    let added = self.file_system(at, mount, source)?;
                    exec.mounts.push(added);
                }
            }
        }
        let named = self.nodes[at].state.environment.get(AGENT).is_some();
        name_sockets(exec, named);
        Ok(())
    }

    /// The file system that a mount is from; `None` is the empty one.
    fn readable(&self, mount: &Mount, source: Option<usize>) -> Result<Option<Output>, Fault> {
        let from_stage = !mount.from.is_empty() || mount.kind == Type::Cache;
        match source {
            Some(source) if from_stage && self.nodes[source].progress.done => {
                Ok(self.nodes[source].state.output)
            }
            Some(_) if from_stage => Err(Fault::new(format!(
                "cannot mount from stage {} to {}, stage needs to be defined before current command",
                crate::golang::quote::quote(&mount.from),
                crate::golang::quote::quote(&mount.target)
            ))),
            _ => Ok(Some(self.build_context)),
        }
    }

    fn file_system(
        &mut self,
        at: usize,
        mount: &Mount,
        source: Option<usize>,
    ) -> Result<ExecMount, Fault> {
        let mut output = self.readable(mount, source)?;
        let kind = match mount.kind {
            Type::Tmpfs => {
                output = None;
                MountKind::Tmpfs(mount.size)
            }
            Type::Cache => MountKind::Cache(self.cache(mount)),
            _ if mount.read_only => MountKind::Output,
            _ => MountKind::Discard,
        };
        let target = if is_absolute(&clean(&mount.target)) {
            mount.target.clone()
        } else {
            join(&["/", &self.nodes[at].state.directory, &mount.target])
        };
        if target == "/" {
            return Err(Fault::new(format!(
                "invalid mount target {}",
                crate::golang::quote::quote(&target)
            )));
        }
        let part = join(&["/", &mount.source]);
        let mut selector = String::new();
        if part != "/" {
            selector.clone_from(&part);
        } else if mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some() {
            output = Some(self.owned_cache(mount, output));
            "/cache".clone_into(&mut selector);
        }
        self.use_path(mount, source, part);
        Ok(ExecMount {
            target,
            source: output,
            selector,
            read_only: mount.read_only,
            kind,
        })
    }

    /// Notes the part of the build context or of a stage that a mount needs.
    fn use_path(&mut self, mount: &Mount, source: Option<usize>, part: String) {
        let from_stage = !mount.from.is_empty() || mount.kind == Type::Cache;
        match source {
            Some(source) if from_stage => {
                let set = self.nodes[source].paths;
                self.paths[set].insert(part);
            }
            _ => {
                self.context_paths.insert(part);
            }
        }
    }

    fn cache(&self, mount: &Mount) -> pb::CacheOpt {
        let id = if mount.id.is_empty() {
            clean(&mount.target)
        } else {
            mount.id.clone()
        };
        let sharing = match mount.sharing {
            None | Some(Sharing::Shared) => pb::CacheSharingOpt::Shared,
            Some(Sharing::Private) => pb::CacheSharingOpt::Private,
            Some(Sharing::Locked) => pb::CacheSharingOpt::Locked,
        };
        pb::CacheOpt {
            id: format!("{}/{id}", self.options.cache_namespace),
            sharing: sharing.into(),
        }
    }

    /// A new cache starts from a folder with the wanted owner and mode.
    fn owned_cache(&mut self, mount: &Mount, below: Option<Output>) -> Output {
        let mkdir = pb::FileActionMkDir {
            path: "/cache".to_owned(),
            mode: (mount.mode.unwrap_or(0o755) & 0o777) as i32,
            make_parents: false,
            owner: Some(owner_by_id(mount.uid.unwrap_or(0), mount.gid.unwrap_or(0))),
            timestamp: -1,
        };
        let actions = FileActions {
            base: below,
            directory: "/".to_owned(),
            actions: vec![Action::Mkdir(mkdir)],
        };
        self.graph
            .file(actions, Notes::internal("setting cache mount permissions"))
    }
}

/// Adds a secret and says its id.
fn secret(mount: &Mount, exec: &mut Exec) -> Result<String, Fault> {
    let id = match (
        mount.source.as_str(),
        mount.id.as_str(),
        mount.target.as_str(),
    ) {
        ("", "", "") => return Err(Fault::new("one of source, target required")),
        ("", "", target) => base(target).to_owned(),
        ("", id, _) => id.to_owned(),
        (source, _, _) => source.to_owned(),
    };
    let optional = !mount.required;
    if let Some(name) = &mount.env {
        exec.secret_env.push(pb::SecretEnv {
            id: id.clone(),
            name: name.clone(),
            optional,
        });
    }
    let target = match (mount.target.as_str(), &mount.env) {
        ("", Some(_)) => return Ok(id),
        ("", None) => format!("{SECRETS}{}", base(&id)),
        (target, _) => target.to_owned(),
    };
    let mut added = pb::Mount {
        input: -1,
        dest: target,
        secret_opt: Some(pb::SecretOpt {
            id: id.clone(),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o400),
            optional,
        }),
        ..pb::Mount::default()
    };
    added.set_mount_type(pb::MountType::Secret);
    exec.secrets.push(added);
    Ok(id)
}

fn ssh(mount: &Mount, exec: &mut Exec) -> Result<(), Fault> {
    if !mount.source.is_empty() {
        return Err(Fault::new("ssh does not support source"));
    }
    let mut added = pb::Mount {
        input: -1,
        dest: mount.target.clone(),
        ssh_opt: Some(pb::SshOpt {
            id: mount.id.clone(),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o600),
            optional: !mount.required,
        }),
        ..pb::Mount::default()
    };
    added.set_mount_type(pb::MountType::Ssh);
    exec.ssh.push(added);
    Ok(())
}

/// Agents that say no place get one, and the first is the one that programs use.
fn name_sockets(exec: &mut Exec, named: bool) {
    for (at, agent) in exec.ssh.iter_mut().enumerate() {
        if agent.dest.is_empty() {
            agent.dest = format!("/run/buildkit/ssh_agent.{at}");
        }
    }
    if let Some(first) = exec.ssh.first()
        && !named
    {
        exec.meta.env.push(format!("{AGENT}={}", first.dest));
    }
}
