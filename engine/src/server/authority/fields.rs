const NAME: &[u8] = b":authority";
/// Number of `:authority` in HPACK's table (RFC 7541, appendix A).
const NAME_INDEX: u32 = 1;

/// Stands for a byte that no authority may have.
const REPLACEMENT: u8 = b'-';

/// Most bits of a number that are still counted; longer ones are refused by the HTTP/2 library.
const NUMBER_BITS: u32 = 28;

/// A block of header fields as it goes by (RFC 7541, 5 and 6).
#[derive(Debug, Default)]
pub(super) struct Fields {
    state: State,
    /// Whether the value that comes next is an authority.
    authority: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Start,
    Number {
        value: u32,
        shift: u32,
        then: Then,
    },
    Length(Role),
    Text {
        role: Role,
        coded: bool,
        left: u32,
        at: usize,
    },
    /// Nothing that HPACK allows came; the HTTP/2 library ends the connection.
    Lost,
}

/// What a number says.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// A whole field of the table, or the table's size.
    Whole,
    /// Which name of the table a value belongs to; 0 is none of them.
    NameIndex,
    /// Length of a string, and whether it is Huffman coded.
    Text { role: Role, coded: bool },
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Name,
    Value,
}

impl Fields {
    pub(super) fn step(&mut self, byte: &mut u8) {
        self.state = match self.state {
            State::Start => match *byte {
                0x80.. => self.number(*byte, 7, Then::Whole),
                0x40.. => self.number(*byte, 6, Then::NameIndex),
                0x20.. => self.number(*byte, 5, Then::Whole),
                _ => self.number(*byte, 4, Then::NameIndex),
            },
            State::Number { value, shift, then } => self.more(*byte, value, shift, then),
            State::Length(role) => {
                let coded = *byte & 0x80 != 0;
                self.number(*byte, 7, Then::Text { role, coded })
            }
            State::Text {
                role,
                coded,
                left,
                at,
            } => {
                self.text(byte, role, coded, at);
                match left {
                    1 => self.after(role),
                    _ => State::Text {
                        role,
                        coded,
                        left: left - 1,
                        at: at + 1,
                    },
                }
            }
            State::Lost => State::Lost,
        };
    }

    /// The first byte of a number, which has `bits` bits for it.
    fn number(&mut self, byte: u8, bits: u32, then: Then) -> State {
        let most = u8::MAX >> (8 - bits);
        match byte & most {
            value if value < most => self.counted(u32::from(value), then),
            value => State::Number {
                value: u32::from(value),
                shift: 0,
                then,
            },
        }
    }

    fn more(&mut self, byte: u8, value: u32, shift: u32, then: Then) -> State {
        if shift >= NUMBER_BITS {
            return State::Lost;
        }
        let value = value.saturating_add(u32::from(byte & 0x7f) << shift);
        if byte & 0x80 == 0 {
            self.counted(value, then)
        } else {
            let shift = shift + 7;
            State::Number { value, shift, then }
        }
    }

    fn counted(&mut self, value: u32, then: Then) -> State {
        match then {
            Then::Whole => State::Start,
            Then::NameIndex if value == 0 => State::Length(Role::Name),
            Then::NameIndex => {
                self.authority = value == NAME_INDEX;
                State::Length(Role::Value)
            }
            Then::Text { role, coded } => {
                if matches!(role, Role::Name) {
                    self.authority = !coded && value as usize == NAME.len();
                }
                match value {
                    0 => self.after(role),
                    left => State::Text {
                        role,
                        coded,
                        left,
                        at: 0,
                    },
                }
            }
        }
    }

    fn text(&mut self, byte: &mut u8, role: Role, coded: bool, at: usize) {
        match role {
            Role::Name => self.authority &= NAME.get(at) == Some(byte),
            Role::Value if self.authority && !coded && !may_stand_in_authority(*byte) => {
                *byte = REPLACEMENT;
            }
            Role::Value => {}
        }
    }

    fn after(&mut self, role: Role) -> State {
        match role {
            Role::Name => State::Length(Role::Value),
            Role::Value => State::Start,
        }
    }
}

/// Characters of host and port (RFC 3986, 3.2), without the escapes that the HTTP/2 library refuses.
fn may_stand_in_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]@".contains(&byte)
}
