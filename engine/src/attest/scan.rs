use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::attest::{ScanOptions, Scanner};
use cooper_core::model::{Attestation, Failure, FailureKind, SPDX_PREDICATE};
use cooper_core::ports::{Bridge, FrontendResult, ImageQuery, StatementSource};
use cooper_core::result_platforms::ResultPlatform;

use crate::bridge::{BuildBridge, source_meta::resolve_mode};
use crate::engine::Parts;

type Statements = BTreeMap<String, Vec<Attestation<StatementSource>>>;

/// Has a program say what is in each part of a result, unless the frontend brought that already.
///
/// # Errors
/// When the program's image cannot be had or the program fails.
pub(super) async fn scan(
    parts: &Parts,
    bridge: &BuildBridge,
    wanted: &ScanOptions,
    options: &BTreeMap<String, String>,
    result: &FrontendResult,
    platforms: &[ResultPlatform],
) -> Result<Statements, Failure> {
    let mut statements = Statements::new();
    let mut known = result.attestations.values().flatten();
    if known.any(|it| it.predicate_type == SPDX_PREDICATE) {
        return Ok(statements);
    }
    // What the engine asks for itself is no part of what the frontend asked for.
    let bridge = bridge.apart();
    let scanner = scanner(parts, &bridge, wanted, options).await?;
    // No step of the build is to take anything from the cache then.
    let ignore_cache = options.get("no-cache").is_some_and(String::is_empty);
    for platform in platforms {
        let found = result
            .parts
            .iter()
            .find(|part| part.platform.as_ref().is_none_or(|id| *id == platform.id));
        let found = found.ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("could not find ref {}", platform.id),
            )
        })?;
        let Some(target) = &found.result else {
            continue;
        };
        let reference = bridge.reference(target)?;
        let definition = scanner.definition(
            &platform.id,
            &reference.definition,
            &BTreeMap::new(),
            ignore_cache,
        )?;
        let scanned = bridge.solve(definition).await?;
        let scanned = bridge.result(&scanned).await?;
        let source = StatementSource::Result(Some(scanned).filter(|it| !it.is_scratch()));
        let of_platform = statements.entry(platform.id.clone()).or_default();
        of_platform.push(Scanner::statements(source));
    }
    Ok(statements)
}

async fn scanner(
    parts: &Parts,
    bridge: &Arc<BuildBridge>,
    wanted: &ScanOptions,
    options: &BTreeMap<String, String>,
) -> Result<Scanner, Failure> {
    let platform = parts.worker.info().platforms.into_iter().next();
    let mode = options.get("image-resolve-mode");
    let query = ImageQuery {
        reference: wanted.generator.clone(),
        platform: platform.clone(),
        mode: resolve_mode(mode.map(String::as_str).unwrap_or_default())?,
        log_name: String::new(),
        oci_layout_store: None,
    };
    let image = bridge.resolve_image(query).await?.into_image()?;
    Scanner::read(
        &image.reference,
        &image.config,
        platform.unwrap_or_default(),
        wanted.parameters.clone(),
    )
}
