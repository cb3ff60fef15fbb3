use std::collections::{BTreeMap, VecDeque};

use cooper_proto::control::{StatusResponse, VertexLog};
use futures::StreamExt;

use super::StatusStream;

/// How much output of a step a client is sent while it runs. The log itself has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Bytes of one stream of one step; any number when `None`.
    pub size: Option<u64>,
    /// Bytes of one stream of one step in each second of its life, those of seconds before not counted out; any number when
    /// `None`.
    pub speed: Option<u64>,
}

impl Default for OutputLimits {
    /// BuildKit's.
    fn default() -> Self {
        Self {
            size: Some(2 << 20),
            speed: Some(200 << 10),
        }
    }
}

/// Bytes of what was not sent of a stream that are sent at the step's end: what it said last.
const TAIL: usize = 256 << 10;

const SECOND: i128 = 1_000_000_000;

/// Sends of each step's output what the limits allow, says where something is left out, and at the step's end sends the
/// last of it.
pub(crate) fn clip(news: StatusStream, limits: OutputLimits) -> StatusStream {
    if limits.size.is_none() && limits.speed.is_none() {
        return news;
    }
    let mut clipper = Clipper {
        limits,
        streams: BTreeMap::new(),
    };
    news.map(move |news| news.map(|news| clipper.clip(news)))
        .boxed()
}

/// A vertex, and which of its streams.
type Name = (String, i64);

struct Clipper {
    limits: OutputLimits,
    streams: BTreeMap<Name, Stream>,
}

/// What is known of one stream of one step.
struct Stream {
    since: i128,
    /// Bytes that it had.
    seen: u64,
    /// Whether it was said that something is left out here.
    is_clipped: bool,
    /// The last that was not sent.
    tail: VecDeque<u8>,
}

impl Clipper {
    fn clip(&mut self, mut news: StatusResponse) -> StatusResponse {
        let logs = std::mem::take(&mut news.logs);
        news.logs = logs.into_iter().filter_map(|log| self.piece(log)).collect();
        for vertex in &news.vertexes {
            if vertex.completed.is_some() {
                self.end(&vertex.digest, &mut news.logs);
            }
        }
        news
    }

    /// What is sent of a piece of output.
    fn piece(&mut self, mut log: VertexLog) -> Option<VertexLog> {
        let now = nanoseconds(&log);
        let name = (log.vertex.clone(), log.stream);
        let stream = self.streams.entry(name).or_insert_with(|| Stream {
            since: now,
            seen: 0,
            is_clipped: false,
            tail: VecDeque::new(),
        });
        let length = log.msg.len() as u64;
        let (most, why) = self.limits.most(now - stream.since);
        let sent = most.saturating_sub(stream.seen).min(length);
        stream.seen += length;
        let keep = usize::try_from(sent).unwrap_or(usize::MAX);
        let rest = log.msg.split_off(keep.min(log.msg.len()));
        if rest.is_empty() {
            stream.is_clipped = false;
            stream.tail.clear();
            return Some(log);
        }
        let from = rest.len().saturating_sub(TAIL);
        stream.tail.extend(&rest[from..]);
        let beyond = stream.tail.len().saturating_sub(TAIL);
        stream.tail.drain(..beyond);
        if !stream.is_clipped {
            stream.is_clipped = true;
            let words = format!("\n[output clipped, log limit {why} reached]\n");
            let mut said = Vec::from(std::mem::take(&mut log.msg));
            said.extend_from_slice(words.as_bytes());
            log.msg = said.into();
        }
        (!log.msg.is_empty()).then_some(log)
    }

    /// Sends what is left of a step's streams, after what is sent anyway.
    fn end(&mut self, vertex: &str, logs: &mut Vec<VertexLog>) {
        let first = (vertex.to_owned(), i64::MIN);
        let ended: Vec<Name> = self
            .streams
            .range(first..)
            .map(|(name, _)| name.clone())
            .take_while(|(of, _)| of == vertex)
            .collect();
        for name in ended {
            let Some(stream) = self.streams.remove(&name) else {
                continue;
            };
            if !stream.tail.is_empty() {
                let last = stream.since.max(0);
                logs.push(VertexLog {
                    vertex: name.0,
                    timestamp: Some(prost_types::Timestamp {
                        seconds: i64::try_from(last / SECOND).unwrap_or(0),
                        nanos: i32::try_from(last % SECOND).unwrap_or(0),
                    }),
                    stream: name.1,
                    msg: Vec::from(stream.tail).into(),
                });
            }
        }
    }
}

