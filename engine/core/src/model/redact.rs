use std::borrow::Cow;

/// What stands in the place of a name or password, as in BuildKit.
const MASK: &str = "xxxxx";

/// Schemes of references to images, in which what follows an `@` is a digest.
const REFERENCES: [&str; 4] = [
    "docker-image://",
    "docker-image+blob://",
    "oci-layout://",
    "oci-layout+blob://",
];

/// The text without names and passwords of the addresses in it: `https://user:word@host/` becomes
/// `https://xxxxx:xxxxx@host/`. For whatever people or disks get to see (security.md I8, I9).
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    let mut masked = false;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after.find(ends_authority).unwrap_or(after.len());
        // An address where a name should be: what ends here is its scheme.
        let is_scheme = after[..end].ends_with(':') && after[end..].starts_with("//");
        let end = if is_scheme { end - 1 } else { end };
        let authority = &after[..end];
        let is_reference = REFERENCES.iter().any(|scheme| before.ends_with(scheme));
        if let Some((user, host)) = authority.rsplit_once('@')
            && !is_reference
        {
            masked |= !user.is_empty();
            shown.push_str(&mask(user));
            shown.push('@');
            shown.push_str(host);
        } else {
            shown.push_str(authority);
        }
        rest = &after[end..];
    }
    if !masked {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

fn ends_authority(c: char) -> bool {
    matches!(c, '/' | '?' | '#' | '\\' | '"' | '\'' | '<' | '>') || c.is_whitespace()
}

fn mask(user: &str) -> String {
    match user.split_once(':') {
        Some(("", _)) => format!(":{MASK}"),
        Some(_) => format!("{MASK}:{MASK}"),
        None if user.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-A2
    #[test]
    fn addresses_lose_their_names_and_passwords() {
        for (text, want) in [
            ("https://u:p@host/a.git", "https://xxxxx:xxxxx@host/a.git"),
            ("https://u@host/a@b", "https://xxxxx@host/a@b"),
            ("https://:p@host", "https://:xxxxx@host"),
            ("https://u:p@q@host/", "https://xxxxx:xxxxx@host/"),
            (
                "fatal: 'http://t:s@h/x' and ssh://git@h2/y",
                "fatal: 'http://xxxxx:xxxxx@h/x' and ssh://xxxxx@h2/y",
            ),
            ("https://host/u:p@x", "https://host/u:p@x"),
            ("git@host:path", "git@host:path"),
            ("docker-image://a@sha256:b", "docker-image://a@sha256:b"),
            (
                "docker-image://https://u:p@host/a",
                "docker-image://https://xxxxx:xxxxx@host/a",
            ),
            ("a://b://c://u:p@host", "a://b://c://xxxxx:xxxxx@host"),
            ("no address", "no address"),
            ("://", "://"),
        ] {
            assert_eq!(redacted(text), want);
        }
    }
}
