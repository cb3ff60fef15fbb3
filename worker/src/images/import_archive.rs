use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::{Component, Path, PathBuf},
};

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    Digest,
    oci::{Descriptor, ImageConfig, Manifest, media_type},
    reference::Reference,
};

use super::{
    ImageStore, ImportOptions, Imported, content_failure,
    import::unwritten,
    import_layout::{read_index, take},
};
use crate::{
    content::{Expected, VerifiedBlob},
    layer::{
        Form,
        archive::{ArchiveReader, EntryKind},
    },
    limits::Limits,
};

/// What kind of images an archive holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An OCI layout.
    Oci,
    /// What `docker save` writes.
    Docker,
}

/// Looks whether an archive holds images; `None` for one of a root file system.
pub(super) fn kind_of(file: File, limits: &Limits) -> Result<Option<Kind>, Failure> {
    let mut archive = ArchiveReader::new(BufReader::with_capacity(1 << 18, file), limits);
    let (mut layout, mut index, mut manifest) = (false, false, false);
    while let Some(entry) = archive.next_entry().map_err(|error| unread(&error))? {
        let is = |name: &str| entry.path == Path::new(name) && entry.kind == EntryKind::File;
        layout |= is("oci-layout");
        index |= is("index.json");
        manifest |= is("manifest.json");
        if layout && index {
            return Ok(Some(Kind::Oci));
        }
    }
    Ok(manifest.then_some(Kind::Docker))
}

/// The files of an archive of images.
#[derive(Default)]
struct Contents {
    /// Documents at the top.
    documents: HashMap<PathBuf, Vec<u8>>,
    blobs: HashMap<PathBuf, (VerifiedBlob, Form)>,
    /// Links of old `docker save` archives between layers that are the same.
    links: HashMap<PathBuf, PathBuf>,
}

/// Takes over the images of an archive.
pub(super) fn import(
    store: &ImageStore,
    kind: Kind,
    file: File,
    options: &ImportOptions,
) -> Result<Vec<Imported>, Failure> {
    let contents = read(store, file)?;
    let imported = match kind {
        Kind::Oci => import_oci(store, &contents, options),
        Kind::Docker => import_docker(store, &contents, options),
    };
    // What no image needs goes again; of a broken archive that is all that is new.
    let mut needed = Vec::new();
    for image in imported.iter().flatten() {
        needed.extend(
            store
                .reachable(&image.target)?
                .into_iter()
                .map(|it| it.digest),
        );
    }
    if imported.is_ok() {
        let unneeded: Vec<Digest> = contents
            .blobs
            .values()
            .map(|(blob, _)| blob.digest().clone())
            .filter(|digest| !needed.contains(digest))
            .collect();
        store.discard(&unneeded);
    }
    imported
}

fn read(store: &ImageStore, file: File) -> Result<Contents, Failure> {
    let limits = store.limits();
    let mut archive = ArchiveReader::new(BufReader::with_capacity(1 << 18, file), limits);
    let mut contents = Contents::default();
    while let Some(entry) = archive.next_entry().map_err(|error| unread(&error))? {
        match entry.kind {
            EntryKind::File if is_document(&entry.path) => {
                let mut bytes = Vec::new();
                let cap = limits.manifest_bytes;
                let read = (&mut archive).take(cap + 1).read_to_end(&mut bytes);
                read.map_err(|error| unread(&error))?;
                if bytes.len() as u64 > cap {
                    let what = format!("{} is larger than {cap} bytes", entry.path.display());
                    return Err(invalid(&what));
                }
                contents.documents.insert(entry.path, bytes);
            }
            EntryKind::File if entry.sparse.is_none() => {
                let blob = read_blob(store, &mut archive)?;
                contents.blobs.insert(entry.path, blob);
            }
            EntryKind::Symlink | EntryKind::HardLink => {
                let target = match entry.kind {
                    EntryKind::Symlink => entry
                        .path
                        .parent()
                        .unwrap_or(Path::new(""))
                        .join(&entry.link),
                    _ => entry.link,
                };
                contents.links.insert(entry.path, cleaned(&target));
            }
            _ => {}
        }
    }
    Ok(contents)
}

/// The documents of both kinds at the top of an archive. Configurations are blobs.
fn is_document(path: &Path) -> bool {
    ["manifest.json", "index.json", "oci-layout", "repositories"]
        .iter()
        .any(|name| path == Path::new(name))
}

fn read_blob(store: &ImageStore, archive: &mut impl Read) -> Result<(VerifiedBlob, Form), Failure> {
    let mut ingest = store
        .content()
        .ingest(Expected::default())
        .map_err(|error| content_failure(&error))?;
    let mut first = Vec::new();
    archive
        .take(4)
        .read_to_end(&mut first)
        .map_err(|error| unread(&error))?;
    let form = Form::of(&first);
    ingest
        .append(&first)
        .map_err(|error| content_failure(&error))?;
    std::io::copy(archive, &mut ingest).map_err(|error| unread(&error))?;
    let blob = ingest.commit().map_err(|error| content_failure(&error))?;
    Ok((blob, form))
}

