use std::sync::OnceLock;

use super::table::{Architecture, Verdict, ranges};
use crate::sys::Instruction;

/// A compiled filter of system calls: Docker's default profile for a process without `CAP_SYS_ADMIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) program: Vec<Instruction>,
}

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// struct seccomp_data, linux/seccomp.h: `nr`, `arch`, `instruction_pointer`, then six arguments of 64 bits.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const FAIL: u32 = 0x0005_0000;
const EPERM: u32 = 1;

/// Every `CLONE_NEW*` flag that fits into `clone`'s flags: ns, cgroup, uts, ipc, user, pid and net.
pub(super) const CLONE_NAMESPACES: u32 = 0x7e02_0000;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;

impl Filter {
    /// The filter for this machine's architectures, compiled once.
    #[must_use]
    pub fn default_profile() -> &'static Self {
        static FILTER: OnceLock<Filter> = OnceLock::new();
        FILTER.get_or_init(|| Self {
            program: compile(Architecture::of_this_machine()),
        })
    }

    /// As bytes, for another process of the same program.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.program.len() * 8);
        for Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        } in &self.program
        {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([*jump_true, *jump_false]);
            bytes.extend(operand.to_ne_bytes());
        }
        bytes
    }

    /// What [`Filter::to_bytes`] wrote; a rest of less than one instruction is left out.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let (instructions, _) = bytes.as_chunks::<8>();
        let program = instructions
            .iter()
            .map(
                |&[c0, c1, jump_true, jump_false, o0, o1, o2, o3]| Instruction {
                    code: u16::from_ne_bytes([c0, c1]),
                    jump_true,
                    jump_false,
                    operand: u32::from_ne_bytes([o0, o1, o2, o3]),
                },
            )
            .collect();
        Self { program }
    }
}

fn plain(code: u16, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    }
}

fn test(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

/// Jumps over `instructions`, which may be more than a conditional jump can.
fn jump_over(instructions: &[Instruction]) -> Instruction {
    plain(
        JUMP,
        u32::try_from(instructions.len()).expect("a filter has at most 4096 instructions"),
    )
}

/// One section an architecture; a call of any other architecture ends the process.
fn compile(architectures: &[Architecture]) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    for &architecture in architectures {
        let mut section = vec![plain(LOAD, NUMBER)];
        section.extend(search(&ranges(architecture)));
        program.push(test(JUMP_EQUAL, architecture.audit_number(), 1, 0));
        program.push(jump_over(&section));
        program.extend(section);
    }
    program.push(plain(RETURN, KILL_PROCESS));
    program
}

/// A binary search: the kernel walks the filter for every number when it is installed, so that its depth is time.
fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    if let [(_, verdict)] = ranges {
        return decide(*verdict);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let below_code = search(below);
    let mut code = vec![
        test(JUMP_GREATER_OR_EQUAL, above[0].0, 0, 1),
        jump_over(&below_code),
    ];
    code.extend(below_code);
    code.extend(search(above));
    code
}

