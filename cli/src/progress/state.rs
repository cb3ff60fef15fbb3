use std::collections::VecDeque;

use cooper_proto::control::{self, StatusResponse};
use indexmap::IndexMap;

use super::duration::nanoseconds;

/// Lines of output that are kept of each vertex, for the live view and for errors. The engine keeps all of it.
const KEPT_LINES: usize = 64;

/// The longest line that is held back in the hope of its end.
const LONGEST_LINE: usize = 16 << 10;

/// Everything that is known of a build's progress.
#[derive(Debug, Default)]
pub struct Progress {
    vertices: IndexMap<String, VertexState>,
    warnings: Vec<control::VertexWarning>,
}

/// What is known of one vertex.
#[derive(Debug, Default)]
pub struct VertexState {
    /// What to show for it, free of control characters.
    pub name: String,
    /// Digests of the vertices that it reads.
    pub inputs: Vec<String>,
    /// Whether its result came from the cache.
    pub cached: bool,
    /// Why it failed, empty when it did not.
    pub error: String,
    /// Times in which it ran, in nanoseconds since 1970; the last may be open.
    pub intervals: Vec<(u64, Option<u64>)>,
    /// Its parts in the order in which they appeared.
    pub parts: IndexMap<String, PartState>,
    /// Its last lines of output.
    pub log: VecDeque<LogLine>,
    /// Id of the group under which it is shown.
    pub group: Option<String>,
    partial: [Vec<u8>; 2],
}

/// What is known of one part of a vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartState {
    /// What to show for it.
    pub name: String,
    /// How much is done.
    pub current: u64,
    /// How much there is, 0 when not known.
    pub total: u64,
    /// When this was so, in nanoseconds since 1970.
    pub seen: u64,
    /// When it began.
    pub started: Option<u64>,
    /// When it ended.
    pub completed: Option<u64>,
}

/// One line of a vertex's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, in nanoseconds since 1970.
    pub time: u64,
    /// The line without its end.
    pub text: String,
}

/// What a piece of news changed. Vertices are named by their position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A vertex began, began again or ended.
    Vertex(usize),
    /// A part of a vertex.
    Part(usize, String),
    /// A line of a vertex's output is whole.
    Log(usize, LogLine),
    /// A warning about a vertex.
    Warning(usize, String),
}

impl Progress {
    /// Takes news. A later piece about the same thing replaces an earlier one.
    pub fn apply(&mut self, news: &StatusResponse) -> Vec<Change> {
        let mut changes = Vec::new();
        for vertex in &news.vertexes {
            if let Some(change) = self.apply_vertex(vertex, &mut changes) {
                changes.push(change);
            }
        }
        for status in &news.statuses {
            let index = self.index_of(&status.vertex);
            self.vertices[index].apply_part(status);
            changes.push(Change::Part(index, status.id.clone()));
        }
        for log in &news.logs {
            let index = self.index_of(&log.vertex);
            let lines = self.vertices[index].apply_log(log);
            changes.extend(lines.into_iter().map(|line| Change::Log(index, line)));
        }
        for warning in &news.warnings {
            let index = self.index_of(&warning.vertex);
            let text = clean(&String::from_utf8_lossy(&warning.short));
            changes.push(Change::Warning(index, text));
            self.warnings.push(warning.clone());
        }
        changes
    }

    fn apply_vertex(
        &mut self,
        news: &control::Vertex,
        changes: &mut Vec<Change>,
    ) -> Option<Change> {
        let index = self.index_of(&news.digest);
        let vertex = &mut self.vertices[index];
        if !news.name.is_empty() {
            vertex.name = clean(&news.name);
        }
        vertex.inputs.clone_from(&news.inputs);
        vertex.group = news.progress_group.as_ref().map(|g| g.id.clone());
        let started = nanoseconds(news.started.as_ref()?);
        let completed = news.completed.as_ref().map(nanoseconds);
        if completed.is_some() {
            // What was written without a line's end is whole now.
            let rest = vertex.flush(completed.unwrap_or(started));
            changes.extend(rest.into_iter().map(|line| Change::Log(index, line)));
        }
        vertex.cached = news.cached;
        vertex.error.clone_from(&news.error);
        match vertex.intervals.iter_mut().find(|(s, _)| *s == started) {
            Some(interval) => interval.1 = completed,
            None => vertex.intervals.push((started, completed)),
        }
        Some(Change::Vertex(index))
    }

    fn index_of(&mut self, digest: &str) -> usize {
        if let Some(index) = self.vertices.get_index_of(digest) {
            return index;
        }
        self.vertices
            .insert_full(digest.to_owned(), VertexState::default())
            .0
    }

    /// The vertex at a position.
    ///
    /// # Panics
    /// When no change named the position.
    #[must_use]
    pub fn vertex(&self, index: usize) -> &VertexState {
        &self.vertices[index]
    }

    /// The vertex of a digest.
    #[must_use]
    pub fn find(&self, digest: &str) -> Option<&VertexState> {
        self.vertices.get(digest)
    }

    /// All vertices in the order in which they became known.
    pub fn vertices(&self) -> impl Iterator<Item = &VertexState> {
        self.vertices.values()
    }

