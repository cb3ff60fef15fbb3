//! The frontends' service in the engine's words and back.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cooper_core::model::{
    Attestation, AttestationKind, Failure, FailureKind, SourceFile, SourceLocation, SourceRange,
    Subject, Warning,
};
use cooper_core::ports::{FrontendPart, FrontendResult, ImageQuery, RefId};
use cooper_proto::frontend::{
    Attestation as WireAttestation, AttestationKind as WireKind, Attestations, FileRange,
    InTotoSubject, InTotoSubjectKind, Ref, RefMap, RefMapDeprecated, ResolveImageConfigRequest,
    Result as WireResult, SolveRequest, WarnRequest, result,
};
use cooper_proto::pb;

use crate::bridge::BuildBridge;
use crate::bridge::source_meta::resolve_mode;

/// A frontend's result as the caller of `Solve` understands it.
pub(super) fn result_to_wire(
    bridge: &BuildBridge,
    result: &FrontendResult,
    request: &SolveRequest,
) -> Result<WireResult, Failure> {
    let mut refs = BTreeMap::new();
    for part in &result.parts {
        let wire = ref_to_wire(bridge, part.result.as_ref())?;
        refs.insert(part.platform.clone().unwrap_or_default(), wire);
    }
    let single = result.parts.iter().all(|part| part.platform.is_none());
    let wire = if single {
        let only = refs.into_values().next().unwrap_or_default();
        if request.allow_result_array_ref {
            result::Result::Ref(only)
        } else {
            result::Result::RefDeprecated(only.id)
        }
    } else if !request.allow_result_return {
        return Err(invalid(
            "the caller does not understand results for several platforms",
        ));
    } else if request.allow_result_array_ref {
        result::Result::Refs(RefMap { refs })
    } else {
        let refs = refs.into_iter().map(|(key, wire)| (key, wire.id)).collect();
        result::Result::RefsDeprecated(RefMapDeprecated { refs })
    };
    Ok(WireResult {
        result: Some(wire),
        metadata: result
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.to_vec()))
            .collect(),
        attestations: result
            .attestations
            .iter()
            .map(|(platform, all)| {
                let all = all.iter().map(|it| attestation_to_wire(bridge, it));
                let attestation = all.collect::<Result<_, Failure>>()?;
                Ok((platform.clone(), Attestations { attestation }))
            })
            .collect::<Result<_, Failure>>()?,
    })
}

fn attestation_to_wire(
    bridge: &BuildBridge,
    said: &Attestation<Option<RefId>>,
) -> Result<WireAttestation, Failure> {
    let subject = |subject: &Subject| match subject {
        Subject::Itself { name } => InTotoSubject {
            kind: InTotoSubjectKind::Self_.into(),
            name: name.clone(),
            ..InTotoSubject::default()
        },
        Subject::Named { name, digests } => InTotoSubject {
            kind: InTotoSubjectKind::Raw.into(),
            name: name.clone(),
            digest: digests.iter().map(ToString::to_string).collect(),
        },
    };
    Ok(WireAttestation {
        kind: match said.kind {
            AttestationKind::InToto => WireKind::InToto.into(),
            AttestationKind::Bundle => WireKind::Bundle.into(),
        },
        metadata: said
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.to_vec()))
            .collect(),
        r#ref: match &said.source {
            Some(id) => Some(ref_to_wire(bridge, Some(id))?),
            None => None,
        },
        path: said.path.clone(),
        in_toto_predicate_type: said.predicate_type.clone(),
        in_toto_subjects: said.subjects.iter().map(subject).collect(),
    })
}

/// A statement that a client returns.
///
/// # Errors
/// `InvalidInput` for kinds and digests that do not exist, `NotFound` for a ref that the build does not have.
fn attestation_from_wire(
    bridge: &BuildBridge,
    wire: WireAttestation,
) -> Result<Attestation<Option<RefId>>, Failure> {
    let kind = match WireKind::try_from(wire.kind) {
        Ok(WireKind::InToto) => AttestationKind::InToto,
        Ok(WireKind::Bundle) => AttestationKind::Bundle,
        Err(_) => return Err(invalid(&format!("unknown attestation kind {}", wire.kind))),
    };
    let source = wire.r#ref.map(|it| RefId(it.id));
    let source = source.filter(|id| !id.0.is_empty());
    if let Some(id) = &source {
        bridge.reference(id)?;
    }
    let subjects = wire.in_toto_subjects.into_iter().map(subject_from_wire);
    Ok(Attestation {
        kind,
        metadata: wire
            .metadata
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect(),
        source,
        path: wire.path,
        predicate_type: wire.in_toto_predicate_type,
        subjects: subjects.collect::<Result<_, _>>()?,
    })
}

