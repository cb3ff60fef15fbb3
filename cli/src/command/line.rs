use std::ffi::OsString;
use std::io::Write as _;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::build::{self, BuildFlags};
use super::ctl::{self, CtlFlags, DuFlags, HistoriesFlags, LogsFlags, PruneFlags};
use super::dial_stdio;
use super::explain::{self, ExplainFlags};
use super::follow::{plain_failure, write_error};
use super::image::{self, ImageFlags};
use super::unshare::become_program;
use super::{FAILED, OK};
use crate::client::{Place, PlaceFlags};
use crate::config::Environment;

const DIAL_EXAMPLES: &str = "\
Examples:
  ssh host cooper dial-stdio                     What --addr ssh://host runs
  cooper --addr unix:///run/x.sock dial-stdio";

const UNSHARE_EXAMPLES: &str = "\
Examples:
  cooper unshare                                 A shell that sees files of builds with their owners
  cooper unshare rm -r ~/.local/share/cooper     Throw all of a user's state away";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  cooper completion bash > /etc/bash_completion.d/cooper
  cooper completion fish > ~/.config/fish/completions/cooper.fish";

/// Build container images, concurrently and from a cache.
#[derive(Debug, Parser)]
#[command(name = "cooper", version, propagate_version = true)]
pub struct Line {
    /// Which engine is used
    #[command(flatten)]
    pub place: PlaceFlags,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build an image from a Dockerfile
    Build(Box<BuildFlags>),
    /// Say why each step of a build ran or was reused
    Explain(ExplainFlags),
    /// Look after the images on this machine
    Image(ImageFlags),
    /// Drive a daemon, or the engine of the state folder, as buildctl does
    #[command(visible_alias = "buildctl")]
    Ctl(CtlFlags),
    /// List what the cache holds
    Du(DuFlags),
    /// Remove what the cache holds
    Prune(PruneFlags),
    /// List the builds that are remembered
    History(HistoriesFlags),
    /// Show what a build said
    Logs(LogsFlags),
    /// Connect standard input and output to a daemon's socket, for clients on other machines
    #[command(after_help = DIAL_EXAMPLES)]
    DialStdio,
    /// Run a program with the rights over files that builds have: as root of the user namespace that a plain user gets
    #[command(after_help = UNSHARE_EXAMPLES)]
    Unshare {
        /// The program and its arguments [default: the user's shell]
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// Write a shell's completions to standard output
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Runs a command and says how the program is to exit.
pub async fn run(line: Line, environment: &Environment) -> u8 {
    let place = match line.place.place(environment) {
        Ok(place) => place,
        Err(failure) => {
            write_error(&plain_failure(&failure));
            return FAILED;
        }
    };
    match line.command {
        Command::Build(flags) => build::run(*flags, &place, environment).await,
        Command::Explain(flags) => explain::run(&flags, &place).await,
        Command::Image(flags) => image::run(flags, &place, environment).await,
        Command::Ctl(flags) => ctl::run(flags, &place, environment).await,
        Command::Du(flags) => ctl::du(&flags, &place).await,
        Command::Prune(flags) => ctl::prune(&flags, &place).await,
        Command::History(flags) => ctl::histories(&flags, &place).await,
        Command::Logs(flags) => ctl::logs(&flags, &place, environment).await,
        Command::DialStdio => dial_stdio::run(&place).await,
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Line::command(), "cooper", &mut text);
            // A closed pipe is its reader's choice.
            let _ = std::io::stdout().lock().write_all(&text);
            OK
        }
        Command::Unshare { program } => {
            eprintln!("{:#}", become_program(&program, environment));
            FAILED
        }
    }
}

impl Line {
    /// Whether an engine may have to work in this process, on files of several owners and with mounts.
    #[must_use]
    pub fn takes_rights(&self, environment: &Environment) -> bool {
        match &self.command {
            Command::Unshare { .. } => true,
            Command::Explain(_) | Command::Completion { .. } => false,
            _ => matches!(self.place.place(environment), Ok(Place::State(_))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Line::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string);
            let shows = help.is_some_and(|help| help.starts_with("Examples:\n"));
            assert!(shows, "{}", command.get_name());
        }
    }

    #[test]
    fn misspelt_flag_is_answered_with_the_nearest_one() {
        let error = Line::try_parse_from(["cooper", "build", "--tagret=dev", "."]).unwrap_err();
        assert!(error.to_string().contains("--target"), "{error}");
    }
}
