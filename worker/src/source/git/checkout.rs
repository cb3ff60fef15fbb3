use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use cooper_core::model::{Failure, FailureKind, ResultId};

use super::command::{Git, GitError};
use super::fetch::file_address;
use super::reference::{is_object_id, landed_as};
use super::resolve::Resolved;
use super::store::{Repository, Scratch, broken};
use super::wanted::GitWanted;
use crate::clock::now_ns;
use crate::confine::{ConfineError, Last, Root, Time, Visit};
use crate::meta::{LayerId, LayerInfo, ResultInfo};
use crate::snapshot::Snapshots;

/// What disk usage and garbage collection know a checkout by.
const RECORD_TYPE: &str = "source.git.checkout";

/// The name of a bundle in its result.
const BUNDLE: &str = "bundle";

/// Makes a result of a commit that is in the repository, pinned once. Dropped before its end, nothing is kept.
///
/// # Errors
/// With git's words, or when the folder that is wanted is none.
pub(super) async fn checkout(
    snapshots: &Snapshots,
    repository: &Repository,
    wanted: &GitWanted,
    resolved: &Resolved,
) -> Result<ResultId, Failure> {
    let scratch = Scratch::new(snapshots)?;
    let tree = scratch.path.join("tree");
    fs::create_dir(&tree).map_err(|error| broken("a checkout's folder", &error))?;
    let job = Checkout {
        repository,
        wanted,
        resolved,
        scratch: &scratch.path,
        tree: &tree,
    };
    if wanted.as_bundle {
        job.bundle().await?;
    } else {
        job.files().await?;
    }
    let time = match wanted.commit_times {
        true => Some(job.commit_time().await?),
        false => None,
    };
    let description = format!(
        "git snapshot for {}#{}",
        wanted.address.shown, resolved.reference
    );
    let (snapshots, subdir) = (snapshots.clone(), wanted.subdir.clone());
    let kept = tokio::task::spawn_blocking(move || {
        let result = keep(&snapshots, &scratch.path, &subdir, time, &description);
        drop(scratch);
        result
    });
    kept.await
        .unwrap_or_else(|error| Err(Failure::new(FailureKind::Internal, error.to_string())))
}

struct Checkout<'a> {
    repository: &'a Repository,
    wanted: &'a GitWanted,
    resolved: &'a Resolved,
    scratch: &'a Path,
    tree: &'a Path,
}

