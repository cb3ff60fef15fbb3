use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{DirFilter, ExportRequest, ExportTarget, ExportTargetRequest, Sessions};

use super::attestation::{StatementFiles, add_statements};
use super::attributes::{flag, seconds};
use super::platforms;
use crate::confine::Kind;
use crate::fsync::{Added, SyncError, Tree, WithAdded, mode};
use crate::snapshot::{SnapshotError, Snapshots, View};

/// What the exporters of plain files are told (parity sheet C2, `local` and `tar`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilesAttributes {
    /// Whether each platform gets a directory; unset, it does where there are several.
    pub(super) platform_split: Option<bool>,
    /// Whether what was in the destination and is not in the result is removed.
    pub(super) delete: bool,
    /// The time that everything was modified, in seconds since 1970. `Some(None)` is one that was emptied on purpose.
    pub(super) epoch: Option<Option<i64>>,
    /// What the names of statements' files begin with.
    pub(super) attestation_prefix: String,
}

impl FilesAttributes {
    pub(super) fn parse(attributes: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let invalid = |key: &str, value: &str, wanted: &str| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("invalid value {value:?} for {key}: {wanted}"),
            )
        };
        let mut parsed = Self {
            platform_split: None,
            delete: false,
            epoch: None,
            attestation_prefix: String::new(),
        };
        for (key, value) in attributes {
            match (key.as_str(), value.as_str()) {
                ("platform-split", _) => {
                    let split = flag(key, value).map_err(|_| {
                        let message = format!("non-bool value for {key}: {value}");
                        Failure::new(FailureKind::InvalidInput, message)
                    })?;
                    parsed.platform_split = Some(split);
                }
                ("attestation-prefix", _) => value.clone_into(&mut parsed.attestation_prefix),
                ("mode", "copy" | "") => parsed.delete = false,
                ("mode", "delete") => parsed.delete = true,
                ("mode", _) => return Err(invalid(key, value, "copy or delete is expected")),
                ("source-date-epoch", _) => {
                    let wanted = "seconds since 1970 are expected";
                    let epoch = seconds(key, value).map_err(|_| invalid(key, value, wanted))?;
                    parsed.epoch = Some(epoch);
                }
                // Where the client puts it is the client's affair; what else there is, BuildKit passes over too.
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// One platform's files, kept from removal.
#[derive(Debug)]
pub(super) struct Part {
    /// The directory that they go to, where each platform has one.
    pub(super) directory: Option<String>,
    /// Its platform.
    id: String,
    /// What the progress line of this part says behind its verb.
    pub(super) label: String,
    /// Absent for an empty file system.
    view: Option<View>,
    /// The time that everything was modified, in nanoseconds since 1970.
    pub(super) mod_time: Option<i64>,
    /// Statements about them.
    added: Vec<Added>,
}

impl Part {
    /// The same with files that the result does not have.
    pub(super) fn with_added(self, added: Vec<Added>) -> Self {
        Self { added, ..self }
    }

    /// The files that the result does not have.
    pub(super) fn added(&self) -> &[Added] {
        &self.added
    }

    /// All files, to send.
    pub(super) fn entries(&self) -> Result<WithAdded, Failure> {
        Ok(WithAdded::new(self.tree()?, self.added.clone()))
    }

    /// The files, to walk; `None` for an empty file system.
    pub(super) fn tree(&self) -> Result<Option<Tree>, Failure> {
        let Some(view) = &self.view else {
            return Ok(None);
        };
        let root = view.root().map_err(|error| infrastructure(&error))?;
        let tree =
            Tree::new(root, &DirFilter::default()).map_err(|error| infrastructure(&error))?;
        Ok(Some(match self.mod_time {
            Some(mod_time) => tree.with_modification_time(mod_time),
            None => tree,
        }))
    }
}

/// Opens the views of all parts. Blocks.
///
/// # Errors
/// `InvalidInput` for platforms that do not fit the parts, or whose files would be one another's.
fn open_parts(
    snapshots: &Snapshots,
    request: &ExportRequest,
    attributes: &FilesAttributes,
) -> Result<Vec<Part>, Failure> {
    let is_map = request.parts.iter().any(|part| part.platform.is_some());
    if is_map && !request.metadata.contains_key("refs.platforms") {
        return Err(refused(
            "unable to export multiple refs, missing platforms mapping",
        ));
    }
    let platforms = platforms::of_metadata(&request.metadata)?;
    if !is_map && platforms.len() > 1 {
        return Err(refused("unable to export multiple platforms without map"));
    }
    let split = attributes.platform_split.unwrap_or(is_map);
    let mut parts = Vec::with_capacity(platforms.len());
    for platform in &platforms {
        let mut all = request.parts.iter();
        let part = all.find(|part| part.platform.as_ref().is_none_or(|id| *id == platform.id));
        let part =
            part.ok_or_else(|| refused(&format!("failed to find ref for ID {}", platform.id)))?;
        let directory = split.then(|| platform.id.replace('/', "_"));
        if let Some("" | "." | "..") = directory.as_deref() {
            return Err(refused(&format!("invalid platform {:?}", platform.id)));
        }
        let view = part.result.as_ref().map(|result| snapshots.view(result));
        let view = view.transpose();
        let epoch = platforms::epoch(attributes.epoch, &request.metadata, Some(platform))?;
        parts.push(Part {
            label: match split {
                true => format!(" {}", platform.id),
                false => String::new(),
            },
            id: platform.id.clone(),
            directory,
            view: view.map_err(|error: SnapshotError| infrastructure(&error))?,
            added: Vec::new(),
            mod_time: epoch.map(|seconds| seconds.saturating_mul(1_000_000_000)),
        });
    }
    if !split && parts.len() > 1 {
        refuse_overlap(&parts)?;
    }
    Ok(parts)
}

/// Opens the views of all parts and makes files of what is said of them.
///
/// # Errors
/// As [`open_parts`] and [`add_statements`].
pub(super) async fn open_with_statements(
    snapshots: &Snapshots,
    request: ExportRequest,
    attributes: FilesAttributes,
) -> Result<Vec<Part>, Failure> {
    const SECOND: i64 = 1_000_000_000;
    let statements = request.attestations.clone();
    let now = i64::try_from(request.now_ns).unwrap_or(i64::MAX);
    let is_map = request.parts.iter().any(|part| part.platform.is_some());
    let prefix = attributes.attestation_prefix.clone();
    let opened = snapshots.clone();
    let parts = blocking(move || open_parts(&opened, &request, &attributes)).await?;
    let mut whole = Vec::with_capacity(parts.len());
    for part in parts {
        let id = part.id.clone();
        let said = statements.get(&id).map(Vec::as_slice).unwrap_or_default();
        let how = StatementFiles {
            prefix: &prefix,
            platform: (is_map && part.directory.is_none()).then_some(id.as_str()),
            mod_time: part.mod_time.unwrap_or(now / SECOND * SECOND),
        };
        whole.push(add_statements(snapshots, part, said, how).await?);
    }
    Ok(whole)
}

/// Platforms whose files share a directory must not have the same ones.
fn refuse_overlap(parts: &[Part]) -> Result<(), Failure> {
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for part in parts {
        let Some(tree) = part.tree()? else { continue };
        let mut taken = None;
        tree.walk::<SyncError>(|stat, _| {
            if mode::kind(stat.mode) != Some(Kind::Directory)
                && let Some(owner) = owners.insert(stat.path.clone(), &part.id)
            {
                taken.get_or_insert((stat.path, owner));
            }
            Ok(())
        })
        .map_err(|error| infrastructure(&error))?;
        if let Some((path, owner)) = taken {
            let id = &part.id;
            return Err(refused(&format!(
                "cannot overwrite {path} from {owner} with {id} when split option is disabled"
            )));
        }
    }
    Ok(())
}

fn refused(message: &str) -> Failure {
    Failure::new(FailureKind::InvalidInput, message)
}

/// Asks the sessions, the best first, for the place that the export goes to.
pub(super) async fn target(
    sessions: &Arc<dyn Sessions>,
    ids: &[SessionId],
    wanted: ExportTargetRequest,
) -> Result<ExportTarget, Failure> {
    let mut reason = Failure::new(
        FailureKind::InvalidInput,
        "an export to the client needs a session, and there is none",
    );
    for id in ids {
        match sessions.session(id).await {
            Ok(session) => return session.export_target(wanted).await,
            Err(failure) => reason = failure,
        }
    }
    Err(reason)
}

pub(super) fn infrastructure(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Infrastructure, error.to_string())
}

pub(super) fn of_transfer(error: &SyncError) -> Failure {
    infrastructure(error)
}

/// Runs what blocks, and joins it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new(FailureKind::Internal, error.to_string())),
    }
}

pub(super) fn cancelled() -> Failure {
    Failure::new(FailureKind::Cancelled, "the export was cancelled")
}
