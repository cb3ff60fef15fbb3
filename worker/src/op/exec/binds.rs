use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use cooper_core::model::{FailureKind, ResultId};

use super::outputs::{OutputSource, Outputs};
use super::request::{MountKind, MountRequest};
use super::secrets::Secrets;
use super::stop::Stop;
use crate::confine::{ConfineError, Last, Owner, Root};
use crate::exec::{ContainerMount, Source};
use crate::mount::{CacheLease, DetachedMount, TmpfsOptions};
use crate::snapshot::Snapshots;

/// Mounts of a container in the making, and what must outlive its run.
#[derive(Debug, Default)]
pub(super) struct Binds {
    pub(super) mounts: Vec<ContainerMount>,
    pub(super) stages: Vec<DetachedMount>,
    pub(super) outputs: Outputs,
}

impl Binds {
    pub(super) fn add(
        &mut self,
        request: &MountRequest,
        snapshots: &Snapshots,
        leases: &BTreeMap<String, CacheLease>,
        secrets: &Secrets,
    ) -> Result<(), Stop> {
        let source = match &request.kind {
            MountKind::Bind => self.state(request, snapshots)?,
            MountKind::Cache { .. } => self.cache(request, snapshots, leases)?,
            MountKind::Tmpfs { size } => Source::Whole(DetachedMount::tmpfs(TmpfsOptions {
                size: *size,
                mode: 0,
            })?),
            MountKind::Secret(options) => {
                let Some(value) = secrets.get(&options.id) else {
                    return Ok(());
                };
                let owner = Owner {
                    uid: options.uid,
                    gid: options.gid,
                };
                return self.add_secret(&request.destination, value, owner, options.mode);
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
                self.outputs.add(output, OutputSource::Input(input.clone()));
            }
            return self.part_of(snapshots.view(input)?.mount()?, &request.selector);
        }
        let input = request.input.clone().unwrap_or_else(ResultId::scratch);
        let writer = snapshots.writer(&input)?;
        let mount = writer.mount()?;
        match request.output {
            Some(output) => self.outputs.add(output, OutputSource::Writer(writer)),
            None => self.outputs.throw_away(writer),
        }
        self.part_of(mount, &request.selector)
    }

    fn cache(
        &mut self,
        request: &MountRequest,
        snapshots: &Snapshots,
        leases: &BTreeMap<String, CacheLease>,
    ) -> Result<Source, Stop> {
        let lease = leases
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
            self.outputs.add(output, OutputSource::Input(input.clone()));
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

    /// A file that exists only in memory.
    pub(super) fn add_secret(
        &mut self,
        destination: &Path,
        value: &[u8],
        owner: Owner,
        mode: u32,
    ) -> Result<(), Stop> {
        let part = self.file_in_memory(value, owner, mode)?;
        self.push(destination, Source::Part(part), true);
        Ok(())
    }

    pub(super) fn file_in_memory(
        &mut self,
        content: &[u8],
        owner: Owner,
        mode: u32,
    ) -> Result<OwnedFd, Stop> {
        let stage = DetachedMount::tmpfs(TmpfsOptions {
            size: 0,
            mode: 0o755,
        })?;
        let root: Root = stage.root()?;
        let path = Path::new("file");
        root.create_file(path, 0o600)?
            .write_all(content)
            .map_err(Stop::fault)?;
        let node = root.resolve(path, Last::NoFollow)?;
        node.set_owner(owner)?;
        node.set_mode(mode)?;
        self.stages.push(stage);
        Ok(node.into_fd())
    }
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
