//! RUN.

use std::collections::HashMap;
use std::rc::Rc;

use cooper_core::graph::{RETRIES, TIMEOUT};
use cooper_proto::pb;

use super::config::in_shell;
use super::name::shown;
use super::system::is_windows;
use crate::diagnostic::Fault;
use crate::dockerfile::heredoc;
use crate::expand::{Overlay, Variables};
use crate::golang::path::join;
use crate::instruction::mount::{Mount, Type};
use crate::instruction::{CommandLine, Device, InlineFile, Instruction, Network, Run};
use crate::llb::{Exec, ExecMount, MountKind, Notes, State};
use crate::options::Texts;
use crate::stage::{Conversion, Declared};

/// Where scripts that name their own interpreter are mounted.
const SCRIPTS: &str = "/dev/pipes/";

/// What a step runs and how it is shown.
struct Launch {
    arguments: Vec<String>,
    text: String,
    script: Option<ExecMount>,
}

impl Conversion<'_> {
    pub(super) fn run_step(
        &mut self,
        at: usize,
        instruction: &Instruction,
        run: &Run,
        sources: &[usize],
    ) -> Result<(), Fault> {
        let mounts = self.read_mounts(at, instruction, run)?;
        // A command can read anything of what the stage stands on.
        let set = self.nodes[at].paths;
        self.paths[set].insert("/".to_owned());
        let launch = self.launch_run(at, instruction, &run.command)?;
        let state = self.nodes[at].state.clone();
        let mut exec = Exec {
            meta: self.meta(&state, &launch.arguments),
            environment: state.environment.as_field(Exec::ENVIRONMENT),
            network: match run.network {
                Network::Default => state.network,
                Network::None => pb::NetMode::None,
                Network::Host => pb::NetMode::Host,
            },
            security: if run.insecure {
                pb::SecurityMode::Insecure
            } else {
                pb::SecurityMode::Sandbox
            },
            root: state.output,
            mounts: launch.script.into_iter().collect(),
            devices: devices(&run.devices),
            ..Exec::default()
        };
        self.mount(at, &mounts, sources, instruction.lines, &mut exec)?;
        if self.options.shm_size > 0 {
            exec.mounts.push(ExecMount {
                target: "/dev/shm".to_owned(),
                source: None,
                selector: String::new(),
                read_only: false,
                kind: MountKind::Tmpfs(self.options.shm_size),
            });
        }
        let name = self.run_name(at, &launch.text, &mounts, &state);
        let mut notes = Notes::named(name).at(instruction.lines);
        notes.describe("com.docker.dockerfile.v1.command", instruction.text.clone());
        notes.platform.clone_from(&state.platform);
        notes.ignore_cache = self.nodes[at].ignore_cache;
        // What no digest covers: the result is the same, however long it took to get.
        if let Some(timeout) = run.timeout {
            notes.describe(TIMEOUT, timeout.to_string());
        }
        if let Some(retries) = run.retries {
            notes.describe(RETRIES, retries.to_string());
        }
        notes.resources.clone_from(&self.options.resources);
        let output = self.graph.exec(exec, notes);
        self.nodes[at].state.output = Some(output);
        let told = self.told_arguments(at);
        let command = launch.arguments.join(" ");
        self.record(at, format!("RUN {told}{command} # buildkit"), true)
    }

    fn launch_run(
        &mut self,
        at: usize,
        instruction: &Instruction,
        command: &CommandLine,
    ) -> Result<Launch, Fault> {
        let mut launch = Launch {
            arguments: command.arguments.clone(),
            text: instruction.text.clone(),
            script: None,
        };
        if let Some(first) = command.files.first() {
            self.with_heredocs(at, command, first, &mut launch)?;
        }
        if command.shell {
            launch.arguments = in_shell(&self.nodes[at].image, &launch.arguments);
        }
        if launch.arguments.is_empty() {
            return Err(Fault::new("arguments are required"));
        }
        Ok(launch)
    }

    /// A heredoc alone is the script itself; with more on the line the shell reads it as a shell does.
    fn with_heredocs(
        &mut self,
        at: usize,
        command: &CommandLine,
        first: &InlineFile,
        launch: &mut Launch,
    ) -> Result<(), Fault> {
        let [line] = command.arguments.as_slice() else {
            return Err(Fault::new("parsing produced an invalid run command"));
        };
        if !matches!(heredoc::from_word(line), Ok(Some(_))) {
            let mut text = line.clone();
            for file in &command.files {
                text.push('\n');
                text.push_str(&file.body);
                text.push_str(&file.name);
            }
            launch.arguments = vec![text];
            return Ok(());
        }
        let scripts = !is_windows(&self.nodes[at].image.platform.os);
        if scripts && first.content.starts_with("#!") {
            let output = self.inline_document(at, &first.name, 0o755, &first.content);
            launch.script = Some(ExecMount {
                target: SCRIPTS.to_owned(),
                source: Some(output),
                selector: "/".to_owned(),
                read_only: true,
                kind: MountKind::Output,
            });
            launch.arguments = vec![join(&[SCRIPTS, &first.name])];
        } else {
            launch.arguments = vec![first.content.clone()];
        }
        launch
            .text
            .push_str(&format!(" ({})", summary(&first.body)));
        Ok(())
    }

    /// The ARGs so far as history tells them. Many steps have the same, so that they are written once.
    fn told_arguments(&mut self, at: usize) -> Rc<str> {
        let node = &mut self.nodes[at];
        let made_of = (node.arguments.len(), node.state.environment.version());
        if let Some((known, text)) = &node.told
            && *known == made_of
        {
            return text.clone();
        }
        let text: Rc<str> = told(&node.arguments, &*node.state.environment).into();
        node.told = Some((made_of, text.clone()));
        text
    }

    fn meta(&self, state: &State, arguments: &[String]) -> pb::Meta {
        pb::Meta {
            args: arguments.to_vec(),
            env: Vec::new(),
            cwd: state.directory.clone(),
            user: state.user.clone(),
            proxy_env: proxies(&self.build_args),
            extra_hosts: self.options.extra_hosts.clone(),
            hostname: state.hostname.clone(),
            ulimit: self.options.ulimits.clone(),
            cgroup_parent: self.options.cgroup_parent.clone(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        }
    }

    /// The step's name. Values that come from secrets are not known, and it shows.
    fn run_name(&mut self, at: usize, text: &str, mounts: &[Mount], state: &State) -> String {
        let hidden: Vec<(String, String)> = mounts
            .iter()
            .filter(|mount| mount.kind == Type::Secret)
            .filter_map(|mount| Some((mount.env.clone()?, "****".to_owned())))
            .collect();
        let variables = Overlay {
            above: &hidden,
            below: &*state.environment,
        };
        let text = shown(
            self.expander.keeping_quotes().keeping_unset(),
            text,
            &variables,
        );
        self.step_name(
            at,
            &text,
            state.platform.as_ref(),
            Some(&*state.environment),
        )
    }
}

