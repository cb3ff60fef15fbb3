use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a registry asks for in an answer of 401 (RFC 9110, section 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The scheme's name in lower case.
    pub(super) scheme: String,
    /// Parameters in the order given, names in lower case.
    pub(super) parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer. What cannot be read is left out.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect()
}

/// Parses one header line, which may hold several challenges.
fn parse(line: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = take_token(rest);
        if word.is_empty() {
            return found;
        }
        let value_follows = after.trim_start().strip_prefix('=');
        match (value_follows, found.last_mut()) {
            (Some(after), Some(challenge)) => {
                let Some((value, after)) = take_value(after.trim_start()) else {
                    return found;
                };
                challenge
                    .parameters
                    .push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(_), None) => return found,
            (None, _) => {
                found.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    parameters: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

fn take_token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        let read = parse(hub);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].scheme, "bearer");
        assert_eq!(read[0].parameter("service"), Some("registry.docker.io"));
        assert_eq!(
            read[0].parameter("scope"),
            Some("repository:library/busybox:pull")
        );
        let two = parse(r#"BASIC realm="a \"b\", c", Bearer realm=x , error="invalid_token""#);
        assert_eq!(two.len(), 2);
        assert_eq!(two[0].parameter("realm"), Some("a \"b\", c"));
        assert_eq!(two[1].parameter("error"), Some("invalid_token"));
    }

    #[test]
    fn damaged_challenges_end_the_reading() {
        assert_eq!(parse(""), []);
        assert_eq!(parse("=x"), []);
        assert_eq!(parse(r#"Bearer realm="open"#).len(), 1);
        assert_eq!(parse(r#"Bearer realm="open"#)[0].parameters, []);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_reader_panic_or_loop(line in ".{0,200}") {
            let _ = parse(&line);
        }
    }
}
