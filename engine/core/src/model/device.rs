use std::collections::BTreeMap;

use cooper_proto::pb;

use super::{Failure, FailureKind};

/// Annotation that puts devices into a class, by which ops may ask for them (parity sheet C7, cdi).
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// A device that a worker can hand into steps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceInfo {
    /// Its qualified name, such as `vendor.com/gpu=0`.
    pub name: String,
    /// Whether builds may use it without being permitted to.
    pub auto_allow: bool,
    /// What its specification says of it.
    pub annotations: BTreeMap<String, String>,
}

/// Names of the devices that an op's requests mean, each once: `kind` is the first of its kind, `kind=*` all of it,
/// `kind=name` one, and anything else a class.
///
/// # Shape
/// `all` is sorted by name.
///
/// # Errors
/// `NotFound` for a request that means none and is not optional.
pub fn find_devices(asked: &[pb::CdiDevice], all: &[DeviceInfo]) -> Result<Vec<String>, Failure> {
    let mut found: Vec<String> = Vec::new();
    for request in asked {
        let meant = meant_by(&request.name, all);
        if meant.is_empty() && !request.optional {
            let message = format!("required device {:?} is not registered", request.name);
            return Err(Failure::new(FailureKind::NotFound, message));
        }
        for name in meant {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

fn meant_by(request: &str, all: &[DeviceInfo]) -> Vec<String> {
    let (kind, name) = request.split_once('=').unwrap_or((request, ""));
    let prefix = format!("{kind}=");
    let is_qualified = kind
        .split_once('/')
        .is_some_and(|(vendor, class)| !vendor.is_empty() && !class.is_empty());
    let of_kind = all
        .iter()
        .filter(|device| is_qualified && device.name.starts_with(&prefix));
    let names = of_kind.map(|device| device.name.clone());
    let meant: Vec<String> = match name {
        "" => names.take(1).collect(),
        "*" => names.collect(),
        _ => names.filter(|own| own == request).collect(),
    };
    if !meant.is_empty() {
        return meant;
    }
    let is_member = |device: &&DeviceInfo| {
        device
            .annotations
            .get(CLASS)
            .is_some_and(|class| class == request)
    };
    all.iter()
        .filter(is_member)
        .map(|device| device.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, class: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.into(),
            annotations: BTreeMap::from([(CLASS.to_owned(), class.to_owned())]),
            ..DeviceInfo::default()
        }
    }

    #[test]
    fn devices_are_meant_by_kind_name_and_class() {
        let all = [
            device("a.com/gpu=bar", "fast"),
            device("a.com/gpu=foo", "slow"),
            device("b.com/gpu=baz", "fast"),
        ];
        let find = |name: &str, optional| {
            let request = pb::CdiDevice {
                name: name.into(),
                optional,
            };
            find_devices(&[request.clone(), request], &all)
        };
        for (name, expected) in [
            ("a.com/gpu", &["a.com/gpu=bar"][..]),
            ("a.com/gpu=*", &["a.com/gpu=bar", "a.com/gpu=foo"]),
            ("a.com/gpu=foo", &["a.com/gpu=foo"]),
            ("fast", &["a.com/gpu=bar", "b.com/gpu=baz"]),
        ] {
            assert_eq!(find(name, false).unwrap(), expected, "{name}");
        }
        for name in ["a.com/gpu=qux", "c.com/gpu", "gpu", "", "*"] {
            assert!(find(name, false).is_err(), "{name}");
            assert_eq!(find(name, true).unwrap(), [""; 0], "{name}");
        }
    }
}