impl Checkout<'_> {
    async fn files(&self) -> Result<(), Failure> {
        let failing = |error: GitError| {
            error.failing(&format!(
                "failed to checkout remote {}",
                self.wanted.address.shown
            ))
        };
        let git = match self.wanted.keep_git_dir && self.wanted.subdir.is_empty() {
            true => self.with_repository().await.map_err(failing)?,
            false => self.without_repository().await.map_err(failing)?,
        };
        if self.wanted.skip_submodules || !self.tree.join(".gitmodules").is_file() {
            return Ok(());
        }
        let update = async {
            // The repository is shared: where a submodule was found for another commit says nothing.
            git.run(&["submodule", "sync", "--recursive"]).await?;
            git.run(&["submodule", "update", "--init", "--recursive", "--depth=1"])
                .await
        };
        update.await.map_err(|error| {
            error.failing(&format!(
                "failed to update submodules for {}",
                self.wanted.address.shown
            ))
        })?;
        if !self.wanted.keep_git_dir || !self.wanted.subdir.is_empty() {
            forget_repositories(self.tree)?;
        }
        Ok(())
    }

    /// Writes the files of the commit.
    async fn without_repository(&self) -> Result<Git, GitError> {
        // An index of its own, so that nothing of another checkout is in it.
        let index = self.scratch.join("index");
        let git = self.repository.git.with_tree(self.tree);
        let git = git.with_variable("GIT_INDEX_FILE", index.into());
        let commit = format!("{}^{{commit}}", self.resolved.object);
        git.run(&["read-tree", &commit]).await?;
        git.run(&["checkout-index", "--all", "--force"]).await?;
        Ok(git)
    }

    /// Writes the files of the commit and a repository of that commit alone.
    async fn with_repository(&self) -> Result<Git, GitError> {
        let git = self.repository.git.with_tree(self.tree);
        let git = git.in_repository(&self.tree.join(".git"));
        let mut init = vec!["init"];
        if self.resolved.is_sha256() {
            init.push("--object-format=sha256");
        }
        git.run(&init).await?;
        // By its protocol and not by its path: git links and copies less cleverly then, and follows nothing.
        let shared = file_address(&self.repository.folder);
        git.run(&["remote", "add", "origin", &shared]).await?;
        let object = self.resolved.object.as_str();
        let kind = self
            .repository
            .git
            .line(&["cat-file", "-t", object])
            .await?;
        let reference = self.resolved.reference.as_str();
        let wish = match is_object_id(reference) {
            true => object.to_owned(),
            false => format!("{object}:{}", landed_as(reference, kind == "tag")),
        };
        git.run(&["fetch", "-u", "--depth=1", "--", "origin", &wish])
            .await?;
        git.run(&["checkout", "FETCH_HEAD"]).await?;
        let shown = self.wanted.address.shown.as_str();
        git.run(&["remote", "set-url", "origin", shown]).await?;
        git.run(&["reflog", "expire", "--all", "--expire=now"])
            .await?;
        // It says where on this machine the commit came from.
        let _ = fs::remove_file(self.tree.join(".git/FETCH_HEAD"));
        Ok(git)
    }

    /// Writes a bundle of the commit with the reference's name.
    async fn bundle(&self) -> Result<(), Failure> {
        let failing = |error: GitError| {
            error.failing(&format!(
                "failed to create git bundle for {}",
                self.resolved.object
            ))
        };
        let fresh = self.scratch.join("repo.git");
        fs::create_dir(&fresh).map_err(|error| broken("a bundle's folder", &error))?;
        let git = self.repository.git.in_repository(&fresh);
        let mut init = vec!["init", "--bare"];
        if self.resolved.is_sha256() {
            init.push("--object-format=sha256");
        }
        git.run(&init).await.map_err(failing)?;
        let shared = file_address(&self.repository.folder);
        let object = self.resolved.object.as_str();
        git.run(&["fetch", "--", &shared, object])
            .await
            .map_err(failing)?;
        let name = bundled_as(&self.resolved.reference);
        git.run(&["update-ref", &name, object])
            .await
            .map_err(failing)?;
        let target = self.tree.join(BUNDLE);
        let target = target.to_string_lossy();
        git.run(&["bundle", "create", &target, &name])
            .await
            .map_err(failing)?;
        Ok(())
    }

    /// The committer's time in seconds since 1970.
    async fn commit_time(&self) -> Result<i64, Failure> {
        let shown = &self.wanted.address.shown;
        let commit = format!("{}^{{commit}}", self.resolved.object);
        let what = format!("failed to get commit time for {shown}");
        let text = self
            .repository
            .git
            .line(&["log", "-1", "--format=%ct", &commit, "--"])
            .await
            .map_err(|error| error.failing(&what))?;
        text.parse()
            .map_err(|_| Failure::new(FailureKind::InvalidInput, format!("{what}: {text:?}")))
    }
}

/// The name of a bundle's only reference: a branch, unless it is a tag.
fn bundled_as(reference: &str) -> String {
    if reference.is_empty() || is_object_id(reference) {
        return "refs/heads/main".to_owned();
    }
    if reference.starts_with("refs/tags/") {
        return reference.to_owned();
    }
    let name = reference.strip_prefix("refs/").unwrap_or(reference);
    format!("refs/heads/{}", name.strip_prefix("heads/").unwrap_or(name))
}

/// Removes the files by which submodules find their repositories, which are not in the result.
fn forget_repositories(tree: &Path) -> Result<(), Failure> {
    let removed = || {
        let root = Root::open(tree)?;
        let mut pointers: Vec<PathBuf> = Vec::new();
        root.walk::<ConfineError>(Path::new("."), |path, _, metadata| {
            if metadata.is_file() && path.file_name() == Some(OsStr::new(".git")) {
                pointers.push(path.to_owned());
            }
            Ok(Visit::Enter)
        })?;
        for pointer in pointers {
            root.remove_all(&pointer)?;
        }
        Ok::<_, ConfineError>(())
    };
    removed().map_err(|error| broken("a submodule", &error))
}

