use super::fields::Fields;

/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE_BYTES: u32 = 24;
const FRAME_HEADER_BYTES: usize = 9;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: u32 = 5;

/// A client's frames as they go by (RFC 9113, 4.1 and 6.2).
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes that hold nothing for us, before the next part.
    skip: u32,
    next: Part,
    fields: Fields,
}

#[derive(Debug)]
enum Part {
    FrameHeader {
        seen: usize,
        bytes: [u8; FRAME_HEADER_BYTES],
    },
    /// The byte that says how long the padding at the frame's end is.
    PaddingLength { payload: u32, priority: u32 },
    /// Header fields, and the padding after them.
    Fields { left: u32, padding: u32 },
}

impl Part {
    const NEXT_FRAME: Self = Self::FrameHeader {
        seen: 0,
        bytes: [0; FRAME_HEADER_BYTES],
    };
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE_BYTES,
            next: Part::NEXT_FRAME,
            fields: Fields::default(),
        }
    }
}

impl Frames {
    /// Goes over the next bytes of the connection and replaces, in place, what may not stand in an authority.
    pub(super) fn clean(&mut self, mut bytes: &mut [u8]) {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= u32::try_from(skipped).expect("at most `skip`, which fits");
            bytes = &mut bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first_mut() else {
                return;
            };
            self.step(byte);
            bytes = rest;
        }
    }

    fn step(&mut self, byte: &mut u8) {
        match &mut self.next {
            Part::FrameHeader { seen, bytes } => {
                bytes[*seen] = *byte;
                *seen += 1;
                if *seen == FRAME_HEADER_BYTES {
                    let header = *bytes;
                    self.open(header);
                }
            }
            Part::PaddingLength { payload, priority } => {
                let (payload, priority) = (*payload, *priority);
                self.fields(payload.saturating_sub(1), u32::from(*byte), priority);
            }
            Part::Fields { left, padding } => {
                self.fields.step(byte);
                *left -= 1;
                if *left == 0 {
                    self.skip = *padding;
                    self.next = Part::NEXT_FRAME;
                }
            }
        }
    }

    fn open(&mut self, header: [u8; FRAME_HEADER_BYTES]) {
        let [high, middle, low, kind, flags, ..] = header;
        let payload = u32::from_be_bytes([0, high, middle, low]);
        let priority = if flags & PRIORITY == 0 {
            0
        } else {
            PRIORITY_BYTES
        };
        match kind {
            HEADERS if flags & PADDED != 0 && payload > 0 => {
                self.next = Part::PaddingLength { payload, priority };
            }
            HEADERS => self.fields(payload, 0, priority),
            CONTINUATION => self.fields(payload, 0, 0),
            _ => {
                self.skip = payload;
                self.next = Part::NEXT_FRAME;
            }
        }
    }

    /// Header fields come next, unless the frame is too short for what it says about itself: that is for the HTTP/2
    /// library to refuse.
    fn fields(&mut self, payload: u32, padding: u32, priority: u32) {
        match payload.checked_sub(padding + priority) {
            Some(left) if left > 0 => {
                self.skip = priority;
                self.next = Part::Fields { left, padding };
            }
            _ => {
                self.skip = payload;
                self.next = Part::NEXT_FRAME;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of header fields: a literal `:authority` by its number, and a literal field whose name is spelled out.
    fn request(authority: &str, flags: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
        let mut fields = vec![0x41, u8::try_from(authority.len()).unwrap()];
        fields.extend_from_slice(authority.as_bytes());
        fields.extend_from_slice(b"\x40\x01x\x03a%b");
        let payload = [before, &fields, after].concat();
        let length = u8::try_from(payload.len()).unwrap();
        [
            &[0, 0, length, HEADERS, flags, 0, 0, 0, 1],
            payload.as_slice(),
        ]
        .concat()
    }

    fn cleaned(frames: &[Vec<u8>], at_once: usize) -> Vec<u8> {
        let mut bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frames.concat(),
        ]
        .concat();
        let mut machine = Frames::default();
        for chunk in bytes.chunks_mut(at_once) {
            machine.clean(chunk);
        }
        bytes.split_off(PREFACE_BYTES as usize)
    }

    #[test]
    fn path_as_authority_becomes_acceptable_however_its_bytes_arrive() {
        let sent = [
            vec![0, 0, 4, 0x4, 0, 0, 0, 0, 0, b'%', b'/', b'%', b'/'],
            request("run%2Fa.sock", 0x4, &[], &[]),
            request(
                "/run/a.sock",
                0x4 | PADDED | PRIORITY,
                &[2, 0, 0, 0, 0, 1],
                b"%%",
            ),
            request("localhost:80", 0x4, &[], &[]),
        ];
        let expected = [
            sent[0].clone(),
            request("run-2Fa.sock", 0x4, &[], &[]),
            request(
                "-run-a.sock",
                0x4 | PADDED | PRIORITY,
                &[2, 0, 0, 0, 0, 1],
                b"%%",
            ),
            sent[3].clone(),
        ]
        .concat();
        for at_once in [1, 2, 7, 1000] {
            assert_eq!(cleaned(&sent, at_once), expected, "{at_once} bytes at once");
        }
    }

    #[test]
    fn authority_is_found_by_its_name_and_in_a_second_frame() {
        let name = b"\x40\x0a:authority\x04a%2F";
        let (first, second) = name.split_at(14);
        let frame = |kind: u8, part: &[u8]| {
            let length = u8::try_from(part.len()).unwrap();
            [&[0, 0, length, kind, 0, 0, 0, 0, 1], part].concat()
        };
        let sent = [frame(HEADERS, first), frame(CONTINUATION, second)];
        let expected = [frame(HEADERS, first), frame(CONTINUATION, b"-2F")].concat();
        assert_eq!(second, b"%2F");
        assert_eq!(cleaned(&sent, 3), expected);
    }

    #[test]
    fn frames_that_lie_about_their_length_change_nothing() {
        for payload in [
            &b"\xff"[..],
            b"\x41\xff\xff\xff\xff\xff\xff\xff\xff%",
            b"\x41\x7f%",
        ] {
            let length = u8::try_from(payload.len()).unwrap();
            for flags in [0, PADDED, PADDED | PRIORITY] {
                let frame = [&[0, 0, length, HEADERS, flags, 0, 0, 0, 1], payload].concat();
                assert_eq!(cleaned(std::slice::from_ref(&frame), 4).len(), frame.len());
            }
        }
    }
}
