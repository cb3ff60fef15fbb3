//! Paths and shells of the system that an image is for. Ops know one kind of path only, that of Linux.

use crate::diagnostic::Fault;
use crate::golang::path::clean;
use crate::golang::quote::quote;

const WINDOWS: &str = "windows";

/// Whether an image of this system has paths with `\` and drive letters.
pub(super) fn is_windows(os: &str) -> bool {
    os == WINDOWS
}

/// What runs a command that is one text.
pub(super) fn shell(os: &str) -> Vec<String> {
    let words: &[&str] = if is_windows(os) {
        &["cmd", "/S", "/C"]
    } else {
        &["/bin/sh", "-c"]
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A path of an instruction as ops have it: without the letter of the system drive, with `/`.
///
/// # Errors
/// A path that is on another drive, or on another machine.
pub(super) fn portable(path: &str, os: &str) -> Result<String, Fault> {
    if !is_windows(os) {
        return Ok(path.to_owned());
    }
    let slashed = path.replace('\\', "/");
    if slashed.starts_with("//") {
        return Err(Fault::new("UNC paths are not supported"));
    }
    let Some((drive, rest)) = slashed.split_once(':') else {
        // BuildKit keeps a slash at the end of absolute paths only.
        return Ok(match slashed.strip_suffix('/') {
            Some(relative) if !slashed.starts_with('/') => relative.to_owned(),
            _ => slashed,
        });
    };
    if rest.is_empty() {
        return Err(Fault::new(format!(
            "No relative path specified in {}",
            quote(path)
        )));
    }
    if !drive.eq_ignore_ascii_case("c") {
        return Err(Fault::new(
            "The specified path is not on the system drive (C:)",
        ));
    }
    let keeps_slash = rest.len() > 1 && rest.ends_with('/');
    let mut rest = clean(rest);
    if keeps_slash {
        rest.push('/');
    }
    Ok(rest)
}

/// A path of an op as the system writes it.
pub(super) fn native(path: &str, os: &str) -> String {
    if is_windows(os) {
        path.replace('/', "\\")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_windows_lose_the_system_drive() {
        for (given, want) in [
            (r"C:\app\x", "/app/x"),
            (r"c:\app\", "/app/"),
            ("a/b", "a/b"),
            ("a/b/", "a/b"),
            ("/a/", "/a/"),
            (r"\a", "/a"),
            ("C:rel", "rel"),
        ] {
            assert_eq!(portable(given, "windows").unwrap(), want, "{given}");
        }
        for wrong in ["C:", r"d:\x", r"\\machine\share"] {
            assert!(portable(wrong, "windows").is_err(), "{wrong}");
        }
        assert_eq!(portable(r"C:\x", "linux").unwrap(), r"C:\x");
        assert_eq!(native("/a/b", "windows"), r"\a\b");
    }
}