fn devices(wanted: &[Device]) -> Vec<pb::CdiDevice> {
    let wanted = wanted.iter().map(|device| pb::CdiDevice {
        name: device.name.clone(),
        optional: !device.required,
    });
    wanted.collect()
}

/// The first line, with dots if there are more.
fn summary(document: &str) -> String {
    let mut lines = document.trim().split('\n');
    let first = lines.next().unwrap_or_default();
    let first = if lines.clone().next().is_some() {
        first.strip_suffix('\r').unwrap_or(first)
    } else {
        first
    };
    let dots = if lines.next().is_some() { "..." } else { "" };
    format!("{first}{dots}")
}

/// `|2 A=1 B=2 ` for two ARGs, nothing for none. A name counts where it is declared first, a default where last.
fn told(arguments: &[Declared], variables: &dyn Variables) -> String {
    let mut at: HashMap<&str, usize> = HashMap::with_capacity(arguments.len());
    let mut all: Vec<(&str, &str)> = Vec::new();
    for argument in arguments {
        let value = variables
            .get(&argument.key)
            .or(argument.value.as_deref())
            .unwrap_or_default();
        let place = *at.entry(&argument.key).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => known.1 = value,
            None => all.push((&argument.key, value)),
        }
    }
    if all.is_empty() {
        return String::new();
    }
    let mut out = format!("|{} ", all.len());
    for (name, value) in all {
        out.extend([name, "=", value, " "]);
    }
    out
}

/// Build-args for proxies reach processes without being declared. Of several spellings the last in order counts.
fn proxies(build_args: &Texts) -> Option<pb::ProxyEnv> {
    let mut proxies = pb::ProxyEnv::default();
    let mut any = false;
    for (name, value) in build_args {
        let place = match name.to_lowercase().as_str() {
            "http_proxy" => &mut proxies.http_proxy,
            "https_proxy" => &mut proxies.https_proxy,
            "ftp_proxy" => &mut proxies.ftp_proxy,
            "no_proxy" => &mut proxies.no_proxy,
            "all_proxy" => &mut proxies.all_proxy,
            _ => continue,
        };
        place.clone_from(value);
        any = true;
    }
    any.then_some(proxies)
}
