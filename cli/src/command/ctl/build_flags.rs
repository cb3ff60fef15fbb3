use std::path::PathBuf;

use clap::Args;

use crate::command::SolveFlags;

/// Build a graph from standard input, or what a frontend makes of options.
#[derive(Args, Clone, Debug, Default)]
pub struct CtlBuildFlags {
    /// Where the result goes, as `type=TYPE,NAME=VALUE,...`; may be repeated
    #[arg(short, long, value_name = "DEST")]
    pub output: Vec<String>,
    /// File to which all news are appended, one JSON document a line
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Folder that the build may read, as NAME=PATH; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub local: Vec<String>,
    /// OCI layout that the build may read, as NAME=PATH; may be repeated
    #[arg(long, value_name = "NAME=PATH")]
    pub oci_layout: Vec<String>,
    /// Frontend to ask, for example dockerfile.v0; without, a graph is read from standard input
    #[arg(long, value_name = "NAME")]
    pub frontend: Option<String>,
    /// Option of the frontend, as NAME=VALUE; `build-arg:NAME` takes its value from the environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
    /// Cache to write to, as `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub export_cache: Vec<String>,
    /// Cache to read from, as `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub import_cache: Vec<String>,
    /// Rules about sources, as JSON
    #[arg(long, value_name = "FILE")]
    pub source_policy_file: Option<PathBuf>,
    /// Let processes reach the network only through a recording proxy
    #[arg(long)]
    pub proxy_network: bool,
    /// Write the build's reference to a file
    #[arg(long, value_name = "FILE")]
    pub ref_file: Option<PathBuf>,
    /// TLS of a registry that asks for tokens; not supported yet
    #[arg(long, value_name = "CONTEXT", hide = true)]
    pub registry_auth_tlscontext: Vec<String>,
    /// Figures about the cache; not supported yet
    #[arg(long, value_name = "FILE", hide = true)]
    pub debug_json_cache_metrics: Option<String>,
    /// What every way to build takes.
    #[command(flatten)]
    pub solve: SolveFlags,
}
