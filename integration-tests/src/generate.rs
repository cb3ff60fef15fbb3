//! Random Dockerfiles: a seed gives the same Dockerfile and build context for ever.
//!
//! Every Dockerfile builds without network on the base `busybox`, and what its steps write depends on nothing but their
//! inputs (times aside). Stages stand on the base, on each other or on nothing and copy from each other; the last one is the
//! target and not all of them need be needed.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A Dockerfile and its build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The text.
    pub dockerfile: String,
    /// The context, sorted by path.
    pub files: Vec<ContextFile>,
}

/// A file of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFile {
    /// Path from the context's root.
    pub path: String,
    /// Content.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// The Dockerfile of a seed.
#[must_use]
pub fn generate(seed: u64) -> Generated {
    let mut random = Random(seed);
    let files = context(&mut random);
    let mut writer = Writer {
        random,
        text: format!("# made from seed {seed}\nARG BASE=busybox\n"),
        stages: Vec::new(),
        files: &files,
        count: 0,
    };
    let stages = 1 + writer.random.below(5);
    for at in 0..stages {
        writer.stage(at, at + 1 == stages);
    }
    Generated {
        dockerfile: writer.text,
        files,
    }
}

impl Generated {
    /// Writes Dockerfile and context to a folder that exists.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("Dockerfile"), &self.dockerfile)?;
        for file in &self.files {
            let path = folder.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, &file.content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        }
        Ok(())
    }

    /// The same with one more step at the end: all but that step can come from a cache.
    #[must_use]
    pub fn with_step(&self, text: &str) -> Self {
        let mut more = self.clone();
        more.dockerfile.push_str(text);
        more.dockerfile.push('\n');
        more
    }

    /// The same with other text in one file of the context: what reads it runs again.
    #[must_use]
    pub fn with_changed_file(&self, seed: u64) -> Self {
        let mut changed = self.clone();
        let at = Random(seed).below(changed.files.len());
        changed.files[at].content.push_str("changed\n");
        changed
    }
}

/// Sebastiano Vigna's SplitMix64: small, good enough, and the same in every version of every crate.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn context(random: &mut Random) -> Vec<ContextFile> {
    const FOLDERS: [&str; 4] = ["", "src/", "src/deep/", "etc/"];
    let mut files: Vec<ContextFile> = (0..3 + random.below(5))
        .map(|number| {
            let mut content = String::new();
            for line in 0..=random.below(6) {
                writeln!(content, "line {line} {:x}", random.next()).expect("a string takes all");
            }
            ContextFile {
                path: format!("{}file{number}.txt", random.pick(&FOLDERS)),
                content,
                mode: *random.pick(&[0o644, 0o600, 0o755]),
            }
        })
        .collect();
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

/// What is known of a stage that was written.
#[derive(Clone, Default)]
struct Stage {
    name: String,
    /// Files that it surely has.
    made: Vec<String>,
    /// Whether it has a shell.
    runs: bool,
    /// Names of its variables.
    variables: Vec<String>,
}

