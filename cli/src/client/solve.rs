use std::sync::Arc;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::{ExportResponse, Session as _};
use cooper_engine::job::CacheSpec;
use cooper_engine::server::failure_from_status;
use cooper_proto::control::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, StatusRequest,
};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::build::{BuildRequest, Started, Subject};
use super::joined::Joined;
use super::question::Question;
use crate::attach::{ClientSession, RemoteAttachment};

/// How long the news may go on after a build's end. They end with it, unless the daemon never heard of the build: then it
/// waits for longer than this whether one comes.
const NEWS_AFTER_END: Duration = Duration::from_secs(3);

/// The same for a build that the user stopped, who waits.
const NEWS_AFTER_CANCEL: Duration = Duration::from_millis(500);

impl Joined {
    /// Starts a build whose files travel over the connection.
    pub(super) async fn build(&self, mut request: BuildRequest) -> Result<Started, Failure> {
        let session = Arc::new(ClientSession::new(request.session_parts()));
        let session_id = session.id().0.clone();
        let attachment = RemoteAttachment::open(self.control(), session).await?;
        let status = StatusRequest {
            r#ref: request.reference.clone(),
        };
        let mut solve = solve_request(request, session_id);
        let question = question(&mut solve);
        let channel = self.channel();
        let mut control = self.control();
        let follow = async move {
            match control.status(status).await {
                Ok(answer) => answer
                    .into_inner()
                    .map(|news| news.map_err(|status| failure_from_status(&status)))
                    .boxed(),
                Err(status) => futures::stream::iter([Err(failure_from_status(&status))]).boxed(),
            }
        };
        let cancel = CancellationToken::new();
        let cancelled = cancel.clone();
        let (mut control, joined) = (self.control(), self.clone());
        let (ended, end) = oneshot::channel();
        let outcome = async move {
            let solving = async {
                match control.solve(solve).await {
                    Ok(answer) => Ok(answer.into_inner().exporter_response),
                    Err(status) => Err(joined.failure(&status)),
                }
            };
            let solved = tokio::select! {
                biased;
                solved = answered(solving, question, channel) => solved,
                // Dropping the call is what tells the daemon.
                () = cancelled.cancelled() => {
                    Err(Failure::new(FailureKind::Cancelled, "the build was cancelled"))
                }
            };
            // Nobody may listen any more.
            let _ = ended.send(match cancelled.is_cancelled() {
                true => NEWS_AFTER_CANCEL,
                false => NEWS_AFTER_END,
            });
            attachment.close().await;
            solved
        };
        Ok(Started {
            progress: up_to_end(follow.flatten_stream(), end).boxed(),
            outcome: outcome.boxed(),
            cancel,
        })
    }
}

/// The news, for as long after the end of their build as it is told.
fn up_to_end<T>(
    news: impl Stream<Item = T>,
    end: oneshot::Receiver<Duration>,
) -> impl Stream<Item = T> {
    news.take_until(async {
        // Where nobody tells, the build is not waited for any more, and neither are its news.
        if let Ok(longer) = end.await {
            tokio::time::sleep(longer).await;
        }
    })
}

/// Waits for a build, and where it is there for a question, for the answer.
async fn answered(
    solving: impl Future<Output = Result<ExportResponse, Failure>>,
    question: Option<Question>,
    channel: Channel,
) -> Result<ExportResponse, Failure> {
    let Some(question) = question else {
        return solving.await;
    };
    tokio::pin!(solving);
    let asking = question.ask(channel);
    tokio::pin!(asking);
    let answer = tokio::select! {
        // A build that ends before its question is answered has failed, or was refused.
        ended = &mut solving => match ended {
            Ok(_) => return asking.await,
            Err(failure) => return Err(failure),
        },
        answer = &mut asking => answer,
    };
    match (solving.await, answer) {
        (Ok(mut response), Ok(answer)) => {
            response.extend(answer);
            Ok(response)
        }
        // The build's end has the frontend's failure with all that the daemon knows of it.
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
    }
}

/// Takes the question out of a request, which then is for a build whose frontend the client is.
fn question(solve: &mut SolveRequest) -> Option<Question> {
    if solve.frontend.is_empty() || !solve.frontend_attrs.contains_key("requestid") {
        return None;
    }
    Some(Question {
        reference: solve.r#ref.clone(),
        frontend: std::mem::take(&mut solve.frontend),
        options: solve.frontend_attrs.clone(),
    })
}

fn solve_request(request: BuildRequest, session: String) -> SolveRequest {
    let BuildRequest {
        reference,
        subject,
        plan,
        ..
    } = request;
    let exporter = |output: crate::command::build::Output| Exporter {
        r#type: output.kind,
        attrs: output.attributes,
    };
    let (frontend, definition) = match subject {
        Subject::Frontend(name) => (name, None),
        Subject::Definition(definition) => (String::new(), Some(definition)),
    };
    SolveRequest {
        r#ref: reference,
        session,
        frontend,
        definition,
        frontend_attrs: plan.options,
        entitlements: plan.entitlements,
        exporters: plan.outputs.into_iter().map(exporter).collect(),
        cache: Some(CacheOptions {
            imports: entries(plan.caches.imports),
            exports: entries(plan.caches.exports),
            ..CacheOptions::default()
        }),
        source_policy: request.source_policy,
        proxy_network: request.proxy_network,
        ..SolveRequest::default()
    }
}

fn entries(specs: Vec<CacheSpec>) -> Vec<CacheOptionsEntry> {
    let entry = |spec: CacheSpec| CacheOptionsEntry {
        r#type: spec.kind,
        attrs: spec.attributes,
    };
    specs.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn news_of_a_build_that_the_daemon_never_heard_of_end_soon_after_it() {
        let (ended, end) = oneshot::channel();
        let begun = tokio::time::Instant::now();
        ended.send(NEWS_AFTER_CANCEL).expect("it is listened to");
        let news = up_to_end(futures::stream::pending::<()>(), end);
        assert_eq!(news.count().await, 0);
        assert_eq!(begun.elapsed().as_millis(), NEWS_AFTER_CANCEL.as_millis());
    }

    #[tokio::test]
    async fn news_that_come_before_the_end_are_all_there() {
        let (_ended, end) = oneshot::channel();
        let news = up_to_end(futures::stream::iter([1, 2, 3]), end);
        assert_eq!(news.collect::<Vec<_>>().await, [1, 2, 3]);
    }
}
