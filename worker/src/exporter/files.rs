use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{DirFilter, ExportRequest, ExportTarget, ExportTargetRequest, Sessions};

use super::attributes::{flag, seconds};
use super::platforms;
use crate::confine::Kind;
use crate::fsync::{SyncError, Tree, mode};
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
}

impl Part {
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
pub(super) fn open_parts(
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
            mod_time: epoch.map(|seconds| seconds.saturating_mul(1_000_000_000)),
        });
    }
    if !split && parts.len() > 1 {
        refuse_overlap(&parts)?;
    }
    Ok(parts)
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
