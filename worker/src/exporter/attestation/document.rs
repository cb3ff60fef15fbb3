use base64::{Engine as _, engine::general_purpose::STANDARD};
use cooper_core::attest::{ImagePlace, image_purl};
use cooper_core::model::{Attestation, Failure};
use cooper_core::ports::StatementSource;
use cooper_proto::Digest;
use cooper_proto::oci::{self, Descriptor, ImageConfig, Manifest, Platform, media_type};

use super::super::attributes::invalid;
use super::super::files::blocking;
use super::super::image_layers::WrittenLayer;
use super::super::image_writer::{tell, unwritten};
use super::super::platforms::ResultPlatform;
use super::read::{is_inline_only, read};
use super::spdx::supplement;
use super::statement::statement;
use crate::images::{ImageStore, content_failure};
use crate::snapshot::Snapshots;
use cooper_core::ports::Events;

/// Media type of a statement.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// Annotation with the type of a statement's predicate.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What a manifest of statements is, where it says so itself.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// Annotations of a manifest of statements in an index: that it is one, and of which image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const UNKNOWN: &str = "unknown";

/// A manifest of statements about an image, and what it names.
#[derive(Debug, Clone)]
pub(in crate::exporter) struct WrittenStatements {
    pub(in crate::exporter) descriptor: Descriptor,
    pub(in crate::exporter) config: Descriptor,
    pub(in crate::exporter) statements: Vec<Descriptor>,
}

/// Writes the statements about an image's manifests.
pub(in crate::exporter) struct StatementWriter<'a> {
    pub(in crate::exporter) images: &'a ImageStore,
    pub(in crate::exporter) snapshots: &'a Snapshots,
    pub(in crate::exporter) events: &'a Events,
    /// The image's names, separated by commas.
    pub(in crate::exporter) names: &'a str,
    /// Whether the manifest says itself what it is and of which image.
    pub(in crate::exporter) artifact: bool,
}

/// Whether any of the statements makes an index of images necessary. Unless `always`, those that want to be in one
/// only where there is one anyway do not.
pub(in crate::exporter) fn any_exported(
    statements: &[Attestation<StatementSource>],
    always: bool,
) -> bool {
    statements.iter().any(|it| always || !is_inline_only(it))
}

impl StatementWriter<'_> {
    /// Writes the statements about one platform's image.
    ///
    /// # Errors
    /// As [`read`]; `InvalidInput` for a name that is no reference.
    pub(in crate::exporter) async fn write(
        &self,
        platform: &ResultPlatform,
        image: &Descriptor,
        layers: &[WrittenLayer],
        statements: Vec<Attestation<StatementSource>>,
    ) -> Result<WrittenStatements, Failure> {
        let own = self.subjects(platform, image)?;
        let all = read(self.snapshots, statements).await?;
        let (snapshots, layers) = (self.snapshots.clone(), layers.to_vec());
        let all = blocking(move || {
            let mut all = all;
            for said in &mut all {
                supplement(said, &snapshots, &layers)?;
            }
            Ok(all)
        })
        .await?;
        let mut written = Vec::with_capacity(all.len());
        for said in &all {
            let bytes = oci::to_json(&statement(said, &own)).map_err(unwritten)?;
            let mut descriptor = Descriptor::of(STATEMENT, &bytes);
            let annotation = (PREDICATE_TYPE.to_owned(), said.predicate_type.clone());
            descriptor.annotations.extend([annotation]);
            self.put(&bytes)?;
            written.push(descriptor);
        }
        self.manifest(image, written)
    }

    fn subjects(
        &self,
        platform: &ResultPlatform,
        image: &Descriptor,
    ) -> Result<Vec<(String, Digest)>, Failure> {
        let names = self.names.split(',').filter(|name| !name.is_empty());
        let subject = |name: &str| {
            let platform = Some(&platform.platform);
            let purl = image_purl(ImagePlace::Registry, name, platform, &[]);
            let purl = purl.ok_or_else(|| invalid(&format!("failed to parse ref {name:?}")))?;
            Ok((purl, image.digest.clone()))
        };
        names.map(subject).collect()
    }

    fn manifest(
        &self,
        image: &Descriptor,
        statements: Vec<Descriptor>,
    ) -> Result<WrittenStatements, Failure> {
        let (config, config_bytes) = match self.artifact {
            true => nothing(),
            false => config(&statements)?,
        };
        let kind = media_type::OCI_MANIFEST;
        let mut manifest = Manifest::new(kind, config.clone(), statements.clone());
        if self.artifact {
            manifest.artifact_type = Some(ARTIFACT.to_owned());
            let subject = (&image.media_type, image.digest.clone(), image.size);
            manifest.subject = Some(Descriptor::new(subject.0, subject.1, subject.2));
        }
        let bytes = manifest.to_bytes().map_err(unwritten)?;
        let mut descriptor = Descriptor::of(kind, &bytes);
        let status = format!("exporting attestation manifest {}", descriptor.digest);
        tell(self.events, &status, false);
        self.put(&config_bytes)?;
        self.put(&bytes)?;
        tell(self.events, &status, true);
        descriptor.platform = Some(Platform {
            architecture: UNKNOWN.to_owned(),
            os: UNKNOWN.to_owned(),
            ..Platform::default()
        });
        descriptor.annotations.extend([
            (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned()),
            (REFERENCE_DIGEST.to_owned(), image.digest.to_string()),
        ]);
        Ok(WrittenStatements {
            descriptor,
            config,
            statements,
        })
    }

    fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        let stored = self.images.content().put(bytes);
        stored.map(drop).map_err(|error| content_failure(&error))
    }
}

/// The empty object, where a manifest must name a configuration and has none.
fn nothing() -> (Descriptor, Vec<u8>) {
    let bytes = b"{}";
    let mut descriptor = Descriptor::of(media_type::OCI_EMPTY, bytes);
    descriptor.data = Some(STANDARD.encode(bytes));
    (descriptor, bytes.to_vec())
}

/// A configuration by which programs that know only images see an image of no platform.
fn config(statements: &[Descriptor]) -> Result<(Descriptor, Vec<u8>), Failure> {
    let mut config = ImageConfig {
        architecture: UNKNOWN.to_owned(),
        os: UNKNOWN.to_owned(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids = statements.iter().map(|it| it.digest.clone()).collect();
    let bytes = config.to_bytes().map_err(unwritten)?;
    Ok((Descriptor::of(media_type::OCI_CONFIG, &bytes), bytes))
}
