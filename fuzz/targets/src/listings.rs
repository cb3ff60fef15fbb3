//! How other programs read an archive.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// An entry as a program sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    /// Without `.`, `..` and slashes around it.
    pub(crate) name: Vec<u8>,
    /// As `ls -l` shows it; `h` for a hard link.
    pub(crate) kind: char,
    /// Of files.
    pub(crate) size: u64,
}

/// Another program that reads archives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// GNU tar.
    Tar,
    /// Python's tarfile.
    Python,
}

impl Peer {
    /// What it sees, up to where it gives up.
    pub(crate) fn list(self, archive: &[u8]) -> Vec<Listed> {
        match self {
            Self::Tar => gnu_tar(archive),
            Self::Python => python(archive),
        }
    }
}

/// What of theirs is not, or not as often, among ours.
pub(crate) fn hidden_from<'a>(ours: &[Listed], theirs: &'a [Listed]) -> Vec<&'a Listed> {
    let mut counts = BTreeMap::new();
    for entry in ours {
        *counts.entry(entry).or_insert(0_usize) += 1;
    }
    let mut hidden = Vec::new();
    for entry in theirs {
        match counts.get_mut(entry) {
            Some(count) if *count > 0 => *count -= 1,
            _ => hidden.push(entry),
        }
    }
    hidden
}

/// Drops `.`, and what `..` goes back from.
fn cleaned(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn gnu_tar(archive: &[u8]) -> Vec<Listed> {
    // A file and no pipe: tar may stop reading early, and whoever writes into a pipe would end with that.
    let mut input = tempfile::tempfile().expect("there is room for a file");
    let written = input.write_all(archive).and_then(|()| input.rewind());
    written.expect("there is room for a file");
    let output = Command::new("tar")
        .args([
            "--list",
            "--verbose",
            "--numeric-owner",
            "--full-time",
            "--utc",
        ])
        .args([
            "--absolute-names",
            "--quoting-style=escape",
            "--quote-chars= ",
            "--file=-",
        ])
        .env("LC_ALL", "C")
        .stdin(Stdio::from(input))
        .stderr(Stdio::null())
        .output()
        .expect("tar is installed");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines.filter_map(gnu_line).collect()
}

/// `mode owner/group size date time name`, blanks in the name escaped.
fn gnu_line(line: &[u8]) -> Option<Listed> {
    let kind = match *line.first()? {
        b'C' => '-',
        other => char::from(other),
    };
    let mut fields = line.split(|byte| *byte == b' ').filter(|it| !it.is_empty());
    let size = fields.nth(2)?;
    // A time that cannot be told as a date is a number.
    let is_date = fields.next()?[1..].contains(&b'-');
    let rest: Vec<&[u8]> = fields.skip(usize::from(is_date)).collect();
    let rest = rest.join(&b' ');
    let mut name = Vec::new();
    let mut bytes = rest.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' => break,
            b'\\' => name.push(unescaped(&mut bytes)?),
            byte => name.push(byte),
        }
    }
    let size = match kind {
        '-' => std::str::from_utf8(size).ok()?.parse().ok()?,
        _ => 0,
    };
    Some(Listed {
        name: cleaned(&name),
        kind,
        size,
    })
}

fn unescaped(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    Some(match bytes.next()? {
        b'a' => 7,
        b'b' => 8,
        b't' => 9,
        b'n' => 10,
        b'v' => 11,
        b'f' => 12,
        b'r' => 13,
        first @ b'0'..=b'7' => {
            let digit = |byte: u8| byte.wrapping_sub(b'0');
            let (second, third) = (digit(bytes.next()?), digit(bytes.next()?));
            (digit(first) << 6) | (second << 3) | third
        }
        other => other,
    })
}

/// Lists archives that come with their length, a line for each entry and an empty one at the end.
const LISTER: &str = r#"
import io, struct, sys, tarfile
def kind(m):
    if m.isreg(): return "-"
    if m.isdir(): return "d"
    if m.issym(): return "l"
    if m.islnk(): return "h"
    if m.isfifo(): return "p"
    if m.ischr(): return "c"
    if m.isblk(): return "b"
    return "?"
while True:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4: break
    data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
    out = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as t:
            for m in t:
                name = m.name.encode("utf-8", "surrogateescape").hex()
                out.append("%s %d %s" % (kind(m), m.size if m.isreg() else 0, name))
    except Exception:
        pass
    sys.stdout.write("\n".join(out + ["", ""]) if out else "\n")
    sys.stdout.flush()
"#;

struct Lister {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

fn start() -> Lister {
    let mut child = Command::new("python3")
        .args(["-I", "-c", LISTER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let input = child.stdin.take().expect("it is piped");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    Lister {
        _child: child,
        input,
        output,
    }
}

fn python(archive: &[u8]) -> Vec<Listed> {
    static LISTER: OnceLock<Mutex<Lister>> = OnceLock::new();
    let lister = LISTER.get_or_init(|| Mutex::new(start()));
    let mut lister = lister.lock().unwrap_or_else(PoisonError::into_inner);
    let length = u32::try_from(archive.len()).expect("inputs are short");
    let sent = lister.input.write_all(&length.to_le_bytes());
    sent.and_then(|()| lister.input.write_all(archive))
        .expect("Python reads on");
    let mut found = Vec::new();
    loop {
        let mut line = String::new();
        let read = lister.output.by_ref().read_line(&mut line);
        assert!(read.expect("Python answers") > 0, "Python ended");
        match line.trim_end_matches('\n') {
            "" => return found,
            line => found.push(python_line(line).expect("Python answers in lines")),
        }
    }
}

fn python_line(line: &str) -> Option<Listed> {
    let mut fields = line.split(' ');
    let kind = fields.next()?.chars().next()?;
    let size: i128 = fields.next()?.parse().ok()?;
    // Python also reads sizes below nothing, which is nobody else's.
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    let hex = fields.next().unwrap_or_default().as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let name: Vec<u8> = hex
        .chunks(2)
        .map(|two| (digit(two[0]) << 4) | digit(two[1]))
        .collect();
    let name = cleaned(&name);
    Some(Listed { name, kind, size })
}
