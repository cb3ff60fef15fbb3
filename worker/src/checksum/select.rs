use cooper_core::model::ContentSelector;
use cooper_core::patterns::{ParentMatches, PatternList, Wildcard, clean_path, has_wildcard};
use cooper_proto::Digest;
use sha2::{Digest as _, Sha256};

use super::error::ChecksumError;
use super::header::finish;
use super::state::{Checksums, Found};
use crate::confine::{Kind, Last};

/// The paths that a wildcard or patterns select, in the order of the peer's tree: a directory's header before its
/// content, names by their bytes.
pub(super) struct Selection<'a> {
    selector: &'a ContentSelector,
    /// As asked for, cleaned; empty for the root.
    path: String,
    /// The part of `path` that holds no wildcard; empty for the root.
    base: String,
    wildcard: Option<Wildcard>,
    includes: Option<PatternList>,
    excludes: Option<PatternList>,
}

/// One visited object.
struct Visited {
    /// As the selector sees it: links in the base are not resolved.
    name: String,
    found: Found,
    is_selected: bool,
    follow: bool,
    includes: ParentMatches,
    excludes: ParentMatches,
}

/// What is known while the tree is walked.
#[derive(Default)]
struct Walk {
    /// Directories above the current object, as positions in `visited`.
    above: Vec<usize>,
    visited: Vec<Visited>,
    /// Positions in `visited`, in the order of selection.
    selected: Vec<usize>,
    /// The last path that the wildcard matched.
    matched: Option<String>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(selector: &'a ContentSelector) -> Result<Self, ChecksumError> {
        let path = as_key(&selector.path);
        let base = if selector.wildcard {
            literal_part(&path)
        } else {
            path.clone()
        };
        let patterns = |texts: &[String]| match texts {
            [] => Ok(None),
            texts => PatternList::new(texts).map(Some),
        };
        Ok(Self {
            selector,
            base,
            wildcard: match selector.wildcard && !path.is_empty() {
                true => Some(Wildcard::new(&path)?),
                false => None,
            },
            includes: patterns(&selector.include_patterns)?,
            excludes: patterns(&selector.exclude_patterns)?,
            path,
        })
    }

    pub(super) fn digest(&self, sums: &mut Checksums<'_>) -> Result<Digest, ChecksumError> {
        let walk = self.walk(sums)?;
        let selected = || walk.selected.iter().map(|at| &walk.visited[*at]);
        for required in &self.selector.required_paths {
            if !selected().any(|one| one.name.starts_with(required.as_str())) {
                return Err(ChecksumError::NotFound {
                    path: required.clone(),
                });
            }
        }
        let objects: Vec<Found> = selected()
            .filter(|one| one.found.kind != Kind::Symlink || !one.follow)
            .map(|one| Found {
                path: one.found.path.clone(),
                kind: one.found.kind,
            })
            .collect();
        sums.foresee(&objects)?;
        let mut digests = Vec::new();
        for one in selected() {
            digests.push(match one.found.kind {
                Kind::Symlink if one.follow => sums.path(&one.name, true)?,
                _ => sums.own(&one.found)?,
            });
        }
        if let [digest] = digests.as_slice() {
            let only = selected().next().map(|one| base_name(&one.name));
            if only == Some(base_name(&self.selector.path)) {
                return Ok(digest.clone());
            }
        }
        let mut hash = Sha256::new();
        for (one, digest) in selected().zip(&digests) {
            let name = one.name.strip_prefix(&self.base).unwrap_or(&one.name);
            let key = match name {
                "" => String::from("\0"),
                name => name.replace('/', "\0"),
            };
            hash.update(key);
            hash.update(digest.to_string());
        }
        Ok(finish(hash))
    }