fn import_oci(
    store: &ImageStore,
    contents: &Contents,
    options: &ImportOptions,
) -> Result<Vec<Imported>, Failure> {
    let index = contents
        .documents
        .get(Path::new("index.json"))
        .ok_or_else(|| invalid("the archive has no index.json"))?;
    take(store, &read_index(index)?, options, |missing| {
        Err(invalid(&format!(
            "the archive has no blob {}, which it refers to",
            missing.digest
        )))
    })
}

/// One entry of `docker save`'s `manifest.json`.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: PathBuf,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<PathBuf>,
}

fn import_docker(
    store: &ImageStore,
    contents: &Contents,
    options: &ImportOptions,
) -> Result<Vec<Imported>, Failure> {
    let entries = contents
        .documents
        .get(Path::new("manifest.json"))
        .ok_or_else(|| invalid("the archive has no manifest.json"))?;
    let entries: Vec<DockerEntry> = serde_json::from_slice(entries)
        .map_err(|error| invalid(&format!("manifest.json: {error}")))?;
    if options.name.is_some() && entries.len() != 1 {
        let count = entries.len();
        return Err(invalid(&format!("one name cannot name {count} images")));
    }
    let mut imported = Vec::new();
    for entry in entries {
        let target = docker_image(store, contents, &entry)?;
        let names: Vec<Reference> = match &options.name {
            Some(name) => vec![name.clone().with_default_tag()],
            None => entry
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|tag| tag.parse::<Reference>().map(Reference::with_default_tag))
                .collect::<Result<_, _>>()
                .map_err(|error| invalid(&format!("manifest.json: {error}")))?,
        };
        if names.is_empty() {
            imported.push(Imported {
                name: None,
                target: target.clone(),
            });
        }
        imported.extend(names.into_iter().map(|name| Imported {
            name: Some(name),
            target: target.clone(),
        }));
    }
    for image in &imported {
        if let Some(name) = &image.name {
            store.name(name, &image.target, options.now_ns)?;
        }
    }
    Ok(imported)
}

fn docker_image(
    store: &ImageStore,
    contents: &Contents,
    entry: &DockerEntry,
) -> Result<Descriptor, Failure> {
    let (config_blob, _) = contents.blob(&entry.config)?;
    let cap = store.limits().manifest_bytes;
    let bytes = store.content().read(config_blob.digest(), cap);
    let bytes = bytes.map_err(|error| content_failure(&error))?;
    let config = ImageConfig::parse(&bytes)
        .map_err(|error| invalid(&format!("{}: {error}", entry.config.display())))?;
    if config.rootfs.diff_ids.len() != entry.layers.len() {
        return Err(invalid(&format!(
            "{} lists {} diff ids and manifest.json {} layers",
            entry.config.display(),
            config.rootfs.diff_ids.len(),
            entry.layers.len()
        )));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in entry.layers.iter().zip(&config.rootfs.diff_ids) {
        let (blob, form) = contents.blob(path)?;
        let kind = match form {
            Form::Gzip => media_type::OCI_LAYER_GZIP,
            Form::Zstd => media_type::OCI_LAYER_ZSTD,
            Form::Plain if blob.digest() == diff_id => media_type::OCI_LAYER,
            Form::Plain => {
                let (found, path) = (blob.digest(), path.display());
                return Err(invalid(&format!("{path} is {found} and not {diff_id}")));
            }
        };
        layers.push(Descriptor::new(kind, blob.digest().clone(), blob.size()));
    }
    let config = Descriptor::new(
        media_type::OCI_CONFIG,
        config_blob.digest().clone(),
        config_blob.size(),
    );
    let manifest = Manifest::new(media_type::OCI_MANIFEST, config, layers);
    let bytes = manifest.to_bytes().map_err(|error| unwritten(&error))?;
    store.put(&bytes)?;
    Ok(Descriptor::of(media_type::OCI_MANIFEST, &bytes))
}

impl Contents {
    fn blob(&self, path: &Path) -> Result<&(VerifiedBlob, Form), Failure> {
        let path = cleaned(path);
        // Links of such archives lead to a file and not to further links.
        let target = self.links.get(&path).unwrap_or(&path);
        self.blobs
            .get(target)
            .ok_or_else(|| invalid(&format!("the archive has no {}", path.display())))
    }
}

/// A path without `.` and `..`, the latter never above the top.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean
}

fn unread(error: &dyn std::fmt::Display) -> Failure {
    invalid(&format!("the archive cannot be read: {error}"))
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}
