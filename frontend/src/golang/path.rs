//! `path.Clean` and `path.Join`: lexical, `/` only.

pub(crate) use cooper_core::patterns::clean_path as clean;

/// Joins the parts that are not empty and cleans the outcome; nothing to join gives the empty path.
pub(crate) fn join(parts: &[&str]) -> String {
    let joined: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !part.is_empty())
        .collect();
    if joined.is_empty() {
        String::new()
    } else {
        clean(&joined.join("/"))
    }
}

/// The last part, `.` for the empty path and `/` for a path of slashes.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// All but the last part, cleaned.
pub(crate) fn dir(path: &str) -> String {
    match path.rfind('/') {
        Some(slash) => clean(&path[..=slash]),
        None => ".".to_owned(),
    }
}

/// Whether the path starts at the root.
pub(crate) fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_is_lexical() {
        for (given, want) in [
            ("", "."),
            ("a/../..", ".."),
            ("/..", "/"),
            ("/a/./b//c/..", "/a/b"),
            ("./a/", "a"),
            ("../a", "../a"),
            ("/", "/"),
        ] {
            assert_eq!(clean(given), want, "{given}");
        }
    }

    #[test]
    fn joining_skips_empty_parts() {
        assert_eq!(join(&["", "a", "../b"]), "b");
        assert_eq!(join(&["", ""]), "");
        assert_eq!(join(&["/", ""]), "/");
    }

    #[test]
    fn base_and_dir_split_the_last_part() {
        assert_eq!((base("/a/b"), dir("/a/b").as_str()), ("b", "/a"));
        assert_eq!((base(""), base("///"), dir("a").as_str()), (".", "/", "."));
    }
}
