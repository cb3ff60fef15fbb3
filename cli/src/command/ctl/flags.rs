use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::build_flags::CtlBuildFlags;
use crate::command::ProgressMode;

const EXAMPLES: &str = "\
Examples:
  cooper ctl build --frontend dockerfile.v0 --local context=. --local dockerfile=. --output type=oci,dest=app.tar
  cooper ctl build < definition.llb              Build a graph
  cooper ctl du --verbose                        What the cache holds
  cooper ctl prune --keep-duration 24h --keep-storage 2000
  cooper ctl debug histories                     Builds that are remembered
  cooper ctl debug logs REF                      What a build said
  cooper ctl debug dump-llb --svg < definition.llb > graph.svg";

const DU_EXAMPLES: &str = "\
Examples:
  cooper du                                      All records, and what they take
  cooper du --verbose --filter type==exec.cachemount
  cooper du --format json | jq '.[].size'";

const PRUNE_EXAMPLES: &str = "\
Examples:
  cooper prune                                   What no build uses
  cooper prune --keep-duration 24h --keep-storage 2000
  cooper prune --filter type==source.local --all";

const LOGS_EXAMPLES: &str = "\
Examples:
  cooper logs REF                                What a build said; goes on while it runs
  cooper logs --progress rawjson REF
  cooper logs --trace REF > trace.json";

const HISTORIES_EXAMPLES: &str = "\
Examples:
  cooper history
  cooper history --format json | jq .record.Ref";

/// Drive a daemon, or the engine of the state folder, as buildctl does.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CtlFlags {
    /// What to do
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What to do with an engine.
#[derive(Clone, Debug, Subcommand)]
pub enum CtlCommand {
    /// Build a graph from standard input, or what a frontend makes of options
    #[command(visible_alias = "b")]
    Build(Box<CtlBuildFlags>),
    /// List what the cache holds
    Du(DuFlags),
    /// Remove what the cache holds
    Prune(PruneFlags),
    /// Forget builds that have ended
    PruneHistories {
        /// `json` for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Look into graphs, builds and engines
    Debug {
        /// What to look into
        #[command(subcommand)]
        command: DebugCommand,
    },
    /// Connect standard input and output to a daemon's socket, for clients on other machines
    #[command(hide = true)]
    DialStdio,
}

/// What to look into.
#[derive(Clone, Debug, Subcommand)]
pub enum DebugCommand {
    /// Show a graph's ops; needs no daemon
    DumpLlb {
        /// File with the definition; standard input without
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// As a graph in the language of graphviz
        #[arg(long, conflicts_with = "svg")]
        dot: bool,
        /// As a picture
        #[arg(long)]
        svg: bool,
    },
    /// List the workers
    Workers {
        /// Only workers that match, as id==ID or labels.NAME==VALUE; may be repeated
        #[arg(short, long, value_name = "FILTER")]
        filter: Vec<String>,
        /// All that is known of each
        #[arg(short, long)]
        verbose: bool,
        /// `json` for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Show what the daemon is
    Info {
        /// `json` for programs
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Show what happens to builds, until Ctrl-C
    Monitor {
        /// Builds that have ended as well
        #[arg(long)]
        completed: bool,
        /// Only this build
        #[arg(long, value_name = "REF")]
        r#ref: Option<String>,
    },
    /// Show what a build said
    Logs(LogsFlags),
    /// Pin, unpin or remove the record of a build
    Ctl {
        /// The build
        #[arg(value_name = "REF")]
        build: String,
        /// Keep the record
        #[arg(long, conflicts_with = "unpin")]
        pin: bool,
        /// Let the record go when its time comes
        #[arg(long)]
        unpin: bool,
        /// Remove the record
        #[arg(long, conflicts_with_all = ["pin", "unpin"])]
        delete: bool,
    },
    /// Write a blob that the daemon keeps to standard output
    Get {
        /// The blob
        #[arg(value_name = "DIGEST")]
        digest: String,
    },
    /// List builds that are remembered
    Histories(HistoriesFlags),
}

/// List what the cache holds.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = DU_EXAMPLES)]
pub struct DuFlags {
    /// Only records that match, as type==regular, id==ID, parents==ID, inuse, mutable, immutable, shared, private or
    /// description~=PATTERN; may be repeated
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// All that is known of each
    #[arg(short, long)]
    pub verbose: bool,
    /// `json` for programs
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Remove what the cache holds and no build uses.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = PRUNE_EXAMPLES)]
pub struct PruneFlags {
    /// Leave what was used more recently than this, as 24h or 90m
    #[arg(long, value_name = "DURATION")]
    pub keep_duration: Option<String>,
    /// Leave this much, in MB
    #[arg(long, value_name = "MB")]
    pub keep_storage: Option<f64>,
    /// Leave this much in any case, in MB
    #[arg(long, value_name = "MB")]
    pub keep_storage_min: Option<f64>,
    /// Free this much of the disk, in MB
    #[arg(long, value_name = "MB")]
    pub free_storage: Option<f64>,
    /// Only records that match, as for du; may be repeated
    #[arg(short, long, value_name = "FILTER")]
    pub filter: Vec<String>,
    /// Internal records and those of frontends as well
    #[arg(long)]
    pub all: bool,
    /// All that is known of each
    #[arg(short, long)]
    pub verbose: bool,
    /// `json` for programs, one document a line
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Show what a build said.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = LOGS_EXAMPLES)]
pub struct LogsFlags {
    /// The build
    #[arg(value_name = "REF")]
    pub build: String,
    /// How to show it
    #[arg(long, value_enum, value_name = "MODE", default_value = "auto")]
    pub progress: ProgressMode,
    /// The build's trace instead, as OpenTelemetry's JSON
    #[arg(long)]
    pub trace: bool,
}

/// List builds that are remembered.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = HISTORIES_EXAMPLES)]
pub struct HistoriesFlags {
    /// `json` for programs, one document a line
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}
