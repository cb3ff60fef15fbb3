use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cooper_worker::cgroup::{CgroupRequest, Cgroups, StepCgroup};
use cooper_worker::exec::{
    Container, ContainerMount, ExitStatus, Filter, OldRuntime, OtherRuntime, Output, Permissions,
    RunError, RunnerProgram, Template, User,
};
use cooper_worker::mount::DetachedMount;

/// An image on disk and what to run in it.
pub(crate) struct Sandbox {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) template: Template,
    pub(crate) mounts: Vec<ContainerMount>,
    pub(crate) stages: Vec<DetachedMount>,
}

pub(crate) struct Ran {
    pub(crate) status: Result<ExitStatus, RunError>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn sandbox() -> Sandbox {
    let temp = tempfile::tempdir().unwrap();
    let bin = temp.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    for name in [
        "sh", "true", "cat", "id", "sleep", "ls", "mount", "env", "readlink", "grep", "ps", "kill",
        "ip",
    ] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
    }
    let template = Template {
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        hostname: "buildkitsandbox".into(),
        user: User {
            uid: 0,
            gid: 0,
            additional_gids: vec![0],
        },
        ..Template::default()
    };
    Sandbox {
        temp,
        template,
        mounts: Vec::new(),
        stages: Vec::new(),
    }
}

pub(crate) fn helper() -> RunnerProgram {
    RunnerProgram::at(Path::new(env!("CARGO_BIN_EXE_cooper-container-helper"))).unwrap()
}

/// Whether another runtime than ours runs the containers.
#[expect(
    clippy::disallowed_methods,
    reason = "how a test command says what to test"
)]
pub(crate) fn has_other_runtime() -> bool {
    std::env::var_os("COOPER_TEST_RUNTIME").is_some()
}

/// What runs a container, and its control group: our own runner and none, or what `COOPER_TEST_RUNTIME` names and one in
/// every hierarchy.
#[expect(
    clippy::disallowed_methods,
    reason = "how a test command says what to test"
)]
fn runner(folder: &Path) -> (RunnerProgram, StepCgroup) {
    let Some(binary) = std::env::var_os("COOPER_TEST_RUNTIME") else {
        return (helper(), StepCgroup::default());
    };
    let other = OtherRuntime::find(Path::new(&binary), folder, OldRuntime::Warn).unwrap();
    let name = folder.parent().and_then(Path::file_name).unwrap();
    let name = name.to_str().unwrap().trim_start_matches('.').to_owned();
    let groups = Cgroups::of_this_machine(&name, "cooper-tests").unwrap();
    let wanted = CgroupRequest {
        id: "one",
        parent: "",
        limits: None,
        everywhere: true,
    };
    let group = groups.make(wanted).unwrap();
    (helper().with_runtime(other), group)
}

impl Sandbox {
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.temp.path().join(inside)
    }

    pub(crate) async fn run(self, args: &[&str]) -> Ran {
        self.run_until(args, std::future::pending()).await.0
    }

    pub(crate) async fn sh(self, script: &str) -> Ran {
        self.run(&["sh", "-c", script]).await
    }

    pub(crate) async fn run_until(
        self,
        args: &[&str],
        cancelled: impl Future<Output = ()>,
    ) -> (Ran, tempfile::TempDir) {
        let template = Template {
            args: args.iter().map(|&arg| arg.into()).collect(),
            ..self.template
        };
        let bundles = tempfile::tempdir().unwrap();
        let (program, cgroup) = runner(&bundles.path().join("bundle"));
        let container = Container {
            config: template.config(),
            root: DetachedMount::bind_path(self.temp.path()).unwrap(),
            mounts: self.mounts,
            stages: self.stages,
            filter: Some(Filter::default_profile()),
            network: None,
            cgroup: Arc::new(cgroup),
            permissions: Permissions {
                host_network: true,
                ..Permissions::default()
            },
        };
        let (stdout, stderr) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let output = |name, data: bytes::Bytes| {
            match name {
                Output::Stdout => &stdout,
                Output::Stderr => &stderr,
            }
            .lock()
            .unwrap()
            .extend_from_slice(&data);
        };
        let status = container.run(&program, output, cancelled).await;
        let text = |bytes: Mutex<Vec<u8>>| {
            String::from_utf8_lossy(&bytes.into_inner().unwrap()).into_owned()
        };
        (
            Ran {
                status,
                stdout: text(stdout),
                stderr: text(stderr),
            },
            self.temp,
        )
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert!(
            matches!(self.status, Ok(ExitStatus::Exited(0))),
            "{:?}\n{}{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}
