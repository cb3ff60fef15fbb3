//! The digests that a content key was made of, path by path.

use cooper_core::model::ContentSelector;
use cooper_core::patterns::{Wildcard, clean_path};
use cooper_proto::Digest;

use super::state::Checksums;

impl Checksums<'_> {
    /// What is known of the paths that selectors name: of files and links their digests, of directories, with a `/` at
    /// their ends, those of their own headers. Nothing where it is more than `limit`.
    #[must_use]
    pub fn listed(&self, selectors: &[ContentSelector], limit: usize) -> Vec<(String, Digest)> {
        let all: Vec<Selected> = selectors.iter().map(Selected::of).collect();
        let is_selected =
            |path: &str| all.is_empty() || all.iter().any(|selected| selected.has(path));
        let mut listed = Vec::new();
        for (key, digest) in self.known() {
            // A directory is told by its own header, not by all that is below it.
            if key.is_empty() || self.is_directory(key) || !is_selected(key) {
                continue;
            }
            if listed.len() == limit {
                return Vec::new();
            }
            listed.push((key.trim_start_matches('/').to_owned(), digest.clone()));
        }
        listed
    }
}

/// A selector's path.
struct Selected {
    path: String,
    wildcard: Option<Wildcard>,
}

impl Selected {
    fn of(selector: &ContentSelector) -> Self {
        let path = clean_path(&format!("/{}", selector.path));
        let path = path.trim_end_matches('/').to_owned();
        let wildcard = selector
            .wildcard
            .then(|| Wildcard::new(&path).ok())
            .flatten();
        Self { path, wildcard }
    }

    /// Whether it names a path or a directory above it.
    fn has(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| match &self.wildcard {
            Some(wildcard) => wildcard.matches(&path[..end]),
            None => path[..end] == *self.path,
        })
    }
}
