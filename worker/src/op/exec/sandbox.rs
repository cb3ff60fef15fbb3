use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cooper_proto::pb;

use super::binds::Binds;
use super::gathered::Gathered;
use super::outputs::{OutputSource, Outputs};
use super::request::{ExecRequest, has_variable};
use super::runner::ExecParts;
use super::secrets::Secrets;
use super::ssh::SshSocket;
use super::stop::Stop;
use crate::cgroup::CgroupRequest;
use crate::confine::{Last, Owner, Root};
use crate::exec::{
    Container, ContainerMount, Filter, Network, Permissions, Security, Template, User, home_of,
    hosts_file, resolve_user, resolver_file,
};
use crate::meta::LayerId;
use crate::mount::{CacheLease, MountStubs};
use crate::network::{DnsSettings, NetworkLease, Networks};
use crate::snapshot::{Snapshots, View, Writer};

const HOSTS: &str = "/etc/hosts";
const RESOLVER: &str = "/etc/resolv.conf";

/// A container that is ready to run, and what has to be done after it.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) container: Container,
    /// To be served while it runs.
    pub(super) sockets: Vec<SshSocket>,
    pub(super) after: AfterRun,
}

/// What has to be done after a container's run.
#[derive(Debug)]
pub(super) struct AfterRun {
    root: Writer,
    root_output: Option<i64>,
    root_mount: usize,
    root_read_only: bool,
    stubs: Option<MountStubs>,
    outputs: Outputs,
    /// What is mounted read-only.
    _views: Vec<View>,
    /// Keeps others from the cache mounts until it is dropped.
    _leases: BTreeMap<String, CacheLease>,
    /// Keeps others from the step's network until it is dropped.
    _network: Option<NetworkLease>,
}

impl Sandbox {
    /// Makes states, mounts and configuration. Blocks.
    pub(super) fn new(
        request: &ExecRequest,
        machine: &ExecParts,
        mut gathered: Gathered,
    ) -> Result<Self, Stop> {
        let snapshots = &machine.snapshots;
        let writer = snapshots.writer(&request.root.input)?;
        let root = writer.root()?;
        let stubs = find_stubs(&root, request)?;
        let mut user = resolve_user(&root, &request.user)?.user;
        let given = machine.devices.edits(&request.devices)?;
        user.additional_gids.extend(given.groups);
        make_working_directory(&root, &request.cwd, &user)?;
        let mut env = environment(request, &gathered.secrets, &root, &user)?;
        env.extend(given.env);
        let (network, lease) = connect(request, &machine.networks)?;
        let mut binds = Binds {
            mounts: given.mounts,
            ..Binds::default()
        };
        add_network_files(&mut binds, request, network, machine.networks.dns())?;
        for (position, mount) in request.mounts.iter().enumerate() {
            binds.add(position, mount, snapshots, &mut gathered)?;
        }
        let template = Template {
            args: request.args.clone(),
            env,
            cwd: request.cwd.clone(),
            user,
            hostname: request.hostname.clone(),
            rlimits: request.rlimits.clone(),
            network,
            security: request.security,
            read_only_root: request.root.read_only,
            devices: given.nodes,
        };
        let is_insecure = request.security == Security::Insecure;
        let cgroup = machine.cgroups.make(CgroupRequest {
            id: LayerId::random().as_str(),
            parent: &request.cgroup_parent,
            limits: request.limits.as_ref(),
            everywhere: is_insecure,
        })?;
        if is_insecure {
            binds.add_groups(&cgroup)?;
        }
        let Binds {
            mounts,
            stages,
            outputs,
            sockets,
            views,
        } = binds;
        let container = Container {
            config: template.config(),
            root: writer.mount()?,
            mounts,
            stages,
            filter: (!is_insecure).then(Filter::default_profile),
            network: lease
                .as_ref()
                .map(NetworkLease::namespace)
                .transpose()
                .map_err(Stop::fault)?,
            cgroup: Arc::new(cgroup),
            permissions: Permissions {
                insecure: is_insecure,
                host_network: network == Network::Host,
                devices: !request.devices.is_empty(),
                outer_processes: machine.shares_processes,
            },
        };
        let after = AfterRun {
            root: writer,
            root_output: request.root.output,
            root_mount: request.root.index,
            root_read_only: request.root.read_only,
            stubs: Some(stubs),
            outputs,
            _views: views,
            _leases: gathered.leases,
            _network: lease,
        };
        Ok(Self {
            container,
            sockets,
            after,
        })
    }
}

