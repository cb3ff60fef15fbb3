//! Changes, shown and applied.

use super::check;
use super::finding::{Change, Finding, Practice};
use crate::diagnostic::Fault;

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What asked for it.
    pub practice: Practice,
    /// What was changed, as a diff of the text as it was then.
    pub diff: String,
}

/// Changes a text until no check knows a change any more.
///
/// # Shape
/// The new text and the changes in the order in which they were made.
///
/// # Errors
/// A text that is no Dockerfile.
pub fn repair(text: &str) -> Result<(String, Vec<Repair>), Fault> {
    let mut text = text.to_owned();
    let mut made = Vec::new();
    // Each change removes what asked for it; a file has no more places than lines times rules.
    let limit = 8 * (text.lines().count() + 1);
    while made.len() < limit {
        let found = check(&text)?;
        let with_change = |finding: &Finding| Some((finding.practice, finding.change.clone()?));
        let Some((practice, change)) = found.iter().find_map(with_change) else {
            break;
        };
        let changed = applied(&text, &change);
        if changed == text {
            break;
        }
        let diff = diff(&text, &change);
        made.push(Repair { practice, diff });
        text = changed;
    }
    Ok((text, made))
}

fn applied(text: &str, change: &Change) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let from = (change.lines.start as usize).saturating_sub(1);
    let to = (change.lines.end as usize).min(lines.len());
    let new: Vec<&str> = change
        .text
        .iter()
        .flat_map(|text| text.split('\n'))
        .collect();
    lines.splice(from.min(to)..to, new);
    lines.join("\n")
}

/// A change as a diff.
#[must_use]
pub fn diff(text: &str, change: &Change) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let from = (change.lines.start as usize).saturating_sub(1);
    let to = (change.lines.end as usize).min(lines.len());
    let old = &lines[from.min(to)..to];
    let new: Vec<&str> = change
        .text
        .iter()
        .flat_map(|text| text.split('\n'))
        .collect();
    let mut out = format!(
        "@@ -{},{} +{},{} @@\n",
        change.lines.start,
        old.len(),
        change.lines.start,
        new.len()
    );
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    for line in &old[..same] {
        out.push_str(&format!(" {line}\n"));
    }
    for line in &old[same..] {
        out.push_str(&format!("-{line}\n"));
    }
    for line in &new[same..] {
        out.push_str(&format!("+{line}\n"));
    }
    out
}
