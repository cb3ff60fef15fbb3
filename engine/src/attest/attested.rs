use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cooper_core::attest::{Detail, ProvenanceOptions, Wanted};
use cooper_core::model::{
    ATTESTATION_INLINE_ONLY, ATTESTATION_REASON, Attestation, AttestationKind, Failure, FailureKind,
};
use cooper_core::ports::{FrontendPart, FrontendResult, Predicate, StatementSource};
use cooper_core::result_platforms::{self, ResultPlatform};
use cooper_proto::Digest;

use super::capture::{Capture, capture};
use super::layers::{Effort, StepResults};
use super::predicate::Facts;
use super::provenance::Provenance;
use super::scan;
use super::steps::Steps;
use crate::bridge::BuildBridge;
use crate::driver::Imports;
use crate::engine::Parts;
use crate::job::Job;

type Statements = BTreeMap<String, Vec<Attestation<StatementSource>>>;

/// A build whose results are there, and what is wanted to be told of them.
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a Arc<Parts>,
    pub(crate) job: &'a Job,
    pub(crate) bridge: &'a Arc<BuildBridge>,
    pub(crate) wanted: &'a Wanted,
    /// What the client told the frontend.
    pub(crate) options: &'a BTreeMap<String, String>,
    pub(crate) begun_ns: u64,
}

/// What is told of a build's results.
#[derive(Debug, Default)]
pub(crate) struct Attested {
    /// For exporters, by platform.
    pub(crate) statements: Statements,
    /// For the history, by the part's platform.
    records: Vec<(Option<String>, Provenance)>,
    results: Arc<StepResults>,
}

/// Puts together what is to be told of a result. Its parts were computed.
///
/// # Errors
/// When a statement's words cannot be computed, or what was asked for cannot be told.
pub(crate) async fn attest(
    asked: &Asked<'_>,
    result: &FrontendResult,
) -> Result<Attested, Failure> {
    let tells = asked.wanted.provenance.is_some() || asked.wanted.sbom.is_some();
    let platforms = match result_platforms::of_metadata(&result.metadata) {
        Ok(platforms) => platforms,
        // Who exports says what is wrong with it.
        Err(_) if !tells => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let mut statements = said_by_frontend(asked, result).await?;
    let captures = capture(asked.parts, asked.bridge, result, &platforms).await;
    if let Some(wanted) = &asked.wanted.sbom {
        let bridge = asked.bridge.as_ref();
        let scan = scan::scan(
            asked.parts,
            bridge,
            wanted,
            asked.options,
            result,
            &platforms,
        );
        for (platform, scanned) in Box::pin(scan).await? {
            statements.entry(platform).or_default().extend(scanned);
        }
    }
    let effort = match &asked.wanted.provenance {
        Some(wanted) if wanted.detail == Detail::Max => Effort::Thorough,
        _ => Effort::AsItIs,
    };
    let maker = Maker {
        asked,
        captures,
        results: Arc::new(step_results(asked, result, effort).await?),
        finished_ns: Arc::default(),
    };
    let made = maker.make(result, &platforms, &mut statements);
    match made {
        Ok(records) => Ok(Attested {
            statements,
            records,
            results: maker.results,
        }),
        Err(failure) => {
            maker.results.release(asked.parts).await;
            Err(failure)
        }
    }
}

async fn step_results(
    asked: &Asked<'_>,
    result: &FrontendResult,
    effort: Effort,
) -> Result<StepResults, Failure> {
    let mut outputs = Vec::new();
    let mut imports: Vec<Imports> = Vec::new();
    for id in result.parts.iter().filter_map(|part| part.result.as_ref()) {
        let reference = asked.bridge.reference(id)?;
        outputs.extend(reference.edge());
        imports.extend(reference.imports.clone());
    }
    StepResults::find(asked.parts, asked.job, &imports, outputs, effort).await
}

/// The frontend's statements, with the results that their words are in computed.
async fn said_by_frontend(
    asked: &Asked<'_>,
    result: &FrontendResult,
) -> Result<Statements, Failure> {
    let mut statements = Statements::new();
    for (platform, said) in &result.attestations {
        let computed = said.iter().map(|statement| async {
            let result = match &statement.source {
                Some(reference) => Some(asked.bridge.result(reference).await?),
                None => None,
            };
            let source = StatementSource::Result(result.filter(|it| !it.is_scratch()));
            Ok::<_, Failure>(statement.clone().with_source(source))
        });
        let computed = futures::future::try_join_all(computed).await?;
        statements.insert(platform.clone(), computed);
    }
    Ok(statements)
}

struct Maker<'a> {
    asked: &'a Asked<'a>,
    /// One a part.
    captures: Vec<Option<Capture>>,
    results: Arc<StepResults>,
    finished_ns: Arc<OnceLock<u64>>,
}

