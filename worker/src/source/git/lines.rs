use cooper_core::model::{LogStream, OpEvent, redacted};
use cooper_core::ports::Events;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of what git says is kept for its error, from the end.
const KEPT: usize = 64 << 10;

/// Reads what git has to say, tells it to the build's log and keeps its end.
pub(super) async fn tell(mut from: impl AsyncRead + Unpin, events: &Events) -> String {
    let mut kept = Vec::new();
    let mut line = Vec::new();
    let mut buffer = vec![0; 8192];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            line.push(*byte);
            if *byte == b'\n' || line.len() >= KEPT {
                say(&mut line, &mut kept, events);
            }
        }
        if read == 0 {
            say(&mut line, &mut kept, events);
            return String::from_utf8_lossy(&kept).into_owned();
        }
    }
}

fn say(line: &mut Vec<u8>, kept: &mut Vec<u8>, events: &Events) {
    if line.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(line);
    let shown = redacted(&text).into_owned();
    kept.extend_from_slice(shown.as_bytes());
    if kept.len() > KEPT {
        kept.drain(..kept.len() - KEPT);
    }
    events.emit(OpEvent::Log {
        stream: LogStream::Stderr,
        data: shown.into_bytes().into(),
    });
    line.clear();
}
