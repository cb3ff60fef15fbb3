use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_engine::progress::StatusStream;
use futures::StreamExt;

use super::advice;
use super::call::Call;
use super::flags::{BuildFlags, ProgressMode};
use super::output::Target;
use super::plan::{Plan, Surroundings, plan};
use super::report;
use super::{ContextFolders, context};
use crate::client::{BuildRequest, Client, Started};
use crate::command::{CANCELLED, FAILED, OK};
use crate::command::{Interrupts, explain};
use crate::config::{Environment, now_ns};
use crate::daemon::EngineSettings;
use crate::progress::{Plain, Progress, Screen, Size, View, failure_text, summary, warnings_text};

/// Time between two frames of the terminal view.
const FRAME: Duration = Duration::from_millis(150);

/// After this time the user is told why the program has not ended.
const NOTICE: Duration = Duration::from_millis(500);

/// Runs `cooper build` and says how the program is to exit.
pub async fn run(flags: BuildFlags, state: &Path, environment: &Environment) -> u8 {
    let prepared = prepare(&flags, environment);
    let (plan, folders, call) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            write_error(&failure_text(&Progress::default(), &failure));
            return FAILED;
        }
    };
    if flags.fix {
        match advice::fix(&folders.dockerfile.join(&folders.filename)) {
            Ok(text) => write_error(&text),
            Err(failure) => {
                write_error(&failure_text(&Progress::default(), &failure));
                return FAILED;
            }
        }
    }
    let interrupts = Interrupts::listen();
    let opened = tokio::select! {
        opened = Client::open(state, EngineSettings::of_command()) => opened,
        () = interrupts.interrupted() => return CANCELLED,
    };
    let client = match opened {
        Ok(client) => client,
        Err(failure) => {
            write_error(&failure_text(&Progress::default(), &failure));
            return FAILED;
        }
    };
    let work = Work {
        flags: &flags,
        call,
        state,
        environment,
    };
    let code = build(&work, plan, &client, &interrupts).await;
    if !interrupts.is_forced() {
        close(client, &interrupts).await;
    }
    drop(folders);
    code
}

/// Ends the engine, which may take as long as the builds of others that joined it.
async fn close(client: Client, interrupts: &Interrupts) {
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

fn prepare(
    flags: &BuildFlags,
    environment: &Environment,
) -> Result<(Plan, ContextFolders, Option<Call>), Failure> {
    let call = if flags.check {
        Call::parse("check")?
    } else {
        Call::parse(&flags.call)?
    };
    let folders = context::locate(
        &flags.context,
        flags.file.as_deref(),
        &environment.here,
        &mut std::io::stdin().lock(),
    )?;
    let around = Surroundings {
        here: &environment.here,
        variables: &environment.variables,
        stdout_is_terminal: environment.stdout_is_terminal,
    };
    let mut plan = plan(flags, &folders, around)?;
    let docker = environment.find_program("docker");
    if flags.load && docker.is_none() && plan.outputs.len() > 1 {
        // The image is kept here in any case; a machine without Docker has nowhere else to load it.
        plan.outputs.retain(|o| o.target != Target::DockerLoad);
        write_error("note: there is no docker program, so the image stays in Cooper's own store\n");
    }
    if let Some(call) = &call {
        plan.outputs.clear();
        plan.options.insert("requestid".into(), call.request());
        let caps = "moby.buildkit.frontend.subrequests";
        plan.options.insert("frontend.caps".into(), caps.into());
    }
    Ok((plan, folders, call))
}

/// A command line and what stands around it.
struct Work<'a> {
    flags: &'a BuildFlags,
    call: Option<Call>,
    state: &'a Path,
    environment: &'a Environment,
}

