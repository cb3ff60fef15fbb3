use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{
    ContainerRequest, FileStat, HeldContainer, HeldProcess, OpRequest, ProcessInput, ProcessRequest,
};
use cooper_proto::{Digest, pb};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::gathered::Gathered;
use super::held_process::Process;
use super::request::{ExecRequest, absolute};
use super::runner::{ExecOps, blocking};
use super::sandbox::{AfterRun, Sandbox, environment};
use super::secrets::Secrets;
use super::ssh;
use super::stop::Stop;
use crate::confine::Root;
use crate::exec::{
    Config, Container, Control, Filter, Joining, Program, Reads, Source, resolve_user,
};
use crate::look;

impl ExecOps {
    /// Makes a container in which nothing runs yet. Its states are unpacked.
    ///
    /// # Errors
    /// As [`Containers::create`](cooper_core::ports::Containers::create).
    pub async fn hold(&self, request: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure> {
        let held = Held {
            ops: self.clone(),
            request,
            looks: Mutex::default(),
            state: tokio::sync::Mutex::new(State::Over),
            released: watch::Sender::default(),
        };
        // Nobody knows yet what will run; the mounts can be looked into already, and what is wrong with them is said now.
        let nothing = ProcessRequest {
            meta: pb::Meta {
                args: vec![String::from("/")],
                cwd: String::from("/"),
                ..pb::Meta::default()
            },
            ..ProcessRequest::default()
        };
        let sandbox = held.sandbox(&nothing).await?;
        *held.looks.lock() = held.looks_into(&sandbox.container);
        *held.state.lock().await = State::Fresh(Box::new(sandbox.after));
        Ok(Arc::new(held))
    }
}

/// `PATH` of programs for Windows that have none.
const WINDOWS_PATH: &str =
    r"c:\Windows\System32;c:\Windows;C:\Windows\System32\WindowsPowerShell\v1.0";

/// A container that is held open.
struct Held {
    ops: ExecOps,
    request: ContainerRequest,
    /// The directories that its mounts show, in their order.
    looks: Mutex<Vec<Option<Arc<Root>>>>,
    state: tokio::sync::Mutex<State>,
    released: watch::Sender<bool>,
}

enum State {
    /// Nothing has run in it.
    Fresh(Box<AfterRun>),
    /// Its first program was started, and may have ended.
    Running(Box<Running>),
    /// It was released, or its first program could not be started.
    Over,
}

struct Running {
    control: Arc<Control>,
    /// What its first program was started with.
    config: Config,
    security: i32,
    filter: Option<&'static Filter>,
    root: Root,
    after: AfterRun,
}

impl Held {
    /// What a program of this container would be as a step.
    fn step(&self, process: &ProcessRequest) -> (OpRequest, pb::ExecOp) {
        let mut meta = process.meta.clone();
        meta.hostname.clone_from(&self.request.hostname);
        meta.extra_hosts.clone_from(&self.request.extra_hosts);
        if meta.cwd.is_empty() {
            meta.cwd = String::from("/");
        }
        if process.input == ProcessInput::Terminal
            && !meta.env.iter().any(|it| it.starts_with("TERM="))
        {
            meta.env.push(String::from("TERM=xterm"));
        }
        // BuildKit looks at the platform for this alone.
        let os = self.request.platform.as_ref().map(|it| it.os.as_str());
        if os == Some("windows") && !meta.env.iter().any(|it| it.starts_with("PATH=")) {
            meta.env.push(format!("PATH={WINDOWS_PATH}"));
        }
        let mut mounts = self.request.mounts.clone();
        for mount in &mut mounts {
            mount.output = -1;
        }
        let exec = pb::ExecOp {
            meta: Some(meta),
            mounts,
            network: self.request.network,
            security: process.security,
            secretenv: process.secrets.clone(),
            ..pb::ExecOp::default()
        };
        let request = OpRequest {
            vertex: Digest::sha256_of("a container that is held open"),
            op: Arc::default(),
            name: String::from("a container that is held open"),
            inputs: self.request.inputs.clone(),
            pin: None,
            build: None,
            sessions: self.request.sessions.clone(),
            resources: None,
        };
        (request, exec)
    }

    /// Completes when the container is released.
    async fn is_released(&self) {
        let mut released = self.released.subscribe();
        // The other end is ours: it is there as long as this is asked.
        let _released = released.wait_for(|released| *released).await;
    }

    async fn sandbox(&self, process: &ProcessRequest) -> Result<Sandbox, Stop> {
        let (request, op) = self.step(process);
        let exec = ExecRequest::new(&request, &op)?;
        let parts = &self.ops.parts;
        let sessions = parts.sessions.as_ref();
        let gathered = tokio::select! {
            gathered = Gathered::wait(&exec, &parts.cache_mounts, sessions, &request.sessions) => gathered?,
            () = self.is_released() => return Err(Stop::Cancelled),
        };
        let machine = Arc::clone(parts);
        blocking(move || Sandbox::new(&exec, &machine, gathered)).await
    }

    fn looks_into(&self, container: &Container) -> Vec<Option<Arc<Root>>> {
        let look = |mount: &pb::Mount| {
            let destination = absolute(Path::new("/"), &mount.dest);
            if destination == Path::new("/") {
                return container.root.root().ok();
            }
            let mut mounts = container.mounts.iter().rev();
            let found = mounts.find(|it| it.destination == destination)?;
            match &found.source {
                Source::Whole(mount) => mount.root().ok(),
                Source::Part(part) => part.try_clone().map(Root::from_fd).ok(),
            }
        };
        self.request
            .mounts
            .iter()
            .map(|mount| look(mount).map(Arc::new))
            .collect()
    }

