//! `RUN --device=NAME[,required]`: a device of the Container Device Interface.

use super::csv_fields;
use crate::diagnostic::Fault;
use crate::golang::number::parse_bool;
use crate::golang::quote::quote;

/// A device that a step wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// As in `vendor.com/class=name`; names a class where the part after `=` is missing.
    pub name: String,
    /// Whether the step fails where the machine has none; without it the step runs without.
    pub required: bool,
}

const KEYS: [&str; 2] = ["name", "required"];

impl Device {
    /// Reads the flag's value: the name first or as `name=`, and `required` or `required=true`.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let fields = csv_fields(text)
            .map_err(|error| Fault::new(format!("failed to parse csv devices: {error}")))?;
        let mut device = Self::default();
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    device.required = parse_bool(value).ok_or_else(|| {
                        Fault::new(format!("invalid value for required: {value}"))
                    })?;
                }
                ("name", Some(_)) if !device.name.is_empty() => {
                    let name = &device.name;
                    return Err(Fault::new(format!("device name already set to {name}")));
                }
                ("name", Some(name)) => name.clone_into(&mut device.name),
                // The name itself has a `=` in it.
                _ if device.name.is_empty() => device.name.clone_from(field),
                (_, None) => {
                    return Err(Fault::new(format!(
                        "invalid field '{field}' must be a key=value pair"
                    )));
                }
                (key, Some(_)) => {
                    let message = format!("unexpected key '{key}' in '{field}'");
                    return Err(Fault::new(message).suggest(key, KEYS));
                }
            }
        }
        if device.name.is_empty() {
            return Err(Fault::new(format!(
                "--device={} names no device",
                quote(text)
            )));
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_and_may_be_required() {
        let device = |name: &str, required| Device {
            name: name.to_owned(),
            required,
        };
        for (text, read) in [
            ("vendor.com/gpu=0", device("vendor.com/gpu=0", false)),
            ("vendor.com/gpu", device("vendor.com/gpu", false)),
            (
                "vendor.com/gpu=0,required",
                device("vendor.com/gpu=0", true),
            ),
            (
                "name=vendor.com/gpu=0,required=false",
                device("vendor.com/gpu=0", false),
            ),
            (
                "required=1,vendor.com/gpu=all",
                device("vendor.com/gpu=all", true),
            ),
        ] {
            assert_eq!(Device::read(text), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_names_no_device_is_refused_with_a_reason() {
        for (text, message) in [
            ("", "names no device"),
            ("required", "names no device"),
            ("a=b,c", "must be a key=value pair"),
            ("a=b,requird=true", "(did you mean required?)"),
            ("a=b,required=perhaps", "invalid value for required"),
            ("name=a,name=b", "already set to a"),
        ] {
            let fault = Device::read(text).expect_err(text);
            assert!(fault.to_string().contains(message), "{text}: {fault}");
        }
    }
}
