//! Following a build that was started, whatever it builds.

use std::io::Write as _;
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_engine::progress::StatusStream;
use futures::StreamExt;

use super::ProgressMode;
use super::{CANCELLED, FAILED, Interrupts};
use crate::client::{Client, Started};
use crate::config::{Environment, now_ns};
use crate::progress::{Plain, Progress, Screen, Size, View, failure_text};

/// Time between two frames of the terminal view.
const FRAME: Duration = Duration::from_millis(150);

/// After this time the user is told why the program has not ended.
const NOTICE: Duration = Duration::from_millis(500);

/// The view that a mode means.
pub(super) fn view(mode: ProgressMode, environment: &Environment, began: u64) -> View {
    let terminal = || View::Terminal {
        progress: Progress::default(),
        screen: Screen::new(environment.colours()),
        began,
    };
    match mode {
        ProgressMode::Tty => terminal(),
        ProgressMode::Auto if environment.stderr_is_terminal => terminal(),
        ProgressMode::Auto | ProgressMode::Plain => View::Plain(Plain::default()),
        ProgressMode::Rawjson => View::RawJson(Progress::default()),
        ProgressMode::Quiet | ProgressMode::None => View::Quiet(Progress::default()),
    }
}

/// Shows a build until it has ended. The first interrupt cancels it, the second gives up waiting for that.
pub(super) async fn follow(
    started: Started,
    view: &mut View,
    interrupts: &Interrupts,
) -> Result<ExportResponse, Failure> {
    let Started {
        progress,
        outcome,
        cancel,
    } = started;
    let result = tokio::select! {
        (result, ()) = async { tokio::join!(outcome, show(progress, view)) } => result,
        () = interrupts.cancel_then_force(&cancel) => {
            Err(Failure::new(FailureKind::Cancelled, "the build was stopped by force"))
        }
    };
    write_error(&view.finish(now_ns(), terminal_size()));
    result
}

/// How to exit after a failure.
pub(super) fn exit_code(failure: &Failure, interrupts: &Interrupts) -> u8 {
    if interrupts.was_interrupted() || failure.kind == FailureKind::Cancelled {
        CANCELLED
    } else {
        FAILED
    }
}

/// Ends the engine, which may take as long as the builds of others that joined it.
pub(super) async fn close(client: Client, interrupts: &Interrupts) {
    let closed = client.close();
    tokio::pin!(closed);
    tokio::select! {
        () = &mut closed => return,
        () = interrupts.forced() => return,
        () = tokio::time::sleep(NOTICE) => {}
    }
    write_error("waiting for builds that joined this one; Ctrl-C stops them\n");
    // One that came before was for our own build.
    let already = if interrupts.was_interrupted() { 2 } else { 1 };
    tokio::select! {
        () = closed => {}
        () = interrupts.reached(already) => {}
    }
}

/// Shows the news until they end.
async fn show(mut progress: StatusStream, view: &mut View) {
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let text = tokio::select! {
            news = progress.next() => match news {
                Some(Ok(news)) => view.news(&news, now_ns()),
                // The outcome says what is wrong; a build whose progress is lost goes on.
                Some(Err(failure)) => {
                    tracing::debug!(%failure, "progress is lost");
                    return;
                }
                None => return,
            },
            _ = frames.tick() => view.tick(now_ns(), terminal_size()),
        };
        write_error(&text);
    }
}

pub(super) fn terminal_size() -> Size {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            width: size.ws_col.into(),
            height: size.ws_row.into(),
        },
        _ => Size {
            width: 80,
            height: 24,
        },
    }
}

/// What is said of a failure that is not one of a build.
pub(super) fn plain_failure(failure: &Failure) -> String {
    let text = failure_text(&Progress::default(), failure);
    text.replacen("failed to build: ", "", 1)
}

/// Progress goes to standard error, since standard output may carry an archive.
pub(super) fn write_error(text: &str) {
    if !text.is_empty() {
        let mut out = std::io::stderr().lock();
        // Who does not listen misses nothing that the exit code does not say.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