    /// Starts the first program, as a step is started.
    async fn first(
        &self,
        request: &ProcessRequest,
    ) -> Result<(Running, Arc<dyn HeldProcess>), Stop> {
        let Sandbox {
            container,
            sockets,
            after,
        } = self.sandbox(request).await?;
        let root = container.root.root()?;
        *self.looks.lock() = self.looks_into(&container);
        let (config, filter) = (container.config.clone(), container.filter);
        let opened = container
            .open(&self.ops.parts.program, reads(request.input))
            .await;
        let program = match opened {
            Ok(program) => program,
            Err(error) => {
                self.looks.lock().clear();
                drop(root);
                abandon(after).await;
                return Err(error.into());
            }
        };
        let running = Running {
            control: Arc::clone(&program.control),
            config,
            security: request.security,
            filter,
            root,
            after,
        };
        Ok((running, self.process(program, ssh::serve(sockets).boxed())))
    }

    /// Starts a program beside the first one.
    async fn further(
        &self,
        running: &Running,
        request: &ProcessRequest,
    ) -> Result<Arc<dyn HeldProcess>, Stop> {
        if request.security != running.security {
            return Err(Stop::unsupported(
                "a program in another security mode than the first one of its container",
            ));
        }
        let (step, op) = self.step(request);
        let exec = ExecRequest::new(&step, &op)?;
        let sessions = self.ops.parts.sessions.as_ref();
        let secrets = tokio::select! {
            secrets = Secrets::load(&exec, sessions, &step.sessions) => secrets?,
            () = self.is_released() => return Err(Stop::Cancelled),
        };
        let mut config = running.config.clone();
        let root = running.root.try_clone()?;
        let process = blocking(move || {
            let user = resolve_user(&root, &exec.user)?.user;
            let process = &mut config.process;
            process.env = environment(&exec, &secrets, &root, &user)?;
            process.args = exec.args;
            process.cwd = exec.cwd;
            process.user = user;
            process.rlimits = exec.rlimits;
            Ok(config)
        });
        let joining = Joining {
            config: process.await?,
            filter: running.filter,
        };
        let program = running
            .control
            .join(&self.ops.parts.program, joining, reads(request.input))
            .await?;
        Ok(self.process(program, std::future::pending().boxed()))
    }

    fn process(
        &self,
        program: Program,
        beside: futures::future::BoxFuture<'static, ()>,
    ) -> Arc<dyn HeldProcess> {
        Arc::new(Process::new(program, beside, self.released.subscribe()))
    }

    async fn look<T: Send + 'static>(
        &self,
        mount: usize,
        work: impl FnOnce(&Root) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let root = self.looks.lock().get(mount).cloned().flatten();
        let root = root.ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("the container has no mount {mount} that can be looked into"),
            )
        })?;
        let looked = tokio::task::spawn_blocking(move || work(&root));
        looked
            .await
            .unwrap_or_else(|error| Err(Failure::new(FailureKind::Internal, error.to_string())))
    }
}

#[async_trait]
impl HeldContainer for Held {
    async fn start(&self, request: ProcessRequest) -> Result<Arc<dyn HeldProcess>, Failure> {
        let mut state = self.state.lock().await;
        if let State::Running(running) = &*state {
            return Ok(self.further(running, &request).await?);
        }
        let State::Fresh(unused) = std::mem::replace(&mut *state, State::Over) else {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                "the container is not running",
            ));
        };
        self.looks.lock().clear();
        abandon(*unused).await;
        let (running, process) = self.first(&request).await?;
        *state = State::Running(Box::new(running));
        Ok(process)
    }

    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, Failure> {
        let path = path.to_owned();
        self.look(mount, move |root| look::read_file(root, &path, range))
            .await
    }

    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, Failure> {
        let (path, pattern) = (path.to_owned(), include_pattern.to_owned());
        self.look(mount, move |root| look::read_dir(root, &path, &pattern))
            .await
    }

    async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, Failure> {
        let path = path.to_owned();
        self.look(mount, move |root| look::stat_file(root, &path))
            .await
    }

    async fn release(&self) -> Result<(), Failure> {
        self.released.send_replace(true);
        let state = std::mem::replace(&mut *self.state.lock().await, State::Over);
        self.looks.lock().clear();
        let (after, ran) = match state {
            State::Fresh(after) => (*after, false),
            State::Running(running) => {
                let Running { control, after, .. } = *running;
                // Asked of the kernel: whoever follows the programs may have stopped to, or wait for us.
                let ran = control.is_running();
                control.kill();
                control.wait_until_gone().await;
                (after, ran)
            }
            State::Over => return Ok(()),
        };
        abandon(after).await;
        match ran {
            // In the words of Go, which clients look for.
            true => Err(Failure::new(FailureKind::Cancelled, "context canceled")),
            false => Ok(()),
        }
    }
}

fn reads(input: ProcessInput) -> Reads {
    match input {
        ProcessInput::Nothing => Reads::Nothing,
        ProcessInput::Pipe => Reads::Pipe,
        ProcessInput::Terminal => Reads::Terminal,
    }
}

async fn abandon(after: AfterRun) {
    let abandoned = tokio::task::spawn_blocking(move || after.abandon());
    if let Err(error) = abandoned.await {
        tracing::warn!(%error, "what a container wrote stays until the next start");
    }
}
