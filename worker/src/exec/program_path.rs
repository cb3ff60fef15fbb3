use std::ffi::CString;

use super::template::DEFAULT_PATH;

/// Where the program of `arguments[0]` may be, in the order to try.
///
/// A name with a `/` is a path from the working directory; any other is looked for in the `PATH` of `environment`.
pub(super) fn candidates(name: &str, environment: &[String]) -> Vec<CString> {
    if name.contains('/') {
        return CString::new(name).into_iter().collect();
    }
    let path = environment
        .iter()
        .rev()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| {
            if directory.is_empty() {
                format!("./{name}")
            } else {
                format!("{directory}/{name}")
            }
        })
        .filter_map(|candidate| CString::new(candidate).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_without_slash_is_looked_for_in_the_last_path() {
        let environment = ["PATH=/a".to_owned(), "PATH=/b::/c".to_owned()];
        assert_eq!(
            candidates("x", &environment),
            [c"/b/x".to_owned(), c"./x".to_owned(), c"/c/x".to_owned()]
        );
        assert_eq!(candidates("./x", &environment), [c"./x".to_owned()]);
        assert_eq!(candidates("x", &[])[0], c"/usr/local/sbin/x".to_owned());
    }
}