    /// All warnings in the order in which they came.
    #[must_use]
    pub fn warnings(&self) -> &[control::VertexWarning] {
        &self.warnings
    }
}

impl VertexState {
    /// Whether it has begun.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.intervals.is_empty()
    }

    /// Whether it has begun and ended.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.is_started() && self.intervals.iter().all(|(_, stop)| stop.is_some())
    }

    /// Whether it was given up because nobody wanted it any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.error.ends_with("context canceled") || self.error == "cancelled"
    }

    /// How long it ran up to `now`, in nanoseconds; times that overlap count once.
    #[must_use]
    pub fn duration(&self, now: u64) -> u64 {
        let mut intervals: Vec<(u64, u64)> = self
            .intervals
            .iter()
            .map(|(start, stop)| (*start, stop.unwrap_or(now).max(*start)))
            .collect();
        intervals.sort_unstable();
        let (mut sum, mut end) = (0, 0);
        for (start, stop) in intervals {
            sum += stop.saturating_sub(start.max(end));
            end = end.max(stop);
        }
        sum
    }

    fn apply_part(&mut self, news: &control::VertexStatus) {
        let part = self.parts.entry(news.id.clone()).or_default();
        let name = if news.name.is_empty() {
            &news.id
        } else {
            &news.name
        };
        part.name = clean(name);
        part.current = u64::try_from(news.current).unwrap_or(0);
        part.total = u64::try_from(news.total).unwrap_or(0);
        part.seen = news.timestamp.as_ref().map_or(0, nanoseconds);
        part.started = news.started.as_ref().map(nanoseconds);
        part.completed = news.completed.as_ref().map(nanoseconds);
    }

    fn apply_log(&mut self, news: &control::VertexLog) -> Vec<LogLine> {
        let time = news.timestamp.as_ref().map_or(0, nanoseconds);
        let partial = &mut self.partial[usize::from(news.stream == 2)];
        let mut lines = Vec::new();
        for byte in &news.msg {
            if *byte == b'\n' {
                lines.push(line(time, partial));
                partial.clear();
            } else {
                partial.push(*byte);
                if partial.len() >= LONGEST_LINE {
                    lines.push(line(time, partial));
                    partial.clear();
                }
            }
        }
        self.keep(&lines);
        lines
    }

    fn flush(&mut self, time: u64) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for partial in &mut self.partial {
            if !partial.is_empty() {
                lines.push(line(time, partial));
                partial.clear();
            }
        }
        self.keep(&lines);
        lines
    }

    fn keep(&mut self, lines: &[LogLine]) {
        self.log.extend(lines.iter().cloned());
        let excess = self.log.len().saturating_sub(KEPT_LINES);
        self.log.drain(..excess);
    }
}

/// A carriage return goes back to the line's start, as in a terminal, so that only what follows the last one shows.
fn line(time: u64, bytes: &[u8]) -> LogLine {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    let text = text.rsplit('\r').next().unwrap_or_default().to_owned();
    LogLine { time, text }
}

/// The text without what would move a terminal's cursor or change its colours.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\t' => out.push_str("    "),
            '\n' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips the rest of a terminal's control sequence: `[` up to a letter, or one character.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if characters.next() == Some('[') {
        for c in characters.by_ref() {
            if ('\u{40}'..='\u{7e}').contains(&c) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(stream: i64, text: &str) -> StatusResponse {
        StatusResponse {
            logs: vec![control::VertexLog {
                vertex: "a".into(),
                stream,
                msg: text.as_bytes().to_vec().into(),
                ..control::VertexLog::default()
            }],
            ..StatusResponse::default()
        }
    }

    fn texts(changes: Vec<Change>) -> Vec<String> {
        changes
            .into_iter()
            .filter_map(|change| match change {
                Change::Log(_, line) => Some(line.text),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn lines_are_put_together_for_each_stream() {
        let mut progress = Progress::default();
        assert_eq!(texts(progress.apply(&log(1, "on"))), [""; 0]);
        assert_eq!(texts(progress.apply(&log(2, "err\n"))), ["err"]);
        assert_eq!(
            texts(progress.apply(&log(1, "e\ntwo\r\n1%\r99%\n"))),
            ["one", "two", "99%"]
        );
    }

    #[test]
    fn end_of_a_vertex_ends_its_last_line() {
        let mut progress = Progress::default();
        progress.apply(&log(1, "no end"));
        let end = StatusResponse {
            vertexes: vec![control::Vertex {
                digest: "a".into(),
                started: Some(prost_types::Timestamp::default()),
                completed: Some(prost_types::Timestamp::default()),
                ..control::Vertex::default()
            }],
            ..StatusResponse::default()
        };
        assert_eq!(texts(progress.apply(&end)), ["no end"]);
    }

    #[test]
    fn times_that_overlap_count_once() {
        let vertex = VertexState {
            intervals: vec![(10, Some(20)), (15, Some(30)), (50, None)],
            ..VertexState::default()
        };
        assert_eq!(vertex.duration(60), 30);
        assert!(!vertex.is_completed());
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\u{7}c\u{1b}cd\te\nf"), "abcd    e f");
    }
}
