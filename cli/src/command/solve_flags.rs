use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// `tty` when standard error is a terminal, `plain` when it is not.
    #[default]
    Auto,
    /// Live steps that are redrawn in place.
    Tty,
    /// One line after the other.
    Plain,
    /// One JSON document a line, for programs.
    Rawjson,
    /// Nothing but errors.
    Quiet,
    /// The same as `quiet`.
    None,
}

/// What every way to build takes.
#[derive(Args, Clone, Debug, Default)]
pub struct SolveFlags {
    /// Do not use cached results
    #[arg(long)]
    pub no_cache: bool,

    /// Secret that steps may mount, as `id=ID[,src=PATH|,env=NAME]`; may be repeated
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,

    /// SSH agent that steps may mount, as `default|ID[=SOCKET[,raw=true]|KEY[,KEY]]`; may be repeated
    #[arg(long, value_name = "AGENT")]
    pub ssh: Vec<String>,

    /// Permission to give to the build: network.host, security.insecure, device; may be repeated
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,

    /// How to show progress
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        env = "BUILDKIT_PROGRESS",
        default_value = "auto"
    )]
    pub progress: ProgressMode,

    /// Write what the build made to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
}
