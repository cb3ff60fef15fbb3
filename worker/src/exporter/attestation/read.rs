use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use cooper_core::model::{
    ATTESTATION_INLINE_ONLY, ATTESTATION_SBOM_CORE, Attestation, AttestationKind, Failure,
    PROVENANCE_PREDICATE, ResultId, Subject,
};
use cooper_core::ports::StatementSource;
use serde::Deserialize;
use serde_json::Value;

use super::super::attributes::invalid;
use super::super::files::{blocking, infrastructure};
use crate::confine::Root;
use crate::limits::{ATTESTATION_BYTES, ATTESTATIONS};
use crate::snapshot::Snapshots;

/// A statement whose words were read.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// The name of its file.
    pub(super) path: String,
    pub(super) predicate_type: String,
    pub(super) subjects: Vec<Subject>,
    pub(super) predicate: Value,
    /// The name that says of a file that it is about the result itself.
    core: Option<String>,
}

impl Said {
    /// Whether it is the one about the result itself of several that one program made.
    pub(super) fn is_core(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let name = name.split('.').next().unwrap_or_default();
        self.core.as_deref() == Some(name)
    }
}

/// What a statement without a path of its own lies in.
type Statement = Attestation<StatementSource>;

/// Whether a statement is written only where there is an index of images anyway.
pub(super) fn is_inline_only(statement: &Statement) -> bool {
    let value = statement.metadata.get(ATTESTATION_INLINE_ONLY);
    value.is_some_and(|value| value.as_ref() == b"true")
}

/// Reads all statements, those about the result itself first.
///
/// # Errors
/// `InvalidInput` for what is no statement, and for provenance that the engine did not make.
pub(super) async fn read(
    snapshots: &Snapshots,
    statements: Vec<Statement>,
) -> Result<Vec<Said>, Failure> {
    let mut all = Vec::new();
    for statement in statements {
        all.extend(one(snapshots, statement).await?);
        if all.len() > ATTESTATIONS {
            return Err(invalid(&format!(
                "more than {ATTESTATIONS} attestations for one platform"
            )));
        }
    }
    // A stable sort: the rest stays in order.
    all.sort_by_key(|said| !said.is_core());
    Ok(all)
}

async fn one(snapshots: &Snapshots, statement: Statement) -> Result<Vec<Said>, Failure> {
    let core = statement.metadata.get(ATTESTATION_SBOM_CORE);
    let core = core.map(|name| String::from_utf8_lossy(name).into_owned());
    let is_provenance = statement.predicate_type.starts_with(PROVENANCE_PREDICATE);
    match (statement.kind, &statement.source) {
        (AttestationKind::InToto, _) if statement.path.is_empty() => {
            Err(invalid("attestation does not have set path"))
        }
        (AttestationKind::InToto, StatementSource::Engine(predicate)) => {
            let json = predicate.json().await?;
            Ok(vec![said(statement, &json, core)?])
        }
        (_, StatementSource::Result(None)) => {
            Err(invalid("attestation does not have available content"))
        }
        (AttestationKind::InToto, StatementSource::Result(Some(_))) if is_provenance => {
            Err(invalid("frontend may not set provenance attestations"))
        }
        (AttestationKind::InToto, StatementSource::Result(Some(result))) => {
            let path = statement.path.clone();
            let json = in_result(snapshots, result, move |root| read_file(root, &path)).await?;
            Ok(vec![said(statement, &json, core)?])
        }
        (AttestationKind::Bundle, StatementSource::Engine(_)) => {
            Err(invalid("attestation bundle cannot have callback"))
        }
        (AttestationKind::Bundle, StatementSource::Result(Some(result))) => {
            let (result, wanted) = (result.clone(), statement.predicate_type.clone());
            in_result(snapshots, &result, move |root| {
                bundled(root, &statement.path, &wanted, core.as_ref())
            })
            .await
        }
    }
}

fn said(statement: Statement, json: &[u8], core: Option<String>) -> Result<Said, Failure> {
    let predicate = match json.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(json).map_err(|error| {
            invalid(&format!(
                "the predicate of the attestation {} is no JSON: {error}",
                statement.path
            ))
        })?,
    };
    Ok(Said {
        path: statement.path,
        predicate_type: statement.predicate_type,
        subjects: statement.subjects,
        predicate,
        core,
    })
}

/// A statement as files have it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    predicate_type: String,
    #[serde(default)]
    subject: Option<Vec<DocumentSubject>>,
    #[serde(default)]
    predicate: Value,
}

#[derive(Deserialize)]
struct DocumentSubject {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// The statements of a folder, a file each.
fn bundled(
    root: &Root,
    folder: &str,
    wanted: &str,
    core: Option<&String>,
) -> Result<Vec<Said>, Failure> {
    let path = Path::new("/").join(folder.trim_start_matches('/'));
    let entries = root.read_dir(&path);
    let mut entries = entries.map_err(|error| unread(folder, &error))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all = Vec::new();
    for entry in entries {
        let name = entry.name.to_string_lossy().into_owned();
        let path = match folder {
            "" => name,
            folder => format!("{}/{name}", folder.trim_end_matches('/')),
        };
        let json = read_file(root, &path)?;
        let document: Document = serde_json::from_slice(&json)
            .map_err(|error| invalid(&format!("cannot decode in-toto statement: {error}")))?;
        let found = document.predicate_type;
        if !wanted.is_empty() && found != wanted {
            return Err(invalid(&format!(
                "bundle entry {found} does not match required predicate type {wanted}"
            )));
        }
        if found.starts_with(PROVENANCE_PREDICATE) {
            return Err(invalid("frontend may not bundle provenance attestations"));
        }
        let subjects = document.subject.unwrap_or_default().into_iter();
        all.push(Said {
            path,
            predicate_type: found,
            subjects: subjects.map(subject).collect::<Result<_, _>>()?,
            predicate: document.predicate,
            core: core.cloned(),
        });
        if all.len() > ATTESTATIONS {
            break;
        }
    }
    Ok(all)
}

fn subject(subject: DocumentSubject) -> Result<Subject, Failure> {
    let digests = subject.digest.iter().map(|(algorithm, hex)| {
        let digest = format!("{algorithm}:{hex}").parse();
        digest.map_err(|error| {
            let name = &subject.name;
            invalid(&format!("a digest of the subject {name:?}: {error}"))
        })
    });
    Ok(Subject::Named {
        digests: digests.collect::<Result<_, _>>()?,
        name: subject.name,
    })
}

fn read_file(root: &Root, path: &str) -> Result<Bytes, Failure> {
    let read = root.read_small(Path::new(path), ATTESTATION_BYTES);
    read.map(Bytes::from).map_err(|error| unread(path, &error))
}

fn unread(path: &str, error: &dyn std::fmt::Display) -> Failure {
    invalid(&format!("cannot read in-toto attestation {path}: {error}"))
}

/// Looks into a result, which is here whole.
async fn in_result<T: Send + 'static>(
    snapshots: &Snapshots,
    result: &ResultId,
    work: impl FnOnce(&Root) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (snapshots, result) = (snapshots.clone(), result.clone());
    blocking(move || {
        let view = snapshots.view(&result);
        let view = view.map_err(|error| infrastructure(&error))?;
        work(&view.root().map_err(|error| infrastructure(&error))?)
    })
    .await
}
