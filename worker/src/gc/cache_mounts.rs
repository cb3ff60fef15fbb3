use std::path::Path;

use cooper_core::model::UsageRecord;

use super::room::{Room, allocated_bytes};
use super::{GcError, Ledger};
use crate::confine::Root;
use crate::mount::CacheMounts;

/// The directories behind `RUN --mount=type=cache`.
pub struct CacheMountRoom {
    mounts: CacheMounts,
    ledger: Ledger,
}

impl CacheMountRoom {
    /// The directories of a store, whose uses `ledger` has.
    #[must_use]
    pub fn new(mounts: &CacheMounts, ledger: &Ledger) -> Self {
        Self {
            mounts: mounts.clone(),
            ledger: ledger.clone(),
        }
    }
}

impl Room for CacheMountRoom {
    fn records(&self) -> Result<Vec<UsageRecord>, GcError> {
        let uses = self.ledger.entries()?;
        let root = Root::open(self.mounts.root())?;
        let mut records = Vec::new();
        for entry in root.read_dir(Path::new("."))? {
            let directory = entry.name.to_string_lossy().into_owned();
            let size = match root
                .subroot(Path::new(&entry.name))
                .and_then(|root| allocated_bytes(&root, |_| true))
            {
                // It went meanwhile.
                Err(error) if error.is_not_found() => continue,
                size => size?,
            };
            let seen = uses.get(&directory);
            records.push(UsageRecord {
                record_type: "exec.cachemount".to_owned(),
                mutable: true,
                in_use: self.mounts.is_used(&directory),
                size,
                created_ns: seen.map_or(0, |it| it.created_ns),
                last_used_ns: seen.map(|it| it.last_used_ns),
                usage_count: seen.map_or(0, |it| it.usage_count),
                description: match seen {
                    Some(seen) => seen.description.clone(),
                    None => format!("cached mount {}", self.mounts.name_of(&root, &directory)),
                },
                id: directory,
                ..UsageRecord::default()
            });
        }
        Ok(records)
    }

    fn remove(&self, ids: &[String]) -> Result<Vec<String>, GcError> {
        let mut removed = Vec::new();
        for id in ids {
            if self.mounts.remove(id)? {
                self.ledger.forget(id)?;
                removed.push(id.clone());
            }
        }
        Ok(removed)
    }

    fn flush(&self) -> Result<(), GcError> {
        self.ledger.flush()
    }
}
