use futures::StreamExt;

use super::*;

fn head(name: &str) -> VertexHead {
    VertexHead {
        digest: Digest::sha256_of(name),
        name: name.to_owned(),
        inputs: Vec::new(),
        group: None,
    }
}

fn said(words: &str) -> OpEvent {
    OpEvent::Log {
        stream: LogStream::Stderr,
        data: bytes::Bytes::copy_from_slice(words.as_bytes()),
    }
}

fn log(folder: &tempfile::TempDir, name: &str) -> Arc<JobLog> {
    JobLog::create(folder.path().join(name), Clock::new(|| 5)).expect("a log")
}

async fn everything(log: &JobLog) -> StatusResponse {
    let mut all = StatusResponse::default();
    let mut news = log.follow();
    while let Some(news) = news.next().await {
        let news = news.expect("a readable log");
        all.vertexes.extend(news.vertexes);
        all.logs.extend(news.logs);
    }
    all
}

#[tokio::test]
async fn output_longer_than_a_frame_is_kept_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(&folder, "one");
    let words = "0123456789".repeat(1 << 20);
    log.event(&head("a").digest, &said(&words));
    log.failed(
        &head("a"),
        &Failure::new(FailureKind::Internal, words.clone()),
    );
    log.finish();
    let all = everything(&log).await;
    let kept: Vec<u8> = all.logs.iter().flat_map(|log| log.msg.to_vec()).collect();
    assert_eq!(kept.len(), words.len());
    assert!(kept == words.as_bytes());
    assert!(all.vertexes[0].error.ends_with("… (cut)"));
}

#[tokio::test]
async fn what_was_copied_is_not_copied_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (log(&folder, "first"), log(&folder, "second"));
    let shared = head("shared");
    first.started(&shared, None);
    first.event(&shared.digest, &said("one "));
    first.event(&head("other").digest, &said("not this "));
    second.adopt(&shared, &first);
    first.event(&shared.digest, &said("two "));
    second.adopt(&shared, &first);
    second.adopt(&shared, &first);
    second.join(&shared);
    first.event(&shared.digest, &said("three "));
    second.adopt(&shared, &first);
    second.event(&shared.digest, &said("three "));
    second.finish();
    let all = everything(&second).await;
    let kept: Vec<u8> = all.logs.iter().flat_map(|log| log.msg.to_vec()).collect();
    assert_eq!(String::from_utf8(kept).expect("text"), "one two three ");
    assert_eq!(all.vertexes, []);
}

#[tokio::test]
async fn a_vertex_that_begins_again_has_a_new_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(&folder, "one");
    log.started(&head("a"), Some(1));
    log.completed(&head("a"), false, None);
    log.started(&head("a"), Some(9));
    log.finish();
    let all = everything(&log).await;
    let last = all.vertexes.last().expect("it was told");
    assert_eq!(last.started, Some(wire::timestamp(9)));
    assert_eq!(last.completed, None);
    assert_eq!(log.summary().vertices[0].restarts, 1);
}
