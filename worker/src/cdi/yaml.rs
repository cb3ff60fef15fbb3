use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Deepest nesting that is followed.
const MAX_DEPTH: usize = 32;

/// Reads a YAML document, of which JSON is one, as the value that JSON would have.
///
/// # Errors
/// In words, where it is none, has several documents or is nested too deeply.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => value(document, MAX_DEPTH),
        (None, _) => Err("it is empty".into()),
        (Some(_), false) => Err("it holds several documents".into()),
    }
}

fn value(yaml: Yaml, depth: usize) -> Result<Value, String> {
    let below = depth.checked_sub(1).ok_or("it is nested too deeply")?;
    Ok(match yaml {
        Yaml::Real(text) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or(Value::String(text), Value::Number),
        Yaml::Integer(number) => number.into(),
        Yaml::String(text) => text.into(),
        Yaml::Boolean(is) => is.into(),
        Yaml::Array(items) => items
            .into_iter()
            .map(|item| value(item, below))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Yaml::Hash(pairs) => {
            let mut map = Map::new();
            for (key, item) in pairs {
                let Yaml::String(key) = key else {
                    return Err("a key is no text".into());
                };
                map.insert(key, value(item, below)?);
            }
            map.into()
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => return Err("it holds an alias to nothing".into()),
    })
}
