use std::fs::File;
use std::path::PathBuf;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::cooper::ImportImage;
use cooper_proto::reference::Reference;
use cooper_proto::{pb, platform};
use cooper_worker::images::{ImageStore, ImportOptions, ImportSource, Imported};
use cooper_worker::layer::Layers;
use serde::{Deserialize, Serialize};

use super::text;
use crate::config::now_ns;

/// What a command asks of the images, as it travels to the process that has them. Paths are absolute, and both
/// processes belong to the same user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageRequest {
    /// Take in an archive or a folder.
    Import {
        /// The archive or folder.
        path: PathBuf,
        /// The image's name, when it has none of its own.
        name: Option<String>,
        /// Instructions for the configuration.
        change: Vec<String>,
        /// Comment for the history.
        message: String,
        /// Platform, when it is not this machine's.
        platform: Option<String>,
    },
    /// List.
    Ls {
        /// Only ids.
        quiet: bool,
        /// Whole ids.
        no_trunc: bool,
    },
    /// Show one.
    Inspect {
        /// Its name.
        name: String,
        /// Platform, when it is not this machine's.
        platform: Option<String>,
    },
    /// Show what made one.
    History {
        /// Its name.
        name: String,
        /// Whole instructions.
        no_trunc: bool,
        /// Platform, when it is not this machine's.
        platform: Option<String>,
    },
    /// Give one another name.
    Tag {
        /// The name that it has.
        name: String,
        /// The name that it gets.
        new: String,
    },
    /// Remove names.
    Rm {
        /// The names.
        names: Vec<String>,
    },
}

/// Does what is asked, and gives what is to be shown.
///
/// # Errors
/// Those of the image store.
pub async fn answer(
    request: ImageRequest,
    images: &ImageStore,
    layers: &Layers,
) -> Result<String, Failure> {
    match request {
        ImageRequest::Import {
            path,
            name,
            change,
            message,
            platform,
        } => {
            let options = options(name, change, message, platform)?;
            import(images, layers, open_source(path)?, options).await
        }
        ImageRequest::Ls { quiet, no_trunc } => {
            let all = images.list().await?;
            Ok(if quiet {
                text::ids(&all)
            } else {
                text::list(&all, no_trunc, now_ns())
            })
        }
        ImageRequest::Inspect { name, platform } => {
            let name = reference(&name)?;
            let variant = images.inspect(&name, &wanted(platform.as_deref())?).await?;
            Ok(text::inspect(&name, &variant))
        }
        ImageRequest::History {
            name,
            no_trunc,
            platform,
        } => {
            let name = reference(&name)?;
            let variant = images.inspect(&name, &wanted(platform.as_deref())?).await?;
            Ok(text::history(&variant.history(), no_trunc, now_ns()))
        }
        ImageRequest::Tag { name, new } => {
            images.tag(&reference(&name)?, &reference(&new)?, now_ns())?;
            Ok(String::new())
        }
        ImageRequest::Rm { names } => remove(images, &names),
    }
}

/// Takes in an archive that a client has sent.
///
/// # Errors
/// Those of the image store.
pub(crate) async fn import_archive(
    images: &ImageStore,
    layers: &Layers,
    archive: File,
    wanted: ImportImage,
) -> Result<String, Failure> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (name, platform) = (given(&wanted.name), given(&wanted.platform));
    let options = options(name, wanted.change, wanted.message, platform)?;
    import(
        images,
        layers,
        ImportSource::Archive(Box::new(archive)),
        options,
    )
    .await
}

fn options(
    name: Option<String>,
    changes: Vec<String>,
    message: String,
    platform: Option<String>,
) -> Result<ImportOptions, Failure> {
    let name = name.as_deref().map(reference).transpose()?;
    Ok(ImportOptions {
        name: name.map(Reference::with_default_tag),
        platform: platform.as_deref().map(read_platform).transpose()?,
        changes,
        message,
        now_ns: now_ns(),
    })
}

fn remove(images: &ImageStore, names: &[String]) -> Result<String, Failure> {
    let mut out = String::new();
    for name in names {
        let removed = images.remove(&reference(name)?)?;
        out.push_str(&format!("Untagged: {}\n", removed.name));
        for blob in &removed.blobs {
            out.push_str(&format!("Deleted: {blob}\n"));
        }
    }
    Ok(out)
}

async fn import(
    images: &ImageStore,
    layers: &Layers,
    source: ImportSource,
    options: ImportOptions,
) -> Result<String, Failure> {
    let (images, layers) = (images.clone(), layers.clone());
    let imported = tokio::task::spawn_blocking(move || images.import(&layers, source, &options));
    let imported = imported
        .await
        .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))??;
    let line = |image: &Imported| match &image.name {
        Some(name) => format!("{} {}\n", name.familiar(), image.target.digest),
        None => format!("{}\n", image.target.digest),
    };
    Ok(imported.iter().map(line).collect())
}

fn open_source(path: PathBuf) -> Result<ImportSource, Failure> {
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

fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error| Failure::new(FailureKind::InvalidInput, format!("{error}")))
}

fn wanted(text: Option<&str>) -> Result<pb::Platform, Failure> {
    text.map_or_else(|| Ok(platform::host()), read_platform)
}

fn read_platform(text: &str) -> Result<pb::Platform, Failure> {
    platform::parse(text, &platform::host())
        .map_err(|error| Failure::new(FailureKind::InvalidInput, error.to_string()))
}
