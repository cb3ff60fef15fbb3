use serde_json::{Value, json};

use super::program::CLONE_NAMESPACES;
use super::table::{Architecture, EPERM, names};

/// Plain execution domains, that of old 32-bit programs among them; and the question which one it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The filter as a runtime configuration has it (`linux.seccomp`, runtime-spec 1.2), for another runtime to compile.
pub(crate) fn profile() -> Value {
    let architectures = Architecture::of_this_machine();
    let mut calls = vec![allow(&names(architectures), &[])];
    let on_first = |value: u64, operator: &str| json!({"index": 0, "value": value, "op": operator});
    let masked = json!({
        "index": 0, "value": CLONE_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
    });
    calls.push(allow(&["clone"], &[masked]));
    for domain in PERSONALITIES {
        calls.push(allow(&["personality"], &[on_first(domain, "SCMP_CMP_EQ")]));
    }
    // All families but AF_ALG (38) and AF_VSOCK (40): rules for one call are alternatives.
    for (family, operator) in [
        (38, "SCMP_CMP_LT"),
        (39, "SCMP_CMP_EQ"),
        (40, "SCMP_CMP_GT"),
    ] {
        calls.push(allow(&["socket"], &[on_first(family, operator)]));
    }
    calls.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    let architectures: Vec<&str> = architectures.iter().map(|it| it.profile_name()).collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": calls,
    })
}

fn allow(names: &[&str], arguments: &[Value]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": arguments})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_arguments_is_not_allowed_whatever_they_are() {
        let profile = profile();
        let calls = profile["syscalls"].as_array().unwrap();
        let plain: Vec<&str> = calls
            .iter()
            .filter(|call| call["args"].as_array().is_some_and(Vec::is_empty))
            .flat_map(|call| call["names"].as_array().unwrap())
            .filter_map(Value::as_str)
            .collect();
        assert!(plain.contains(&"openat") && plain.contains(&"execve"));
        for name in [
            "clone",
            "clone3",
            "socket",
            "personality",
            "mount",
            "bpf",
            "keyctl",
        ] {
            assert!(!plain.contains(&name), "{name}");
        }
    }
}
