use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

use cooper_core::model::{Failure, FailureKind};
use cooper_proto::{
    Digest,
    oci::{Descriptor, History, ImageConfig, Manifest, RootFs, media_type},
    pb, platform,
    reference::Reference,
};
use sha2::{Digest as _, Sha256};

use super::{ImageStore, change, content_failure, import_archive, import_layout, sniff};
use crate::{
    confine::Root,
    content::{Expected, VerifiedBlob},
    layer::{Compression, Layers, compress, write_changes},
    meta::LayerBlob,
};

/// What an image is made of.
pub enum ImportSource {
    /// A root file system, or an OCI layout if it has the file `oci-layout`.
    Directory(PathBuf),
    /// An archive, plain or compressed with gzip, zstd, bzip2 or xz: of a root file system,
    /// or of images as `docker save`, `skopeo` and `cooper build -o type=oci` write them.
    Archive(Box<dyn Read + Send>),
}

/// How a root file system becomes an image, in the terms of `docker import`.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The image's name. Images in an archive or layout have names of their own; with this,
    /// a single one gets this name instead.
    pub name: Option<Reference>,
    /// Its platform; the machine's own when nothing is said.
    pub platform: Option<pb::Platform>,
    /// Dockerfile instructions to apply to the configuration.
    pub changes: Vec<String>,
    /// The history entry's comment.
    pub message: String,
    /// The time in nanoseconds since 1970.
    pub now_ns: u64,
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// Its name, `None` for one that has none and cannot be found again.
    pub name: Option<Reference>,
    /// Its manifest or index.
    pub target: Descriptor,
}

