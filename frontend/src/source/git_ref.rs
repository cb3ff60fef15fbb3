//! What of a repository an ADD source or a build context names (features.md A7).

use super::git_url::GitUrl;
use crate::golang::number::parse_bool;
use crate::golang::quote::quote;

/// A repository and what of it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GitRef {
    /// What git is given.
    pub(crate) remote: String,
    /// Branch, tag or commit, or empty.
    pub(crate) reference: String,
    /// Expected commit, or empty.
    pub(crate) checksum: String,
    /// Folder, or empty.
    pub(crate) subdir: String,
    /// Whether it could as well be a path: the old form `github.com/…`.
    pub(crate) like_a_path: bool,
    /// Whether `.git` stays, if said.
    pub(crate) keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, if said.
    pub(crate) submodules: Option<bool>,
    /// Where times come from, or empty.
    pub(crate) mtime: String,
    /// Whether the checksum is fetched without asking for the reference.
    pub(crate) fetch_by_commit: bool,
}

impl GitRef {
    /// `None` if the text names no repository, an error if it names one badly.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.starts_with("./") || text.starts_with("../") {
            return None;
        }
        let like_a_path = text.starts_with("github.com/");
        let url = if like_a_path {
            GitUrl::parse(&format!("https://{text}")).ok()?
        } else {
            let url = GitUrl::parse(text).ok()?;
            if matches!(url.scheme.as_str(), "http" | "https") && !url.path.ends_with(".git") {
                return None;
            }
            url
        };
        let remote = match url.remote.strip_prefix("https://") {
            Some(rest) if like_a_path => rest.to_owned(),
            _ => url.remote.clone(),
        };
        let mut found = Self {
            remote,
            reference: url.reference,
            subdir: url.subdir,
            like_a_path,
            ..Self::default()
        };
        Some(found.query(&url.query).map(|()| found))
    }

    fn query(&mut self, query: &[(String, String)]) -> Result<(), String> {
        let mut tag = None;
        let mut branch = None;
        for (at, (key, value)) in query.iter().enumerate() {
            if query[..at].iter().any(|(known, _)| known == key) {
                return Err(format!("query {} has multiple values", quote(key)));
            }
            let truth = || match value.as_str() {
                "" => Ok(true),
                text => {
                    parse_bool(text).ok_or_else(|| format!("invalid {key} value: {}", quote(text)))
                }
            };
            match key.as_str() {
                "submodules" => self.submodules = Some(truth()?),
                "keep-git-dir" => self.keep_git_dir = Some(truth()?),
                "fetch-by-commit" => self.fetch_by_commit = truth()?,
                "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime"
                    if value.is_empty() =>
                {
                    return Err(format!("query {} has no value", quote(key)));
                }
                "ref" => agree("ref", &mut self.reference, value)?,
                "tag" => tag = Some(value),
                "branch" => branch = Some(value),
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "checksum" | "commit" => self.checksum.clone_from(value),
                "mtime" if matches!(value.as_str(), "checkout" | "commit") => {
                    self.mtime.clone_from(value)
                }
                "mtime" => {
                    return Err(format!(
                        "invalid mtime value: {} (must be \"checkout\" or \"commit\")",
                        quote(value)
                    ));
                }
                _ => return Err(format!("unexpected query {}", quote(key))),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        for (value, prefix) in [(tag, "refs/tags/"), (branch, "refs/heads/")] {
            if let Some(value) = value {
                let full = if value.starts_with(prefix) {
                    value.clone()
                } else {
                    format!("{prefix}{value}")
                };
                agree("ref", &mut self.reference, &full)?;
            }
        }
        Ok(())
    }
}

fn agree(what: &str, known: &mut String, value: &str) -> Result<(), String> {
    if !known.is_empty() && known != value {
        return Err(format!(
            "{what} conflicts: {} vs {}",
            quote(known),
            quote(value)
        ));
    }
    value.clone_into(known);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_paths_and_urls() {
        for text in [
            "./a",
            "../a",
            "a/b",
            "https://host/a",
            "ftp://host/a.git",
            "a",
            "/x@y:z/",
            "github.com",
        ] {
            assert_eq!(GitRef::parse(text), None, "{text}");
        }
        for text in [
            "https://host/a.git",
            "git://host/a",
            "git@host:a",
            "ssh://git@host/a",
            "github.com/a/b",
        ] {
            assert!(GitRef::parse(text).unwrap().is_ok(), "{text}");
        }
    }

    #[test]
    fn fragment_and_query_say_what_is_wanted() {
        let found =
            GitRef::parse("https://host/a.git?tag=v1&subdir=x&keep-git-dir&submodules=false")
                .unwrap()
                .unwrap();
        assert_eq!(
            (
                found.reference.as_str(),
                found.subdir.as_str(),
                found.keep_git_dir,
                found.submodules
            ),
            ("refs/tags/v1", "x", Some(true), Some(false))
        );
        let found = GitRef::parse("git@host:a.git#main:../../b")
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                found.reference.as_str(),
                found.subdir.as_str(),
                found.remote.as_str()
            ),
            ("main", "b", "git@host:a.git")
        );
        for query in [
            "ref=a&tag=b",
            "tag=a&branch=b",
            "nonsense=1",
            "ref=",
            "ref=a&ref=b",
            "mtime=now",
        ] {
            let text = format!("https://host/a.git?{query}");
            assert!(GitRef::parse(&text).unwrap().is_err(), "{query}");
        }
    }
}
