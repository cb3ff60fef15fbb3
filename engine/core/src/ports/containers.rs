use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cooper_proto::pb;

use super::files::FileStat;
use crate::model::{Failure, LogStream, ResultId, SessionId};

/// Holds containers open for who wants to run programs in them (parity sheet E, NewContainer).
///
/// # Model
/// A container is made of states, which it changes for itself alone: nothing of it is kept. Its first program is its
/// first process, with which all others end.
///
/// # Story
/// `create`; `start` and `run` of a shell, `start` and `run` of a program beside it; `release`, after which nothing of
/// the container is left.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes a container in which nothing runs yet.
    ///
    /// # Errors
    /// `InvalidInput` for mounts that cannot be, `Unsupported` for what is not built.
    async fn create(&self, request: ContainerRequest) -> Result<Arc<dyn HeldContainer>, Failure>;
}

/// A container that is held open. Dropping it kills what runs in it and waits for nothing.
#[async_trait]
pub trait HeldContainer: Send + Sync {
    /// Starts a program.
    ///
    /// # Errors
    /// `InvalidInput` where it cannot be started as it is asked for, or after the container's end.
    async fn start(&self, request: ProcessRequest) -> Result<Arc<dyn HeldProcess>, Failure>;

    /// Reads a file of one of its mounts, as it is now.
    async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, Failure>;

    /// Lists a directory of one of its mounts, sorted by name.
    async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, Failure>;

    /// Describes one path of one of its mounts.
    async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, Failure>;

    /// Kills what runs in it and returns when nothing of it is left. Programs say that they were cancelled.
    ///
    /// # Errors
    /// `Cancelled` when something still ran; it is gone then as well.
    async fn release(&self) -> Result<(), Failure>;
}

/// A program that runs in a held container. Dropping it kills it.
#[async_trait]
pub trait HeldProcess: Send + Sync {
    /// Hands on what it writes until it ends. To be called once, and polled for as long as it should run.
    ///
    /// # Errors
    /// `Cancelled` when its container was released, and where it could not be followed.
    async fn run(&self, output: Arc<dyn ProcessOutput>) -> Result<i32, Failure>;

    /// Writes to its input, waiting while it is behind. A program that reads no more loses what is written.
    async fn write(&self, data: Bytes);

    /// Ends its input.
    async fn close_input(&self);

    /// Sends it a signal by number.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is none.
    fn signal(&self, number: i32) -> Result<(), Failure>;

    /// Says how large its terminal is; nothing where it has none.
    fn resize(&self, rows: u16, columns: u16);

    /// Kills it.
    fn kill(&self);
}

/// Takes what a program writes.
#[async_trait]
pub trait ProcessOutput: Send + Sync {
    /// Takes a chunk; the program waits meanwhile.
    async fn take(&self, stream: LogStream, data: Bytes);
}

/// A container to make.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerRequest {
    /// Its mounts; `input` is a position in `inputs` or -1. One is `/`.
    pub mounts: Vec<pb::Mount>,
    /// The states that it is made of, pinned by the caller until the release.
    pub inputs: Vec<ResultId>,
    /// Its network, a `pb::NetMode`.
    pub network: i32,
    /// What its programs are made for; the worker's own when `None`.
    pub platform: Option<pb::Platform>,
    /// Further names that it knows.
    pub extra_hosts: Vec<pb::HostIp>,
    /// Its host name; empty is the usual one.
    pub hostname: String,
    /// Sessions that answer for secrets and agents, the best first.
    pub sessions: Vec<SessionId>,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessRequest {
    /// Arguments, environment, user, directory and limits.
    pub meta: pb::Meta,
    /// Secrets that it has as variables.
    pub secrets: Vec<pb::SecretEnv>,
    /// How much it is kept from the machine, a `pb::SecurityMode`.
    pub security: i32,
    /// What it reads.
    pub input: ProcessInput,
}

/// What a program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessInput {
    /// Nothing.
    #[default]
    Nothing,
    /// What is written to it.
    Pipe,
    /// A terminal, which is where it writes to as well.
    Terminal,
}
