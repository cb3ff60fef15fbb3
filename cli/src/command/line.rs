use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::OK;
use super::build::{self, BuildFlags};
use super::explain::{self, ExplainFlags};
use super::image::{self, ImageFlags};
use crate::config::{Environment, state_folder};

/// Build container images, concurrently and from a cache.
#[derive(Debug, Parser)]
#[command(name = "cooper", version, propagate_version = true)]
pub struct Line {
    /// Folder in which everything is kept [default: /var/lib/cooper for root, a folder of the user otherwise]
    #[arg(long, global = true, value_name = "FOLDER", env = "COOPER_STATE")]
    pub state: Option<PathBuf>,

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
    /// Write a shell's completions to standard output
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Runs a command and says how the program is to exit.
pub async fn run(line: Line, environment: &Environment) -> u8 {
    let state = state_folder(line.state.as_deref(), environment);
    match line.command {
        Command::Build(flags) => build::run(*flags, &state, environment).await,
        Command::Explain(flags) => explain::run(&flags, &state),
        Command::Image(flags) => image::run(flags, &state, environment).await,
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Line::command(), "cooper", &mut text);
            // A closed pipe is its reader's choice.
            let _ = std::io::stdout().lock().write_all(&text);
            OK
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
    fn misspelt_flag_is_answered_with_the_nearest_one() {
        let error = Line::try_parse_from(["cooper", "build", "--tagret=dev", "."]).unwrap_err();
        assert!(error.to_string().contains("--target"), "{error}");
    }
}
