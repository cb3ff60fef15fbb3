use std::path::{Path, PathBuf};

use cooper_core::patterns::{PatternList, clean_path};
use cooper_proto::pb;

use super::copier::{Copier, Rules};
use super::error::FileOpError;
use super::mode_change::ModeChange;
use super::path::{clean, directory_part, expand, follow};
use super::plan::Stop;
use super::single::{make_directories, set_times, timestamp};
use super::unpack;
use crate::confine::{Last, Owner, Root};
use crate::limits::Limits;

/// What a copy may use.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) source: &'a Root,
    pub(super) target: &'a Root,
    pub(super) owner: Option<Owner>,
    pub(super) limits: &'a Limits,
    pub(super) stop: &'a Stop,
}

/// Copies what the action names in `source` to where it says in `target`.
///
/// # Errors
/// Where the source does not exist, a directory is in the way of a file or something else in the way of a directory,
/// or an archive that has to be unpacked is refused.
pub fn copy(
    source: &Root,
    target: &Root,
    action: &pb::FileActionCopy,
    owner: Option<Owner>,
    limits: &Limits,
    stop: &Stop,
) -> Result<(), FileOpError> {
    let scene = Scene {
        source,
        target,
        owner,
        limits,
        stop,
    };
    let rules = rules(action, owner)?;
    let destination = clean(&action.dest);
    if !action.create_dest_path {
        require_parent(target, &action.dest)?;
    }
    require_paths(source, &action.required_paths)?;
    let from = clean(&action.src);
    let sources = if action.allow_wildcard {
        let found = expand(source, &from, action.follow_symlink)?;
        if found.is_empty() && !action.allow_empty_wildcard {
            return Err(FileOpError::NotFound(from));
        }
        found
    } else {
        vec![from]
    };
    for from in sources {
        if action.attempt_unpack_docker_compatibility
            && unpack::unpack_archive(scene, &from, &destination, rules.time)?
        {
            continue;
        }
        copy_one(scene, action, &rules, &from, &destination)?;
    }
    Ok(())
}

fn rules(action: &pb::FileActionCopy, owner: Option<Owner>) -> Result<Rules, FileOpError> {
    let patterns = |list, texts: &[String]| match texts {
        [] => Ok(None),
        texts => PatternList::new(texts)
            .map(Some)
            .map_err(|source| FileOpError::Pattern { list, source }),
    };
    let (mut change, mut fixed) = (None, None);
    if !action.mode_str.is_empty() {
        change = Some(ModeChange::parse(&action.mode_str)?);
    } else if action.mode != -1 {
        fixed = Some(action.mode.cast_unsigned() & 0o7777);
    }
    Ok(Rules {
        owner,
        time: timestamp(action.timestamp),
        fixed_mode: fixed,
        mode_change: change,
        includes: patterns("includepatterns", &action.include_patterns)?,
        excludes: patterns("excludepatterns", &action.exclude_patterns)?,
        replace: action.always_replace_existing_dest_paths,
    })
}

fn require_parent(target: &Root, destination: &str) -> Result<(), FileOpError> {
    let path = follow(target, Path::new(destination))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    target
        .metadata(parent, Last::NoFollow)
        .map(drop)
        .map_err(FileOpError::at("failed to stat", Path::new(destination)))
}

/// Paths that a pattern must not silently leave out (`COPY --parents` names them).
fn require_paths(source: &Root, paths: &[String]) -> Result<(), FileOpError> {
    for path in paths {
        let place = clean_path(&format!("/{path}"));
        source
            .metadata(Path::new(&place), Last::NoFollow)
            .map_err(|error| {
                if super::path::is_nothing(&error) {
                    FileOpError::NotFound(format!("{path:?}"))
                } else {
                    error.into()
                }
            })?;
    }
    Ok(())
}

fn copy_one(
    scene: Scene<'_>,
    action: &pb::FileActionCopy,
    rules: &Rules,
    from: &str,
    destination: &str,
) -> Result<(), FileOpError> {
    let target = scene.target;
    let above = follow(target, Path::new(directory_part(destination)))?;
    let parent_mode = rules.fixed_mode.unwrap_or(0o755) & 0o777;
    let mut made = make_directories(target, &above, parent_mode, rules.owner)?;
    let destination = follow(target, Path::new(&clean_path(destination)))?;
    let source = if action.follow_symlink {
        follow(scene.source, Path::new(from))?
    } else {
        let plain = PathBuf::from(clean_path(from));
        let parent = follow(scene.source, plain.parent().unwrap_or(Path::new("/")))?;
        parent.join(plain.file_name().unwrap_or_default())
    };
    let node = scene
        .source
        .resolve(&source, Last::NoFollow)
        .map_err(FileOpError::at("lstat", Path::new(from)))?;
    let metadata = node.metadata()?;
    let there = match target.metadata(&destination, Last::NoFollow) {
        Err(error) if super::path::is_nothing(&error) => None,
        there => Some(there?),
    };
    let into_directory = if metadata.is_dir() {
        there.is_some() && !action.dir_copy_contents
    } else {
        there.as_ref().is_some_and(crate::confine::Metadata::is_dir)
    };
    let is_new = there.is_none();
    let place = if into_directory {
        destination.join(last_name(from))
    } else {
        destination
    };
    let parent = if action.dir_copy_contents && metadata.is_dir() && is_new {
        place.clone()
    } else {
        place.parent().map_or_else(PathBuf::new, Path::to_owned)
    };
    made.extend(make_directories(target, &parent, parent_mode, rules.owner)?);
    Copier::new(scene, rules).copy(&source, &node, &metadata, &place)?;
    set_times(target, &made, rules.time)
}

/// The name under which a source is put into a directory; none for one that ends in `/.`.
fn last_name(from: &str) -> PathBuf {
    if from.ends_with("/.") {
        return PathBuf::new();
    }
    let cleaned = PathBuf::from(clean_path(from));
    cleaned.file_name().map(PathBuf::from).unwrap_or_default()
}
