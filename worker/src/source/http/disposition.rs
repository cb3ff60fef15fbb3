use super::file_name::decoded;

/// The file name that a `Content-Disposition` header suggests (RFC 6266), `None` when it has none or is malformed.
pub(super) fn suggested_name(header: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    let mut plain = None;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return plain;
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after.trim_start())?;
        match name.trim().to_ascii_lowercase().as_str() {
            // The extended form wins, wherever it stands.
            "filename*" => {
                if let Some(name) = extended(&value) {
                    return Some(name);
                }
            }
            "filename" => plain = Some(value),
            _ => {}
        }
        rest = match after.trim_start() {
            "" => return plain,
            more => more.strip_prefix(';')?,
        };
    }
}

/// A token or a quoted string, and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next() {
                // As in Go: only these two are escaped, so that Windows paths of careless servers survive.
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some((_, other)) => value.extend(['\\', other]),
                None => return None,
            },
            c => value.push(c),
        }
    }
    None
}

/// `UTF-8'language'percent-encoded` (RFC 8187).
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next()?;
    let _language = parts.next()?;
    let text = parts.next()?;
    let known = charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("us-ascii");
    known.then(|| decoded(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_all_their_forms() {
        for (header, want) in [
            ("attachment; filename=\"my img.jpg\"", Some("my img.jpg")),
            ("attachment;filename=a.txt", Some("a.txt")),
            ("attachment; FileName=a ; x=y", Some("a")),
            (r#"attachment; filename="a\"b""#, Some("a\"b")),
            (r#"attachment; filename="c:\d""#, Some(r"c:\d")),
            (
                "attachment; filename=a; filename*=UTF-8''%e2%82%ac",
                Some("€"),
            ),
            ("attachment; filename*=UTF-8'en'x; filename=a", Some("x")),
            ("attachment; filename*=latin'x; filename=a", Some("a")),
            ("attachment", None),
            ("attachment; x=y", None),
            ("attachment; filename=\"open", None),
            ("attachment; filename", None),
            ("", None),
        ] {
            assert_eq!(suggested_name(header).as_deref(), want, "{header}");
        }
    }
}
