use std::fmt::Write as _;

use super::duration::{bytes, seconds};
use super::state::Progress;

/// Steps that are listed by their time.
const LISTED: usize = 5;

/// One layer of the image that was made, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerLine {
    /// Size as it is stored, in bytes.
    pub size: u64,
    /// What made it.
    pub created_by: String,
}

/// What to show at the end of a build that went well: what was cached, where the time went and how big each layer
/// is.
#[must_use]
pub fn summary(progress: &Progress, began: u64, now: u64, layers: &[LayerLine]) -> String {
    let total = now.saturating_sub(began);
    let all: Vec<_> = progress.vertices().filter(|v| v.is_started()).collect();
    let is_step = |name: &str| name.starts_with('[') && !name.contains("internal]");
    let steps: Vec<_> = all.iter().filter(|v| is_step(&v.name)).collect();
    let cached = steps.iter().filter(|v| v.cached).count();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "Built in {}: {} step{}, {cached} from the cache",
        seconds(total),
        steps.len(),
        if steps.len() == 1 { "" } else { "s" },
    );
    let mut slow: Vec<_> = all
        .iter()
        .filter(|v| !v.cached && v.duration(now) >= 100_000_000)
        .collect();
    // Stable, so that steps of equal time keep their order.
    slow.sort_by_key(|v| std::cmp::Reverse(v.duration(now)));
    if !slow.is_empty() {
        let _ = writeln!(out, "\nWhere the time went:");
        for vertex in slow.iter().take(LISTED) {
            let time = seconds(vertex.duration(now));
            let _ = writeln!(out, "  {time:>8}  {}", short(&vertex.name));
        }
        if let Some(rest) = slow.get(LISTED..).filter(|rest| !rest.is_empty()) {
            let longest = rest.first().map_or(0, |v| v.duration(now));
            let time = seconds(longest);
            let _ = writeln!(out, "  {} more, none above {time}", rest.len());
        }
    }
    if !layers.is_empty() {
        let sum: u64 = layers.iter().map(|l| l.size).sum();
        let _ = writeln!(out, "\nLayers ({} in all):", bytes(sum));
        for layer in layers {
            let size = bytes(layer.size);
            let _ = writeln!(out, "  {size:>9}  {}", short(&layer.created_by));
        }
    }
    out
}

fn short(text: &str) -> String {
    let text = super::state::clean(text);
    if text.chars().count() <= 90 {
        return text;
    }
    text.chars().take(87).chain("...".chars()).collect()
}
