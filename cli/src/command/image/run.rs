use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::reference::Reference;
use cooper_proto::{pb, platform};
use cooper_worker::images::{ImportOptions, ImportSource};

use super::flags::{ImageCommand, ImageFlags};
use super::text;
use crate::command::{FAILED, OK};
use crate::config::{Environment, now_ns};
use crate::daemon::ImageStores;
use crate::progress::{Progress, failure_text};

/// Runs `cooper image` and says how the program is to exit.
pub async fn run(flags: ImageFlags, state: &Path, environment: &Environment) -> u8 {
    match perform(flags.command, state, environment).await {
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
    state: &Path,
    environment: &Environment,
) -> Result<String, Failure> {
    let stores = ImageStores::open(state).await?;
    let images = &stores.images;
    match command {
        ImageCommand::Import {
            source,
            name,
            change,
            message,
            platform,
        } => {
            let options = ImportOptions {
                name: name.map(Reference::with_default_tag),
                platform: platform.as_deref().map(read_platform).transpose()?,
                changes: change,
                message,
                now_ns: now_ns(),
            };
            let source = open_source(&source, environment)?;
            import(stores, source, options).await
        }
        ImageCommand::Ls { quiet, no_trunc } => {
            let all = images.list().await?;
            Ok(if quiet {
                text::ids(&all)
            } else {
                text::list(&all, no_trunc, now_ns())
            })
        }
        ImageCommand::Inspect { name, platform } => {
            let wanted = wanted(platform.as_deref())?;
            let variant = images.inspect(&name, &wanted).await?;
            Ok(text::inspect(&name, &variant))
        }
        ImageCommand::History {
            name,
            no_trunc,
            platform,
        } => {
            let wanted = wanted(platform.as_deref())?;
            let variant = images.inspect(&name, &wanted).await?;
            Ok(text::history(&variant.history(), no_trunc, now_ns()))
        }
        ImageCommand::Tag { name, new } => {
            images.tag(&name, &new, now_ns())?;
            Ok(String::new())
        }
        ImageCommand::Rm { names } => {
            let mut out = String::new();
            for name in &names {
                let removed = images.remove(name)?;
                out.push_str(&format!("Untagged: {}\n", removed.name));
                for blob in &removed.blobs {
                    out.push_str(&format!("Deleted: {blob}\n"));
                }
            }
            Ok(out)
        }
    }
}

async fn import(
    stores: ImageStores,
    source: ImportSource,
    options: ImportOptions,
) -> Result<String, Failure> {
    let imported = tokio::task::spawn_blocking(move || {
        let imported = stores.images.import(&stores.layers, source, &options);
        // The folder is ours until the import is over.
        drop(stores);
        imported
    });
    let imported = imported
        .await
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))??;
    let line = |image: &cooper_worker::images::Imported| match &image.name {
        Some(name) => format!("{} {}\n", name.familiar(), image.target.digest),
        None => format!("{}\n", image.target.digest),
    };
    Ok(imported.iter().map(line).collect())
}

fn open_source(source: &str, environment: &Environment) -> Result<ImportSource, Failure> {
    if source == "-" {
        return Ok(ImportSource::Archive(Box::new(std::io::stdin())));
    }
    let path = environment.here.join(source);
    let cannot = |error: std::io::Error| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    if std::fs::metadata(&path).map_err(cannot)?.is_dir() {
        return Ok(ImportSource::Directory(path));
    }
    let file = File::open(&path).map_err(cannot)?;
    Ok(ImportSource::Archive(Box::new(file)))
}

fn wanted(text: Option<&str>) -> Result<pb::Platform, Failure> {
    text.map_or_else(|| Ok(platform::host()), read_platform)
}

fn read_platform(text: &str) -> Result<pb::Platform, Failure> {
    platform::parse(text, &platform::host())
        .map_err(|error| Failure::new(FailureKind::InvalidInput, error.to_string()))
}
