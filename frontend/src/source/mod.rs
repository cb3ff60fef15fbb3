//! Places that sources name: git repositories and URLs.

pub(crate) mod git_ref;
pub(crate) mod git_url;

mod remote;

pub(crate) use git_ref::GitRef;
pub use remote::Remote;

/// Whether an ADD source is a file by URL: http or https, and not a git repository.
pub(crate) fn is_http(source: &str) -> bool {
    (source.starts_with("http://") || source.starts_with("https://"))
        && GitRef::parse(source).is_none()
}
