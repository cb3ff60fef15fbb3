use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, LinuxResources, OpEvent, ResultId, SessionId};
use cooper_core::ports::{
    Cancelled, Credentials, DirFilter, EventSink, ExportTarget, ExportTargetRequest, LocalDir,
    OpOutcome, OpRequest, Session, Sessions, SshAgent, SshConnection,
};
use cooper_proto::{Digest, pb};
use cooper_worker::cdi::{CdiSettings, Devices};
use cooper_worker::cgroup::{CgroupRequest, Cgroups};
use cooper_worker::exec::{OldRuntime, OtherRuntime, RunnerProgram};
use cooper_worker::limits::Limits;
use cooper_worker::meta::Meta;
use cooper_worker::mount::CacheMounts;
use cooper_worker::network::{NetworkMode, NetworkSettings, Networks};
use cooper_worker::op::exec::{ExecOps, ExecParts};
use cooper_worker::snapshot::{Durability, Snapshots};
use cooper_worker::state::StateDir;
use cooper_worker::userns::Identity;
use parking_lot::Mutex;

pub(crate) struct Bench {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) snapshots: Snapshots,
    ops: ExecOps,
    pub(crate) image: ResultId,
    log: Arc<Log>,
}

#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<u8>>);

impl EventSink for Log {
    fn emit(&self, event: OpEvent) {
        if let OpEvent::Log { data, .. } = event {
            self.0.lock().extend_from_slice(&data);
        }
    }
}

struct OneSession(SessionId);

#[async_trait]
impl Sessions for OneSession {
    async fn session(&self, id: &SessionId) -> Result<Arc<dyn Session>, Failure> {
        Ok(Arc::new(Self(id.clone())))
    }
}

pub(crate) const CANARY: &str = "canary-4711-never-on-disk";

#[async_trait]
impl Session for OneSession {
    fn id(&self) -> &SessionId {
        &self.0
    }
    fn shared_key(&self) -> &str {
        ""
    }
    async fn local_dir(&self, _: &str, _: &DirFilter) -> Result<LocalDir, Failure> {
        Err(Failure::unsupported("local directories"))
    }
    async fn secret(&self, id: &str) -> Result<Option<Bytes>, Failure> {
        Ok((id == "key").then(|| Bytes::from_static(CANARY.as_bytes())))
    }
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Failure> {
        Ok(None)
    }
    async fn ssh_agent(&self, id: &str) -> Result<Box<dyn SshAgent>, Failure> {
        if id == "default" {
            return Ok(Box::new(NoAnswer));
        }
        let message = format!("unset ssh forward key {id}");
        Err(Failure::new(FailureKind::NotFound, message))
    }
    async fn export_target(&self, _: ExportTargetRequest) -> Result<ExportTarget, Failure> {
        Err(Failure::unsupported("exports"))
    }
}

struct NoAnswer;

#[async_trait]
impl SshAgent for NoAnswer {
    async fn connect(&self) -> Result<SshConnection, Failure> {
        Err(Failure::unsupported("connections"))
    }
}

/// What runs containers, and the control group that they are put below: our own runner, or what `COOPER_TEST_RUNTIME` names.
#[expect(
    clippy::disallowed_methods,
    reason = "how a test command says what to test"
)]
fn runner(state: &StateDir) -> (RunnerProgram, &'static str) {
    let program =
        RunnerProgram::at(Path::new(env!("CARGO_BIN_EXE_cooper-container-helper"))).unwrap();
    match std::env::var_os("COOPER_TEST_RUNTIME") {
        None => (program, ""),
        Some(binary) => {
            let other = OtherRuntime::find(Path::new(&binary), &state.runtime(), OldRuntime::Warn);
            (program.with_runtime(other.unwrap()), "cooper-tests")
        }
    }
}

/// Whether this is root of a user namespace alone.
pub(crate) fn is_plain_user() -> bool {
    Identity::of_this_process().is_mapped()
}

/// Another user and group than root, where there are any.
pub(crate) fn other_ids(user: u32, group: u32) -> (u32, u32) {
    match Identity::of_this_process().is_single() {
        true => (0, 0),
        false => (user, group),
    }
}

/// Whether the machine's control groups, or those that were handed over, can have further ones.
pub(crate) fn has_own_groups() -> bool {
    let temp = tempfile::tempdir().unwrap();
    let request = CgroupRequest {
        id: "probe",
        parent: "",
        limits: None,
        everywhere: true,
    };
    let groups = Cgroups::of_this_machine(&instance(&temp), "").unwrap();
    let made = groups.make(request);
    made.is_ok_and(|made| made.directories().is_ok_and(|all| !all.is_empty()))
}

/// A name that only one bench has.
pub(crate) fn instance(temp: &tempfile::TempDir) -> String {
    let name = temp.path().file_name().unwrap().to_str().unwrap();
    name.trim_start_matches('.').to_owned()
}

pub(crate) fn bench() -> Bench {
    bench_on(&NetworkSettings {
        mode: NetworkMode::Host,
        ..NetworkSettings::default()
    })
}

