use std::path::PathBuf;

use clap::Args;

use crate::command::SolveFlags;

const EXAMPLES: &str = "\
Examples:
  cooper build -t app .                          Build the Dockerfile here and keep the image
  cooper build -f build/app.Dockerfile --target dev .
                                                 Build one stage of another Dockerfile
  cooper build -t app --load .                   And hand the image to the local Docker daemon
  cooper build -o out .                          Write the result's files to the folder out
  cooper build -o type=oci,dest=app.tar .        Write an OCI archive
  cooper build -t registry.example/app --push .  Push the image
  cooper build --target app,tests -o target=app,type=image,name=app -o target=tests,type=local,dest=out .
                                                 Build two stages in one run; what they share runs once
  cooper build --secret id=npm,src=$HOME/.npmrc .
  cooper build https://host/app.git#main:docker  Build a folder of a branch of a repository
  cooper build -f - https://host/context.tar.gz < Dockerfile
                                                 Build an archive with a Dockerfile of one's own
  cooper --addr tcp://builder:1234 build .       Build in a daemon; files and results travel
  cat Dockerfile | cooper build -                Build a Dockerfile that needs no files
  tar c . | cooper build -                       Build a context from an archive";

/// Build an image from a Dockerfile.
///
/// PATH is the folder whose files the Dockerfile may copy. URL is a git repository (`https://HOST/NAME.git#REF:FOLDER`, or with a query:
/// branch, tag, ref, subdir, commit, checksum, keep-git-dir, submodules), an archive of such a folder, or a Dockerfile.
/// `-` reads a Dockerfile or an archive from standard input.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct BuildFlags {
    /// Folder, repository or archive with the files of the build, or `-`
    #[arg(value_name = "PATH|URL|-")]
    pub context: String,

    /// Name or URL of the Dockerfile [default: PATH/Dockerfile]; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,

    /// Name of the image, as `name` or `name:tag`; may be repeated
    #[arg(short, long = "tag", value_name = "NAME")]
    pub tags: Vec<String>,

    /// Stage to build, or several as A,B, each with outputs of its own: --output target=A,type=...
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,

    /// Set a build argument, as NAME=VALUE, or NAME to take the value from the environment; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,

    /// Do not use cached results of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,

    /// Ask the registry for images even when they are here
    #[arg(long)]
    pub pull: bool,

    /// Platform to build for, as os/architecture[/variant]
    #[arg(
        long,
        value_name = "PLATFORM",
        value_delimiter = ',',
        env = "DOCKER_DEFAULT_PLATFORM"
    )]
    pub platform: Vec<String>,

    /// Where the result goes, as `type=local|tar|oci|docker|image,dest=PATH` or PATH for files; may be repeated
    #[arg(short, long, value_name = "DEST")]
    pub output: Vec<String>,

    /// Also hand the image to the local Docker daemon
    #[arg(long)]
    pub load: bool,

    /// Push the image to its registry
    #[arg(long)]
    pub push: bool,

    /// Set a label of the image, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// Add a host name that processes of the build see, as HOST:ADDRESS; may be repeated
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub add_host: Vec<String>,

    /// Network of RUN
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,

    /// Another source of files, as NAME=PATH, NAME=URL, NAME=docker-image://IMAGE or NAME=oci-layout://PATH; may be
    /// repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_context: Vec<String>,

    /// Cache to read from, as `IMAGE` or `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,

    /// Cache to write to, as `type=TYPE,...`; may be repeated
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,

    /// What to do instead of building: check, outline, targets or describe, with `,format=json` or
    /// `,ignorestatus=true` after it
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub call: String,

    /// Check the Dockerfile instead of building it: --call=check and checks of good practice
    #[arg(long, conflicts_with = "call")]
    pub check: bool,

    /// With --check, change the Dockerfile where a check knows how
    #[arg(long, requires = "check")]
    pub fix: bool,

    /// Say at the end why each step ran or was reused
    #[arg(long)]
    pub explain: bool,

    /// Show nothing but the image's id
    #[arg(short, long)]
    pub quiet: bool,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,

    /// Size of /dev/shm in RUN, in bytes or as 64m
    #[arg(long, value_name = "SIZE")]
    pub shm_size: Option<String>,

    /// Limit of processes in RUN, as NAME=SOFT[:HARD]; may be repeated
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,

    /// Runtime that sets the containers of RUN up, such as runc, where this command starts the engine [default: cooper's own]
    #[arg(long, value_name = "PROGRAM", env = "COOPER_RUNTIME")]
    pub runtime: Option<PathBuf>,

    /// Cgroup under which RUN's own is made
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,

    /// Say how the result was made: `true`, or options such as `mode=min`; short for `--attest type=provenance`
    #[arg(long, value_name = "VALUE", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub provenance: Option<String>,

    /// Say what is in the result: `true`, or options such as `generator=IMAGE`; short for `--attest type=sbom`
    #[arg(long, value_name = "VALUE", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub sbom: Option<String>,

    /// Statement to attach to the result, as `type=provenance|sbom,...`; may be repeated
    #[arg(long, value_name = "STATEMENT")]
    pub attest: Vec<String>,

    /// What every way to build takes.
    #[command(flatten)]
    pub solve: SolveFlags,
}
