use super::GitRef;
use super::git_url::GitUrl;

/// A place that a build context names and that is not on the client's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A repository. One that is written badly is told of when it is built.
    Git {
        /// Whether it is reached by ssh.
        ssh: bool,
        /// Whether it could as well be a path: the old form `github.com/…`.
        like_a_path: bool,
    },
    /// An archive or a Dockerfile by URL.
    Http,
}

impl Remote {
    /// What a text names; `None` for a path.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        match GitRef::parse(text) {
            Some(parsed) => Some(Self::Git {
                ssh: GitUrl::parse(text).is_ok_and(|url| url.scheme == "ssh"),
                like_a_path: parsed.is_ok_and(|parsed| parsed.like_a_path),
            }),
            None if super::is_http(text) => Some(Self::Http),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_urls_are_told_from_paths() {
        let git = |ssh, like_a_path| Some(Remote::Git { ssh, like_a_path });
        assert_eq!(Remote::of("https://h/a.git#main:sub"), git(false, false));
        assert_eq!(
            Remote::of("https://h/a.git?branch=x&subdir=y"),
            git(false, false)
        );
        assert_eq!(Remote::of("git://h/a"), git(false, false));
        assert_eq!(Remote::of("git@h:a/b.git"), git(true, false));
        assert_eq!(Remote::of("ssh://git@h/a"), git(true, false));
        assert_eq!(Remote::of("github.com/a/b"), git(false, true));
        assert_eq!(Remote::of("https://h/a.tar.gz"), Some(Remote::Http));
        assert_eq!(Remote::of("./a.git"), None);
        assert_eq!(Remote::of("folder"), None);
    }
}