pub(crate) fn bench_on(network: &NetworkSettings) -> Bench {
    let temp = tempfile::tempdir().unwrap();
    let state = StateDir::open(&temp.path().join("state")).unwrap();
    let meta = Meta::open(&state.meta()).unwrap();
    let snapshots =
        Snapshots::open(&state, meta, &Limits::default(), Durability::ProcessDeath).unwrap();
    let writer = snapshots.writer(&ResultId::scratch()).unwrap();
    let root = writer.root().unwrap();
    root.mkdir_all(Path::new("bin"), 0o755, None).unwrap();
    let mut busybox = root.create_file(Path::new("bin/busybox"), 0o755).unwrap();
    busybox
        .write_all(&std::fs::read("/bin/busybox").unwrap())
        .unwrap();
    busybox
        .set_permissions(PermissionsExt::from_mode(0o755))
        .unwrap();
    for name in [
        "sh", "cat", "id", "ls", "sleep", "env", "mkdir", "rm", "ln", "touch", "stat", "pwd",
        "grep", "true",
    ] {
        root.symlink(Path::new("busybox"), &Path::new("bin").join(name))
            .unwrap();
    }
    drop((busybox, root));
    let image = writer.commit("busybox").unwrap();
    let (program, parent) = runner(&state);
    let caches = CacheMounts::new(&state.cache_mounts());
    let ops = ExecOps::new(ExecParts {
        shares_processes: false,
        snapshots: snapshots.clone(),
        cache_mounts: caches,
        sessions: Arc::new(OneSession(SessionId("s".into()))),
        program,
        devices: Devices::new(CdiSettings {
            folders: vec![temp.path().join("cdi")],
            auto_allowed: Vec::new(),
        }),
        networks: Networks::open(network, &state.networks()).unwrap(),
        cgroups: Cgroups::of_this_machine(&instance(&temp), parent).unwrap(),
    });
    Bench {
        temp,
        snapshots,
        ops,
        image,
        log: Arc::default(),
    }
}

/// A shell script on the image, whose root is output 0.
pub(crate) fn sh(script: &str) -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(pb::Meta {
            args: ["/bin/sh", "-c", script].map(String::from).into(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            remove_mount_stubs_recursive: true,
            ..pb::Meta::default()
        }),
        mounts: vec![pb::Mount {
            dest: "/".into(),
            ..pb::Mount::default()
        }],
        ..pb::ExecOp::default()
    }
}

pub(crate) fn mount(kind: pb::MountType, dest: &str) -> pb::Mount {
    pb::Mount {
        input: -1,
        output: -1,
        dest: dest.into(),
        mount_type: kind.into(),
        ..pb::Mount::default()
    }
}

pub(crate) fn cache(id: &str, dest: &str, sharing: pb::CacheSharingOpt) -> pb::Mount {
    let cache_opt = Some(pb::CacheOpt {
        id: id.into(),
        sharing: sharing.into(),
    });
    pb::Mount {
        cache_opt,
        ..mount(pb::MountType::Cache, dest)
    }
}

impl Bench {
    pub(crate) fn ops(&self) -> &ExecOps {
        &self.ops
    }

    pub(crate) async fn run_on(
        &self,
        inputs: &[&ResultId],
        exec: &pb::ExecOp,
        cancelled: Cancelled,
    ) -> OpOutcome {
        self.run_with(inputs, exec, None, cancelled).await
    }

    pub(crate) async fn run_with(
        &self,
        inputs: &[&ResultId],
        exec: &pb::ExecOp,
        resources: Option<LinuxResources>,
        cancelled: Cancelled,
    ) -> OpOutcome {
        let request = OpRequest {
            vertex: Digest::sha256_of(b"vertex"),
            op: Arc::new(pb::Op::default()),
            name: "test".into(),
            inputs: inputs.iter().map(|&input| input.clone()).collect(),
            pin: None,
            build: None,
            sessions: vec![SessionId("s".into())],
            resources,
        };
        self.ops
            .run(&request, exec, self.log.clone(), cancelled)
            .await
    }

    pub(crate) async fn run(&self, exec: &pb::ExecOp) -> OpOutcome {
        self.run_on(&[&self.image], exec, Box::pin(std::future::pending()))
            .await
    }

    pub(crate) async fn succeeds(&self, exec: &pb::ExecOp) -> Vec<ResultId> {
        match self.run(exec).await {
            OpOutcome::Success(results) => results,
            other => panic!("{other:?}\n{}", self.output()),
        }
    }

    pub(crate) async fn fails(&self, exec: &pb::ExecOp) -> Failure {
        match self.run(exec).await {
            OpOutcome::Failed(failure) => failure,
            other => panic!("{other:?}\n{}", self.output()),
        }
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.log.0.lock())).unwrap()
    }

    /// All paths that a state has above its parent: what its last layer holds.
    pub(crate) fn changes(&self, result: &ResultId) -> Vec<String> {
        let layer = self
            .snapshots
            .meta()
            .result(result)
            .unwrap()
            .layers
            .pop()
            .unwrap();
        let root = cooper_worker::confine::Root::open(&self.snapshots.layer_dir(&layer)).unwrap();
        let mut paths = Vec::new();
        root.walk::<cooper_worker::confine::ConfineError>(Path::new("/"), |path, _, _| {
            paths.push(path.to_str().unwrap().to_owned());
            Ok(cooper_worker::confine::Visit::Enter)
        })
        .unwrap();
        paths
    }

    pub(crate) fn read(&self, result: &ResultId, path: &str) -> String {
        let root = self.snapshots.view(result).unwrap().root().unwrap();
        String::from_utf8(root.read_small(Path::new(path), 1 << 20).unwrap()).unwrap()
    }

    pub(crate) fn half_made_layers(&self) -> usize {
        std::fs::read_dir(self.temp.path().join("state/work"))
            .unwrap()
            .count()
    }
}