fn decide(verdict: Verdict) -> Vec<Instruction> {
    let (allow, refuse) = (plain(RETURN, ALLOW), plain(RETURN, FAIL | EPERM));
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Fail(errno) => vec![plain(RETURN, FAIL | u32::from(errno))],
        // The kernel looks at 32 bits of these arguments, and so do we (the low ones come first: little-endian).
        Verdict::SocketFamily => vec![
            plain(LOAD, FIRST_ARGUMENT),
            test(JUMP_EQUAL, AF_ALG, 2, 0),
            test(JUMP_EQUAL, AF_VSOCK, 1, 0),
            allow,
            refuse,
        ],
        Verdict::CloneWithoutNamespaces => {
            vec![
                plain(LOAD, FIRST_ARGUMENT),
                test(JUMP_ANY_BIT, CLONE_NAMESPACES, 1, 0),
                allow,
                refuse,
            ]
        }
        Verdict::PlainPersonality => vec![
            plain(LOAD, FIRST_ARGUMENT),
            test(JUMP_EQUAL, 0, 4, 0),
            test(JUMP_EQUAL, 0x8, 3, 0),
            test(JUMP_EQUAL, 0x2_0000, 2, 0),
            test(JUMP_EQUAL, 0x2_0008, 1, 0),
            test(JUMP_EQUAL, u32::MAX, 0, 1),
            allow,
            refuse,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(program: &[Instruction], architecture: u32, number: u32, argument: u32) -> u32 {
        let (mut accumulator, mut at) = (0, 0_usize);
        loop {
            let Instruction {
                code,
                jump_true,
                jump_false,
                operand,
            } = program[at];
            at += 1;
            let jump = |hit: bool| usize::from(if hit { jump_true } else { jump_false });
            match code {
                LOAD => {
                    accumulator = match operand {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("load of {other}"),
                    };
                }
                JUMP => at += operand as usize,
                JUMP_EQUAL => at += jump(accumulator == operand),
                JUMP_GREATER_OR_EQUAL => at += jump(accumulator >= operand),
                JUMP_ANY_BIT => at += jump(accumulator & operand != 0),
                RETURN => return operand,
                other => panic!("unknown code {other:#x}"),
            }
        }
    }

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const REFUSED: u32 = FAIL | EPERM;
    const ABSENT: u32 = FAIL | 38;

    fn x86() -> Vec<Instruction> {
        compile(&[Architecture::X86_64, Architecture::I386])
    }

    #[test]
    fn ordinary_calls_pass_on_both_architectures() {
        let program = x86();
        for (architecture, numbers) in [(X86_64, [0, 1, 59, 257]), (I386, [3, 4, 11, 295])] {
            for number in numbers {
                assert_eq!(
                    verdict(&program, architecture, number, 0),
                    ALLOW,
                    "{architecture:#x} {number}"
                );
            }
        }
    }

    #[test]
    fn calls_that_reach_the_machine_are_refused() {
        let program = x86();
        // mount, unshare, setns, bpf, init_module, keyctl, reboot
        for number in [165, 272, 308, 321, 175, 250, 169] {
            assert_eq!(verdict(&program, X86_64, number, 0), REFUSED, "{number}");
        }
        assert_eq!(verdict(&program, I386, 21, 0), REFUSED, "mount");
    }

    #[test]
    fn foreign_architecture_ends_the_process_and_new_calls_look_absent() {
        let program = x86();
        assert_eq!(verdict(&program, 0xc000_00b7, 0, 0), KILL_PROCESS);
        for number in [435, 467, 5000, 0x4000_0000, 0x4000_0000 + 520, u32::MAX] {
            assert_eq!(verdict(&program, X86_64, number, 0), ABSENT, "{number}");
        }
    }

    #[test]
    fn arguments_decide_where_a_call_is_half_safe() {
        let program = x86();
        for flags in [
            0x2_0000,
            0x0200_0000,
            0x0400_0000,
            0x1000_0000,
            0x2000_0000,
            0x4000_0011,
        ] {
            assert_eq!(
                verdict(&program, X86_64, 56, flags),
                REFUSED,
                "clone {flags:#x}"
            );
        }
        assert_eq!(verdict(&program, X86_64, 56, 0x0100_0011), ALLOW);
        for (family, expected) in [
            (2, ALLOW),
            (38, REFUSED),
            (39, ALLOW),
            (40, REFUSED),
            (41, ALLOW),
        ] {
            assert_eq!(
                verdict(&program, X86_64, 41, family),
                expected,
                "socket {family}"
            );
        }
        for (persona, expected) in [
            (0, ALLOW),
            (8, ALLOW),
            (0x2_0008, ALLOW),
            (u32::MAX, ALLOW),
            (0x4_0000, REFUSED),
        ] {
            assert_eq!(
                verdict(&program, X86_64, 135, persona),
                expected,
                "personality {persona:#x}"
            );
        }
    }

    #[test]
    fn every_number_gets_the_verdict_of_its_range() {
        for architecture in [
            Architecture::X86_64,
            Architecture::I386,
            Architecture::Aarch64,
        ] {
            let program = compile(&[architecture]);
            assert!(program.len() < 1000, "{}", program.len());
            let ranges = ranges(architecture);
            for number in 0..600 {
                let (_, expected) = *ranges
                    .iter()
                    .rev()
                    .find(|(start, _)| *start <= number)
                    .unwrap();
                let found = verdict(&program, architecture.audit_number(), number, 0);
                let expected = match expected {
                    Verdict::Fail(errno) => FAIL | u32::from(errno),
                    _ => ALLOW,
                };
                assert_eq!(found, expected, "{architecture:?} {number}");
            }
        }
    }

    #[test]
    fn filter_survives_the_way_to_the_helper() {
        let filter = Filter::default_profile();
        assert_eq!(&Filter::from_bytes(&filter.to_bytes()), filter);
    }
}
