//! `RUN --mount`: comma-separated `key=value`, of which the values are expanded.

use super::csv_fields;
use crate::diagnostic::Fault;
use crate::golang::number::{parse_bool, parse_u32};
use crate::golang::quote::quote;

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// A part of a stage, an image or the build context.
    #[default]
    Bind,
    /// A directory that outlives the step.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret of the client's.
    Secret,
    /// The client's SSH agent.
    Ssh,
}

/// How steps share a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// At the same time.
    Shared,
    /// Each writer has its own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: Type,
    /// `from`, or empty.
    pub from: String,
    /// `source`, or empty.
    pub source: String,
    /// `target`, or empty.
    pub target: String,
    /// Whether it cannot be written to, defaults applied.
    pub read_only: bool,
    /// `size` in bytes, 0 if none was given.
    pub size: i64,
    /// `id`, or empty.
    pub id: String,
    /// `sharing`.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub required: bool,
    /// `env`.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

const TYPES: [(&str, Type); 5] = [
    ("bind", Type::Bind),
    ("cache", Type::Cache),
    ("tmpfs", Type::Tmpfs),
    ("secret", Type::Secret),
    ("ssh", Type::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] = [
    ("shared", Sharing::Shared),
    ("private", Sharing::Private),
    ("locked", Sharing::Locked),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// The `from` of a mount before expansion: stages have to be known before values are.
///
/// # Errors
/// Bad quotes, and a variable in `from`.
pub fn from_of(text: &str) -> Result<String, Fault> {
    let mut from = String::new();
    for field in split(text)? {
        match field.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("from") => {
                if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                    return Err(Fault::new(format!(
                        "'{}' doesn't support variable expansion, define alias stage instead",
                        key.to_lowercase()
                    )));
                }
                from = value.to_owned();
            }
            _ => {}
        }
    }
    Ok(from)
}

fn split(text: &str) -> Result<Vec<String>, Fault> {
    csv_fields(text).map_err(|error| Fault::new(format!("failed to parse csv mounts: {error}")))
}