fn subject_from_wire(wire: InTotoSubject) -> Result<Subject, Failure> {
    let name = wire.name;
    match InTotoSubjectKind::try_from(wire.kind) {
        Ok(InTotoSubjectKind::Self_) => Ok(Subject::Itself { name }),
        Ok(InTotoSubjectKind::Raw) => {
            let digests = wire.digest.iter().map(|it| it.parse());
            let digests = digests.collect::<Result<_, _>>();
            let digests = digests
                .map_err(|error| invalid(&format!("a digest of the subject {name:?}: {error}")))?;
            Ok(Subject::Named { name, digests })
        }
        Err(_) => Err(invalid(&format!(
            "unknown attestation subject type {}",
            wire.kind
        ))),
    }
}

fn ref_to_wire(bridge: &BuildBridge, id: Option<&RefId>) -> Result<Ref, Failure> {
    let Some(id) = id else {
        return Ok(Ref::default());
    };
    Ok(Ref {
        id: id.0.clone(),
        def: Some(bridge.reference(id)?.definition.clone()),
    })
}

/// The result that a client returns.
///
/// # Errors
/// `NotFound` for a ref that the build does not have.
pub(super) fn result_from_wire(
    bridge: &BuildBridge,
    wire: WireResult,
) -> Result<FrontendResult, Failure> {
    let part = |platform: Option<String>, id: String| {
        let result = Some(RefId(id)).filter(|id| !id.0.is_empty());
        if let Some(id) = &result {
            bridge.reference(id)?;
        }
        Ok(FrontendPart { platform, result })
    };
    let parts = match wire.result {
        None => Vec::new(),
        Some(result::Result::RefDeprecated(id)) => vec![part(None, id)?],
        Some(result::Result::Ref(only)) => vec![part(None, only.id)?],
        Some(result::Result::RefsDeprecated(map)) => map
            .refs
            .into_iter()
            .map(|(key, id)| part(Some(key), id))
            .collect::<Result<_, Failure>>()?,
        Some(result::Result::Refs(map)) => map
            .refs
            .into_iter()
            .map(|(key, wire)| part(Some(key), wire.id))
            .collect::<Result<_, Failure>>()?,
    };
    let attestations = wire.attestations.into_iter().map(|(platform, all)| {
        let all = all.attestation.into_iter();
        let all = all.map(|it| attestation_from_wire(bridge, it));
        Ok((platform, all.collect::<Result<Vec<_>, Failure>>()?))
    });
    Ok(FrontendResult {
        attestations: attestations.collect::<Result<_, Failure>>()?,
        parts,
        metadata: wire
            .metadata
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect(),
    })
}

/// The image that `ResolveImageConfig` asks for.
pub(super) fn image_query(request: ResolveImageConfigRequest) -> Result<ImageQuery, Failure> {
    let oci_layout_store = match request.resolver_type {
        0 => None,
        1 => Some(request.store_id),
        other => return Err(invalid(&format!("unknown resolver type {other}"))),
    };
    Ok(ImageQuery {
        reference: request.r#ref,
        platform: request.platform,
        mode: resolve_mode(&request.resolve_mode)?,
        log_name: request.log_name,
        oci_layout_store,
    })
}

/// A part of a file.
pub(super) fn byte_range(range: Option<FileRange>) -> Result<Option<Range<u64>>, Failure> {
    let Some(range) = range else { return Ok(None) };
    let (Ok(offset), Ok(length)) = (u64::try_from(range.offset), u64::try_from(range.length))
    else {
        return Err(invalid("a part of a file begins and ends inside it"));
    };
    let end = match length {
        0 => u64::MAX,
        length => offset.saturating_add(length),
    };
    Ok(Some(offset..end))
}

/// A warning of the client's.
///
/// # Errors
/// `InvalidInput` when its vertex is no digest.
pub(super) fn warning(request: WarnRequest) -> Result<Warning, Failure> {
    let vertex = match request.digest.as_str() {
        "" => None,
        digest => Some(
            digest
                .parse()
                .map_err(|error| invalid(&format!("a warning's vertex: {error}")))?,
        ),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let ranges = request.ranges;
    Ok(Warning {
        vertex,
        level: i32::try_from(request.level).unwrap_or(i32::MAX),
        short: text(request.short),
        detail: request.detail.into_iter().map(text).collect(),
        url: request.url,
        location: request.info.map(|info| SourceLocation {
            file: Arc::new(SourceFile {
                name: info.filename,
                language: info.language,
                text: text(info.data),
                definition: info.definition.map(Arc::new),
            }),
            ranges: ranges.iter().map(range).collect(),
        }),
    })
}

fn range(range: &pb::Range) -> SourceRange {
    let start = range.start.unwrap_or_default();
    let end = range.end.unwrap_or_default();
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    SourceRange {
        start_line: number(start.line),
        start_character: number(start.character),
        end_line: number(end.line),
        end_character: number(end.character),
    }
}

pub(super) fn invalid(words: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_nothing_is_up_to_the_end() {
        let range = |offset, length| byte_range(Some(FileRange { offset, length }));
        assert_eq!(range(3, 0), Ok(Some(3..u64::MAX)));
        assert_eq!(range(3, 4), Ok(Some(3..7)));
        assert!(range(-1, 4).is_err());
        assert_eq!(byte_range(None), Ok(None));
    }
}
