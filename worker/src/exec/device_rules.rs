use super::config::{Device, DeviceAccess};
use crate::sys::{DeviceKind, DeviceRule, MAKE, READ, WRITE};

/// Devices that every container may use (runtime-spec, "Default Devices", and the terminals): major and minor.
const DEFAULTS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Devices that a step without isolation finds, as BuildKit's does: name, major, minor. All are of characters.
const INSECURE: [(&str, u32, u32); 6] = [
    ("kmsg", 1, 11),
    ("cuse", 10, 203),
    ("fuse", 10, 229),
    ("kvm", 10, 232),
    ("net/tun", 10, 200),
    ("loop-control", 10, 237),
];

/// Loop devices that such a step finds.
const LOOPS: u32 = 64;

/// Refuses all devices but the harmless ones and those that the container was given. Any may be made: a node alone is
/// nothing, and images may hold them.
pub(super) fn default_rules(given: &[Device]) -> Vec<DeviceAccess> {
    let mut rules = vec![DeviceAccess {
        allow: false,
        access: Some("rwm".into()),
        ..DeviceAccess::default()
    }];
    for kind in ["c", "b"] {
        rules.push(DeviceAccess {
            allow: true,
            kind: Some(kind.into()),
            access: Some("m".into()),
            ..DeviceAccess::default()
        });
    }
    let rule = |kind: &str, major, minor| DeviceAccess {
        allow: true,
        kind: Some(kind.into()),
        major: Some(major),
        minor,
        access: Some("rwm".into()),
    };
    rules.extend(DEFAULTS.map(|(major, minor)| rule("c", major, minor)));
    rules.extend(
        given
            .iter()
            .map(|device| rule(&device.kind, device.major, Some(device.minor))),
    );
    rules
}

/// The devices of a step without isolation.
pub(super) fn insecure_devices(given: &[Device]) -> Vec<Device> {
    let device = |path: String, kind: &str, major, minor| Device {
        path: path.into(),
        kind: kind.into(),
        major,
        minor,
        ..Device::default()
    };
    let mut devices: Vec<Device> = INSECURE
        .iter()
        .map(|(name, major, minor)| device(format!("/dev/{name}"), "c", *major, *minor))
        .collect();
    devices.extend((0..LOOPS).map(|number| device(format!("/dev/loop{number}"), "b", 7, number)));
    devices.retain(|device| given.iter().all(|other| other.path != device.path));
    devices.extend(given.iter().cloned());
    devices
}

/// The rules as the kernel takes them; `None` where all devices may be used.
pub(super) fn kernel_rules(rules: &[DeviceAccess]) -> Option<Vec<DeviceRule>> {
    let (first, allowed) = rules.split_first()?;
    if first.allow {
        return None;
    }
    let kernel_rule = |rule: &DeviceAccess| DeviceRule {
        kind: match rule.kind.as_deref() {
            Some("b") => DeviceKind::Block,
            _ => DeviceKind::Character,
        },
        major: rule.major,
        minor: rule.minor,
        access: rule.access.as_deref().map_or(MAKE | READ | WRITE, access),
    };
    Some(
        allowed
            .iter()
            .filter(|rule| rule.allow)
            .map(kernel_rule)
            .collect(),
    )
}

fn access(letters: &str) -> u32 {
    letters.chars().fold(0, |all, letter| {
        all | match letter {
            'm' => MAKE,
            'r' => READ,
            'w' => WRITE,
            _ => 0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_s_devices_may_be_made_and_not_used() {
        let given = Device {
            path: "/dev/fuse".into(),
            kind: "c".into(),
            major: 10,
            minor: 229,
            ..Device::default()
        };
        let rules = kernel_rules(&default_rules(&[given])).unwrap();
        let of = |kind, major, minor| {
            rules
                .iter()
                .filter(|rule| {
                    rule.kind == kind
                        && rule.major.is_none_or(|own| own == major)
                        && rule.minor.is_none_or(|own| own == minor)
                })
                .fold(0, |all, rule| all | rule.access)
        };
        assert_eq!(of(DeviceKind::Block, 8, 0), MAKE);
        assert_eq!(of(DeviceKind::Character, 1, 1), MAKE, "/dev/mem");
        assert_eq!(of(DeviceKind::Character, 1, 3), MAKE | READ | WRITE);
        assert_eq!(of(DeviceKind::Character, 10, 229), MAKE | READ | WRITE);
        assert_eq!(kernel_rules(&[]), None);
    }
}