impl OutputLimits {
    /// How many bytes a stream may have had after so many nanoseconds, and which limit says so.
    fn most(self, age: i128) -> (u64, String) {
        // Every second that has begun.
        let seconds = (age.max(1) + SECOND - 1) / SECOND;
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        let by_speed = self.speed.map(|speed| speed.saturating_mul(seconds));
        match (by_speed, self.size) {
            (Some(by_speed), size) if size.is_none_or(|size| by_speed <= size) => {
                (by_speed, format!("{}/s", units(self.speed.unwrap_or(0))))
            }
            (_, Some(size)) => (size, units(size)),
            (_, None) => (u64::MAX, String::new()),
        }
    }
}

/// As Go's `units` prints bytes: `2MiB`, `200KiB`, `1.5KiB`.
fn units(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return format!("{bytes}B"),
        1024..0x10_0000 => (1u64 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    match bytes % unit {
        0 => format!("{}{name}", bytes / unit),
        rest => {
            let hundredths = rest * 100 / unit;
            let text = format!("{}.{hundredths:02}", bytes / unit);
            format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

fn nanoseconds(log: &VertexLog) -> i128 {
    log.timestamp.as_ref().map_or(0, |time| {
        i128::from(time.seconds) * SECOND + i128::from(time.nanos)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cooper_proto::control::Vertex;

    fn said(second: i64, stream: i64, words: &str) -> VertexLog {
        VertexLog {
            vertex: "a".into(),
            timestamp: Some(prost_types::Timestamp {
                seconds: second,
                nanos: 0,
            }),
            stream,
            msg: words.as_bytes().to_vec().into(),
        }
    }

    async fn sent(limits: OutputLimits, news: Vec<StatusResponse>) -> String {
        let news = futures::stream::iter(news.into_iter().map(Ok)).boxed();
        let mut all = Vec::new();
        let mut clipped = clip(news, limits);
        while let Some(news) = clipped.next().await {
            for log in news.expect("news").logs {
                all.extend_from_slice(&log.msg);
            }
        }
        String::from_utf8(all).expect("text")
    }

    fn logs(logs: Vec<VertexLog>) -> StatusResponse {
        StatusResponse {
            logs,
            ..StatusResponse::default()
        }
    }

    fn ended() -> StatusResponse {
        let vertex = Vertex {
            digest: "a".into(),
            completed: Some(prost_types::Timestamp::default()),
            ..Vertex::default()
        };
        StatusResponse {
            vertexes: vec![vertex],
            ..StatusResponse::default()
        }
    }

    #[tokio::test]
    async fn what_is_beyond_the_size_is_left_out_but_for_the_end() {
        let limits = OutputLimits {
            size: Some(4),
            speed: None,
        };
        let news = vec![
            logs(vec![
                said(0, 1, "abc"),
                said(0, 1, "def"),
                said(1, 1, "ghi"),
            ]),
            logs(vec![said(1, 2, "err")]),
            ended(),
        ];
        assert_eq!(
            sent(limits, news).await,
            "abcd\n[output clipped, log limit 4B reached]\nerrefghi"
        );
    }

    #[tokio::test]
    async fn output_that_slows_down_is_sent_again() {
        let limits = OutputLimits {
            size: None,
            speed: Some(2048),
        };
        let burst = "x".repeat(3000);
        let news = vec![
            logs(vec![said(0, 1, &burst), said(0, 1, "y")]),
            logs(vec![said(60, 1, "late")]),
            ended(),
        ];
        let sent = sent(limits, news).await;
        let clipped = "\n[output clipped, log limit 2KiB/s reached]\n";
        assert_eq!(sent, format!("{}{clipped}late", "x".repeat(2048)));
    }

    #[tokio::test]
    async fn a_tail_has_a_bound() {
        let limits = OutputLimits {
            size: Some(0),
            speed: None,
        };
        let news = vec![logs(vec![said(0, 1, &"x".repeat(TAIL * 3))]), ended()];
        let clipped = "\n[output clipped, log limit 0B reached]\n";
        assert_eq!(sent(limits, news).await.len(), clipped.len() + TAIL);
    }

    #[test]
    fn the_limits_are_said_as_buildkit_says_them() {
        let default = OutputLimits::default();
        assert_eq!(default.most(1), (200 << 10, "200KiB/s".into()));
        assert_eq!(default.most(SECOND * 100), (2 << 20, "2MiB".into()));
        assert_eq!(units(1536), "1.5KiB");
    }
}
