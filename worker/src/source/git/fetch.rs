use std::path::Path;

use cooper_core::model::{Failure, FailureKind};

use super::command::GitError;
use super::reference::is_object_id;
use super::resolve::{Resolved, failed_to_fetch};
use super::signed::object_id;
use super::store::Repository;
use super::wanted::GitWanted;

/// Brings the object that a source is from `remote` into a repository, with as little of its history as the server can be asked for.
///
/// # Errors
/// With git's words when the server does not give it.
pub(super) async fn fetch(
    repository: &Repository,
    wanted: &GitWanted,
    resolved: &Resolved,
    remote: &str,
) -> Result<(), Failure> {
    let git = &repository.git;
    let object = resolved.object.as_str();
    if git.has_commit(object).await {
        return Ok(());
    }
    // A git that was killed leaves it, and we are alone here.
    let _ = std::fs::remove_file(repository.folder.join("shallow.lock"));
    let shallow = ["fetch", "--depth=1", "--no-tags", "--force", "--", remote];
    let by_name = !wanted.by_commit && !is_object_id(&resolved.full_name);
    let wish = match by_name {
        // Kept by a name of ours, so that the server is told of it next time.
        true => {
            let kept = blake3::hash(resolved.full_name.as_bytes()).to_hex();
            format!("{}:refs/kept/{kept}", resolved.full_name)
        }
        false => object.to_owned(),
    };
    let first = git.run(&[&shallow[..], &[wish.as_str()]].concat()).await;
    let failing = |error: GitError| error.failing(&failed_to_fetch(wanted));
    match first {
        Ok(_) if git.has_commit(object).await => return Ok(()),
        Err(error) if by_name || !is_refused(&error) => return Err(failing(error)),
        _ => {}
    }
    // The reference has moved since it was looked at, or the server gives nothing but what it advertises: everything
    // that its branches and tags lead to may have it.
    let mut all = vec!["fetch", "--tags", "--force"];
    if repository.folder.join("shallow").is_file() {
        all.push("--unshallow");
    }
    all.extend(["--", remote]);
    let alone = git.run(&[&all[..], &[object]].concat()).await;
    if let Err(error) = alone {
        if !is_refused(&error) {
            return Err(failing(error));
        }
        let branches = "+refs/heads/*:refs/remotes/origin/*";
        git.run(&[&all[..], &[branches]].concat())
            .await
            .map_err(failing)?;
    }
    if git.has_commit(object).await {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::NotFound,
        format!(
            "fetched ref {} does not match expected commit {object} and commit can not be found in the repository",
            resolved.reference
        ),
    ))
}

/// Whether the server will not give an object by its name.
fn is_refused(error: &GitError) -> bool {
    let words = error.words();
    words.contains("not our ref") || words.contains("unadvertised object")
}

/// The commit's and, if it is one, the tag's bytes, and the tag's commit.
pub(super) struct Objects {
    pub(super) commit: Vec<u8>,
    /// The tag's bytes and the commit that it names.
    pub(super) tag: Option<(Vec<u8>, String)>,
}

/// Reads the objects that a source is.
///
/// # Errors
/// When it is neither commit nor tag.
pub(super) async fn objects(repository: &Repository, object: &str) -> Result<Objects, Failure> {
    let git = &repository.git;
    let failing = |error: GitError| error.failing("failed to read the commit");
    let kind = git
        .line(&["cat-file", "-t", object])
        .await
        .map_err(failing)?;
    let tag = match kind.as_str() {
        "commit" => None,
        "tag" => {
            let peeled = format!("{object}^{{commit}}");
            let commit = git
                .line(&["rev-parse", "--verify", &peeled])
                .await
                .map_err(failing)?;
            let bytes = git
                .run(&["cat-file", "tag", object])
                .await
                .map_err(failing)?;
            Some((bytes, commit))
        }
        other => {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("expected commit or tag object, got {other}"),
            ));
        }
    };
    let id = tag.as_ref().map_or(object, |(_, commit)| commit.as_str());
    let commit = git
        .run(&["cat-file", "commit", id])
        .await
        .map_err(failing)?;
    // Git keeps objects by what they are, and this is looked at all the same: signatures are about these bytes.
    let is_sha256 = object.len() == 64;
    let tag_is = tag
        .as_ref()
        .is_none_or(|(bytes, _)| object_id("tag", bytes, is_sha256) == object);
    if !tag_is || object_id("commit", &commit, is_sha256) != id {
        return Err(Failure::new(
            FailureKind::Infrastructure,
            format!("git says of {object} what it is not"),
        ));
    }
    Ok(Objects { commit, tag })
}

/// Whether a path is one of ours that can be given to git as an address.
pub(super) fn file_address(path: &Path) -> String {
    format!("file://{}", path.display())
}
