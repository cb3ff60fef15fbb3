use super::error::FileOpError;
use crate::confine::Metadata;

/// A change of permission bits, as `chmod(1)` takes it: octal, or symbolic such as `u=rwX,go=rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Clear(u32),
    Set(u32),
    /// Sets bits where the original had any execute bit, or for a directory.
    SetIfExecutable(u32),
    /// Takes one class's bits to the classes of a mask.
    Copy {
        from_shift: u32,
        to: u32,
        clear: Clear,
        set: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clear {
    Nothing,
    SameBits,
    WholeClass,
}

const STANDARD: u32 = 0o6777;
const STICKY: u32 = 0o1000;

impl ModeChange {
    /// Reads a change.
    ///
    /// # Errors
    /// When the text is neither an octal mode nor a list of symbolic ones.
    pub fn parse(text: &str) -> Result<Self, FileOpError> {
        parse(text)
            .map(|steps| Self { steps })
            .ok_or_else(|| FileOpError::Invalid(format!("invalid mode {text:?}: invalid syntax")))
    }

    /// The permission bits that an object with this metadata gets.
    #[must_use]
    pub fn apply(&self, metadata: &Metadata) -> u32 {
        let original = metadata.mode;
        let is_executable = original & 0o111 != 0 || metadata.is_dir();
        self.steps.iter().fold(original, |mode, step| match *step {
            Step::Clear(bits) => mode & !bits,
            Step::Set(bits) => mode | bits,
            Step::SetIfExecutable(bits) if is_executable => mode | bits,
            Step::SetIfExecutable(_) => mode,
            Step::Copy {
                from_shift,
                to,
                clear,
                set,
            } => {
                let value = (mode >> from_shift & 0o7) * 0o111;
                let cleared = match clear {
                    Clear::Nothing => mode,
                    Clear::SameBits => mode & !(value & to),
                    Clear::WholeClass => mode & !to,
                };
                if set { cleared | (value & to) } else { cleared }
            }
        })
    }
}

fn parse(text: &str) -> Option<Vec<Step>> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let bits = u32::from_str_radix(text, 8).ok()?;
        return (bits <= 0o7777).then(|| vec![Step::Clear(0o7777), Step::Set(bits)]);
    }
    let mut steps = Vec::new();
    for clause in text.split(',') {
        let operations = clause.trim_start_matches(['a', 'u', 'g', 'o']);
        let mut who = 0;
        for class in clause[..clause.len() - operations.len()].chars() {
            who |= match class {
                'u' => 0o4700,
                'g' => 0o2070,
                'o' => 0o007,
                _ => STANDARD,
            };
        }
        parse_operations(operations, who, &mut steps)?;
    }
    Some(steps)
}

/// One or more of an operator with its permissions, such as `+x-w`.
fn parse_operations(text: &str, who: u32, steps: &mut Vec<Step>) -> Option<()> {
    let mut rest = text.chars().peekable();
    let mut is_any = false;
    while let Some(operator) = rest.next() {
        if !matches!(operator, '+' | '-' | '=') {
            return None;
        }
        is_any = true;
        let mut operation = Operation {
            operator,
            who,
            bits: 0,
            if_executable: 0,
            is_assigned: false,
        };
        while let Some(permission) = rest.next_if(|next| !matches!(next, '+' | '-' | '=')) {
            operation.permission(permission, steps)?;
        }
        operation.flush(steps, true);
    }
    is_any.then_some(())
}

struct Operation {
    operator: char,
    who: u32,
    bits: u32,
    if_executable: u32,
    /// Whether `=` has cleared what was there.
    is_assigned: bool,
}

impl Operation {
    fn permission(&mut self, permission: char, steps: &mut Vec<Step>) -> Option<()> {
        // Set-id and sticky bits mean nothing for others alone.
        let only_others = self.who != 0 && self.who & !0o007 == 0;
        match permission {
            'r' => self.bits |= 0o444,
            'w' => self.bits |= 0o222,
            'x' => self.bits |= 0o111,
            'X' if self.operator == '-' => self.bits |= 0o111,
            'X' => self.if_executable = 0o111,
            's' if !only_others => self.bits |= 0o6000,
            't' if !only_others => {
                self.who |= STICKY;
                self.bits |= STICKY;
            }
            's' | 't' => {}
            'u' | 'g' | 'o' => {
                self.flush(steps, false);
                self.is_assigned |= self.operator == '=';
                steps.push(self.copy(permission));
            }
            _ => return None,
        }
        Some(())
    }

    fn flush(&mut self, steps: &mut Vec<Step>, is_last: bool) {
        let assigns_nothing = is_last && self.operator == '=' && !self.is_assigned;
        if self.bits != 0 || assigns_nothing {
            if self.operator == '=' {
                steps.push(Step::Clear(if self.who == 0 { STANDARD } else { self.who }));
                self.is_assigned |= is_last;
            }
            let bits = self.reach(self.bits);
            steps.push(match self.operator {
                '-' => Step::Clear(bits),
                _ => Step::Set(bits),
            });
            self.bits = 0;
        }
        if self.if_executable != 0 {
            steps.push(Step::SetIfExecutable(self.reach(self.if_executable)));
            self.if_executable = 0;
        }
    }

    fn reach(&self, bits: u32) -> u32 {
        if self.who == 0 { bits } else { self.who & bits }
    }

    fn copy(&self, class: char) -> Step {
        let class_mask = |bit: u32, mask: u32| {
            if self.who == 0 || self.who & bit != 0 {
                mask
            } else {
                0
            }
        };
        Step::Copy {
            from_shift: match class {
                'u' => 6,
                'g' => 3,
                _ => 0,
            },
            to: class_mask(0o400, 0o700) | class_mask(0o040, 0o070) | class_mask(0o004, 0o007),
            clear: match self.operator {
                '-' => Clear::SameBits,
                '=' => Clear::WholeClass,
                _ => Clear::Nothing,
            },
            set: self.operator != '-',
        }
    }
}