impl Mount {
    /// Reads a mount, expanding values with `expand`.
    ///
    /// # Errors
    /// A key that does not exist or does not belong to the type, a value of the wrong form, a failing expansion.
    pub fn read(
        text: &str,
        expand: &mut dyn FnMut(&str) -> Result<String, Fault>,
    ) -> Result<Self, Fault> {
        let mut mount = Self::default();
        let mut read_only = None;
        for field in split(text)? {
            match field.split_once('=') {
                None => mount.bare(&field, &mut read_only)?,
                Some((key, value)) => {
                    let value = expand(value)?;
                    mount.set(&key.to_lowercase(), &field, value, &mut read_only)?;
                }
            }
        }
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, Type::Cache | Type::Tmpfs));
        mount.check()?;
        Ok(mount)
    }

    fn bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), Fault> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" if self.may_be_required() => self.required = true,
            "required" => return Err(self.foreign("required")),
            key => {
                let fault = Fault::new(format!("invalid field '{field}' must be a key=value pair"));
                return Err(if KEYS.contains(&key) {
                    fault
                } else {
                    fault.suggest(key, KEYS)
                });
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        key: &str,
        field: &str,
        value: String,
        read_only: &mut Option<bool>,
    ) -> Result<(), Fault> {
        let truth = || {
            parse_bool(&value)
                .ok_or_else(|| Fault::new(format!("invalid value for {key}: {value}")))
        };
        let number = |radix| {
            parse_u32(&value, radix)
                .ok_or_else(|| Fault::new(format!("invalid value {value} for {key}")))
        };
        match key {
            "type" => self.kind = choose(&TYPES, &value, "mount type")?,
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => *read_only = Some(truth()?),
            "readwrite" | "rw" => *read_only = Some(!truth()?),
            "required" if self.may_be_required() => self.required = truth()?,
            "size" if self.kind == Type::Tmpfs => {
                self.size = bytes(&value)
                    .ok_or_else(|| Fault::new(format!("invalid value for {key}: {value}")))?;
            }
            "required" | "size" => return Err(self.foreign(key)),
            "id" => self.id = value,
            "sharing" => self.sharing = Some(choose(&SHARINGS, &value, "sharing value")?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "env" => self.env = Some(value),
            _ => {
                return Err(
                    Fault::new(format!("unexpected key '{key}' in '{field}'")).suggest(key, KEYS)
                );
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Fault> {
        let owned = matches!(self.kind, Type::Secret | Type::Ssh | Type::Cache);
        for (key, given) in [
            ("mode", self.mode.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
        ] {
            if given && !owned {
                return Err(Fault::new(format!(
                    "{key} not allowed for {} type mounts",
                    quote(self.name())
                )));
            }
        }
        if self.kind == Type::Secret {
            let wrong = if !self.from.is_empty() {
                Some("secret mount should not have a from")
            } else if self.sharing.is_some() {
                Some("secret mount should not define sharing")
            } else if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                Some("invalid secret mount. one of source, target required")
            } else if !self.source.is_empty() && !self.id.is_empty() {
                Some("both source and id can't be set")
            } else {
                None
            };
            if let Some(message) = wrong {
                return Err(Fault::new(message));
            }
        }
        if self.sharing.is_some() && self.kind != Type::Cache {
            return Err(Fault::new(format!(
                "invalid cache sharing set for {} mount",
                self.name()
            )));
        }
        Ok(())
    }

    fn may_be_required(&self) -> bool {
        matches!(self.kind, Type::Secret | Type::Ssh)
    }

    fn foreign(&self, key: &str) -> Fault {
        Fault::new(format!(
            "unexpected key '{key}' for mount type '{}'",
            self.name()
        ))
    }

    fn name(&self) -> &'static str {
        TYPES
            .iter()
            .find(|(_, kind)| *kind == self.kind)
            .map_or("", |(name, _)| name)
    }
}

fn choose<T: Copy>(options: &[(&str, T)], value: &str, what: &str) -> Result<T, Fault> {
    let lower = value.to_lowercase();
    match options.iter().find(|(name, _)| *name == lower) {
        Some((_, found)) => Ok(*found),
        None => Err(Fault::new(format!("unsupported {what} {}", quote(value)))
            .suggest(value, options.iter().map(|(name, _)| *name))),
    }
}

/// A size such as `64m`, `1.5GiB` or `1024`, in bytes; units are powers of 1024, whatever their spelling.
fn bytes(text: &str) -> Option<i64> {
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    if number < 0.0 {
        return None;
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        _ => {
            let (scale, rest) = unit.split_at_checked(1)?;
            if !matches!(rest, "" | "b" | "ib") {
                return None;
            }
            1 + "kmgtp".find(scale)? as u32
        }
    };
    Some((number * 1024f64.powi(power as i32)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mount, Fault> {
        Mount::read(text, &mut |value| Ok(value.to_owned()))
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, want) in [
            ("64m", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("1024", 1024),
            ("2 kb", 2048),
            ("5b", 5),
        ] {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for text in ["", "m", "1x", "1mm", "-1"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn only_caches_and_tmpfs_are_writable_by_default() {
        assert!(read("target=/a").unwrap().read_only);
        assert!(!read("type=cache,target=/a").unwrap().read_only);
        assert!(read("type=cache,target=/a,ro").unwrap().read_only);
        assert!(!read("target=/a,rw").unwrap().read_only);
        assert!(!read("target=/a,ro=false").unwrap().read_only);
    }

    #[test]
    fn keys_of_other_types_are_refused() {
        for (text, message) in [
            (
                "type=bind,size=1m",
                "unexpected key 'size' for mount type 'bind'",
            ),
            (
                "type=cache,required",
                "unexpected key 'required' for mount type 'cache'",
            ),
            (
                "type=bind,uid=1",
                "uid not allowed for \"bind\" type mounts",
            ),
            (
                "type=secret",
                "invalid secret mount. one of source, target required",
            ),
            (
                "type=secret,id=a,source=b",
                "both source and id can't be set",
            ),
            (
                "type=ssh,sharing=locked",
                "invalid cache sharing set for ssh mount",
            ),
            (
                "type=cach",
                "unsupported mount type \"cach\" (did you mean cache?)",
            ),
            (
                "typ=cache",
                "unexpected key 'typ' in 'typ=cache' (did you mean type?)",
            ),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("type=cache,mode=9", "invalid value 9 for mode"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn from_takes_no_variables() {
        assert_eq!(from_of("from=a,target=/b").unwrap(), "a");
        assert!(from_of("from=$A,target=/b").is_err());
        assert_eq!(from_of("from=a$").unwrap(), "a$");
    }
}
