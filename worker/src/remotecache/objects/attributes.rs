use std::{collections::BTreeMap, time::Duration};

use cooper_core::model::Failure;
use reqwest::Url;

use crate::exporter::invalid;

/// What caches are called that nobody named.
const NAME: &str = "buildkit";

/// Attributes of a cache, with the daemon's environment behind some of them, as BuildKit has it.
pub(super) struct Attributes<'a> {
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl Attributes<'_> {
    /// A value that is there and not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.given.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// A value, or what a variable of the daemon's environment says.
    pub(super) fn or_variable(&self, key: &str, variable: &str) -> Option<String> {
        let given = self.get(key).map(str::to_owned);
        given.or_else(|| self.variable(variable))
    }

    /// What a variable of the daemon's environment says.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.environment.get(name).cloned();
        value.filter(|value| !value.is_empty())
    }

    /// A value that may be empty on purpose.
    pub(super) fn or(&self, key: &str, otherwise: &str) -> String {
        let given = self.given.get(key).map(String::as_str);
        given.unwrap_or(otherwise).to_owned()
    }

    /// Under which names the document is written; the first is read.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.get("name").unwrap_or(NAME).split(';');
        names.map(str::to_owned).collect()
    }

    /// An address of a server.
    ///
    /// # Errors
    /// `InvalidInput` for what is none.
    pub(super) fn url(key: &str, text: &str) -> Result<Url, Failure> {
        let url = Url::parse(text).map_err(|error| invalid(&format!("{key} {text:?}: {error}")))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            _ => Err(invalid(&format!("{key} {text:?} is no address of HTTP"))),
        }
    }

    /// A number that is at least one.
    ///
    /// # Errors
    /// `InvalidInput` for what is none.
    pub(super) fn positive(&self, key: &str) -> Result<Option<u32>, Failure> {
        let Some(text) = self.given.get(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(invalid(&format!("{key} must be a positive integer"))),
        }
    }

    /// A span of time as Go writes it; `None` for what is none.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let text = self.get(key)?;
        let span: jiff::SignedDuration = text.parse().ok()?;
        Duration::try_from(span).ok()
    }
}

/// Refuses keys that addresses cannot say as they are.
///
/// # Errors
/// `InvalidInput` for a part that stands for this folder or the one above, or a byte that ends lines.
pub(super) fn checked_key(key: String) -> Result<String, Failure> {
    let is_relative = key.split('/').any(|part| matches!(part, "." | ".."));
    if is_relative || key.is_empty() || key.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(invalid(&format!("a cache cannot be kept as {key:?}")));
    }
    Ok(key)
}

/// Escapes all that RFC 3986 does not leave as it is; `kept` too is left.
pub(super) fn escaped(text: &str, kept: char) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        if byte.is_ascii_alphanumeric() || "-._~".contains(letter) || letter == kept {
            escaped.push(letter);
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_addresses_would_change_are_refused() {
        for key in ["a/../b", "./a", "..", "", "a\nb"] {
            assert!(checked_key(key.to_owned()).is_err(), "{key:?}");
        }
        assert!(checked_key("a..b/c.d/…".to_owned()).is_ok());
        assert_eq!(escaped("a b/c:ü~", '/'), "a%20b/c%3A%C3%BC~");
    }

    #[test]
    fn spans_are_written_as_go_has_them() {
        let given = |text: &str| {
            let all = [("touch_refresh".to_owned(), text.to_owned())].into();
            let given = Attributes {
                given: &all,
                environment: &BTreeMap::new(),
            };
            given.duration("touch_refresh")
        };
        assert_eq!(given("24h"), Some(Duration::from_secs(24 * 3600)));
        assert_eq!(given("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!((given("soon"), given("-1h")), (None, None));
    }
}
