//! The nearest name to a misspelt one.

/// Names farther away than this are no misspelling of each other. BuildKit suggests up to the same distance.
const FAR: usize = 3;

/// The option nearest to `given`, if any is nearer than three edits. An exact match is no misspelling: the error lies elsewhere.
pub(crate) fn nearest<'a>(
    given: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut best = None;
    let mut least = FAR;
    for option in options {
        if option == given {
            return None;
        }
        let edits = distance(given, option, least);
        if edits < least {
            least = edits;
            best = Some(option.to_owned());
        }
    }
    best
}

/// As [`nearest`], but blind to case; the answer takes the case of what was given when that has one.
pub(crate) fn nearest_any_case<'a>(
    given: &str,
    options: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let lower: Vec<String> = options.into_iter().map(str::to_lowercase).collect();
    let found = nearest(&given.to_lowercase(), lower.iter().map(String::as_str))?;
    if given == given.to_uppercase() {
        Some(found.to_uppercase())
    } else {
        Some(found)
    }
}

/// Levenshtein's distance, or `limit` as soon as it cannot be less.
fn distance(left: &str, right: &str, limit: usize) -> usize {
    let right: Vec<char> = right.chars().collect();
    let left: Vec<char> = left.chars().collect();
    if left.len().abs_diff(right.len()) >= limit {
        return limit;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
        if row.iter().all(|&edits| edits >= limit) {
            return limit;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_are_near_and_three_are_not() {
        assert_eq!(
            nearest("bulid", ["build", "test"]).as_deref(),
            Some("build")
        );
        assert_eq!(nearest("abc", ["xyz", "abcdef"]), None);
    }

    #[test]
    fn an_exact_name_has_no_suggestion() {
        assert_eq!(nearest("build", ["build", "buildx"]), None);
    }

    #[test]
    fn case_follows_what_was_given() {
        assert_eq!(
            nearest_any_case("RUNN", ["run", "user"]).as_deref(),
            Some("RUN")
        );
        assert_eq!(
            nearest_any_case("coppy", ["COPY", "user"]).as_deref(),
            Some("copy")
        );
        assert_eq!(nearest_any_case("Form", ["FROM"]).as_deref(), Some("from"));
    }
}
