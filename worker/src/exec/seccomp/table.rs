use std::collections::BTreeMap;

/// See the file's own head for its format and its source.
const ALLOWED: &str = include_str!("allowed.txt");

/// Largest system call number that the table knows of; newer ones must look absent, so that programs use an older one.
pub(super) const NEWEST_KNOWN: u32 = 466;

/// An architecture that a machine's programs can be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    I386,
    Aarch64,
}

impl Architecture {
    /// Those that this machine runs. 32-bit ARM programs on aarch64 are not among them.
    pub(super) fn of_this_machine() -> &'static [Self] {
        if cfg!(target_arch = "x86_64") {
            &[Self::X86_64, Self::I386]
        } else {
            &[Self::Aarch64]
        }
    }

    /// As the kernel names it to a filter (`AUDIT_ARCH_*`, linux/audit.h).
    pub(super) fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// As `linux.seccomp.architectures` names it.
    pub(super) fn profile_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::I386 => "SCMP_ARCH_X86",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
        }
    }

    fn column(self) -> usize {
        match self {
            Self::X86_64 => 1,
            Self::I386 => 2,
            Self::Aarch64 => 3,
        }
    }
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this error number.
    Fail(u16),
    /// `socket`: not for the address families that reach the host's kernel or hypervisor (AF_ALG, AF_VSOCK).
    SocketFamily,
    /// `personality`: only the ordinary ones.
    PlainPersonality,
    /// `clone`: not into new namespaces.
    CloneWithoutNamespaces,
}

pub(super) const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Calls that are allowed whatever their arguments, on any of these architectures.
pub(super) fn names(architectures: &[Architecture]) -> Vec<&'static str> {
    let lines = ALLOWED.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let known = fields.filter(|fields| {
        let mut columns = architectures.iter().map(|it| it.column());
        columns.any(|column| fields.get(column).is_some_and(|field| *field != "_"))
    });
    known.filter_map(|fields| fields.first().copied()).collect()
}

/// What happens to which number, as ranges: each begins at its number and ends where the next begins.
pub(super) fn ranges(architecture: Architecture) -> Vec<(u32, Verdict)> {
    let mut verdicts: BTreeMap<u32, Verdict> = (0..=NEWEST_KNOWN)
        .map(|number| (number, Verdict::Fail(EPERM)))
        .collect();
    for line in ALLOWED.lines().filter(|line| !line.starts_with('#')) {
        let number = line
            .split(' ')
            .nth(architecture.column())
            .and_then(|field| field.parse().ok());
        if let Some(number) = number {
            verdicts.insert(number, Verdict::Allow);
        }
    }
    let (clone, personality, socket) = match architecture {
        Architecture::X86_64 => (56, 135, 41),
        Architecture::I386 => (120, 136, 359),
        Architecture::Aarch64 => (220, 92, 198),
    };
    verdicts.insert(clone, Verdict::CloneWithoutNamespaces);
    verdicts.insert(personality, Verdict::PlainPersonality);
    verdicts.insert(socket, Verdict::SocketFamily);
    // Its arguments are in memory, where a filter cannot look: programs fall back to `clone`.
    verdicts.insert(435, Verdict::Fail(ENOSYS));
    // Also where the x32 variants of x86_64 are (bit 30).
    verdicts.insert(NEWEST_KNOWN + 1, Verdict::Fail(ENOSYS));
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for (number, verdict) in verdicts {
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((number, verdict));
        }
    }
    ranges
}
