//! `ResolveSourceMeta` in the engine's words and back.

use bytes::Bytes;
use cooper_core::model::{Failure, FailureKind, Material};
use cooper_core::policy::Rules;
use cooper_core::ports::{
    ChecksumAlgorithm, ChecksumRequest, HttpMeta, ImageQuery, ResolveMode, ResolvedImage,
    SourceMeta, SourceQuery, StatementChain, StatementQuery,
};
use cooper_proto::frontend::{
    AttestationChain, Blob, ChecksumResponse, Descriptor, ResolveSourceGitResponse,
    ResolveSourceHttpResponse, ResolveSourceImageRequest, ResolveSourceImageResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, checksum_request::ChecksumAlgo,
};
use cooper_proto::reference::Reference;
use cooper_proto::{Digest, oci, pb};

use super::{BuildBridge, policy};

const IMAGE: &str = "docker-image://";
const LAYOUT: &str = "oci-layout://";

/// Longest suffix that a checksum is taken with; BuildKit's own bound.
///
/// # Units
/// Bytes.
const CHECKSUM_SUFFIX: usize = 4096;

/// What is asked, by the kind of source.
#[derive(Debug)]
enum Query {
    Image(ImageQuery),
    Source(Box<SourceQuery>),
    /// A source of which nothing is known but what it is called.
    Plain,
}

/// Finds out what a caller wants to know of a source, as the rules about sources have it.
///
/// # Errors
/// `NotFound` when it does not exist, `Denied` when it may not be used, `Unsupported` for what is not built.
pub(crate) async fn resolve(
    bridge: &BuildBridge,
    mut request: ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Failure> {
    let rules = Rules::read(std::mem::take(&mut request.source_policies))?;
    if let Some(source) = request.source.clone() {
        let platform = request.platform.clone();
        let governed = Box::pin(policy::govern_source(bridge, source, platform, &rules)).await?;
        request.source = governed.or(request.source);
    }
    let query = request.clone();
    let response = look_up(bridge, request).await?;
    note(bridge, &query, &response);
    Ok(response)
}

/// Has provenance tell of an image that a frontend was told of.
fn note(
    bridge: &BuildBridge,
    request: &ResolveSourceMetaRequest,
    response: &ResolveSourceMetaResponse,
) {
    let (Some(source), Some(image)) = (&response.source, &response.image) else {
        return;
    };
    let Ok(digest) = image.digest.parse() else {
        return;
    };
    let identifier = &source.identifier;
    let registry = identifier.strip_prefix(IMAGE);
    let reference = registry.or_else(|| identifier.strip_prefix(LAYOUT));
    bridge.scope().note_image(Material::Image {
        reference: reference.unwrap_or(identifier).to_owned(),
        platform: request.platform.clone(),
        digest,
        local: registry.is_none(),
    });
}

/// The same, whatever the rules say: for who decides by it.
///
/// # Errors
/// As [`resolve`], but `Denied`.
pub(super) async fn look_up(
    bridge: &BuildBridge,
    request: ResolveSourceMetaRequest,
) -> Result<ResolveSourceMetaResponse, Failure> {
    let mut response = ResolveSourceMetaResponse {
        source: request.source.clone(),
        ..ResolveSourceMetaResponse::default()
    };
    match read(&request)? {
        Query::Plain => {}
        Query::Image(query) => {
            let image = bridge.look_up_image(query.clone()).await?;
            let wants_config = request.image.as_ref().is_none_or(|image| !image.no_config);
            response.source = resolved_source(response.source, &image.reference);
            let mut answer = image_answer(&image, wants_config);
            if let Some(asked) = &request.image {
                answer.attestation_chain = statements(bridge, query, &image, asked).await?;
            }
            response.image = Some(answer);
        }
        Query::Source(query) => {
            let suffix = query.checksum.as_ref().map(|asked| asked.suffix.clone());
            match bridge.look_up_source(*query).await? {
                SourceMeta::Http(meta) => {
                    response.http = Some(http_answer(meta, &suffix.unwrap_or_default()));
                }
                SourceMeta::Git(meta) => {
                    response.git = Some(ResolveSourceGitResponse {
                        checksum: meta.checksum,
                        r#ref: meta.reference,
                        commit_checksum: meta.commit_checksum,
                        commit_object: meta.commit_object.to_vec(),
                        tag_object: meta.tag_object.to_vec(),
                    });
                }
            }
        }
    }
    Ok(response)
}

fn read(request: &ResolveSourceMetaRequest) -> Result<Query, Failure> {
    let Some(source) = &request.source else {
        return Err(invalid("source is required"));
    };
    let scheme = source.identifier.split("://").next().unwrap_or_default();
    match scheme {
        "docker-image" | "oci-layout" => image_query(request, source).map(Query::Image),
        "git" | "http" | "https" => {
            let asked = request.http.as_ref();
            let asked = asked.and_then(|http| http.checksum_request.as_ref());
            Ok(Query::Source(Box::new(SourceQuery {
                source: source.clone(),
                platform: request.platform.clone(),
                build: None,
                log_name: request.log_name.clone(),
                checksum: asked.map(checksum).transpose()?,
                git_objects: request.git.as_ref().is_some_and(|git| git.return_object),
            })))
        }
        _ => Ok(Query::Plain),
    }
}

fn image_query(
    request: &ResolveSourceMetaRequest,
    source: &pb::SourceOp,
) -> Result<ImageQuery, Failure> {
    let (reference, oci_layout_store) = match source.identifier.strip_prefix(IMAGE) {
        Some(reference) => (reference, None),
        None => {
            let reference = source.identifier.strip_prefix(LAYOUT).unwrap_or_default();
            let store = source.attrs.get("oci.store").cloned().unwrap_or_default();
            (reference, Some(store))
        }
    };
    Ok(ImageQuery {
        reference: reference.to_owned(),
        platform: request.platform.clone(),
        mode: resolve_mode(&request.resolve_mode)?,
        log_name: request.log_name.clone(),
        oci_layout_store,
    })
}

fn checksum(asked: &cooper_proto::frontend::ChecksumRequest) -> Result<ChecksumRequest, Failure> {
    if asked.suffix.len() > CHECKSUM_SUFFIX {
        return Err(invalid(&format!(
            "http checksum request suffix exceeds max size {CHECKSUM_SUFFIX}"
        )));
    }
    let algorithm = match ChecksumAlgo::try_from(asked.algo) {
        Ok(ChecksumAlgo::Sha256) => ChecksumAlgorithm::Sha256,
        Ok(ChecksumAlgo::Sha384) => ChecksumAlgorithm::Sha384,
        Ok(ChecksumAlgo::Sha512) => ChecksumAlgorithm::Sha512,
        Err(_) => {
            return Err(invalid(&format!(
                "unsupported checksum algorithm {}",
                asked.algo
            )));
        }
    };
    Ok(ChecksumRequest {
        algorithm,
        suffix: asked.suffix.clone().into(),
    })
}

/// What is said of an image, if that is wanted: of the very image that was found.
async fn statements(
    bridge: &BuildBridge,
    mut image: ImageQuery,
    found: &ResolvedImage,
    asked: &ResolveSourceImageRequest,
) -> Result<Option<AttestationChain>, Failure> {
    if !asked.attestation_chain && asked.resolve_attestations.is_empty() {
        return Ok(None);
    }
    let reference = found.reference.parse::<Reference>();
    let reference = reference.map_err(|error| invalid(&error.to_string()))?;
    image.reference = reference.with_digest(found.digest.clone()).to_string();
    let query = StatementQuery {
        image,
        predicate_types: asked.resolve_attestations.clone(),
    };
    let files = &bridge.parts().files;
    let chain = files
        .resolve_statements(&query, &bridge.job().sessions)
        .await?;
    Ok(chain.map(chain_answer))
}

fn chain_answer(chain: StatementChain) -> AttestationChain {
    let blob = |(digest, (descriptor, bytes)): (Digest, (oci::Descriptor, Bytes))| {
        let blob = Blob {
            descriptor: Some(Descriptor {
                media_type: descriptor.media_type,
                digest: digest.to_string(),
                size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
                annotations: descriptor.annotations,
            }),
            data: bytes.to_vec(),
        };
        (digest.to_string(), blob)
    };
    AttestationChain {
        root: chain.root.to_string(),
        image_manifest: chain.image.to_string(),
        attestation_manifest: chain
            .statements
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        // Signatures are found by other ways than an index.
        signature_manifests: Vec::new(),
        blobs: chain.blobs.into_iter().map(blob).collect(),
    }
}

/// The source again, with what its reference is to be from now on.
fn resolved_source(source: Option<pb::SourceOp>, reference: &str) -> Option<pb::SourceOp> {
    source.map(|mut source| {
        if source.identifier.starts_with(IMAGE) {
            source.identifier = format!("{IMAGE}{reference}");
        }
        source
    })
}

fn image_answer(image: &ResolvedImage, wants_config: bool) -> ResolveSourceImageResponse {
    ResolveSourceImageResponse {
        digest: image.digest.to_string(),
        config: if wants_config {
            image.config.to_vec()
        } else {
            Vec::new()
        },
        attestation_chain: None,
    }
}

fn http_answer(meta: HttpMeta, suffix: &[u8]) -> ResolveSourceHttpResponse {
    ResolveSourceHttpResponse {
        checksum: meta.digest.to_string(),
        filename: meta.filename,
        last_modified: meta
            .last_modified
            .map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        checksum_response: meta.checksum.map(|digest| ChecksumResponse {
            digest,
            suffix: suffix.to_vec(),
        }),
    }
}

/// A way to look for images by its name on the wire.
pub(crate) fn resolve_mode(mode: &str) -> Result<ResolveMode, Failure> {
    match mode {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::ForcePull),
        "local" => Ok(ResolveMode::PreferLocal),
        other => Err(invalid(&format!("unknown resolve mode {other:?}"))),
    }
}

fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(identifier: &str) -> ResolveSourceMetaRequest {
        ResolveSourceMetaRequest {
            source: Some(pb::SourceOp {
                identifier: identifier.into(),
                ..pb::SourceOp::default()
            }),
            ..ResolveSourceMetaRequest::default()
        }
    }

    #[test]
    fn the_scheme_decides_who_is_asked() {
        let read = |identifier: &str| read(&request(identifier)).expect("readable");
        let reference = "docker.io/library/busybox:latest";
        match read(&format!("docker-image://{reference}")) {
            Query::Image(image) => assert_eq!(image.reference, reference),
            other => panic!("{other:?}"),
        }
        for identifier in ["git://host/a.git", "http://host/a", "https://host/a"] {
            assert!(matches!(read(identifier), Query::Source(_)), "{identifier}");
        }
        assert!(matches!(read("local://context"), Query::Plain));
        assert!(super::read(&ResolveSourceMetaRequest::default()).is_err());
    }

    #[test]
    fn checksums_of_other_kinds_and_long_suffixes_are_refused() {
        let asked = |algo, length| {
            checksum(&cooper_proto::frontend::ChecksumRequest {
                algo,
                suffix: vec![0; length],
            })
        };
        assert_eq!(
            asked(2, 1).expect("known").algorithm,
            ChecksumAlgorithm::Sha512
        );
        assert!(asked(3, 1).is_err());
        assert!(asked(-1, 1).is_err());
        assert!(asked(0, CHECKSUM_SUFFIX + 1).is_err());
    }
}
