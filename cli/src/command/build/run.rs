use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ExportResponse;
use cooper_worker::snapshot::Snapshotter;

use super::advice;
use super::call::Call;
use super::flags::BuildFlags;
use super::output::{Output, Target};
use super::plan::{Plan, Surroundings, plan};
use super::several::{self, Responses, Several};
use super::written::WrittenAfter;
use super::{ContextFolders, DockerfilePlace, UsageError, context};
use super::{fetch, report};
use crate::client::{BuildRequest, Client, Place, Subject};
use crate::command::follow::{close, exit_code, follow, view, write_error};
use crate::command::{CANCELLED, FAILED, Interrupts, OK, ProgressMode, explain};
use crate::config::{Environment, now_ns};
use cooper_worker::local_worker::RuntimeSettings;

use crate::daemon::EngineSettings;
use crate::progress::{Progress, failure_text, summary, warnings_text};

/// Lets steps see the processes outside, where the kernel refuses them a `/proc` of their own.
const NO_PROCESS_SANDBOX: &str = "COOPER_NO_PROCESS_SANDBOX";

/// Says how layers become directories.
const SNAPSHOTTER: &str = "COOPER_SNAPSHOTTER";

/// Runs `cooper build` and says how the program is to exit.
pub async fn run(flags: BuildFlags, place: &Place, environment: &Environment) -> u8 {
    let prepared = match prepare(&flags, environment) {
        Ok(prepared) => prepared,
        Err(failure) => return refuse(&failure),
    };
    let interrupts = Interrupts::listen();
    let settings = match settings(&flags, environment) {
        Ok(settings) => settings,
        Err(failure) => return refuse(&failure),
    };
    let opened = tokio::select! {
        opened = Client::open(place, settings) => opened,
        () = interrupts.interrupted() => return CANCELLED,
    };
    let client = match opened {
        Ok(client) => client,
        Err(failure) => return refuse(&failure),
    };
    let work = Work {
        flags: &flags,
        place,
        environment,
        client: &client,
        interrupts: &interrupts,
    };
    let code = work.perform(prepared).await;
    if !interrupts.is_forced() {
        close(client, &interrupts).await;
    }
    code
}

fn refuse(failure: &Failure) -> u8 {
    write_error(&failure_text(&Progress::default(), failure));
    FAILED
}

/// What an engine of this process is told.
fn settings(flags: &BuildFlags, environment: &Environment) -> Result<EngineSettings, Failure> {
    let named = |name: &str| {
        Snapshotter::named(name).ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                format!("{SNAPSHOTTER}={name} is none of overlayfs, fuse-overlayfs and native"),
            )
        })
    };
    Ok(EngineSettings {
        runtime: flags.runtime.clone().map(RuntimeSettings::of),
        snapshotter: environment.variable(SNAPSHOTTER).map(named).transpose()?,
        shares_processes: environment.variable(NO_PROCESS_SANDBOX).is_some(),
        ..EngineSettings::of_command()
    })
}

/// What a command line means.
struct Prepared {
    plan: Plan,
    /// A plan for each target, where there are several.
    parts: Vec<(String, Plan)>,
    folders: ContextFolders,
    call: Option<Call>,
    /// A Dockerfile to fetch, and the folder that it goes to.
    fetch: Option<(String, PathBuf)>,
}

fn prepare(flags: &BuildFlags, environment: &Environment) -> Result<Prepared, Failure> {
    let call = if flags.check {
        Call::parse("check")?
    } else {
        Call::parse(&flags.call)?
    };
    let mut folders = context::locate(
        &flags.context,
        flags.file.as_deref(),
        &environment.here,
        &mut std::io::stdin().lock(),
    )?;
    let fetch = match &folders.dockerfile {
        DockerfilePlace::Url(url) => Some((url.clone(), folders.fetched()?)),
        _ => None,
    };
    if flags.fix && (fetch.is_some() || folders.dockerfile_path().is_none()) {
        return Err(UsageError::new(
            "--fix changes a Dockerfile, and this one is not on this machine",
            "check it without --fix",
        )
        .into());
    }
    if let Some((_, folder)) = &fetch {
        folders.dockerfile = DockerfilePlace::Folder {
            folder: folder.clone(),
            name: fetch::FETCHED.to_owned(),
        };
    }
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
    let targets = several::targets(flags);
    let parts = match targets.as_slice() {
        [] | [_] => {
            several::check_one(&plan, targets.first().map(String::as_str))?;
            plan.outputs.retain(Output::is_exported);
            Vec::new()
        }
        targets => {
            several::refuse_unclear(flags)?;
            several::split(plan.clone(), targets)?
        }
    };
    Ok(Prepared {
        plan,
        parts,
        folders,
        call,
        fetch,
    })
}

/// A command line and what stands around it.
struct Work<'a> {
    flags: &'a BuildFlags,
    place: &'a Place,
    environment: &'a Environment,
    client: &'a Client,
    interrupts: &'a Interrupts,
}

