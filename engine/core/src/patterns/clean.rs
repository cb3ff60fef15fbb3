/// The shortest path that means the same by its text alone (Go's `path.Clean`): no `.`, no doubled slashes, `..`
/// taken back where possible; `.` for the empty path.
#[must_use]
pub fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => String::from("."),
        (false, false) => joined,
    }
}

/// A path from a root that `..` does not leave, by its text alone, without a slash at its ends; empty for the root.
#[must_use]
pub fn path_inside(path: &str) -> String {
    let mut rooted = clean_path(&format!("/{path}"));
    rooted.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_whatever_its_parts_say() {
        for (path, inside) in [
            ("", ""),
            ("/", ""),
            ("..", ""),
            ("../../a", "a"),
            ("/a//./b/", "a/b"),
            ("a/../../b", "b"),
            ("a/..", ""),
        ] {
            assert_eq!(path_inside(path), inside, "{path:?}");
        }
    }
}
