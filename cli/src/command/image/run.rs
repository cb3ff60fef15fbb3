use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use tempfile::NamedTempFile;

use super::flags::{ImageCommand, ImageFlags};
use super::remote;
use super::request::{ImageRequest, answer};
use crate::client::{Joined, Place};
use crate::command::{FAILED, OK};
use crate::config::Environment;
use crate::daemon::{ImageStores, ask_for_images};
use crate::progress::{Progress, failure_text};

/// How long a state folder whose owner answers no call is tried.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `cooper image` and says how the program is to exit.
pub async fn run(flags: ImageFlags, place: &Place, environment: &Environment) -> u8 {
    match perform(flags.command, place, environment).await {
        Ok(text) => {
            // A closed pipe is its reader's choice.
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            OK
        }
        Err(failure) => {
            let text = failure_text(&Progress::default(), &failure);
            let text = text.replacen("failed to build: ", "", 1);
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            FAILED
        }
    }
}

async fn perform(
    command: ImageCommand,
    place: &Place,
    environment: &Environment,
) -> Result<String, Failure> {
    let (request, _spooled) = request(command, environment)?;
    match place {
        Place::State(folder) => of_folder(request, folder).await,
        Place::Daemon(endpoint) => remote::ask(&Joined::connect(endpoint).await?, request).await,
    }
}

async fn of_folder(request: ImageRequest, state: &Path) -> Result<String, Failure> {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(stores) = ImageStores::open(state)? {
            return answer(request, &stores.images, &stores.layers).await;
        }
        // A build or a daemon has the folder; it answers for its images.
        match ask_for_images(state, &request).await {
            Some(answer) => return answer,
            None if begun.elapsed() > PATIENCE => {
                let words = format!(
                    "another process has the state folder {} and does not answer",
                    state.display()
                );
                return Err(Failure::new(FailureKind::Infrastructure, words));
            }
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The request, and the file that holds what came from standard input.
fn request(
    command: ImageCommand,
    environment: &Environment,
) -> Result<(ImageRequest, Option<NamedTempFile>), Failure> {
    let mut spooled = None;
    let request = match command {
        ImageCommand::Import {
            source,
            name,
            change,
            message,
            platform,
        } => {
            let message = if message.is_empty() {
                format!("Imported from {source}")
            } else {
                message
            };
            let path = if source == "-" {
                spooled.insert(spool()?).path().to_path_buf()
            } else {
                environment.here.join(&source)
            };
            ImageRequest::Import {
                path,
                name: name.map(|name| name.to_string()),
                change,
                message,
                platform,
            }
        }
        ImageCommand::Ls { quiet, no_trunc } => ImageRequest::Ls { quiet, no_trunc },
        ImageCommand::Inspect { name, platform } => ImageRequest::Inspect {
            name: name.to_string(),
            platform,
        },
        ImageCommand::History {
            name,
            no_trunc,
            platform,
        } => ImageRequest::History {
            name: name.to_string(),
            no_trunc,
            platform,
        },
        ImageCommand::Tag { name, new } => ImageRequest::Tag {
            name: name.to_string(),
            new: new.to_string(),
        },
        ImageCommand::Rm { names } => ImageRequest::Rm {
            names: names.iter().map(ToString::to_string).collect(),
        },
    };
    Ok((request, spooled))
}

/// Keeps standard input in a file, which another process can read too.
fn spool() -> Result<NamedTempFile, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new(
            FailureKind::Infrastructure,
            format!("standard input cannot be kept: {error}"),
        )
    };
    let mut file = NamedTempFile::with_prefix("cooper-import-").map_err(cannot)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(cannot)?;
    Ok(file)
}
