use reqwest::Url;

use super::disposition::suggested_name;

/// What a file is called when nothing else is left.
const NAMELESS: &str = "download";

/// The name of a file: the one that the source says, else the server's, else the last part of the URL's path.
/// Whatever it is made of, it is one name that can stand in a directory (security.md I1).
pub(in crate::source) fn file_name(url: &Url, wanted: &str, disposition: Option<&str>) -> String {
    if !wanted.is_empty() {
        return safe(wanted);
    }
    if let Some(name) = disposition.and_then(suggested_name)
        && !name.is_empty()
        && !name.ends_with('/')
    {
        return safe(&name);
    }
    safe(&decoded(url.path()))
}

/// The last part of a path, if it can be a file's name.
pub(in crate::source) fn safe(path: &str) -> String {
    let path = path.trim().trim_end_matches('/');
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_name = !matches!(name, "" | "." | "..") && !name.contains(char::is_control);
    if is_name { name } else { NAMELESS }.to_owned()
}

/// Undoes percent encoding. What is no UTF-8 then is replaced: names are text.
pub(in crate::source) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let pair = pair
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|it| it.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(pair.unwrap_or(bytes[at]));
        at += if pair.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A9
    #[test]
    fn whatever_names_a_file_gives_one_name_in_its_directory() {
        for (given, want) in [
            ("foo.txt", "foo.txt"),
            ("資料.txt", "資料.txt"),
            ("name with blanks", "name with blanks"),
            ("  foo  ", "foo"),
            ("a/b/c.txt", "c.txt"),
            ("a/b/", "b"),
            ("/", NAMELESS),
            ("   ", NAMELESS),
            (".", NAMELESS),
            ("..", NAMELESS),
            ("../", NAMELESS),
            ("../../etc/passwd", "passwd"),
            ("a\0b", NAMELESS),
            ("a\nb", NAMELESS),
            ("a\u{7f}b", NAMELESS),
            ("..\\", "..\\"),
        ] {
            assert_eq!(safe(given), want, "{given:?}");
            let url = Url::parse("http://host/other").unwrap();
            if !given.is_empty() {
                assert_eq!(file_name(&url, given, Some("attachment; filename=x")), want);
            }
            let sent = format!("attachment; filename=\"{given}\"");
            let name = file_name(&url, "", Some(&sent));
            assert!(
                !name.contains(['/', '\0', '\n']) && name != "..",
                "{name:?}"
            );
        }
    }

    // T-A9
    #[test]
    fn the_url_names_a_file_that_nobody_else_names() {
        for (url, want) in [
            ("http://h/a/b.tar?c=d#e", "b.tar"),
            ("http://h/a/", "a"),
            ("http://h/", NAMELESS),
            ("http://h", NAMELESS),
            ("http://h/a%20b", "a b"),
            ("http://h/a%2Fb", "b"),
            ("http://h/x/%2e%2e%2f", NAMELESS),
            ("http://h/a%00b", NAMELESS),
            ("http://h/a%0Ab", NAMELESS),
            ("http://h/a%zz", "a%zz"),
        ] {
            let name = file_name(&Url::parse(url).unwrap(), "", None);
            assert_eq!(name, want, "{url}");
        }
    }
}
