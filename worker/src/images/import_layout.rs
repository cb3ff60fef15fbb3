use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    oci::{Descriptor, Document, Index, media_type},
    reference::Reference,
};

use super::{ImageStore, ImportOptions, Imported, tree::parse};
use crate::source::Layout;

/// The annotation by which containerd says an image's full name.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation by which OCI layouts name what they hold (image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Takes over the images of an OCI layout directory.
pub(super) fn import(
    store: &ImageStore,
    path: &Path,
    options: &ImportOptions,
) -> Result<Vec<Imported>, Failure> {
    let layout = Layout::open(path)?;
    let index = layout.index(store.limits())?;
    let index = read_index(&index)?;
    take(store, &index, options, |descriptor| {
        layout
            .copy_blob(
                store.content(),
                (&descriptor.digest, descriptor.size),
                &mut |_| (),
            )
            .map(|_| ())
    })
}

/// Reads an `index.json`.
pub(super) fn read_index(bytes: &[u8]) -> Result<Index, Failure> {
    Index::parse(media_type::OCI_INDEX, bytes)
        .map_err(|error| Failure::new(FailureKind::InvalidInput, format!("index.json: {error}")))
}

/// Takes over what an `index.json` lists: `fetch` brings a blob into the content store.
///
/// # Errors
/// When something is missing or damaged. Then nothing was named.
pub(super) fn take(
    store: &ImageStore,
    index: &Index,
    options: &ImportOptions,
    fetch: impl Fn(&Descriptor) -> Result<(), Failure>,
) -> Result<Vec<Imported>, Failure> {
    let mut imported: Vec<Imported> = Vec::new();
    for entry in &index.manifests {
        let target = Descriptor::new(entry.media_type.clone(), entry.digest.clone(), entry.size);
        take_tree(store, &target, &fetch)?;
        imported.push(Imported {
            name: name_of(entry),
            target,
        });
    }
    if let Some(name) = &options.name {
        let [only] = imported.as_mut_slice() else {
            let count = imported.len();
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("{name} cannot name {count} images"),
            )
            .with_hint("leave the name out; the images have names of their own"));
        };
        only.name = Some(name.clone().with_default_tag());
    }
    for image in &imported {
        if let Some(name) = &image.name {
            store.name(name, &image.target, options.now_ns)?;
        }
    }
    Ok(imported)
}

fn take_tree(
    store: &ImageStore,
    root: &Descriptor,
    fetch: &impl Fn(&Descriptor) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut open = vec![root.clone()];
    while let Some(descriptor) = open.pop() {
        if !store.content().contains(&descriptor.digest) {
            fetch(&descriptor)?;
        }
        let kind = &descriptor.media_type;
        if !(media_type::is_manifest(kind) || media_type::is_index(kind)) {
            continue;
        }
        let cap = store.limits().manifest_bytes;
        let bytes = store.content().read(&descriptor.digest, cap);
        let bytes = bytes.map_err(|error| super::content_failure(&error))?;
        match parse(&descriptor, &bytes)? {
            Document::Manifest(manifest) => {
                open.push(manifest.config.clone());
                open.extend(manifest.layers);
            }
            Document::Index(index) => open.extend(index.manifests),
        }
    }
    Ok(())
}

/// The name that an entry of an `index.json` has: containerd's annotation, or the standard
/// one when it is a whole reference (often it is a tag alone).
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(IMAGE_NAME);
    let short = entry.annotations.get(REF_NAME);
    let short = short.filter(|name| name.contains([':', '/']));
    full.or(short)?
        .parse::<Reference>()
        .ok()
        .map(Reference::with_default_tag)
}
