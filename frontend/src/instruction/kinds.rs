//! The instructions as types. FROM is not among them: it opens a [`super::Stage`].

use super::{CommandLine, Device, Healthcheck};
use crate::diagnostic::Lines;

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Which one, with its arguments.
    pub kind: Kind,
    /// The keyword as written.
    pub keyword: String,
    /// The whole instruction on one line, as steps show it.
    pub text: String,
    /// Where it stands.
    pub lines: Lines,
    /// Comments directly above.
    pub comments: Vec<String>,
}

/// The instructions.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the instruction of that name")]
pub enum Kind {
    Add(Box<Add>),
    Arg(Vec<Argument>),
    Cmd(CommandLine),
    Copy(Box<Copy>),
    Entrypoint(CommandLine),
    Env(Vec<Setting>),
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<Setting>),
    Maintainer(String),
    Onbuild(String),
    Run(Box<Run>),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// A pair of ENV or LABEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name, quotes not removed yet.
    pub key: String,
    /// The value, quotes not removed yet.
    pub value: String,
    /// Whether it was written without `=`.
    pub legacy: bool,
}

/// One name of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub key: String,
    /// The default, not expanded yet.
    pub value: Option<String>,
}

/// What ADD and COPY have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Sources.
    pub sources: Vec<String>,
    /// Files whose text stands in the Dockerfile.
    pub inline: Vec<InlineSource>,
    /// Destination.
    pub destination: String,
    /// `--chown`, or empty.
    pub chown: String,
    /// `--chmod`, or empty.
    pub chmod: String,
    /// `--link`.
    pub link: bool,
    /// `--exclude`.
    pub excludes: Vec<String>,
}

/// A heredoc used as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineSource {
    /// File name.
    pub name: String,
    /// Content.
    pub content: String,
    /// Whether variables in the content are expanded.
    pub expands: bool,
}

/// ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What it shares with COPY.
    pub paths: Paths,
    /// `--checksum`, or empty.
    pub checksum: String,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

/// COPY.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// What it shares with ADD.
    pub paths: Paths,
    /// `--from`, or empty.
    pub from: String,
    /// `--parents`.
    pub parents: bool,
}

/// RUN.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What is run.
    pub command: CommandLine,
    /// `--mount` flags as written; see [`super::mount`].
    pub mounts: Vec<String>,
    /// The `from` of each mount as far as it is known before expansion; empty if none.
    pub mounts_from: Vec<String>,
    /// `--network`.
    pub network: Network,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device` flags.
    pub devices: Vec<Device>,
    /// `--timeout`, an extension: how long one try may take.
    ///
    /// # Units
    /// Nanoseconds.
    pub timeout: Option<i64>,
    /// `--retries`, an extension: how many tries follow one that failed.
    pub retries: Option<u32>,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Whatever the build uses.
    Default,
    /// No network.
    None,
    /// The host's.
    Host,
}
