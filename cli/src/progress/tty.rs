use super::duration::{bytes, seconds};
use super::state::{PartState, Progress, VertexState, clean};

/// Lines of output that are shown of each running vertex, when there is room.
const LOG_LINES: usize = 6;

/// What a terminal should show at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Lines, none wider than the terminal.
    pub lines: Vec<FrameLine>,
}

/// One line of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameLine {
    /// The text, padded so that the time stands at the right edge.
    pub text: String,
    /// How to paint it.
    pub paint: Paint,
}

/// What a line is about, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// The first line.
    Head,
    /// Under way.
    Running,
    /// Ended well.
    Done,
    /// Failed.
    Failed,
    /// Given up.
    Cancelled,
    /// Output of a process.
    Log,
}

/// How big a terminal is, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Characters in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// How the build stands, for the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It goes on.
    Running,
    /// It has ended; the frame stays.
    Finished,
}

struct Block {
    lines: Vec<FrameLine>,
    /// Lines that give way first when there is no room.
    extra: usize,
    completed: bool,
}

/// The frame of a build that began at `began`, both times in nanoseconds since 1970.
///
/// # Shape
/// As `docker buildx build` shows it: a head with the time and the number of steps, then each step with its time, its
/// parts and, while it runs, its last lines of output. Without room, output gives way first, then steps that have
/// ended, the oldest first. A finished frame shows every step whatever the room.
#[must_use]
pub fn frame(progress: &Progress, began: u64, now: u64, size: Size, stage: Stage) -> Frame {
    let width = size.width.max(20);
    let shown: Vec<&VertexState> = progress.vertices().filter(|v| v.is_started()).collect();
    let completed = shown.iter().filter(|v| v.is_completed()).count();
    let mut head = format!(
        "[+] Building {} ({completed}/{})",
        seconds(now.saturating_sub(began)),
        shown.len()
    );
    if stage == Stage::Finished {
        head.push_str(" FINISHED");
    }
    let mut lines = vec![FrameLine {
        text: cut(&head, width),
        paint: Paint::Head,
    }];
    let mut blocks: Vec<Block> = shown
        .iter()
        .map(|vertex| block(vertex, now, width, stage))
        .collect();
    if stage == Stage::Running {
        // The last line stays free: a terminal scrolls when it is written to the end.
        make_room(&mut blocks, size.height.saturating_sub(2).max(1));
    }
    lines.extend(blocks.into_iter().flat_map(|block| block.lines));
    Frame { lines }
}

fn make_room(blocks: &mut Vec<Block>, height: usize) {
    let total = |blocks: &[Block]| blocks.iter().map(|b| b.lines.len()).sum::<usize>();
    let mut excess = total(blocks).saturating_sub(height);
    for block in blocks.iter_mut() {
        let cut = block.extra.min(excess);
        let end = block.lines.len();
        // The oldest lines of output go, the newest stay.
        block
            .lines
            .drain(end - block.extra..end - block.extra + cut);
        block.extra -= cut;
        excess -= cut;
    }
    for wanted in [true, false] {
        let mut index = 0;
        while index < blocks.len() && total(blocks) > height {
            if blocks[index].completed == wanted {
                blocks.remove(index);
            } else {
                index += 1;
            }
        }
    }
}

fn block(vertex: &VertexState, now: u64, width: usize, stage: Stage) -> Block {
    let completed = vertex.is_completed();
    let (mark, paint) = if vertex.is_cancelled() {
        ("CANCELED ", Paint::Cancelled)
    } else if !vertex.error.is_empty() {
        ("ERROR ", Paint::Failed)
    } else if completed && vertex.cached {
        ("CACHED ", Paint::Done)
    } else if completed {
        ("", Paint::Done)
    } else {
        ("", Paint::Running)
    };
    let left = format!(" => {mark}{}", vertex.name);
    let mut lines = vec![FrameLine {
        text: with_right(&left, &seconds(vertex.duration(now)), width),
        paint,
    }];
    let parts: Vec<&PartState> = vertex.parts.values().collect();
    // Of many parts, those under way matter most.
    let hidden = parts.len().saturating_sub(20);
    let (done, open): (Vec<&PartState>, Vec<&PartState>) =
        parts.iter().partition(|part| part.completed.is_some());
    let skip = hidden.min(done.len());
    for part in done.into_iter().skip(skip).chain(open) {
        lines.push(part_line(part, now, width));
    }
    let mut extra = 0;
    if !completed && stage == Stage::Running {
        let from = vertex.log.len().saturating_sub(LOG_LINES);
        for line in vertex.log.iter().skip(from) {
            lines.push(FrameLine {
                text: cut(&format!(" => => # {}", clean(&line.text)), width),
                paint: Paint::Log,
            });
            extra += 1;
        }
    }
    Block {
        lines,
        extra,
        completed,
    }
}

fn part_line(part: &PartState, now: u64, width: usize) -> FrameLine {
    let mut left = format!(" => => {}", part.name);
    if part.total > 0 {
        left.push_str(&format!(" {} / {}", bytes(part.current), bytes(part.total)));
    } else if part.current > 0 {
        left.push_str(&format!(" {}", bytes(part.current)));
    }
    let end = part.completed.unwrap_or(now);
    let took = end.saturating_sub(part.started.unwrap_or(end));
    FrameLine {
        text: with_right(&left, &seconds(took), width),
        paint: if part.completed.is_some() {
            Paint::Done
        } else {
            Paint::Running
        },
    }
}

/// The left text, cut or padded, and the right one at the edge.
fn with_right(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + 1);
    let left = cut(left, room);
    let padding = " ".repeat(room - left.chars().count() + 1);
    format!("{left}{padding}{right}")
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(3)).collect();
    short.push_str("...");
    short
}