impl Maker<'_> {
    /// Adds provenance to the statements, if it is wanted, and makes that of the history.
    fn make(
        &self,
        result: &FrontendResult,
        platforms: &[ResultPlatform],
        statements: &mut Statements,
    ) -> Result<Vec<(Option<String>, Provenance)>, Failure> {
        if let Some(wanted) = &self.asked.wanted.provenance {
            for platform in platforms {
                if let Some(statement) = self.statement(result, platform, wanted)? {
                    let of_platform = statements.entry(platform.id.clone()).or_default();
                    of_platform.push(statement);
                }
            }
        }
        let for_history = ProvenanceOptions {
            builder_id: match &self.asked.wanted.provenance {
                Some(wanted) => wanted.builder_id.clone(),
                None => String::new(),
            },
            ..ProvenanceOptions::default()
        };
        let parts = result.parts.iter().zip(&self.captures);
        let made = parts.filter_map(|(part, capture)| {
            let capture = capture.as_ref()?;
            let provenance = self.provenance(part, capture, &for_history);
            Some(provenance.map(|it| (part.platform.clone(), it)))
        });
        made.collect()
    }

    fn statement(
        &self,
        result: &FrontendResult,
        platform: &ResultPlatform,
        wanted: &ProvenanceOptions,
    ) -> Result<Option<Attestation<StatementSource>>, Failure> {
        let mut parts = result.parts.iter().zip(&self.captures);
        let found = parts.find(|(part, _)| {
            let id = part.platform.as_ref();
            id.is_none_or(|id| *id == platform.id)
        });
        let Some((part, capture)) = found else {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("no build info found for provenance {}", platform.id),
            ));
        };
        // Of the empty file system there is nothing to tell.
        let Some(capture) = capture else {
            return Ok(None);
        };
        let provenance = self.provenance(part, capture, wanted)?;
        let inline_only = match wanted.inline_only {
            true => "true",
            false => "false",
        };
        let text =
            |key: &str, value: &'static str| (key.to_owned(), Bytes::from_static(value.as_bytes()));
        Ok(Some(Attestation {
            kind: AttestationKind::InToto,
            metadata: [
                text(ATTESTATION_REASON, "provenance"),
                text(ATTESTATION_INLINE_ONLY, inline_only),
            ]
            .into(),
            source: StatementSource::Engine(Arc::new(provenance)),
            path: wanted.filename.clone(),
            predicate_type: wanted.version.predicate_type().to_owned(),
            subjects: Vec::new(),
        }))
    }

    fn provenance(
        &self,
        part: &FrontendPart,
        capture: &Capture,
        wanted: &ProvenanceOptions,
    ) -> Result<Provenance, Failure> {
        let asked = self.asked;
        let mut facts = Facts::new(capture, wanted)?;
        facts.invocation = invocation(asked);
        facts.started_ns = asked.begun_ns;
        facts.custom = asked.parts.provenance_environment.values();
        if let (Detail::Max, Some(reference)) = (wanted.detail, &part.result) {
            let reference = asked.bridge.reference(reference)?;
            facts.steps = Some(Steps::of(&reference.definition)?);
        }
        Ok(Provenance {
            parts: Arc::clone(asked.parts),
            facts,
            results: Arc::clone(&self.results),
            finished_ns: Arc::clone(&self.finished_ns),
        })
    }
}

/// A name that no other build has: clients may use theirs again.
fn invocation(asked: &Asked<'_>) -> String {
    let named = format!("{} {}", asked.job.id, asked.begun_ns);
    Digest::sha256_of(named).hex().chars().take(25).collect()
}

impl Attested {
    /// The provenance of each part in full, for the build's record: the part's platform, the predicate's type, the
    /// predicate.
    ///
    /// # Errors
    /// When what it tells of cannot be looked up.
    pub(crate) async fn for_history(
        &self,
    ) -> Result<Vec<(Option<String>, &'static str, Bytes)>, Failure> {
        let mut all = Vec::with_capacity(self.records.len());
        for (platform, provenance) in &self.records {
            let kind = provenance.facts.version.predicate_type();
            all.push((platform.clone(), kind, provenance.json().await?));
        }
        Ok(all)
    }

    /// Gives up what it holds. Predicates are not asked for any more.
    pub(crate) async fn release(self, parts: &Parts) {
        self.results.release(parts).await;
    }
}