async fn build(work: &Work<'_>, plan: Plan, client: &Client, interrupts: &Interrupts) -> u8 {
    let Work {
        flags, environment, ..
    } = work;
    let began = now_ns();
    let indexes = plan.caches.indexes.clone();
    for note in &plan.caches.notes {
        write_error(&format!("note: {note}\n"));
    }
    let reference = BuildRequest::new_reference();
    let request = BuildRequest {
        reference: reference.clone(),
        plan,
        variables: environment.variables.clone(),
        docker: environment.find_program("docker"),
    };
    let mut view = view(flags, environment, began);
    let started = match client.start(request).await {
        Ok(started) => started,
        Err(failure) => {
            write_error(&failure_text(view.progress(), &failure));
            return FAILED;
        }
    };
    let Started {
        progress,
        outcome,
        cancel,
    } = started;
    let result = tokio::select! {
        (result, ()) = async { tokio::join!(outcome, show(progress, &mut view)) } => result,
        () = interrupts.cancel_then_force(&cancel) => {
            Err(Failure::new(FailureKind::Cancelled, "the build was stopped by force"))
        }
    };
    write_error(&view.finish(now_ns(), terminal_size()));
    let report = result.and_then(|response| {
        for index in &indexes {
            index.write(&response).map_err(|error| {
                let what = format!("the cache's index cannot be written: {error}");
                Failure::new(FailureKind::Infrastructure, what)
            })?;
        }
        finish(flags, &reference, &response, environment)?;
        Ok(response)
    });
    if flags.explain {
        write_error(&explain::of_build(work.state, &reference));
    }
    match report {
        Ok(response) => {
            if let Some(call) = &work.call {
                return tell(call, flags.check, &response);
            }
            if view.is_for_people() {
                let layers = report::layers(work.state, &response);
                let text = summary(view.progress(), began, now_ns(), &layers);
                write_error(&format!("\n{text}"));
                write_error(&report::image_line(&response));
                write_error(&warnings_text(view.progress()));
            } else if flags.quiet || flags.progress == ProgressMode::Quiet {
                report::print_id(&response);
            }
            OK
        }
        Err(failure) => {
            write_error(&failure_text(view.progress(), &failure));
            if interrupts.was_interrupted() || failure.kind == FailureKind::Cancelled {
                CANCELLED
            } else {
                FAILED
            }
        }
    }
}

/// Prints the answer to a question and says how to exit.
fn tell(call: &Call, practices: bool, response: &ExportResponse) -> u8 {
    let mut answer = call.report(response);
    if practices && answer.error.is_none() {
        let (text, count) = advice::advice(response);
        answer.out.push_str(&text);
        answer.code = answer.code.max(u8::from(count > 0));
    }
    let mut out = std::io::stdout().lock();
    // A closed pipe is its reader's choice.
    let _ = out
        .write_all(answer.out.as_bytes())
        .and_then(|()| out.flush());
    if let Some(error) = &answer.error {
        write_error(&format!("ERROR: {error}"));
    }
    answer.code
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

fn finish(
    flags: &BuildFlags,
    reference: &str,
    response: &ExportResponse,
    environment: &Environment,
) -> Result<(), Failure> {
    let write = |path: &PathBuf, text: String| {
        let path = environment.here.join(path);
        std::fs::write(&path, text).map_err(|error| {
            Failure::new(
                FailureKind::Infrastructure,
                format!("cannot write {}: {error}", path.display()),
            )
        })
    };
    if let Some(path) = &flags.iidfile {
        let id = report::image_id(response).ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                "this build makes no image, so that there is no id to write to --iidfile",
            )
        })?;
        write(path, id.to_owned())?;
    }
    if let Some(path) = &flags.metadata_file {
        write(path, report::metadata(reference, response))?;
    }
    Ok(())
}

fn view(flags: &BuildFlags, environment: &Environment, began: u64) -> View {
    let mode = if flags.quiet {
        ProgressMode::Quiet
    } else {
        flags.progress
    };
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

fn terminal_size() -> Size {
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

/// Progress goes to standard error, since standard output may carry an archive.
fn write_error(text: &str) {
    if !text.is_empty() {
        let mut out = std::io::stderr().lock();
        // Who does not listen misses nothing that the exit code does not say.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
