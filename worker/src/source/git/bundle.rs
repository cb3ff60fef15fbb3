use std::io::Write;
use std::path::Path;

use cooper_core::model::{Failure, FailureKind, SessionId};
use cooper_core::ports::ChunkSource;
use sha2::{Digest as _, Sha256};

use super::command::{Git, GitError};
use super::fetch::file_address;
use super::resolve::Resolved;
use super::store::{Scratch, broken};
use crate::limits::Limits;
use crate::snapshot::Snapshots;
use crate::source::Blobs;
use crate::source::blob::{BlobPlace, nobody};

/// Puts bundles where git can fetch from them.
pub(super) struct Staging<'a> {
    pub(super) snapshots: &'a Snapshots,
    pub(super) limits: &'a Limits,
    pub(super) blobs: &'a Blobs,
    pub(super) sessions: &'a [SessionId],
}

/// A repository with what a bundle has and nothing else, gone when dropped.
pub(super) struct Staged {
    /// Its address for git.
    pub(super) address: String,
    _scratch: Scratch,
}

impl Staging<'_> {
    /// Brings a bundle here, whose bytes must have its digest (security.md T-A20), and unpacks it beside the shared
    /// repository, so that no reference of it gets there.
    ///
    /// # Errors
    /// `NotFound` when nobody has the bundle or it does not have the commit; `InvalidInput` with git's words for what
    /// is no bundle.
    pub(super) async fn stage(
        &self,
        git: &Git,
        place: &BlobPlace,
        resolved: &Resolved,
    ) -> Result<Staged, Failure> {
        let scratch = Scratch::new(self.snapshots)?;
        let file = scratch.path.join("bundle.pack");
        self.download(place, &file).await?;
        let folder = scratch.path.join("repo.git");
        std::fs::create_dir(&folder).map_err(|error| broken("a bundle's folder", &error))?;
        let git = git.in_repository(&folder);
        let what = format!("failed to import git bundle {place}");
        let failing = |error: GitError| error.failing(&what);
        let mut init = vec!["init", "--bare"];
        if resolved.is_sha256() {
            init.push("--object-format=sha256");
        }
        git.run(&init).await.map_err(failing)?;
        let file = file.to_string_lossy();
        git.run(&["fetch", "--", &file, "+refs/*:refs/*"])
            .await
            .map_err(failing)?;
        if !git.has_commit(&resolved.object).await {
            let words = format!("commit {} not found in bundle {place}", resolved.object);
            return Err(Failure::new(FailureKind::NotFound, words));
        }
        // The commit is asked for by its name.
        git.run(&["config", "uploadpack.allowAnySHA1InWant", "true"])
            .await
            .map_err(failing)?;
        Ok(Staged {
            address: file_address(&folder),
            _scratch: scratch,
        })
    }

    async fn download(&self, place: &BlobPlace, file: &Path) -> Result<(), Failure> {
        let mut offers = self.blobs.offers(place, self.sessions).await?;
        let mut failure = nobody(place);
        while let Some(offer) = offers.next().await {
            let written = match offer {
                Ok(mut bytes) => self.write(place, bytes.as_mut(), file).await,
                Err(failure) => Err(failure),
            };
            match written {
                Ok(()) => return Ok(()),
                Err(other) => failure = other,
            }
        }
        failure.message = format!("failed to fetch git bundle {place}: {}", failure.message);
        Err(failure)
    }

    async fn write(
        &self,
        place: &BlobPlace,
        bytes: &mut dyn ChunkSource,
        file: &Path,
    ) -> Result<(), Failure> {
        let written = |error: std::io::Error| broken("a bundle", &error);
        let mut file = std::fs::File::create(file).map_err(written)?;
        let (mut hash, mut left) = (Sha256::new(), self.limits.download_bytes);
        while let Some(chunk) = bytes.receive().await? {
            let rest = left.checked_sub(chunk.len() as u64);
            left = rest.ok_or_else(|| {
                let most = self.limits.download_bytes;
                Failure::new(
                    FailureKind::InvalidInput,
                    format!("it has more than {most} bytes"),
                )
            })?;
            hash.update(&chunk);
            let wrote = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file));
            let wrote = wrote
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error)));
            file = wrote.map_err(written)?;
        }
        let got = hex::encode(hash.finalize());
        if got != place.digest.hex() {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!(
                    "expected checksum to match {}, got sha256:{got}",
                    place.digest
                ),
            ));
        }
        Ok(())
    }
}
