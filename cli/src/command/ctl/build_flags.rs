use std::path::PathBuf;

use clap::Args;

use crate::command::build::ProgressMode;

/// Build a graph from standard input, or what a frontend makes of options.
#[derive(Args, Clone, Debug, Default)]
pub struct CtlBuildFlags {
    /// Where the result goes, as `type=TYPE,NAME=VALUE,...`; may be repeated
    #[arg(short, long, value_name = "DEST")]
    pub output: Vec<String>,
    /// How to show progress
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        env = "BUILDKIT_PROGRESS",
        default_value = "auto"
    )]
    pub progress: ProgressMode,
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
    /// Do not use cached results
    #[arg(long)]
    pub no_cache: bool,
    /// Cache to write to, as `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub export_cache: Vec<String>,
    /// Cache to read from, as `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub import_cache: Vec<String>,
    /// Secret that steps may mount, as `id=ID[,src=PATH|,env=NAME]`; may be repeated
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Permission to give to the build: network.host, security.insecure, device; may be repeated
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// SSH agent or socket that steps may mount, as `default|ID[=SOCKET[,raw=true]|KEY[,KEY]]`; may be repeated
    #[arg(long, value_name = "AGENT")]
    pub ssh: Vec<String>,
    /// Write what the build made to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
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
}