struct Writer<'a> {
    random: Random,
    text: String,
    stages: Vec<Stage>,
    files: &'a [ContextFile],
    /// Makes names unique.
    count: usize,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn unique(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    fn stage(&mut self, at: usize, last: bool) {
        let name = format!("stage{at}");
        let mut stage = match self.random.below(4) {
            0 if !self.stages.is_empty() => {
                let base = self.random.below(self.stages.len());
                let base = self.stages[base].clone();
                self.line(&format!("FROM {} AS {name}", base.name));
                base
            }
            1 if at > 0 => {
                self.line(&format!("FROM scratch AS {name}"));
                Stage::default()
            }
            _ => {
                let base = *self.random.pick(&["busybox", "${BASE}"]);
                self.line(&format!("FROM {base} AS {name}"));
                Stage {
                    runs: true,
                    ..Stage::default()
                }
            }
        };
        stage.name = name;
        for _ in 0..2 + self.random.below(6) {
            self.step(&mut stage);
        }
        if stage.made.is_empty() {
            self.copy_context(&mut stage);
        }
        if last {
            self.settings(&stage);
        }
        self.stages.push(stage);
    }

    fn step(&mut self, stage: &mut Stage) {
        match self.random.below(12) {
            0..=3 if stage.runs => self.run(stage),
            4 if stage.runs => self.run_mounted(stage),
            5 if stage.runs => self.run_as_other(stage),
            6 => self.variable(stage),
            7 => {
                let number = self.unique();
                let folder = if self.random.chance(3) { "" } else { "/" };
                self.line(&format!("WORKDIR {folder}work/{number}"));
            }
            8 if !self.stages.is_empty() => self.copy_stage(stage),
            9 => self.inline(stage),
            _ => self.copy_context(stage),
        }
    }

    fn run(&mut self, stage: &mut Stage) {
        let number = self.unique();
        let path = format!("/made/{number}");
        let value = match stage.variables.as_slice() {
            [] => format!("{:x}", self.random.next()),
            names => format!("${}", self.random.pick(names)),
        };
        match self.random.below(6) {
            0 => self.line(&format!(
                "RUN mkdir -p {path} && echo \"{value}\" > {path}/file && chmod 0750 {path}"
            )),
            1 => self.line(&format!(
                "RUN [\"/bin/sh\", \"-c\", \"mkdir -p /made && echo exec > {path}\"]"
            )),
            2 => self.line(&format!(
                "RUN mkdir -p /made && echo {number} > {path} && ln -s {number} {path}.link && chown 3:4 {path}"
            )),
            3 => self.line(&format!(
                "RUN <<EOF\nmkdir -p /made\necho \"{value}\" > {path}\nEOF"
            )),
            4 => {
                if let Some(gone) = stage.made.pop() {
                    self.line(&format!("RUN rm -rf {gone} && mkdir -p /made && touch {path}"));
                } else {
                    self.line(&format!("RUN mkdir -p /made && touch {path}"));
                }
            }
            _ => self.line(&format!(
                "RUN mkdir -p /made && pwd > {path} && env | grep -v HOSTNAME | sort >> {path}"
            )),
        }
        stage.made.push(path);
    }

    fn run_mounted(&mut self, stage: &mut Stage) {
        let number = self.unique();
        let path = format!("/made/{number}");
        let mount = match self.stages.len() {
            0 => "type=tmpfs,target=/mnt".to_owned(),
            known => match self.random.below(3) {
                0 => "type=bind,target=/mnt".to_owned(),
                1 => format!("type=cache,id=generated{number},target=/mnt"),
                _ => {
                    let from = self.random.below(known);
                    format!("type=bind,from={},target=/mnt", self.stages[from].name)
                }
            },
        };
        self.line(&format!(
            "RUN --mount={mount} mkdir -p /made && ls /mnt > {path}"
        ));
        stage.made.push(path);
    }

    fn run_as_other(&mut self, stage: &mut Stage) {
        let number = self.unique();
        let path = format!("/tmp/{number}");
        self.line(&format!(
            "RUN mkdir -p -m 1777 /tmp\nUSER {number}:{number}\nRUN id -u > {path}\nUSER root"
        ));
        stage.made.push(path);
    }

    fn variable(&mut self, stage: &mut Stage) {
        let name = format!("V{}", self.random.below(4));
        let value = match stage.variables.as_slice() {
            [] => format!("{:x}", self.random.next()),
            names => format!("${{{}:-none}}-{}", self.random.pick(names), self.unique()),
        };
        let keyword = *self.random.pick(&["ENV", "ARG"]);
        self.line(&format!("{keyword} {name}={value}"));
        if !stage.variables.contains(&name) {
            stage.variables.push(name);
        }
    }

    fn copy_context(&mut self, stage: &mut Stage) {
        let number = self.unique();
        let file = self.random.pick(self.files).path.clone();
        let path = format!("/copied/{number}");
        let flags = *self.random.pick(&[
            "",
            "",
            "--chown=5:6 ",
            "--chmod=0640 ",
            "--link ",
            "--link --chown=7 ",
        ]);
        match self.random.below(4) {
            0 => {
                self.line(&format!("COPY {flags}*/*.tx? {file} {path}/"));
                let name = file.rsplit('/').next().unwrap_or_default();
                stage.made.push(format!("{path}/{name}"));
            }
            1 => {
                self.line(&format!("COPY {flags}--exclude=**/file0.txt . {path}/"));
                stage.made.push(path);
            }
            2 => {
                let flags = flags.replace("--link ", "");
                self.line(&format!("ADD {flags}{file} {path}"));
                stage.made.push(path);
            }
            _ => {
                self.line(&format!("COPY {flags}{file} {path}"));
                stage.made.push(path);
            }
        }
    }

    fn copy_stage(&mut self, stage: &mut Stage) {
        let from = self.random.below(self.stages.len());
        let source = self.stages[from].clone();
        let number = self.unique();
        let Some(path) = source.made.last().cloned() else {
            return self.copy_context(stage);
        };
        let from = if self.random.chance(3) {
            from.to_string()
        } else {
            source.name
        };
        self.line(&format!("COPY --from={from} {path} /from/{number}/"));
        stage.made.push(format!("/from/{number}"));
    }

    fn inline(&mut self, stage: &mut Stage) {
        let number = self.unique();
        let path = format!("/inline/{number}");
        let quote = if self.random.chance(2) { "'" } else { "" };
        self.line(&format!(
            "COPY <<{quote}EOF{quote} {path}\ninline {number} ${{V0:-unset}}\nEOF"
        ));
        stage.made.push(path);
    }

    fn settings(&mut self, stage: &Stage) {
        let lines = [
            "LABEL generated=yes",
            "EXPOSE 80 53/udp",
            "CMD [\"sh\", \"-c\", \"true\"]",
            "ENTRYPOINT [\"/bin/sh\"]",
            "USER 1000",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=10s CMD [\"true\"]",
        ];
        for _ in 0..self.random.below(4) {
            let line = *self.random.pick(&lines);
            self.line(line);
        }
        if stage.runs && self.random.chance(2) {
            self.line("SHELL [\"/bin/ash\", \"-c\"]");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_dockerfile() {
        assert_eq!(generate(7), generate(7));
        assert_ne!(generate(7).dockerfile, generate(8).dockerfile);
    }

    #[test]
    fn every_dockerfile_parses_and_each_kind_of_step_occurs() {
        let all: Vec<String> = (0..60).map(|seed| generate(seed).dockerfile).collect();
        for text in &all {
            let tree = cooper_frontend::dockerfile::parse(text.as_bytes());
            assert_eq!(tree.faults, [], "{text}");
            let mut linter = cooper_frontend::lint::Linter::default();
            let stages = cooper_frontend::instruction::stages(&tree, &mut linter);
            assert!(stages.is_ok(), "{stages:?}\n{text}");
        }
        let text = all.concat();
        for part in [
            "RUN [",
            "RUN <<EOF",
            "--mount=type=bind",
            "--mount=type=cache",
            "COPY --from=",
            "COPY <<",
            "ADD ",
            "ENV ",
            "ARG V",
            "WORKDIR ",
            "USER ",
            "FROM scratch",
            "--link",
            "--exclude",
            "--chmod",
            "--chown",
            "FROM stage",
        ] {
            assert!(text.contains(part), "no {part}");
        }
    }

    #[test]
    fn one_changed_file_changes_one_file() {
        let one = generate(3);
        let two = one.with_changed_file(5);
        let changed = one.files.iter().zip(&two.files).filter(|(a, b)| a != b);
        assert_eq!(changed.count(), 1);
    }
}
