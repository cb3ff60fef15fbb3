//! Instructions that change the configuration only.

use super::system;
use crate::diagnostic::{Fault, Lines};
use crate::golang::quote::quote_list;
use crate::image::Image;
use crate::instruction::{CommandLine, Healthcheck, Instruction, Setting};
use crate::lint::Rule;
use crate::stage::Conversion;

impl Conversion<'_> {
    pub(super) fn env(
        &mut self,
        at: usize,
        instruction: &Instruction,
        settings: &[Setting],
    ) -> Result<(), Fault> {
        let settings = self.settings(at, instruction, settings)?;
        let mut told = String::from("ENV");
        for (name, value) in settings {
            self.lint_secret("ENV", &name, instruction.lines);
            told.push_str(&format!(" {name}={value}"));
            let node = &mut self.nodes[at];
            node.set_env(&name, &value);
            node.state.set(name, value);
        }
        self.record(at, told, false)
    }

    pub(super) fn label(
        &mut self,
        at: usize,
        instruction: &Instruction,
        settings: &[Setting],
    ) -> Result<(), Fault> {
        let settings = self.settings(at, instruction, settings)?;
        let mut told = String::from("LABEL");
        for (name, value) in settings {
            told.push_str(&format!(" {name}={value}"));
            self.nodes[at].image.config.labels.insert(name, value);
        }
        self.record(at, told, false)
    }

    /// Expanded pairs. All are expanded before the first is set.
    fn settings(
        &mut self,
        at: usize,
        instruction: &Instruction,
        settings: &[Setting],
    ) -> Result<Vec<(String, String)>, Fault> {
        let lines = instruction.lines;
        let mut expanded = Vec::with_capacity(settings.len());
        for setting in settings {
            let name = self.word(at, lines, &setting.key)?;
            expanded.push((name, self.word(at, lines, &setting.value)?));
        }
        for _ in settings.iter().filter(|setting| setting.legacy) {
            let word = &instruction.keyword;
            let message = format!(
                "\"{word} key=value\" should be used instead of legacy \"{word} key value\" format"
            );
            self.linter.warn(Rule::LegacyKeyValueFormat, lines, message);
        }
        Ok(expanded)
    }

    pub(super) fn lint_secret(&mut self, keyword: &str, name: &str, lines: Lines) {
        if looks_secret(name) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\")"
            );
            self.linter
                .warn(Rule::SecretsUsedInArgOrEnv, lines, message);
        }
    }

    pub(super) fn cmd(
        &mut self,
        at: usize,
        instruction: &Instruction,
        command: &CommandLine,
    ) -> Result<(), Fault> {
        let last = self.nodes[at].seen.cmd.replace(instruction.lines);
        self.only_once(last, &instruction.keyword);
        let arguments = self.launch(at, instruction, command);
        let told = format!("CMD {}", quote_list(&arguments));
        let config = &mut self.nodes[at].image.config;
        config.cmd = arguments;
        config.args_escaped = true;
        self.record(at, told, false)
    }

    pub(super) fn entrypoint(
        &mut self,
        at: usize,
        instruction: &Instruction,
        command: &CommandLine,
    ) -> Result<(), Fault> {
        let last = self.nodes[at].seen.entrypoint.replace(instruction.lines);
        self.only_once(last, &instruction.keyword);
        let arguments = self.launch(at, instruction, command);
        let told = format!("ENTRYPOINT {}", quote_list(&arguments));
        let node = &mut self.nodes[at];
        node.image.config.entrypoint = arguments;
        if node.seen.cmd.is_none() {
            node.image.config.cmd.clear();
        }
        self.record(at, told, false)
    }

    fn launch(
        &mut self,
        at: usize,
        instruction: &Instruction,
        command: &CommandLine,
    ) -> Vec<String> {
        if !command.shell {
            return command.arguments.clone();
        }
        let image = &self.nodes[at].image;
        if image.config.shell.is_empty() {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
                instruction.keyword
            );
            self.linter
                .warn(Rule::JSONArgsRecommended, instruction.lines, message);
        }
        in_shell(&self.nodes[at].image, &command.arguments)
    }

    pub(super) fn healthcheck(
        &mut self,
        at: usize,
        instruction: &Instruction,
        check: &Healthcheck,
    ) -> Result<(), Fault> {
        let last = self.nodes[at].seen.healthcheck.replace(instruction.lines);
        self.only_once(last, &instruction.keyword);
        self.nodes[at].image.config.healthcheck = Some(check.clone());
        self.record(at, format!("HEALTHCHECK {}", check.describe()), false)
    }

    pub(super) fn stop_signal(
        &mut self,
        at: usize,
        lines: Lines,
        signal: &str,
    ) -> Result<(), Fault> {
        let signal = self.word(at, lines, signal)?;
        super::signal::check(&signal)?;
        self.nodes[at].image.config.stop_signal.clone_from(&signal);
        self.record(at, format!("STOPSIGNAL {signal}"), false)
    }

    pub(super) fn volume(
        &mut self,
        at: usize,
        lines: Lines,
        volumes: &[String],
    ) -> Result<(), Fault> {
        let mut told = Vec::with_capacity(volumes.len());
        for volume in volumes {
            let volume = self.word(at, lines, volume)?;
            if volume.is_empty() {
                return Err(Fault::new("VOLUME specified can not be an empty string"));
            }
            told.push(volume);
        }
        self.nodes[at]
            .image
            .config
            .volumes
            .extend(told.iter().cloned());
        self.record(at, format!("VOLUME [{}]", told.join(" ")), false)
    }
}

/// The arguments as one text for the stage's shell.
pub(super) fn in_shell(image: &Image, arguments: &[String]) -> Vec<String> {
    let mut shell = image.config.shell.clone();
    if shell.is_empty() {
        shell = system::shell(&image.platform.os);
    }
    shell.push(arguments.join(" "));
    shell
}

/// Whether a name says that its value is a secret: one of some words stands alone, at the start or at the end.
fn looks_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "api_key",
            "DATABASE_PASSWORD",
            "GITHUB_TOKEN",
            "secret_MESSAGE",
            "AUTH",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "PUBLIC_KEY",
            "TOKEN_FILE",
            "KEYBOARD",
            "AUTHOR",
            "monkey",
            "key_version",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }
}