impl ImageStore {
    /// Brings images into the local store. Blocks.
    ///
    /// # Errors
    /// `InvalidInput` when the source is damaged, ambiguous or no root file system and no
    /// image; `Infrastructure` when a disk fails. Nothing is named then.
    pub fn import(
        &self,
        layers: &Layers,
        source: ImportSource,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let _hold = self.gate().hold_blocking();
        match source {
            ImportSource::Directory(path) => {
                if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
                    return import_layout::import(self, &path, options);
                }
                self.import_directory(layers, &path, options)
            }
            ImportSource::Archive(input) => self.import_archive(layers, input, options),
        }
    }

    fn import_directory(
        &self,
        layers: &Layers,
        path: &Path,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let root = Root::open(path)
            .map_err(|error| Failure::new(FailureKind::InvalidInput, error.to_string()))?;
        let mut failure = None;
        let (blob, diff_id) = self.pack(|output| {
            write_changes(&root, None, output).map_err(|error| {
                let text = error.to_string();
                failure = Some(text.clone());
                std::io::Error::other(text)
            })
        })?;
        self.finish(layers, &blob, &diff_id, options)
    }

    fn import_archive(
        &self,
        layers: &Layers,
        input: Box<dyn Read + Send>,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let mut plain =
            sniff::decompressed(input, self.limits()).map_err(|error| unread(&error))?;
        // The archive is needed twice: to see what it is, and to take it in.
        let mut ingest = self
            .content()
            .ingest(Expected::default())
            .map_err(|error| content_failure(&error))?;
        std::io::copy(&mut plain, &mut ingest).map_err(|error| unread(&error))?;
        let spooled = ingest.commit().map_err(|error| content_failure(&error))?;
        let imported = self.import_spooled(layers, &spooled, options);
        let is_layer = imported.as_ref().is_ok_and(|images| {
            let blobs = images
                .iter()
                .filter_map(|it| self.reachable(&it.target).ok());
            blobs.flatten().any(|it| it.digest == *spooled.digest())
        });
        if !is_layer {
            self.discard(&[spooled.digest().clone()]);
        }
        imported
    }

    fn import_spooled(
        &self,
        layers: &Layers,
        spooled: &VerifiedBlob,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let open = || {
            let file = self.content().reader(spooled.digest());
            file.map_err(|error| content_failure(&error))
        };
        if let Some(kind) = import_archive::kind_of(open()?, self.limits())? {
            return import_archive::import(self, kind, open()?, options);
        }
        let mut file = open()?;
        let (blob, diff_id) = self.pack(|output| std::io::copy(&mut file, output).map(|_| ()))?;
        self.finish(layers, &blob, &diff_id, options)
    }

    /// Compresses an archive into the content store. Gives the blob and the diff id.
    fn pack(
        &self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(LayerBlob, Digest), Failure> {
        let ingest = self
            .content()
            .ingest(Expected::default())
            .map_err(|error| content_failure(&error))?;
        let mut hasher = Sha256::new();
        let ingest = compress(ingest, Compression::Gzip, None, |output| {
            write(&mut Hashed {
                output,
                hasher: &mut hasher,
            })
        })
        .map_err(|error| unread(&error))?;
        let stored = ingest.commit().map_err(|error| content_failure(&error))?;
        let diff_id = Digest::new(cooper_proto::Algorithm::Sha256, &hasher.finalize())
            .expect("a hash is as long as its algorithm says");
        let blob = LayerBlob {
            media_type: media_type::OCI_LAYER_GZIP.to_owned(),
            digest: stored.digest().clone(),
            size: stored.size(),
        };
        Ok((blob, diff_id))
    }

    /// Writes the documents of a single-layer image and names it.
    fn finish(
        &self,
        layers: &Layers,
        blob: &LayerBlob,
        diff_id: &Digest,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let made = self.single_layer(layers, blob, diff_id, options);
        if made.is_err() {
            self.discard(std::slice::from_ref(&blob.digest));
        }
        made
    }

    fn single_layer(
        &self,
        layers: &Layers,
        blob: &LayerBlob,
        diff_id: &Digest,
        options: &ImportOptions,
    ) -> Result<Vec<Imported>, Failure> {
        let config = config(diff_id, options)?;
        // An archive that cannot be unpacked is refused here and not in some build.
        layers
            .unpack(blob, diff_id)
            .map_err(crate::source::layer_failure)?;
        let bytes = config.to_bytes().map_err(|error| unwritten(&error))?;
        self.put(&bytes)?;
        let layer = Descriptor::new(blob.media_type.clone(), blob.digest.clone(), blob.size);
        let config = Descriptor::of(media_type::OCI_CONFIG, &bytes);
        let manifest = Manifest::new(media_type::OCI_MANIFEST, config, vec![layer]);
        let bytes = manifest.to_bytes().map_err(|error| unwritten(&error))?;
        self.put(&bytes)?;
        let target = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        let name = options.name.clone().map(Reference::with_default_tag);
        if let Some(name) = &name {
            self.name(name, &target, options.now_ns)?;
        }
        Ok(vec![Imported { name, target }])
    }

    /// Keeps a document.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<VerifiedBlob, Failure> {
        self.content()
            .put(bytes)
            .map_err(|error| content_failure(&error))
    }
}

fn config(diff_id: &Digest, options: &ImportOptions) -> Result<ImageConfig, Failure> {
    let wanted = platform::normalize(&options.platform.clone().unwrap_or_else(platform::host));
    let created = time_text(options.now_ns);
    let comment = match options.message.is_empty() {
        true => "Imported from -".to_owned(),
        false => options.message.clone(),
    };
    let mut config = ImageConfig {
        created: Some(created.clone()),
        architecture: wanted.architecture,
        os: wanted.os,
        variant: wanted.variant,
        os_version: wanted.os_version,
        os_features: wanted.os_features,
        rootfs: RootFs {
            diff_ids: vec![diff_id.clone()],
            ..RootFs::default()
        },
        history: vec![History {
            created: Some(created),
            comment,
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    for line in &options.changes {
        change::apply(&mut config.config, line)?;
    }
    Ok(config)
}

/// A time as image documents have it: RFC 3339, without zeroes at the end.
fn time_text(now_ns: u64) -> String {
    let nanoseconds = i128::from(now_ns);
    jiff::Timestamp::from_nanosecond(nanoseconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

struct Hashed<'a> {
    output: &'a mut dyn Write,
    hasher: &'a mut Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

fn unread(error: &std::io::Error) -> Failure {
    Failure::new(
        FailureKind::InvalidInput,
        format!("what is to be imported cannot be read: {error}"),
    )
}

pub(super) fn unwritten(error: &serde_json::Error) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("an image's document cannot be written: {error}"),
    )
}
