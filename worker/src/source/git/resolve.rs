use cooper_core::model::{Failure, FailureKind};

use super::command::Git;
use super::reference::{is_object_id, is_reference};
use super::wanted::GitWanted;

/// What a server says of one reference. Says nothing of what a source wants of it, so that sources of one build that
/// want different things can share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertised {
    /// The reference as the source names it, or the default branch.
    pub(super) reference: String,
    /// Its full name.
    full_name: String,
    /// What it names: a commit, or the object of an annotated tag.
    object: String,
    /// The commit of an annotated tag.
    tagged: Option<String>,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The reference as the source names it, or the default branch.
    pub(super) reference: String,
    /// Its full name; the commit for a commit.
    pub(super) full_name: String,
    /// A commit, or the object of an annotated tag.
    pub(super) object: String,
    /// The commit of an annotated tag, where it counts.
    pub(super) commit: Option<String>,
}

impl Resolved {
    /// What is known without asking the server, if that is enough.
    pub(super) fn without_asking(wanted: &GitWanted) -> Option<Self> {
        let by_checksum = wanted.by_commit && is_object_id(&wanted.checksum);
        let object = match is_object_id(&wanted.reference) {
            true => &wanted.reference,
            false if by_checksum => &wanted.checksum,
            false => return None,
        };
        Some(Self {
            reference: wanted.reference.clone(),
            full_name: wanted.reference.clone(),
            object: object.clone(),
            commit: None,
        })
    }

    /// What a source is by what the server says.
    ///
    /// # Errors
    /// When the source expects another commit.
    pub(super) fn of(wanted: &GitWanted, said: &Advertised) -> Result<Self, Failure> {
        let tagged = said.tagged.as_deref();
        let is_expected = |id: &str| id.starts_with(&wanted.checksum);
        if !is_expected(&said.object) && !tagged.is_some_and(is_expected) {
            let got = match tagged {
                Some(commit) => format!("{} or {commit}", said.object),
                None => said.object.clone(),
            };
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("expected checksum to match {}, got {got}", wanted.checksum),
            ));
        }
        Ok(Self {
            reference: said.reference.clone(),
            full_name: said.full_name.clone(),
            object: said.object.clone(),
            // A kept repository differs by its tag; files alone do not.
            commit: said.tagged.clone().filter(|_| !wanted.keep_git_dir),
        })
    }

    /// The cache key's text.
    pub(super) fn key(&self, wanted: &GitWanted) -> String {
        if is_object_id(&self.full_name) {
            return wanted.key(&self.full_name, &self.full_name);
        }
        let commit = self.commit.as_ref().unwrap_or(&self.object);
        wanted.key(commit, &self.full_name)
    }

    /// Whether the repository names its objects by sha256.
    pub(super) fn is_sha256(&self) -> bool {
        self.object.len() == 64
    }
}

/// Asks a server what a reference is; `remote` is given to git.
///
/// # Errors
/// `NotFound` when the repository has no such reference, `InvalidInput` with git's words when it cannot be asked.
pub(super) async fn ask(
    git: &Git,
    wanted: &GitWanted,
    remote: &str,
) -> Result<Advertised, Failure> {
    let reference = match wanted.reference.as_str() {
        "" => default_branch(git, wanted, remote).await?,
        reference => reference.to_owned(),
    };
    let peeled = format!("{reference}^{{}}");
    let answer = git
        .run(&["ls-remote", "--", remote, &reference, &peeled])
        .await
        .map_err(|error| error.failing(&failed_to_fetch(wanted)))?;
    choose(&reference, &String::from_utf8_lossy(&answer))
}

/// Chooses as git's checkout does: the name as it is, a branch, a tag.
fn choose(reference: &str, answer: &str) -> Result<Advertised, Failure> {
    let prefixed = |prefix: &str| {
        let rest = reference.strip_prefix(prefix).unwrap_or(reference);
        format!("{prefix}{rest}")
    };
    let find = |name: &str| {
        let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, it)| *it == name).map(|(id, _)| id)
    };
    let tag = prefixed("refs/tags/");
    let named = [prefixed("refs/"), prefixed("refs/heads/"), tag.clone()];
    let found = named
        .into_iter()
        .find_map(|name| find(&name).map(|id| (name, id.to_owned())));
    let Some((full_name, object)) = found else {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("repository does not contain ref {reference}, output: {answer:?}"),
        ));
    };
    let tagged = match full_name == tag {
        true => find(&format!("{tag}^{{}}")).map(str::to_owned),
        false => None,
    };
    for id in [Some(&object), tagged.as_ref()].into_iter().flatten() {
        if !is_object_id(id) {
            return Err(Failure::new(
                FailureKind::InvalidInput,
                format!("invalid commit sha {id:?}"),
            ));
        }
    }
    Ok(Advertised {
        reference: reference.to_owned(),
        full_name,
        object,
        tagged,
    })
}

async fn default_branch(git: &Git, wanted: &GitWanted, remote: &str) -> Result<String, Failure> {
    let shown = &wanted.address.shown;
    let answer = git
        .run(&["ls-remote", "--symref", "--", remote, "HEAD"])
        .await
        .map_err(|error| {
            error.failing(&format!(
                "error fetching default branch for repository {shown}"
            ))
        })?;
    let answer = String::from_utf8_lossy(&answer);
    branch_of(&answer).ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            format!("could not find default branch for repository: {shown}"),
        )
    })
}

/// The branch that `HEAD` stands for. The server chose the name: it must be one.
fn branch_of(answer: &str) -> Option<String> {
    let head = answer
        .lines()
        .find_map(|line| line.strip_prefix("ref: refs/heads/"))?;
    let name = head.split('\t').next()?;
    (!name.is_empty() && is_reference(name)).then(|| name.to_owned())
}

pub(super) fn failed_to_fetch(wanted: &GitWanted) -> String {
    format!("failed to fetch remote {}", wanted.address.shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    // T-A12
    #[test]
    fn a_server_s_default_branch_is_no_option() {
        let named = |name: &str| branch_of(&format!("ref: refs/heads/{name}\tHEAD\n{A}\tHEAD\n"));
        assert_eq!(named("main").as_deref(), Some("main"));
        for name in ["--upload-pack=touch /tmp/x", "-x", "a:b", "a b", "", "a^{}"] {
            assert_eq!(named(name), None, "{name}");
        }
        assert_eq!(branch_of(&format!("{A}\tHEAD\n")), None);
    }

    #[test]
    fn a_name_is_a_branch_before_it_is_a_tag() {
        let answer = format!(
            "{A}\trefs/heads/x\n{B}\trefs/tags/x\n{C}\trefs/tags/x^{{}}\n{C}\trefs/remotes/o/x\n"
        );
        let said = choose("x", &answer).unwrap();
        assert_eq!(
            (said.full_name.as_str(), said.object.as_str()),
            ("refs/heads/x", A)
        );
        assert_eq!(said.tagged, None);
        let said = choose("refs/tags/x", &answer).unwrap();
        assert_eq!((said.object.as_str(), said.tagged.as_deref()), (B, Some(C)));
        let said = choose("tags/x", &answer).unwrap();
        assert_eq!(said.full_name, "refs/tags/x");
        assert!(choose("y", &answer).is_err());
        assert!(choose("x", "--upload-pack=x\trefs/heads/x\n").is_err());
    }
}
