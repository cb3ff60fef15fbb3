//! What requests hold that nobody but the place that it opens may see.

use std::collections::BTreeMap;

use cooper_core::model::redacted;
use serde_json::Value;

use super::imports;

/// Attributes by which a place is opened.
pub(super) const CREDENTIALS: [&str; 5] = [
    "access_key_id",
    "ghtoken",
    "secret_access_key",
    "session_token",
    "token",
];

/// What stands in the place of one.
const MASK: &str = "xxxxx";

/// Options or attributes of a request as they may be kept and shown: without credentials, of caches in JSON as well, and
/// without the passwords of addresses.
pub(crate) fn shown(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let show = |(key, value): (&String, &String)| {
        let value = match key.as_str() {
            key if CREDENTIALS.contains(&key) => MASK.to_owned(),
            imports::OPTION => caches(value),
            _ => redacted(value).into_owned(),
        };
        (key.clone(), value)
    };
    options.iter().map(show).collect()
}

/// A list of caches; nothing is told of what is none.
fn caches(text: &str) -> String {
    let Ok(mut list) = serde_json::from_str::<Vec<Value>>(text) else {
        return String::new();
    };
    for entry in &mut list {
        let entry = entry.as_object_mut().into_iter().flatten();
        let attributes = entry.filter_map(|(_, value)| value.as_object_mut());
        for (key, value) in attributes.flatten() {
            if CREDENTIALS.contains(&key.as_str()) {
                *value = MASK.into();
            }
        }
    }
    redacted(&Value::from(list).to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // T-C21
    #[test]
    fn what_opens_a_place_is_not_shown_and_the_place_is() {
        let caches = r#"[{"Type":"s3","Attrs":{"bucket":"b","secret_access_key":"CANARY","url":"https://u:CANARY@h/"}}]"#;
        let options = [
            ("cache-imports", caches),
            ("context", "https://u:CANARY@host/a.git"),
            ("token", "CANARY"),
            ("target", "app"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let shown = shown(&options.into());
        // In whatever order: that depends on who else uses the JSON library.
        let caches: Value = serde_json::from_str(&shown["cache-imports"]).unwrap();
        let attributes = serde_json::json!({
            "bucket": "b", "secret_access_key": "xxxxx", "url": "https://xxxxx:xxxxx@h/"
        });
        assert_eq!(
            caches,
            serde_json::json!([{"Type": "s3", "Attrs": attributes}])
        );
        assert_eq!(shown["context"], "https://xxxxx:xxxxx@host/a.git");
        assert_eq!((&*shown["token"], &*shown["target"]), ("xxxxx", "app"));
    }

    #[test]
    fn of_a_list_that_is_none_nothing_is_shown() {
        let texts = [
            "[{\"Attrs\": {\"token\": \"CANARY\"",
            "{\"token\": \"CANARY\"}",
            "CANARY",
        ];
        for text in texts {
            let options = [("cache-imports".to_owned(), text.to_owned())];
            assert_eq!(shown(&options.into())["cache-imports"], "");
        }
    }
}
