//! Which part of an input an op looks at.

use std::collections::BTreeSet;

use cooper_proto::Digest;

use crate::model::ContentSelector;
use crate::patterns::clean_path;

/// The digest of a list of paths.
pub(super) fn digest_of_paths<'a>(paths: impl Iterator<Item = &'a str>) -> Digest {
    Digest::sha256_of(paths.collect::<Vec<_>>().join("\0"))
}

/// Paths without repeats and without those below others of the list, sorted. A list of one path is left as it is.
pub(super) fn without_nested(paths: Vec<String>) -> Vec<String> {
    if paths.len() <= 1 {
        return paths;
    }
    let all: BTreeSet<String> = paths.into_iter().collect();
    let nested = |path: &String| {
        path.match_indices('/').any(|(slash, _)| {
            let (above, with_slash) = (&path[..slash], &path[..=slash]);
            let is_above = !above.ends_with('/') && all.contains(above);
            is_above || (with_slash != path && all.contains(with_slash))
        })
    };
    all.iter().filter(|path| !nested(path)).cloned().collect()
}

/// Selectors without those that others cover, sorted by path. Selectors with patterns are all kept.
pub(super) fn merged(selectors: &[ContentSelector]) -> Vec<ContentSelector> {
    let filters = |selector: &ContentSelector| {
        selector.wildcard
            || !selector.include_patterns.is_empty()
            || !selector.exclude_patterns.is_empty()
    };
    let plain = |follow_links: bool| {
        let paths = selectors
            .iter()
            .filter(|selector| !filters(selector) && selector.follow_links == follow_links)
            .map(|selector| selector.path.clone());
        without_nested(paths.collect())
            .into_iter()
            .map(move |path| ContentSelector {
                path,
                follow_links,
                ..ContentSelector::default()
            })
    };
    let mut merged: Vec<_> = plain(false).chain(plain(true)).collect();
    merged.extend(
        selectors
            .iter()
            .filter(|selector| filters(selector))
            .cloned(),
    );
    merged.sort_by(|a, b| a.path.cmp(&b.path));
    for selector in &mut merged {
        selector.path = absolute(&selector.path);
    }
    merged
}

/// A path inside an input, from its root and by its text alone.
pub(super) fn absolute(path: &str) -> String {
    clean_path(&format!("/{path}"))
}
