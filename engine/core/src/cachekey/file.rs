use std::collections::{BTreeMap, BTreeSet};

use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::user_opt::User;

use super::cache_map::of_text;
use super::json::{Object, object};
use super::selector::{digest_of_paths, merged};
use super::wire;
use crate::model::{CacheMap, ContentSelector, InputKeyRule};
use crate::patterns::has_wildcard;

/// The key of a file op: each action's message, where of a copied path only the last name counts, and which states the
/// actions take and make unless that is the plain chain of one.
pub(super) fn cache_map(op: &pb::FileOp, inputs: usize) -> CacheMap {
    let actions: Vec<String> = op
        .actions
        .iter()
        .map(|action| text_of(action, inputs))
        .collect();
    let rows: Vec<[i64; 3]> = op
        .actions
        .iter()
        .map(|action| [action.input, action.secondary_input, action.output])
        .collect();
    let text = object(|o| {
        o.always_text("Type", "buildkit.file.v0");
        o.always_blobs("Actions", &actions);
        if !is_plain_chain(&rows) {
            o.rows("indexes", &rows);
        }
    });
    of_text(&text, rules(op, inputs))
}

fn text_of(action: &pb::FileAction, inputs: usize) -> String {
    object(|o: &mut Object<'_>| match action.action.as_ref() {
        Some(Action::Copy(copy)) => {
            let mut copy = copy.clone();
            if input_of(action.secondary_input, inputs).is_some() {
                copy.src = last_name(&copy.src).to_owned();
            }
            wire::copy(&copy, o);
        }
        Some(Action::Mkfile(file)) => wire::make_file(file, o),
        Some(Action::Mkdir(directory)) => wire::make_directory(directory, o),
        Some(Action::Rm(remove)) => wire::remove(remove, o),
        Some(Action::Symlink(link)) => wire::symlink(link, o),
        None => {}
    })
}

/// Whether the actions are a chain as old versions of BuildKit assumed; keys of those leave the numbers out.
fn is_plain_chain(rows: &[[i64; 3]]) -> bool {
    let count = rows.len();
    rows.iter()
        .enumerate()
        .all(|(index, [input, secondary, output])| {
            let before = match index {
                0 => 0,
                // Counted from the number of actions and not of inputs: BuildKit does, so keys depend on it.
                index => i64::try_from(count + index - 1).unwrap_or(i64::MAX),
            };
            let after = if index + 1 == count { 0 } else { -1 };
            *input == before && matches!(secondary, -1 | 1) && *output == after
        })
}

/// What copies and owners look at in each input. An input that an action changes counts as a whole.
fn rules(op: &pb::FileOp, inputs: usize) -> Vec<InputKeyRule> {
    let mut looked_at = BTreeMap::<usize, Vec<ContentSelector>>::new();
    let mut changed = BTreeSet::new();
    let mut look = |input: i64, selector: ContentSelector| {
        if let Some(input) = input_of(input, inputs) {
            looked_at.entry(input).or_default().push(selector);
        }
    };
    for action in &op.actions {
        changed.extend(input_of(action.input, inputs));
        let owner = match action.action.as_ref() {
            Some(Action::Copy(copy)) => copy.owner.as_ref(),
            Some(Action::Mkfile(file)) => file.owner.as_ref(),
            Some(Action::Mkdir(directory)) => directory.owner.as_ref(),
            // BuildKit does not look an owner of a link up.
            Some(Action::Rm(_) | Action::Symlink(_)) | None => None,
        };
        if let Some(owner) = owner {
            look_up(owner.user.as_ref(), "/etc/passwd", &mut look);
            look_up(owner.group.as_ref(), "/etc/group", &mut look);
        }
        if let Some(Action::Copy(copy)) = action.action.as_ref() {
            look(action.secondary_input, copied(copy));
        }
    }
    let rule = |input| match looked_at.get(&input) {
        Some(selectors) if !changed.contains(&input) => {
            let mut paths: Vec<&str> = selectors
                .iter()
                .map(|selector| selector.path.as_str())
                .collect();
            paths.sort_unstable();
            InputKeyRule {
                // In falling order, which is an accident of BuildKit's that keys depend on.
                selector: Some(digest_of_paths(paths.into_iter().rev())),
                content: Some(merged(selectors)),
            }
        }
        _ => InputKeyRule::default(),
    };
    (0..inputs).map(rule).collect()
}

fn look_up(user: Option<&pb::UserOpt>, table: &str, look: &mut impl FnMut(i64, ContentSelector)) {
    if let Some(User::ByName(named)) = user.and_then(|user| user.user.as_ref()) {
        let selector = ContentSelector {
            path: table.to_owned(),
            follow_links: true,
            ..ContentSelector::default()
        };
        look(named.input, selector);
    }
}

fn copied(copy: &pb::FileActionCopy) -> ContentSelector {
    ContentSelector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && has_wildcard(&copy.src),
        follow_links: copy.follow_symlink,
        include_patterns: copy.include_patterns.clone(),
        exclude_patterns: copy.exclude_patterns.clone(),
        required_paths: copy.required_paths.clone(),
    }
}

/// The input that an action's number names; actions before it and nothing are no inputs.
fn input_of(index: i64, inputs: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|input| *input < inputs)
}

/// The last name of a path (Go's `path.Base`).
fn last_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        _ if path.is_empty() => ".",
        Some(name) if !name.is_empty() => name,
        _ => "/",
    }
}