    fn walk(&self, sums: &Checksums<'_>) -> Result<Walk, ChecksumError> {
        let mut walk = Walk::default();
        let follow = match &self.wildcard {
            // What a link leads to is looked into only where the wildcard goes on behind it.
            Some(_) if self.base != self.path => Last::Follow,
            _ => Last::NoFollow,
        };
        let Some(top) = sums.find(&self.base, follow)? else {
            return Ok(walk);
        };
        let mut left = vec![(self.base.clone(), top)];
        while let Some((name, found)) = left.pop() {
            let (path, kind) = (found.path.clone(), found.kind);
            self.visit(&mut walk, name.clone(), found)?;
            if kind == Kind::Directory {
                let children = sums.children(&path)?;
                left.extend(children.into_iter().rev().map(|(child, kind)| {
                    let path = format!("{path}/{child}");
                    (format!("{name}/{child}"), Found { path, kind })
                }));
            }
        }
        Ok(walk)
    }

    fn visit(&self, walk: &mut Walk, name: String, found: Found) -> Result<(), ChecksumError> {
        walk.leave_for(&name);
        let is_directory = found.kind == Kind::Directory;
        let Some(candidate) = self.candidate(walk, &name) else {
            return Ok(());
        };
        // A directory that is asked for with a slash behind it, as the root always is, counts without its own header.
        if is_directory && name == self.path && self.selector.path.ends_with('/') {
            return Ok(());
        }
        let follow = walk.above.is_empty() && self.selector.follow_links;
        let mut one = Visited {
            is_selected: false,
            follow,
            includes: ParentMatches::default(),
            excludes: ParentMatches::default(),
            name,
            found,
        };
        let is_wanted = self.is_wanted(walk, &candidate, &mut one)?;
        let at = walk.visited.len();
        walk.visited.push(one);
        if is_wanted {
            for above in walk.above.clone().into_iter().chain([at]) {
                let one = &mut walk.visited[above];
                if !std::mem::replace(&mut one.is_selected, true) {
                    walk.selected.push(above);
                }
            }
        }
        if is_directory {
            walk.above.push(at);
        }
        Ok(())
    }

    /// What the patterns are asked about: the name below what was asked for; `None` where the wildcard does not match.
    fn candidate(&self, walk: &mut Walk, name: &str) -> Option<String> {
        let below = |top: &str| {
            let rest = name.strip_prefix(top).unwrap_or(name);
            rest.trim_start_matches('/').to_owned()
        };
        if !self.selector.wildcard {
            return Some(below(&self.path));
        }
        let Some(wildcard) = &self.wildcard else {
            return Some(below(""));
        };
        let is_below = walk
            .matched
            .as_ref()
            .is_some_and(|matched| name.starts_with(&format!("{matched}/")));
        if !is_below {
            if !wildcard.matches(name) {
                return None;
            }
            walk.matched = Some(name.to_owned());
        }
        Some(below(walk.matched.as_deref().unwrap_or("")))
    }

    fn is_wanted(
        &self,
        walk: &Walk,
        candidate: &str,
        one: &mut Visited,
    ) -> Result<bool, ChecksumError> {
        let unknown = ParentMatches::default();
        let parent = walk.above.last().map(|at| &walk.visited[*at]);
        if let Some(list) = &self.includes {
            let above = parent.map_or(&unknown, |parent| &parent.includes);
            let (matched, here) = list.matches_below(candidate, above)?;
            one.includes = here;
            if !matched {
                return Ok(false);
            }
        }
        if let Some(list) = &self.excludes {
            let above = parent.map_or(&unknown, |parent| &parent.excludes);
            let (matched, here) = list.matches_below(candidate, above)?;
            one.excludes = here;
            if matched {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Walk {
    fn leave_for(&mut self, name: &str) {
        while let Some(at) = self.above.last() {
            if name.starts_with(&format!("{}/", self.visited[*at].name)) {
                return;
            }
            self.above.pop();
        }
    }
}

fn as_key(path: &str) -> String {
    match clean_path(&format!("/{path}")).as_str() {
        "/" => String::new(),
        path => path.to_owned(),
    }
}

/// The leading names of a pattern that hold no wildcard.
fn literal_part(path: &str) -> String {
    let literal = path.split('/').take_while(|name| !has_wildcard(name));
    literal.collect::<Vec<_>>().join("/")
}

fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((_, name)) => name,
        None if trimmed.is_empty() && path.is_empty() => ".",
        None if trimmed.is_empty() => "/",
        None => trimmed,
    }
}
