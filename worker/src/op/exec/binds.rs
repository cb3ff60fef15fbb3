use std::io::Write;
use std::path::Path;

use cooper_core::model::{FailureKind, ResultId};
use cooper_core::ports::SshAgent;
use cooper_proto::pb;

use super::gathered::Gathered;
use super::outputs::{OutputSource, Outputs};
use super::request::{MountKind, MountRequest};
use super::ssh::SshSocket;
use super::stop::Stop;
use crate::cgroup::StepCgroup;
use crate::confine::{ConfineError, Last, Owner, Root};
use crate::exec::{ContainerMount, Source};
use crate::mount::{DetachedMount, TmpfsOptions};
use crate::snapshot::{Snapshots, View};

/// Mounts of a container in the making, and what must outlive its run.
#[derive(Debug, Default)]
pub(super) struct Binds {
    pub(super) mounts: Vec<ContainerMount>,
    pub(super) stages: Vec<DetachedMount>,
    pub(super) outputs: Outputs,
    /// To be served while the container runs.
    pub(super) sockets: Vec<SshSocket>,
    /// Kept while the container runs.
    pub(super) views: Vec<View>,
}

impl Binds {
    /// Adds the op's mount at this position.
    pub(super) fn add(
        &mut self,
        position: usize,
        request: &MountRequest,
        snapshots: &Snapshots,
        gathered: &mut Gathered,
    ) -> Result<(), Stop> {
        let source = match &request.kind {
            MountKind::Bind => self.state(request, snapshots)?,
            MountKind::Cache { .. } => self.cache(request, snapshots, gathered)?,
            MountKind::Tmpfs { size } => Source::Whole(DetachedMount::tmpfs(TmpfsOptions {
                size: *size,
                mode: 0,
            })?),
            MountKind::Secret(options) => {
                let Some(value) = gathered.secrets.get(&options.id) else {
                    return Ok(());
                };
                let source = self.secret(value, options)?;
                self.push(&request.destination, source, true);
                return Ok(());
            }
            MountKind::Ssh(options) => {
                let Some(agent) = gathered.agents.remove(&position) else {
                    return Ok(());
                };
                self.socket(agent, options)?
            }
        };
        self.push(&request.destination, source, request.read_only);
        Ok(())
    }

    fn push(&mut self, destination: &Path, source: Source, read_only: bool) {
        self.mounts.push(ContainerMount {
            destination: destination.to_owned(),
            source,
            read_only,
        });
    }

    /// A result to read, or a writer on it whose changes become an output or are thrown away.
    fn state(&mut self, request: &MountRequest, snapshots: &Snapshots) -> Result<Source, Stop> {
        if let (true, Some(input)) = (request.read_only, &request.input) {
            if let Some(output) = request.output {
                self.outputs
                    .add(output, request.index, OutputSource::Input(input.clone()));
            }
            let view = snapshots.view(input)?;
            let mount = view.mount()?;
            self.views.push(view);
            return self.part_of(mount, &request.selector);
        }
        let input = request.input.clone().unwrap_or_else(ResultId::scratch);
        let writer = snapshots.writer(&input)?;
        let mount = writer.mount()?;
        match request.output {
            Some(output) => self
                .outputs
                .add(output, request.index, OutputSource::Writer(writer)),
            None => self.outputs.throw_away(request.index, writer),
        }
        self.part_of(mount, &request.selector)
    }

    fn cache(
        &mut self,
        request: &MountRequest,
        snapshots: &Snapshots,
        gathered: &Gathered,
    ) -> Result<Source, Stop> {
        let lease = gathered
            .leases
            .get(&cache_name(request))
            .ok_or_else(|| Stop::fault("a cache mount was not leased"))?;
        let base = request
            .input
            .as_ref()
            .map(|input| snapshots.view(input))
            .transpose()?;
        let base = base.map(|view| view.root()).transpose()?;
        let base = base
            .map(|root| root.subroot(&request.selector))
            .transpose()
            .map_err(|error| not_found(error, &request.selector))?;
        if let (Some(output), Some(input)) = (request.output, &request.input) {
            self.outputs
                .add(output, request.index, OutputSource::Input(input.clone()));
        }
        Ok(Source::Whole(DetachedMount::bind(
            lease.open(base.as_ref())?,
        )?))
    }