/// Makes a layer and a result of a folder of the checkout.
fn keep(
    snapshots: &Snapshots,
    scratch: &Path,
    subdir: &str,
    time: Option<i64>,
    description: &str,
) -> Result<ResultId, Failure> {
    let infrastructure = |error: &dyn std::fmt::Display| broken("a checkout", error);
    let root = Root::open(scratch).map_err(|error| infrastructure(&error))?;
    choose(&root, subdir)?;
    let layer = scratch.join("layer");
    let root = Root::open(&layer).map_err(|error| infrastructure(&error))?;
    let size = dress(&root, time).map_err(|error| infrastructure(&error))?;
    let (id, now) = (LayerId::random(), now_ns());
    snapshots
        .adopt_layer(&layer, LayerInfo::new(id.clone(), description, size, now))
        .map_err(|error| infrastructure(&error))?;
    let mut info = ResultInfo::new(vec![id], description, now);
    info.record_type = RECORD_TYPE.to_owned();
    let saved = snapshots.meta().save_result(info);
    saved.map_err(|error| infrastructure(&error))
}

/// Names what is wanted of the checkout `layer`. No part of the way may be a link, which the repository chose.
fn choose(scratch: &Root, subdir: &str) -> Result<(), Failure> {
    let chosen = Path::new("tree").join(subdir);
    let refused = |why: String| {
        Failure::new(
            FailureKind::InvalidInput,
            format!("invalid subdir {subdir}: {why}"),
        )
    };
    let node = scratch.resolve_without_links(&chosen);
    let metadata = node.and_then(|node| node.metadata());
    match metadata {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(refused("not a directory".into())),
        Err(error) => return Err(refused(error.to_string())),
    }
    let renamed = scratch.rename(&chosen, Path::new("layer"));
    renamed.map_err(|error| refused(error.to_string()))
}

/// Gives everything the time, if one is given, and says how many bytes there are.
fn dress(root: &Root, time: Option<i64>) -> Result<u64, ConfineError> {
    let mut size = 0;
    let mut directories: Vec<PathBuf> = vec![PathBuf::from(".")];
    let at = |seconds| Time { seconds, nanos: 0 };
    root.walk::<ConfineError>(Path::new("."), |path, node, metadata| {
        size += metadata.size;
        match time {
            Some(_) if metadata.is_dir() => directories.push(path.to_owned()),
            Some(time) => node.set_times(at(time), at(time))?,
            None => {}
        }
        Ok(Visit::Enter)
    })?;
    root.resolve(Path::new("."), Last::NoFollow)?
        .set_mode(0o755)?;
    if let Some(time) = time {
        // What is in a folder was changed before the folder is.
        for directory in directories.iter().rev() {
            let node = root.resolve(directory, Last::NoFollow)?;
            node.set_times(at(time), at(time))?;
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A8
    #[test]
    fn only_folders_of_the_checkout_can_be_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("outside/secret")).unwrap();
        fs::create_dir_all(path("scratch/tree/a/b")).unwrap();
        fs::write(path("scratch/tree/file"), "").unwrap();
        for (link, target) in [
            ("up", "../../outside"),
            ("absolute", "/etc"),
            ("a/back", ".."),
            ("inside", "a"),
        ] {
            std::os::unix::fs::symlink(target, path("scratch/tree").join(link)).unwrap();
        }
        let root = Root::open(&path("scratch")).unwrap();
        for subdir in [
            "up",
            "up/secret",
            "absolute",
            "a/back",
            "a/back/a",
            "inside",
            "inside/b",
            "file",
            "missing",
        ] {
            let failure = choose(&root, subdir).unwrap_err();
            assert_eq!(failure.kind, FailureKind::InvalidInput, "{subdir}");
            assert!(failure.message.starts_with("invalid subdir"), "{failure}");
        }
        choose(&root, "a").unwrap();
        assert!(path("scratch/layer/b").is_dir());
    }

    #[test]
    fn a_bundle_s_reference_is_a_branch_or_a_tag() {
        for (reference, want) in [
            ("", "refs/heads/main"),
            ("v1", "refs/heads/v1"),
            ("refs/heads/x/y", "refs/heads/x/y"),
            ("heads/x", "refs/heads/x"),
            ("refs/tags/v1", "refs/tags/v1"),
        ] {
            assert_eq!(bundled_as(reference), want);
        }
    }
}
