/// Whether a text is the whole name of an object, of either kind of repository.
pub(super) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether git takes a text as nothing but the name of a reference: no option, no refspec, no expression
/// (`git check-ref-format`).
pub(super) fn is_reference(text: &str) -> bool {
    let strange = |c: char| {
        c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\' | '\u{7f}')
    };
    !text.starts_with(['-', '/', '+'])
        && !text.ends_with(['/', '.'])
        && !text.contains(strange)
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains("//")
        && text
            .split('/')
            .all(|part| !part.starts_with('.') && !part.ends_with(".lock"))
}

/// The full name that git gives a reference when it is fetched into a new repository.
pub(super) fn landed_as(reference: &str, is_tag: bool) -> String {
    let is_full = reference.starts_with("refs/");
    let is_half = ["heads/", "tags/", "remotes/"]
        .iter()
        .any(|it| reference.starts_with(it));
    match (is_tag, is_full, is_half) {
        (true, _, _) if reference.starts_with("refs/tags/") => reference.to_owned(),
        (true, _, _) => format!("refs/tags/{reference}"),
        (false, true, _) => reference.to_owned(),
        (false, false, true) => format!("refs/{reference}"),
        (false, false, false) => format!("refs/heads/{reference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A12, T-C15
    #[test]
    fn references_are_names_and_nothing_else() {
        for text in [
            "",
            "main",
            "v1.0",
            "refs/heads/a-b",
            "feature/x",
            "HEAD",
            "ünï",
            "@",
        ] {
            assert!(is_reference(text), "{text}");
        }
        for text in [
            "-x",
            "--upload-pack=touch /tmp/x",
            "a b",
            "a:b",
            "+a",
            "a^{}",
            "a~1",
            "a..b",
            "a@{1}",
            "*",
            "a\nb",
            "/a",
            "a/",
            "a//b",
            "a.lock",
            ".a",
            "a/.b",
        ] {
            assert!(!is_reference(text), "{text}");
        }
    }

    #[test]
    fn objects_are_named_in_full_and_in_lower_case() {
        assert!(is_object_id(&"0a".repeat(20)));
        assert!(is_object_id(&"0a".repeat(32)));
        assert!(!is_object_id(&"0A".repeat(20)));
        assert!(!is_object_id(&"0a".repeat(19)));
        assert!(!is_object_id(""));
    }
}