impl AfterRun {
    /// Takes the mount stubs away and keeps the op's outputs. Blocks.
    pub(super) fn commit(
        mut self,
        snapshots: &Snapshots,
        description: &str,
    ) -> Result<Vec<cooper_core::model::ResultId>, Stop> {
        if self.root_output.is_some() {
            self.remove_stubs()?;
        }
        self.outputs().commit(snapshots, description)
    }

    /// Keeps the states of all mounts of an op that failed, by the positions of the mounts. Blocks.
    pub(super) fn keep(
        mut self,
        snapshots: &Snapshots,
        description: &str,
    ) -> Vec<(usize, cooper_core::model::ResultId)> {
        if let Err(error) = self.remove_stubs() {
            tracing::warn!(?error, "a failed step's mount points stay in its state");
        }
        self.outputs().keep(snapshots, description)
    }

    fn remove_stubs(&mut self) -> Result<(), Stop> {
        // A root that was mounted read-only still is; stubs are always in the changes themselves.
        let root = match self.root_read_only {
            true => Root::open(&self.root.changes())?,
            false => self.root.root()?,
        };
        match self.stubs.take() {
            Some(stubs) => Ok(stubs.remove(&root)?),
            None => Ok(()),
        }
    }

    fn outputs(self) -> Outputs {
        let mut outputs = self.outputs;
        match self.root_output {
            None => outputs.throw_away(self.root_mount, self.root),
            Some(index) => outputs.add(index, self.root_mount, OutputSource::Writer(self.root)),
        }
        outputs
    }

    /// Throws all changes away. Blocks.
    pub(super) fn abandon(self) {
        drop(self.root);
        self.outputs.abandon();
    }
}

fn find_stubs(root: &Root, request: &ExecRequest) -> Result<MountStubs, Stop> {
    let own = ["/proc", "/dev", "/sys", HOSTS, RESOLVER].map(Path::new);
    let targets = own.into_iter().chain(
        request
            .mounts
            .iter()
            .map(|mount| mount.destination.as_path()),
    );
    Ok(MountStubs::missing(root, targets, request.stub_depth)?)
}

/// The working directory is made where it is missing, and then belongs to the user (as BuildKit does).
fn make_working_directory(root: &Root, cwd: &Path, user: &User) -> Result<(), Stop> {
    match root.resolve(cwd, Last::Follow) {
        Err(error) if error.is_not_found() => {
            root.mkdir_all(
                cwd,
                0o755,
                Some(Owner {
                    uid: user.uid,
                    gid: user.gid,
                }),
            )?;
        }
        found => drop(found?),
    }
    Ok(())
}

pub(super) fn environment(
    request: &ExecRequest,
    secrets: &Secrets,
    root: &Root,
    user: &User,
) -> Result<Vec<String>, Stop> {
    let mut env = request.env.clone();
    env.extend(secrets.environment(request)?);
    if !has_variable(&env, "HOME") {
        env.push(format!("HOME={}", home_of(root, user.uid)?));
    }
    Ok(env)
}

/// The network that the op asks for, or what is configured where it asks for none.
fn connect(
    request: &ExecRequest,
    networks: &Networks,
) -> Result<(Network, Option<NetworkLease>), Stop> {
    Ok(match request.network {
        pb::NetMode::Host => (Network::Host, None),
        pb::NetMode::None => (Network::None, None),
        pb::NetMode::Unset => match networks.join(&request.own_name).map_err(Stop::fault)? {
            None => (Network::Host, None),
            Some(mut lease) => {
                if request.security == Security::Insecure {
                    lease.spoil();
                }
                (Network::Given, Some(lease))
            }
        },
    })
}

fn add_network_files(
    binds: &mut Binds,
    request: &ExecRequest,
    network: Network,
    dns: &DnsSettings,
) -> Result<(), Stop> {
    let read = |path: &str| match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        content => content
            .map(Some)
            .map_err(|error| Stop::fault(format!("reading {path}: {error}"))),
    };
    let machine = read(RESOLVER)?.unwrap_or_default();
    let systemd = read("/run/systemd/resolve/resolv.conf")?;
    let resolver = resolver_file(&machine, systemd.as_deref(), network == Network::Host, dns);
    let hosts = hosts_file(&request.hostname, &request.extra_hosts);
    for (destination, content) in [(RESOLVER, resolver), (HOSTS, hosts)] {
        let source = binds.file_in_memory(content.as_bytes())?;
        binds.mounts.push(ContainerMount {
            destination: destination.into(),
            source,
            read_only: true,
        });
    }
    Ok(())
}
