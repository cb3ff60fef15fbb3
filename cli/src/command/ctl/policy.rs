//! Rules about sources in the JSON that buildctl reads: enums by name or number, unknown names refused.

use cooper_proto::source_policy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule, Selector, Update,
};
use serde_json::{Map, Value};

/// Reads a policy.
///
/// # Errors
/// What is wrong and where, in words that follow a colon.
pub(super) fn read(value: &Value) -> Result<Policy, String> {
    let fields = object(value, "the policy", &["version", "rules"])?;
    let rules = list(fields, "rules")?;
    Ok(Policy {
        version: fields.get("version").and_then(Value::as_i64).unwrap_or(0),
        rules: rules.iter().map(rule).collect::<Result<_, _>>()?,
    })
}

fn rule(value: &Value) -> Result<Rule, String> {
    let fields = object(value, "a rule", &["action", "selector", "updates"])?;
    let action = number(fields, "action", |name| {
        PolicyAction::from_str_name(name).map(Into::into)
    })?;
    Ok(Rule {
        action,
        selector: fields.get("selector").map(selector).transpose()?,
        updates: fields.get("updates").map(update).transpose()?,
    })
}

fn selector(value: &Value) -> Result<Selector, String> {
    let known = ["identifier", "match_type", "matchType", "constraints"];
    let fields = object(value, "a selector", &known)?;
    let key = if fields.contains_key("matchType") {
        "matchType"
    } else {
        "match_type"
    };
    Ok(Selector {
        identifier: text(fields, "identifier")?,
        match_type: number(fields, key, |name| {
            MatchType::from_str_name(name).map(Into::into)
        })?,
        constraints: list(fields, "constraints")?
            .iter()
            .map(constraint)
            .collect::<Result<_, _>>()?,
    })
}

fn constraint(value: &Value) -> Result<AttrConstraint, String> {
    let fields = object(value, "a constraint", &["key", "value", "condition"])?;
    Ok(AttrConstraint {
        key: text(fields, "key")?,
        value: text(fields, "value")?,
        condition: number(fields, "condition", |name| {
            AttrMatch::from_str_name(name).map(Into::into)
        })?,
    })
}

fn update(value: &Value) -> Result<Update, String> {
    let fields = object(value, "an update", &["identifier", "attrs"])?;
    let attrs = match fields.get("attrs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(attrs)) => attrs.clone(),
        Some(_) => return Err("attrs is no object".to_owned()),
    };
    let attrs = attrs
        .keys()
        .map(|key| Ok((key.clone(), text(&attrs, key)?)));
    Ok(Update {
        identifier: text(fields, "identifier")?,
        attrs: attrs.collect::<Result<_, String>>()?,
    })
}

fn object<'a>(
    value: &'a Value,
    what: &str,
    known: &[&str],
) -> Result<&'a Map<String, Value>, String> {
    let fields = value
        .as_object()
        .ok_or_else(|| format!("{what} is no object"))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("{what} has the unknown field {key:?}")),
        None => Ok(fields),
    }
}

fn list<'a>(fields: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(all)) => Ok(all),
        Some(_) => Err(format!("{key} is no list")),
    }
}

fn text(fields: &Map<String, Value>, key: &str) -> Result<String, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{key} is no text")),
    }
}

fn number(
    fields: &Map<String, Value>,
    key: &str,
    by_name: impl Fn(&str) -> Option<i32>,
) -> Result<i32, String> {
    let unknown = |value: &Value| format!("{key} has the unknown value {value}");
    match fields.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(value @ Value::String(name)) => by_name(name).ok_or_else(|| unknown(value)),
        Some(value) => {
            let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
            number.ok_or_else(|| unknown(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_by_name_and_number() {
        let policy = read(&json!({"rules": [
            {"action": "DENY", "selector": {"identifier": "docker-image://*", "match_type": 1}},
            {"action": 2, "updates": {"identifier": "x", "attrs": {"a": "b"}}},
        ]}))
        .unwrap();
        assert_eq!(policy.rules[0].action(), PolicyAction::Deny);
        assert_eq!(
            policy.rules[0].selector.as_ref().unwrap().match_type(),
            MatchType::Exact
        );
        assert_eq!(policy.rules[1].updates.as_ref().unwrap().attrs["a"], "b");
    }

    #[test]
    fn what_is_misspelt_is_not_a_rule_that_allows_all() {
        for wrong in [
            json!([]),
            json!({"rule": []}),
            json!({"rules": [{"action": "FORBID"}]}),
            json!({"rules": [{"selector": {"id": "x"}}]}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
