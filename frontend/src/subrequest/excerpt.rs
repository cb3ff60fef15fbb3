//! Lines of a Dockerfile with some around them, as they are shown under a finding or an error.

use crate::diagnostic::Lines;

/// The lines of `places` marked by `>>>`, with two lines before and after, or four around a single one where the file ends
/// early. Empty if no place lies in the text.
#[must_use]
pub fn excerpt(name: &str, text: &str, places: &[Lines]) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let first = places.iter().map(|place| place.start as usize).min();
    let last = places.iter().map(|place| place.end as usize).max();
    let (Some(first), Some(last)) = (first, last) else {
        return String::new();
    };
    if first < 1 || first > lines.len() {
        return String::new();
    }
    let last = last.min(lines.len());
    let around = if first == last { 4 } else { 2 };
    let (mut start, mut end, mut added) = (first, last, 0);
    while added < around {
        if start > 1 {
            start -= 1;
            added += 1;
        }
        if end != lines.len() {
            end += 1;
            added += 1;
        }
        added += 1;
    }
    let mut out = format!("{name}:{first}\n--------------------\n");
    for (number, line) in (start..=end).zip(&lines[start - 1..]) {
        let meant = places
            .iter()
            .any(|place| (place.start as usize..=place.end as usize).contains(&number));
        let mark = if meant { ">>>" } else { "   " };
        out.push_str(&format!(" {number:>3} | {mark} {line}\n"));
    }
    out.push_str("--------------------\n");
    out
}
