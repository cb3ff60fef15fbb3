//! A client that says anything: a call is bytes, and its answer is what stands on the wire.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Most bytes that a server may send before they are read.
const WINDOW: u32 = 16 << 20;

/// One call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Call {
    /// `/package.Service/Method`.
    pub(crate) path: String,
    /// Beside those that every call has; one of the same name takes the place of that.
    pub(crate) headers: Vec<(&'static str, HeaderValue)>,
    /// The pieces of the body.
    pub(crate) body: Vec<Bytes>,
    /// Whether the client goes on as if it would say more.
    pub(crate) stays: bool,
}

impl Call {
    /// A call with one message.
    pub(crate) fn new(path: &str, message: &[u8]) -> Self {
        Self {
            path: path.to_owned(),
            body: vec![framed(message)],
            ..Self::default()
        }
    }

    /// The same with a header more.
    pub(crate) fn with(mut self, name: &'static str, value: &[u8]) -> Result<Self> {
        self.headers.push((name, HeaderValue::from_bytes(value)?));
        Ok(self)
    }

    fn head(&self) -> Result<Request<()>> {
        let mut request = Request::post(format!("http://cooper{}", self.path))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .with_context(|| format!("the path {}", self.path))?;
        for (name, _) in &self.headers {
            request.headers_mut().remove(*name);
        }
        for (name, value) in &self.headers {
            request.headers_mut().append(*name, value.clone());
        }
        Ok(request)
    }
}

/// A message as gRPC has it in a body: not compressed, and its length before it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message]
        .concat()
        .into()
}

/// What came of a call.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The server said how it went, after the messages of `body`.
    Status {
        code: i32,
        message: String,
        body: Vec<u8>,
    },
    /// HTTP's own refusal.
    Refused(u16),
    /// It goes on; the server may have begun to answer.
    Open { begun: bool },
    /// The stream or the whole connection ended without a status; what was noticed of it.
    #[expect(dead_code, reason = "it is shown, and derived code does not count")]
    Broken(String),
}

impl Answer {
    /// Whether the call went well.
    pub(crate) fn is_ok(&self) -> bool {
        matches!(self, Self::Status { code: 0, .. })
    }

    /// The first message of the answer.
    pub(crate) fn message(&self) -> Option<&[u8]> {
        match self {
            Self::Status { body, .. } => body.get(5..),
            _ => None,
        }
    }
}

/// A connection on which calls are made.
pub(crate) struct Caller {
    sender: SendRequest<Bytes>,
    /// The connection's own work; it ends with the caller.
    _connection: JoinSet<()>,
}

impl Caller {
    /// Connects to a daemon's socket.
    pub(crate) async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, connection) = handshake(stream).await?;
        let mut work = JoinSet::new();
        work.spawn(async move {
            // Calls learn of it.
            let _ended = connection.await;
        });
        Ok(Self {
            sender,
            _connection: work,
        })
    }

    /// Makes a call and waits for its end, or takes it back after a while.
    pub(crate) async fn call(&self, call: &Call, limit: Duration) -> Answer {
        self.call_for(call, limit, limit).await
    }

    /// Makes a call and takes it back when its answer does not begin in time, or does not end in time after that.
    pub(crate) async fn call_for(&self, call: &Call, begin: Duration, end: Duration) -> Answer {
        let answered = self.answer(call, begin, end).await;
        answered.unwrap_or_else(|error| Answer::Broken(format!("{error:#}")))
    }

    async fn answer(&self, call: &Call, begin: Duration, end: Duration) -> Result<Answer> {
        let ready = self.sender.clone().ready().await;
        let mut sender = ready.context("the connection is over")?;
        let (response, mut body) = sender.send_request(call.head()?, false)?;
        // Whoever has refused a call reads no more of it.
        for piece in &call.body {
            let _unread = body.send_data(piece.clone(), false);
        }
        if !call.stays {
            let _unread = body.send_data(Bytes::new(), true);
        }
        let Ok(response) = tokio::time::timeout(begin, response).await else {
            return Ok(Answer::Open { begun: false });
        };
        let response = response.context("no answer")?;
        let (head, answer) = response.into_parts();
        if head.status != 200 {
            return Ok(Answer::Refused(head.status.as_u16()));
        }
        if let Some(status) = status(&head.headers, Vec::new()) {
            return Ok(status);
        }
        let Ok(rest) = tokio::time::timeout(end, read(answer)).await else {
            return Ok(Answer::Open { begun: true });
        };
        let (data, trailers) = rest?;
        let words = "the answer ended without a status";
        status(&trailers, data).context(words)
    }
}

async fn read(mut answer: RecvStream) -> Result<(Vec<u8>, HeaderMap)> {
    let mut data = Vec::new();
    while let Some(piece) = answer.data().await {
        let piece = piece.context("an answer broke off")?;
        answer.flow_control().release_capacity(piece.len())?;
        // Enough for what is looked at.
        if data.len() < WINDOW as usize {
            data.extend_from_slice(&piece);
        }
    }
    match answer.trailers().await {
        Ok(trailers) => Ok((data, trailers.unwrap_or_default())),
        // Who has answered may say in this way that the rest of the call is of no interest.
        Err(error) if error.reason() == Some(Reason::NO_ERROR) => Ok((data, HeaderMap::new())),
        Err(error) => Err(error).context("an answer's end broke off"),
    }
}

fn status(headers: &HeaderMap, body: Vec<u8>) -> Option<Answer> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let code = text("grpc-status")?.parse().ok()?;
    let message = unescaped(&text("grpc-message").unwrap_or_default());
    Some(Answer::Status {
        code,
        message,
        body,
    })
}

/// A text as gRPC has it in a header, with `%` and two digits for what may not stand there.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).unwrap_or_default();
        bytes.extend(u8::from_str_radix(digits, 16));
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
