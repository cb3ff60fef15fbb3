use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What a process may do with a device (linux/bpf.h, `BPF_DEVCG_ACC_*`).
pub(crate) const MAKE: u32 = 1;
pub(crate) const READ: u32 = 2;
pub(crate) const WRITE: u32 = 4;

/// One kind of device, or all of them, and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) kind: DeviceKind,
    /// All when `None`.
    pub(crate) major: Option<u32>,
    /// All when `None`.
    pub(crate) minor: Option<u32>,
    /// [`MAKE`], [`READ`] and [`WRITE`] together.
    pub(crate) access: u32,
}

/// The two kinds of devices (linux/bpf.h, `BPF_DEVCG_DEV_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Block = 1,
    Character = 2,
}

/// One instruction of an extended BPF program: the kernel's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

// linux/bpf_common.h and linux/bpf.h
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Registers: the answer, the context, and what we keep of it.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const ACCESS: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
const KIND: u8 = 5;

fn plain(code: u8, register: u8, immediate: u32) -> Instruction {
    Instruction {
        code,
        registers: register,
        offset: 0,
        immediate: immediate.cast_signed(),
    }
}

/// Allows what a rule allows and nothing else. The context is `struct bpf_cgroup_dev_ctx`: access and kind in one word,
/// then major and minor.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let load = |register: u8, offset: i16| Instruction {
        code: LOAD_WORD,
        registers: CONTEXT << 4 | register,
        offset,
        immediate: 0,
    };
    let copy = |to: u8, from: u8| Instruction {
        registers: from << 4 | to,
        ..plain(MOVE_REGISTER, 0, 0)
    };
    let mut program = vec![
        load(ACCESS, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        copy(KIND, ACCESS),
        plain(AND, KIND, 0xffff),
        plain(SHIFT_RIGHT, ACCESS, 16),
    ];
    for rule in rules {
        let mut part = vec![
            plain(JUMP_IF_NOT, KIND, rule.kind as u32),
            copy(ANSWER, ACCESS),
            plain(AND, ANSWER, !rule.access & (MAKE | READ | WRITE)),
            plain(JUMP_IF_NOT, ANSWER, 0),
        ];
        part.extend(rule.major.map(|major| plain(JUMP_IF_NOT, MAJOR, major)));
        part.extend(rule.minor.map(|minor| plain(JUMP_IF_NOT, MINOR, minor)));
        part.extend([plain(MOVE, ANSWER, 1), plain(EXIT, 0, 0)]);
        let length = part.len();
        for (at, instruction) in part.iter_mut().enumerate() {
            if instruction.code == JUMP_IF_NOT {
                instruction.offset =
                    i16::try_from(length - at - 1).expect("a part has at most eight instructions");
            }
        }
        program.extend(part);
    }
    program.extend([plain(MOVE, ANSWER, 0), plain(EXIT, 0, 0)]);
    program
}

/// Lets the processes of a control group (of version 2) use only the devices that the rules name. It ends with the group.
///
/// # Errors
/// `PermissionDenied` without the capabilities for it; other errors where the kernel lacks it.
pub(crate) fn restrict_devices(cgroup: impl AsFd, rules: &[DeviceRule]) -> io::Result<()> {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;

    /// The part of `union bpf_attr` that loading needs.
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        program_type: u32,
        length: u32,
        instructions: u64,
        license: u64,
        log: [u32; 4],
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
    }

    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        attach_type: u32,
        flags: u32,
    }

    let program = program(rules);
    let load = Load {
        program_type: TYPE_CGROUP_DEVICE,
        length: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        attach_type: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    // SAFETY: `load` and what it points to outlive the call, which only reads them; the log is off.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            std::ptr::from_ref(&load),
            size_of::<Load>(),
        )
    };
    let Ok(loaded @ 0..) = libc::c_int::try_from(answer) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has just given us this descriptor (it is close-on-exec by itself) and nobody else has it.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let attach = Attach {
        target: cgroup.as_fd().as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        attach_type: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: `attach` outlives the call, which only reads it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            std::ptr::from_ref(&attach),
            size_of::<Attach>(),
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allows(program: &[Instruction], kind: DeviceKind, numbers: (u32, u32), access: u32) -> bool {
        let context = [access << 16 | kind as u32, numbers.0, numbers.1];
        let (mut registers, mut at) = ([0_u64; 6], 0_usize);
        loop {
            let Instruction {
                code,
                registers: pair,
                offset,
                immediate,
            } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let immediate = u64::from(immediate.cast_unsigned());
            at += 1;
            match code {
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(offset).unwrap() / 4].into();
                }
                MOVE => registers[to] = immediate,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_IF_NOT if registers[to] != immediate => {
                    at += usize::try_from(offset).unwrap();
                }
                JUMP_IF_NOT => {}
                EXIT => return registers[0] == 1,
                other => panic!("unknown code {other:#x}"),
            }
        }
    }

    #[test]
    fn only_what_a_rule_names_is_allowed() {
        use DeviceKind::{Block, Character};
        let rule = |kind, major, minor, access| DeviceRule {
            kind,
            major,
            minor,
            access,
        };
        let program = program(&[
            rule(Character, None, None, MAKE),
            rule(Character, Some(1), Some(3), READ | WRITE),
            rule(Character, Some(136), None, READ | WRITE),
        ]);
        assert!(allows(&program, Character, (1, 3), READ));
        assert!(allows(&program, Character, (1, 3), READ | WRITE));
        assert!(allows(&program, Character, (136, 7), WRITE));
        assert!(allows(&program, Character, (10, 200), MAKE));
        assert!(!allows(&program, Character, (10, 200), READ));
        assert!(!allows(&program, Character, (1, 1), READ), "/dev/mem");
        assert!(!allows(&program, Block, (1, 3), READ));
        assert!(!allows(&program, Block, (8, 0), MAKE));
        assert!(
            !allows(&program, Character, (1, 3), MAKE | READ),
            "rules do not add up"
        );
    }
}
