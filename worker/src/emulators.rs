//! Programs of other machines that this one runs: by itself, or with an interpreter that the kernel was told of.

use std::path::Path;

use cooper_proto::pb::Platform;
use cooper_proto::platform;

/// Where the kernel lists interpreters of foreign programs (binfmt-misc).
const INTERPRETERS: &str = "/proc/sys/fs/binfmt_misc";

/// Architectures by their number in a program's header (elf.h, `EM_*`), whether addresses have 64 bits, and whether numbers
/// begin with their low byte.
const ARCHITECTURES: [(u16, bool, bool, &str, &str); 12] = [
    (62, true, true, "amd64", ""),
    (183, true, true, "arm64", ""),
    (243, true, true, "riscv64", ""),
    (21, true, true, "ppc64le", ""),
    (21, true, false, "ppc64", ""),
    (22, true, false, "s390x", ""),
    (3, false, true, "386", ""),
    (258, true, true, "loong64", ""),
    (8, true, true, "mips64le", ""),
    (8, true, false, "mips64", ""),
    (40, false, true, "arm", "v7"),
    (40, false, true, "arm", "v6"),
];

/// Platforms whose programs run here, this machine's own first.
#[must_use]
pub fn runnable_platforms() -> Vec<Platform> {
    let mut platforms = vec![platform::host()];
    if cfg!(target_arch = "x86_64") {
        platforms.push(linux("386", ""));
    }
    let foreign = interpreted(Path::new(INTERPRETERS));
    let own: Vec<String> = platforms
        .iter()
        .map(|own| own.architecture.clone())
        .collect();
    platforms.extend(
        foreign
            .into_iter()
            .filter(|one| !own.contains(&one.architecture)),
    );
    platforms
}

fn linux(architecture: &str, variant: &str) -> Platform {
    Platform {
        os: "linux".into(),
        architecture: architecture.into(),
        variant: variant.into(),
        ..Platform::default()
    }
}

/// Platforms whose programs the kernel hands to an interpreter that it holds open, so that no container needs it (flag F).
fn interpreted(folder: &Path) -> Vec<Platform> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts: Vec<String> = entries
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    let is_interpreted = |number: u16, wide: bool, low_first: bool| {
        texts
            .iter()
            .filter_map(|text| header_of(text))
            .any(|header| header == (number, wide, low_first))
    };
    ARCHITECTURES
        .iter()
        .filter(|(number, wide, low_first, ..)| is_interpreted(*number, *wide, *low_first))
        .map(|(.., architecture, variant)| linux(architecture, variant))
        .collect()
}

/// The header that an entry asks for; `None` for one that is off, is for no programs, or whose interpreter containers lack.
fn header_of(entry: &str) -> Option<(u16, bool, bool)> {
    let value = |key: &str| {
        entry
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(str::trim)
    };
    let is_usable = entry.lines().next() == Some("enabled")
        && value("flags:").is_some_and(|flags| flags.contains('F'))
        && value("offset").is_none_or(|offset| offset == "0");
    let magic = hex::decode(value("magic")?).ok()?;
    let [0x7f, b'E', b'L', b'F', class, order, ..] = magic.as_slice() else {
        return None;
    };
    let machine = [*magic.get(18)?, *magic.get(19)?];
    let number = match order {
        1 => u16::from_le_bytes(machine),
        2 => u16::from_be_bytes(machine),
        _ => return None,
    };
    is_usable.then_some((number, *class == 2, *order == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Debian's qemu-user-binfmt registers them.
    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
    const S390X: &str = "enabled\ninterpreter /usr/bin/qemu-s390x\nflags: F\noffset 0\n\
        magic 7f454c4602020100000000000000000000020016\nmask ffffffffffffff00fffffffffffffffffffeffff\n";
    const ARM: &str = "enabled\ninterpreter /usr/bin/qemu-arm\nflags: F\noffset 0\n\
        magic 7f454c4601010100000000000000000002002800\n";

    #[test]
    fn interpreters_that_containers_can_use_add_platforms() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("status", "enabled\n");
        write(
            "python3",
            "enabled\ninterpreter /usr/bin/python3\nflags: F\noffset 0\nmagic cb0d0d0a\n",
        );
        write("qemu-aarch64", ARM64);
        write("qemu-s390x", S390X);
        write("qemu-arm", ARM);
        write(
            "off",
            &ARM64.replace("enabled", "disabled").replace("b700", "f300"),
        );
        write(
            "outside",
            &ARM64.replace("POCF", "POC").replace("b700", "f300"),
        );
        let names: Vec<_> = interpreted(folder.path())
            .iter()
            .map(platform::format)
            .collect();
        assert_eq!(
            names,
            ["linux/arm64", "linux/s390x", "linux/arm/v7", "linux/arm/v6"]
        );
        assert_eq!(interpreted(Path::new("/no/such/folder")), []);
    }

    #[test]
    fn own_platform_comes_first() {
        assert_eq!(runnable_platforms()[0], platform::host());
    }
}