impl Work<'_> {
    async fn perform(&self, prepared: Prepared) -> u8 {
        let Prepared {
            plan,
            parts,
            folders,
            call,
            fetch,
        } = prepared;
        if let Some((url, folder)) = &fetch {
            let fetched = fetch::dockerfile(
                (url, folder),
                self.client,
                self.environment,
                self.interrupts,
            );
            if let Err(failure) = fetched.await {
                write_error(&failure_text(&Progress::default(), &failure));
                return exit_code(&failure, self.interrupts);
            }
        }
        let code = match parts.is_empty() {
            true => self.build(plan, call).await,
            false => self.build_several(parts).await,
        };
        // What was found is told before the file is another one.
        match folders.dockerfile_path() {
            Some(path) if self.flags.fix && code != CANCELLED => match advice::fix(&path) {
                Ok(text) => write_error(&text),
                Err(failure) => return refuse(&failure),
            },
            _ => {}
        }
        code
    }

    async fn build(&self, plan: Plan, call: Option<Call>) -> u8 {
        let Self {
            flags,
            environment,
            client,
            interrupts,
            ..
        } = self;
        let began = now_ns();
        let files = WrittenAfter::of(&plan);
        for note in plan.caches.notes.iter().chain(&plan.notes) {
            write_error(&format!("note: {note}\n"));
        }
        let reference = BuildRequest::new_reference();
        let request = BuildRequest {
            reference: reference.clone(),
            subject: Subject::dockerfile(),
            source_policy: None,
            proxy_network: false,
            plan,
            variables: environment.variables.clone(),
            docker: environment.find_program("docker"),
        };
        let mut view = view(self.mode(), environment, began);
        let started = match client.start(request).await {
            Ok(started) => started,
            Err(failure) => return refuse(&failure),
        };
        let result = follow(started, &mut view, interrupts).await;
        let report = result.and_then(|response| {
            files.write(&response)?;
            finish(flags, &reference, &response, environment)?;
            Ok(response)
        });
        if flags.explain {
            write_error(&explain::of_build(self.place, client, &reference).await);
        }
        let response = match report {
            Ok(response) => response,
            Err(failure) => {
                write_error(&failure_text(view.progress(), &failure));
                return exit_code(&failure, interrupts);
            }
        };
        if let Some(call) = &call {
            return tell(call, flags.check, &response);
        }
        if view.is_for_people() {
            let layers = report::layers(self.place, client, &response).await;
            let text = summary(view.progress(), began, now_ns(), &layers);
            write_error(&format!("\n{text}"));
            write_error(&report::image_line(&response));
            write_error(&warnings_text(view.progress()));
        } else if flags.quiet || flags.solve.progress == ProgressMode::Quiet {
            report::print_id(&response);
        }
        OK
    }
}

impl Work<'_> {
    fn mode(&self) -> ProgressMode {
        match self.flags.quiet {
            true => ProgressMode::Quiet,
            false => self.flags.solve.progress,
        }
    }

    async fn build_several(&self, parts: Vec<(String, Plan)>) -> u8 {
        let began = now_ns();
        let files: Vec<_> = parts
            .iter()
            .map(|(target, plan)| (target.clone(), WrittenAfter::of(plan)))
            .collect();
        let responses = Responses::default();
        let mut view = view(self.mode(), self.environment, began);
        let told = Arc::clone(&responses);
        let several = match Several::start(parts, self.client, self.environment, told).await {
            Ok(several) => several,
            Err(failure) => return refuse(&failure),
        };
        let (started, references, shared) = several.into_parts();
        let result = follow(started, &mut view, self.interrupts).await;
        if !self.interrupts.is_forced() {
            shared.close().await;
        }
        let responses = responses
            .lock()
            .map(|told| told.clone())
            .unwrap_or_default();
        let report = result.and_then(|_| {
            for (target, files) in &files {
                files.write(responses.get(target).unwrap_or(&ExportResponse::new()))?;
            }
            match &self.flags.solve.metadata_file {
                Some(path) => {
                    let text = report::metadata_of_targets(&references, &responses);
                    write_file(&self.environment.here.join(path), &text)
                }
                None => Ok(()),
            }
        });
        if let Err(failure) = report {
            write_error(&failure_text(view.progress(), &failure));
            return exit_code(&failure, self.interrupts);
        }
        if view.is_for_people() {
            let text = summary(view.progress(), began, now_ns(), &[]);
            write_error(&format!("\n{text}"));
            for (target, response) in &responses {
                let line = report::image_line(response);
                write_error(&line.replacen("\nImage", &format!("\nImage of {target}"), 1));
            }
            write_error(&warnings_text(view.progress()));
        }
        OK
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

fn finish(
    flags: &BuildFlags,
    reference: &str,
    response: &ExportResponse,
    environment: &Environment,
) -> Result<(), Failure> {
    let write = |path: &PathBuf, text: &str| write_file(&environment.here.join(path), text);
    if let Some(path) = &flags.iidfile {
        let id = report::image_id(response).ok_or_else(|| {
            Failure::new(
                FailureKind::InvalidInput,
                "this build makes no image, so that there is no id to write to --iidfile",
            )
        })?;
        write(path, id)?;
    }
    if let Some(path) = &flags.solve.metadata_file {
        write(path, &report::metadata(Some(reference), response))?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        let words = format!("cannot write {}: {error}", path.display());
        Failure::new(FailureKind::Infrastructure, words)
    })
}
