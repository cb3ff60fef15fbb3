//! A web server on loopback: files, and repositories as git itself serves them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Serves until the test process ends.
pub(crate) struct Server {
    port: u16,
}

struct Content {
    files: BTreeMap<String, Vec<u8>>,
    repositories: PathBuf,
}

impl Server {
    /// Serves these files by path, and the repositories of a folder below `/git`.
    pub(crate) fn start(files: BTreeMap<String, Vec<u8>>, repositories: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(Content {
            files,
            repositories: repositories.to_path_buf(),
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let content = Arc::clone(&content);
                // A client that goes away early is none of the server's business.
                std::thread::spawn(move || answer(&content, stream.unwrap()).ok());
            }
        });
        Self { port }
    }

    /// The address of a path.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

fn answer(content: &Content, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((key, value)) => headers.insert(key.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers
        .get("content-length")
        .and_then(|l| l.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, more, data) = match (path.strip_prefix("/git"), content.files.get(path)) {
        (Some(path), _) => git(content, method, (path, query), &headers, &body)?,
        (None, Some(file)) => ("200 OK".to_owned(), String::new(), file.clone()),
        (None, None) => ("404 Not Found".to_owned(), String::new(), Vec::new()),
    };
    let length = data.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if method != "HEAD" {
        stream.write_all(&data)?;
    }
    Ok(())
}

/// Git's own server, as CGI (git-http-backend(1)).
fn git(
    content: &Content,
    method: &str,
    (path, query): (&str, &str),
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> std::io::Result<(String, String, Vec<u8>)> {
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", &content.repositories)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(body)?;
    let output = child.wait_with_output()?.stdout;
    let end = output
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK").to_owned();
    let more = head.lines().filter(|line| !line.starts_with("Status: "));
    let more = more.map(|line| format!("{line}\r\n")).collect();
    Ok((status, more, output[end + 4..].to_vec()))
}
