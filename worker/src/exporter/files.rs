use std::collections::BTreeMap;
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::{
    DirFilter, ExportPart, ExportRequest, ExportTarget, ExportTargetRequest, Sessions,
};

use crate::fsync::{SyncError, Tree};
use crate::snapshot::{SnapshotError, Snapshots, View};

/// What the exporters of plain files are told (parity sheet C2, `local` and `tar`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilesAttributes {
    /// Whether each platform gets a directory; unset, it does where there are several.
    pub(super) platform_split: Option<bool>,
    /// Whether what was in the destination and is not in the result is removed.
    pub(super) delete: bool,
    /// The time that everything was modified, in nanoseconds since 1970.
    pub(super) mod_time: Option<i64>,
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
            mod_time: None,
        };
        for (key, value) in attributes {
            match (key.as_str(), value.as_str()) {
                ("platform-split", "true" | "1") => parsed.platform_split = Some(true),
                ("platform-split", "false" | "0") => parsed.platform_split = Some(false),
                ("platform-split", _) => {
                    return Err(invalid(key, value, "true or false is expected"));
                }
                ("mode", "copy" | "") => parsed.delete = false,
                ("mode", "delete") => parsed.delete = true,
                ("mode", _) => return Err(invalid(key, value, "copy or delete is expected")),
                ("source-date-epoch", "") => {}
                ("source-date-epoch", _) => {
                    let seconds = value
                        .parse::<i64>()
                        .ok()
                        .and_then(|seconds| seconds.checked_mul(1_000_000_000));
                    let wanted = "seconds since 1970 are expected";
                    parsed.mod_time = Some(seconds.ok_or_else(|| invalid(key, value, wanted))?);
                }
                ("attestation-prefix", _) => {
                    return Err(Failure::unsupported(
                        "exporting attestations (attestation-prefix)",
                    ));
                }
                // Where the client puts it is the client's affair.
                ("dest", _) => {}
                _ => {
                    let known = "platform-split, mode, source-date-epoch";
                    let message = format!("unknown attribute {key:?} of an exporter of files");
                    return Err(Failure::new(FailureKind::InvalidInput, message)
                        .with_hint(format!("known are {known}")));
                }
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
    /// What the progress line of this part says behind its verb.
    pub(super) label: String,
    /// Absent for an empty file system.
    view: Option<View>,
    mod_time: Option<i64>,
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
pub(super) fn open_parts(
    snapshots: &Snapshots,
    request: &ExportRequest,
    attributes: &FilesAttributes,
) -> Result<Vec<Part>, Failure> {
    let split = attributes.platform_split.unwrap_or(request.parts.len() > 1);
    if !split && request.parts.len() > 1 {
        let message =
            "several platforms cannot be exported to one directory (platform-split=false)";
        return Err(Failure::new(FailureKind::InvalidInput, message));
    }
    let open = |part: &ExportPart| {
        let view = part
            .result
            .as_ref()
            .map(|result| snapshots.view(result))
            .transpose();
        let directory = part
            .platform
            .as_deref()
            .filter(|_| split)
            .map(|platform| platform.replace('/', "_"));
        if directory
            .as_deref()
            .is_some_and(|name| name.is_empty() || name == "." || name == "..")
        {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("invalid platform {:?}", part.platform),
            ));
        }
        Ok(Part {
            label: part
                .platform
                .as_deref()
                .filter(|_| request.parts.len() > 1)
                .map(|name| format!(" {name}"))
                .unwrap_or_default(),
            directory,
            view: view.map_err(|error: SnapshotError| infrastructure(&error))?,
            mod_time: attributes.mod_time,
        })
    };
    request.parts.iter().map(open).collect()
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
