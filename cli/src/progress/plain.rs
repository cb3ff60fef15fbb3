use std::collections::BTreeMap;
use std::fmt::Write as _;

use cooper_proto::control::StatusResponse;

use super::duration::{bytes, seconds};
use super::state::{Change, PartState, Progress, VertexState};

/// How long one vertex keeps the floor while others have something to say.
const TURN_NS: u64 = 5_000_000_000;

/// Parts are shown again after this time or this share of their total.
const PART_NS: u64 = 5_000_000_000;
const PART_SHARE: u64 = 20;

/// Writes progress line by line: `#n` and the step's name, then what happens in it.
///
/// # Shape
/// What one vertex says stays together: another one gets the floor when the first ends, has nothing to say, or has had
/// it for a while.
#[derive(Debug, Default)]
pub struct Plain {
    progress: Progress,
    /// Number of each vertex that was shown, by position.
    numbers: BTreeMap<usize, usize>,
    /// What vertices have to say, by position.
    waiting: BTreeMap<usize, Vec<String>>,
    /// Vertices whose end is still to be said, in the order of their ends.
    ended: Vec<usize>,
    /// Who has the floor, and since when.
    current: Option<(usize, u64)>,
    /// Parts as they were last shown, and in which words.
    parts: BTreeMap<(usize, String), (PartState, String)>,
}

impl Plain {
    /// What to write after this news.
    pub fn update(&mut self, news: &StatusResponse, now: u64) -> String {
        for change in self.progress.apply(news) {
            self.note(change, now);
        }
        self.write(now)
    }

    /// What to write when time has passed without news.
    pub fn tick(&mut self, now: u64) -> String {
        self.write(now)
    }

    /// What is known.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    fn note(&mut self, change: Change, now: u64) {
        match change {
            Change::Vertex(index) => {
                self.waiting.entry(index).or_default();
                self.ended.retain(|ended| *ended != index);
                if self.progress.vertex(index).is_completed() {
                    self.ended.push(index);
                }
            }
            Change::Part(index, id) => {
                if let Some(line) = self.part_line(index, &id) {
                    self.say(index, line);
                }
            }
            Change::Log(index, line) => {
                let vertex = self.progress.vertex(index);
                let since = vertex.intervals.last().map_or(now, |(start, _)| *start);
                let milliseconds = line.time.saturating_sub(since) / 1_000_000;
                let (whole, rest) = (milliseconds / 1000, milliseconds % 1000);
                self.say(index, format!("{whole}.{rest:03} {}", line.text));
            }
            Change::Warning(index, text) => self.say(index, format!("WARN: {text}")),
        }
    }

    fn say(&mut self, index: usize, line: String) {
        self.waiting.entry(index).or_default().push(line);
    }

    fn part_line(&mut self, index: usize, id: &str) -> Option<String> {
        let part = self.progress.vertex(index).parts.get(id)?.clone();
        let key = (index, id.to_owned());
        let said = self.parts.get(&key);
        if let Some((last, _)) = said
            && part.completed.is_none()
        {
            let moved = part.current.saturating_sub(last.current);
            let waited = part.seen.saturating_sub(last.seen);
            if moved.saturating_mul(PART_SHARE) < part.total.max(1) && waited < PART_NS {
                return None;
            }
        }
        let mut line = part.name.clone();
        if part.total > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, " {} / {}", bytes(part.current), bytes(part.total));
        } else if part.current > 0 {
            let _ = write!(line, " {}", bytes(part.current));
        }
        if let Some(started) = part.started {
            let took = part.completed.unwrap_or(part.seen).saturating_sub(started);
            if took > 10_000_000 {
                let _ = write!(line, " {}", seconds(took));
            }
        }
        if part.completed.is_some() {
            line.push_str(" done");
        }
        // A client that is told twice that something is done has nothing new to say.
        let is_news = said.is_none_or(|(_, words)| *words != line);
        self.parts.insert(key, (part, line.clone()));
        is_news.then_some(line)
    }

    fn write(&mut self, now: u64) -> String {
        let mut out = String::new();
        let ended = std::mem::take(&mut self.ended);
        // Who has the floor ends first, so that nobody else stands between.
        let current = self.current.map(|(index, _)| index);
        let (own, others): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|index| Some(*index) == current);
        for index in own.into_iter().chain(others) {
            self.give_floor(index, now, &mut out);
            self.end(index, &mut out);
        }
        if let Some((index, _)) = self.current {
            self.speak(index, &mut out);
        }
        let busy = self
            .current
            .is_some_and(|(_, since)| now.saturating_sub(since) < TURN_NS);
        if !busy && let Some(next) = self.next_speaker() {
            self.give_floor(next, now, &mut out);
        }
        out
    }

    fn next_speaker(&self) -> Option<usize> {
        let current = self.current.map(|(index, _)| index);
        self.waiting
            .iter()
            .filter(|(index, lines)| {
                let vertex = self.progress.vertex(**index);
                Some(**index) != current
                    && vertex.is_started()
                    && (current.is_none() || !lines.is_empty())
            })
            .max_by_key(|(index, lines)| (lines.len(), std::cmp::Reverse(**index)))
            .map(|(index, _)| *index)
    }

    fn give_floor(&mut self, index: usize, now: u64, out: &mut String) {
        if self.current.map(|(current, _)| current) != Some(index) {
            if let Some((current, _)) = self.current {
                let _ = writeln!(out, "#{} ...", self.number(current));
            }
            if !self.numbers.is_empty() {
                out.push('\n');
            }
            let number = self.number(index);
            let _ = writeln!(out, "#{number} {}", self.progress.vertex(index).name);
        }
        self.current = Some((index, now));
        self.speak(index, out);
    }

    fn speak(&mut self, index: usize, out: &mut String) {
        let number = self.number(index);
        let lines = self.waiting.get_mut(&index).map(std::mem::take);
        for line in lines.unwrap_or_default() {
            let _ = writeln!(out, "#{number} {line}");
        }
    }

    fn end(&mut self, index: usize, out: &mut String) {
        let number = self.number(index);
        let _ = writeln!(out, "#{number} {}", ending(self.progress.vertex(index)));
        self.waiting.remove(&index);
        self.current = None;
    }

    fn number(&mut self, index: usize) -> usize {
        let next = self.numbers.len() + 1;
        *self.numbers.entry(index).or_insert(next)
    }
}

fn ending(vertex: &VertexState) -> String {
    if vertex.is_cancelled() {
        "CANCELED".into()
    } else if !vertex.error.is_empty() {
        format!("ERROR: {}", vertex.error)
    } else if vertex.cached {
        "CACHED".into()
    } else {
        format!("DONE {}", seconds(vertex.duration(0)))
    }
}
