use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::csv;
use super::error::UsageError;

/// Where a secret's value is. The value is read when a step asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

/// Reads the values of `--secret`.
///
/// # Errors
/// When a value has no id or an unknown field.
pub(in crate::command) fn parse(
    texts: &[String],
    here: &Path,
    has_variable: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, SecretSource>, UsageError> {
    let mut secrets = BTreeMap::new();
    for text in texts {
        let (id, source) = parse_one(text, here, &has_variable)?;
        secrets.insert(id, source);
    }
    Ok(secrets)
}

fn parse_one(
    text: &str,
    here: &Path,
    has_variable: &impl Fn(&str) -> bool,
) -> Result<(String, SecretSource), UsageError> {
    let invalid = |what: &str| {
        UsageError::new(
            format!("invalid value {text:?} of --secret: {what}"),
            "for example id=token,src=token.txt or id=token,env=TOKEN",
        )
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in csv::fields(text).ok_or_else(|| invalid("a quote is not closed"))? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| invalid(&format!("{field:?} is no NAME=VALUE")))?;
        let place = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            other => return Err(invalid(&format!("unknown field {other:?}"))),
        };
        *place = Some(value.to_owned());
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid("it has no id"))?;
    let source = match (kind.as_deref(), file, variable) {
        (None | Some("file"), Some(file), None) => SecretSource::File(here.join(file)),
        (None | Some("env"), None, Some(name)) => SecretSource::Variable(name),
        // In buildx, `src` names a variable once the type says so.
        (Some("env"), Some(name), None) => SecretSource::Variable(name),
        (None, None, None) if has_variable(&id) => SecretSource::Variable(id.clone()),
        (Some("env"), None, None) => SecretSource::Variable(id.clone()),
        (None | Some("file"), None, None) => SecretSource::File(here.join(&id)),
        (Some(other), ..) if other != "file" && other != "env" => {
            return Err(invalid(&format!("unknown type {other:?}")));
        }
        _ => return Err(invalid("src and env exclude each other")),
    };
    Ok((id, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<SecretSource, UsageError> {
        let here = Path::new("/here");
        let mut secrets = parse(&[text.to_owned()], here, |name| name == "TOKEN")?;
        Ok(secrets.pop_first().unwrap().1)
    }

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |path: &str| SecretSource::File(path.into());
        let variable = |name: &str| SecretSource::Variable(name.into());
        assert_eq!(one("id=a,src=b").unwrap(), file("/here/b"));
        assert_eq!(one("type=file,id=a,source=/b").unwrap(), file("/b"));
        assert_eq!(one("id=a,env=B").unwrap(), variable("B"));
        assert_eq!(one("id=a").unwrap(), file("/here/a"));
        assert_eq!(one("id=TOKEN").unwrap(), variable("TOKEN"));
        assert_eq!(one("id=a,type=env").unwrap(), variable("a"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in [
            "",
            "src=a",
            "id=",
            "id=a,x=y",
            "id=a,src=b,env=c",
            "id=a,type=z",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
    }
}