    /// The whole mount, or the object at `selector` in it: found now and mounted by its descriptor later, so that nobody
    /// can put another in its place (security.md I16).
    fn part_of(&mut self, mount: DetachedMount, selector: &Path) -> Result<Source, Stop> {
        if selector == Path::new("/") {
            return Ok(Source::Whole(mount));
        }
        let node = mount
            .root()?
            .resolve(selector, Last::Follow)
            .map_err(|error| not_found(error, selector))?;
        self.stages.push(mount);
        Ok(Source::Part(node.into_fd()))
    }

    /// A secret's file, which exists only in memory. What its mode does not say is a program cannot be run.
    fn secret(&mut self, value: &[u8], options: &pb::SecretOpt) -> Result<Source, Stop> {
        let stage = memory_stage()?;
        if options.mode & 0o111 == 0 {
            stage.set_no_exec()?;
        }
        let owner = Owner {
            uid: options.uid,
            gid: options.gid,
        };
        self.file_on(stage, value, owner, options.mode & 0o777)
    }

    /// A socket in memory that leads to the client's agent.
    fn socket(&mut self, agent: Box<dyn SshAgent>, options: &pb::SshOpt) -> Result<Source, Stop> {
        let stage = memory_stage()?;
        let socket = SshSocket::bind(&stage, "socket", agent).map_err(Stop::fault)?;
        self.sockets.push(socket);
        let node = stage.root()?.resolve(Path::new("socket"), Last::NoFollow)?;
        node.set_owner(Owner {
            uid: options.uid,
            gid: options.gid,
        })?;
        node.set_mode(options.mode & 0o777)?;
        self.stages.push(stage);
        Ok(Source::Part(node.into_fd()))
    }

    /// The step's own control groups of version 1, which it may change, where others see the machine's.
    pub(super) fn add_groups(&mut self, cgroup: &StepCgroup) -> Result<(), Stop> {
        let groups = cgroup.directories()?;
        if groups.is_empty() {
            return Ok(());
        }
        let place = Path::new("/sys/fs/cgroup");
        let base = memory_stage()?;
        self.push(place, Source::Whole(base), false);
        for (name, directory) in groups {
            let group = DetachedMount::bind(&directory)?;
            self.push(&place.join(name), Source::Whole(group), false);
        }
        Ok(())
    }

    /// A file of ours that all may read.
    pub(super) fn file_in_memory(&mut self, content: &[u8]) -> Result<Source, Stop> {
        self.file_on(memory_stage()?, content, Owner::default(), 0o644)
    }

    fn file_on(
        &mut self,
        stage: DetachedMount,
        content: &[u8],
        owner: Owner,
        mode: u32,
    ) -> Result<Source, Stop> {
        let root: Root = stage.root()?;
        let path = Path::new("file");
        root.create_file(path, 0o600)?
            .write_all(content)
            .map_err(Stop::fault)?;
        let node = root.resolve(path, Last::NoFollow)?;
        node.set_owner(owner)?;
        node.set_mode(mode)?;
        self.stages.push(stage);
        Ok(Source::Part(node.into_fd()))
    }
}

fn memory_stage() -> Result<DetachedMount, Stop> {
    Ok(DetachedMount::tmpfs(TmpfsOptions {
        size: 0,
        mode: 0o755,
    })?)
}

/// The name of a cache mount's directory: what it starts from is part of it.
pub(super) fn cache_name(request: &MountRequest) -> String {
    let MountKind::Cache { id, .. } = &request.kind else {
        return String::new();
    };
    match &request.input {
        Some(input) => format!("{id}:{input}:{}", request.selector.display()),
        None => id.clone(),
    }
}

fn not_found(error: ConfineError, selector: &Path) -> Stop {
    if error.is_not_found() {
        return Stop::failed(
            FailureKind::NotFound,
            format!("{:?}: not found", selector.display().to_string()),
        );
    }
    error.into()
}
