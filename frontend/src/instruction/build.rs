//! One node to one instruction.

use super::device::Device;
use super::extension::{self, Extensions};
use super::flags::{Flags, Takes};
use super::kinds::{
    Add, Argument, Copy, InlineSource, Instruction, Kind, Network, Paths, Run, Setting,
};
use super::{CommandLine, Healthcheck, mount};
use crate::diagnostic::Fault;
use crate::dockerfile::heredoc;
use crate::dockerfile::tree::{Arguments, Node};
use crate::golang::quote::quote;
use crate::suggest::nearest_any_case;

/// The keywords, FROM included.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Makes a typed instruction of a node that is not FROM.
///
/// # Errors
/// A fault with the node's lines.
pub fn build(node: &Node, extensions: Extensions) -> Result<Instruction, Fault> {
    let kind = kind(node, extensions).map_err(|fault| fault.at(node.lines))?;
    Ok(Instruction {
        kind,
        keyword: node.keyword.clone(),
        text: node.text.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
    })
}

/// Makes an instruction of the text of an ONBUILD trigger.
///
/// # Errors
/// A fault without lines: the text stands in no file at hand.
pub fn build_trigger(text: &str, extensions: Extensions) -> Result<Instruction, Fault> {
    let tree = crate::dockerfile::parse(text.as_bytes());
    if let Some(fault) = tree.faults.into_iter().next() {
        return Err(Fault::new(fault.message));
    }
    let [node] = tree.nodes.as_slice() else {
        return Err(Fault::new("onbuild trigger should be a single expression"));
    };
    if node.keyword.eq_ignore_ascii_case("from") {
        return Err(Fault::new("FROM isn't allowed as an ONBUILD trigger"));
    }
    kind(node, extensions).map(|kind| Instruction {
        kind,
        keyword: node.keyword.clone(),
        text: node.text.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
    })
}

fn kind(node: &Node, extensions: Extensions) -> Result<Kind, Fault> {
    let list = node.arguments.list();
    Ok(match node.keyword.to_lowercase().as_str() {
        "add" => add(node)?,
        "arg" => Kind::Arg(arguments(list)?),
        "cmd" => {
            none(node)?;
            Kind::Cmd(CommandLine::of(node))
        }
        "copy" => copy(node)?,
        "entrypoint" => {
            none(node)?;
            Kind::Entrypoint(CommandLine::of(node))
        }
        "env" => Kind::Env(settings(node, "ENV")?),
        "expose" => expose(node)?,
        "healthcheck" => Kind::Healthcheck(Healthcheck::of(node)?),
        "label" => Kind::Label(settings(node, "LABEL")?),
        "maintainer" => Kind::Maintainer(only(node, "MAINTAINER")?),
        "onbuild" => onbuild(node)?,
        "run" => run(node, extensions)?,
        "shell" => shell(node)?,
        // Unlike the others, STOPSIGNAL has never looked at its flags.
        "stopsignal" => Kind::StopSignal(exactly_one(list, "STOPSIGNAL")?),
        "user" => Kind::User(only(node, "USER")?),
        "volume" => volume(node)?,
        "workdir" => Kind::Workdir(only(node, "WORKDIR")?),
        _ => {
            let mut fault = Fault::new(format!("unknown instruction: {}", node.keyword));
            fault.suggestion = nearest_any_case(&node.keyword, KEYWORDS);
            if node.keyword.eq_ignore_ascii_case("include") {
                fault = extension::without(fault);
            }
            return Err(fault);
        }
    })
}

/// No flags.
fn none(node: &Node) -> Result<(), Fault> {
    Flags::read(&node.flags, &[]).map(drop)
}

fn exactly_one(list: &[String], keyword: &str) -> Result<String, Fault> {
    match list {
        [one] => Ok(one.clone()),
        _ => Err(Fault::new(format!(
            "{keyword} requires exactly one argument"
        ))),
    }
}

fn only(node: &Node, keyword: &str) -> Result<String, Fault> {
    let one = exactly_one(node.arguments.list(), keyword)?;
    none(node)?;
    Ok(one)
}

fn at_least_one(keyword: &str) -> Fault {
    Fault::new(format!("{keyword} requires at least one argument"))
}

fn settings(node: &Node, keyword: &str) -> Result<Vec<Setting>, Fault> {
    none(node)?;
    let pairs = match &node.arguments {
        Arguments::Pairs(pairs) if !pairs.is_empty() => pairs,
        _ => return Err(at_least_one(keyword)),
    };
    if pairs.iter().any(|pair| pair.key.is_empty()) {
        return Err(Fault::new(format!("{keyword} names can not be blank")));
    }
    Ok(pairs
        .iter()
        .map(|pair| Setting {
            key: pair.key.clone(),
            value: pair.value.clone(),
            legacy: pair.legacy,
        })
        .collect())
}

fn arguments(list: &[String]) -> Result<Vec<Argument>, Fault> {
    if list.is_empty() {
        return Err(at_least_one("ARG"));
    }
    list.iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Fault::new("ARG names can not be blank")),
            Some((key, value)) => Ok(Argument {
                key: key.to_owned(),
                value: Some(value.to_owned()),
            }),
            None => Ok(Argument {
                key: word.clone(),
                value: None,
            }),
        })
        .collect()
}

fn expose(node: &Node) -> Result<Kind, Fault> {
    let mut ports = node.arguments.list().to_vec();
    if ports.is_empty() {
        return Err(at_least_one("EXPOSE"));
    }
    none(node)?;
    ports.sort();
    Ok(Kind::Expose(ports))
}

fn volume(node: &Node) -> Result<Kind, Fault> {
    let list = node.arguments.list();
    if list.is_empty() {
        return Err(at_least_one("VOLUME"));
    }
    none(node)?;
    let volumes: Vec<String> = list.iter().map(|volume| volume.trim().to_owned()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err(Fault::new("VOLUME specified can not be an empty string"));
    }
    Ok(Kind::Volume(volumes))
}

fn shell(node: &Node) -> Result<Kind, Fault> {
    none(node)?;
    let list = node.arguments.list();
    if list.is_empty() {
        return Err(at_least_one("SHELL"));
    }
    if !node.arguments.is_json() {
        let plain = node
            .text
            .trim()
            .trim_start_matches(|c: char| !c.is_whitespace())
            .trim();
        let words: Vec<String> = plain.split_whitespace().map(str::to_owned).collect();
        return Err(Fault::new(format!(
            "SHELL requires the arguments to be in JSON form, such as SHELL {}",
            crate::golang::json::string_list(&words)
        )));
    }
    Ok(Kind::Shell(list.to_vec()))
}

fn onbuild(node: &Node) -> Result<Kind, Fault> {
    let Arguments::Trigger(trigger) = &node.arguments else {
        return Err(at_least_one("ONBUILD"));
    };
    none(node)?;
    let keyword = trigger.keyword.trim().to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => {
            return Err(Fault::new(
                "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            ));
        }
        "MAINTAINER" | "FROM" => {
            return Err(Fault::new(format!(
                "{keyword} isn't allowed as an ONBUILD trigger"
            )));
        }
        _ => {}
    }
    let mut text = node.text.trim_start()[node.keyword.len()..]
        .trim_start()
        .to_owned();
    for heredoc in &node.heredocs {
        text.push('\n');
        text.push_str(&heredoc.body);
        text.push_str(&heredoc.name);
    }
    Ok(Kind::Onbuild(text))
}

const RUN_FLAGS: [(&str, Takes); 4] = [
    ("mount", Takes::Texts),
    ("network", Takes::Text),
    ("security", Takes::Text),
    ("device", Takes::Texts),
];

fn run(node: &Node, extensions: Extensions) -> Result<Kind, Fault> {
    let mut known = RUN_FLAGS.to_vec();
    if extensions.on {
        known.extend([("timeout", Takes::Text), ("retries", Takes::Text)]);
    }
    let flags = Flags::read(&node.flags, &known).map_err(|fault| match extensions.on {
        true => fault,
        false => extension::explain(fault, &node.flags),
    })?;
    let network = match flags.all("network").first().map(String::as_str) {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(Fault::new(format!("invalid network mode {}", quote(other)))
                .suggest(other, ["default", "none", "host"]));
        }
    };
    let insecure = match flags.all("security").first().map(String::as_str) {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => {
            return Err(
                Fault::new(format!("security {} is not valid", quote(other)))
                    .suggest(other, ["sandbox", "insecure"]),
            );
        }
    };
    let mounts = flags.all("mount").to_vec();
    let mounts_from = mounts
        .iter()
        .map(|mount| mount::from_of(mount))
        .collect::<Result<_, _>>()?;
    let devices = flags.all("device").iter();
    let devices = devices
        .map(|text| Device::read(text))
        .collect::<Result<_, _>>()?;
    Ok(Kind::Run(Box::new(Run {
        command: CommandLine::of(node),
        mounts,
        mounts_from,
        network,
        insecure,
        devices,
        timeout: extension::timeout(&flags)?,
        retries: extension::retries(&flags)?,
    })))
}

const COPY_FLAGS: [(&str, Takes); 6] = [
    ("chown", Takes::Text),
    ("from", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Truth),
    ("exclude", Takes::Texts),
    ("parents", Takes::Truth),
];

const ADD_FLAGS: [(&str, Takes); 7] = [
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Truth),
    ("keep-git-dir", Takes::Truth),
    ("checksum", Takes::Text),
    ("unpack", Takes::Truth),
    ("exclude", Takes::Texts),
];

fn add(node: &Node) -> Result<Kind, Fault> {
    two_at_least(node, "ADD")?;
    let flags = Flags::read(&node.flags, &ADD_FLAGS)?;
    Ok(Kind::Add(Box::new(Add {
        paths: paths(node, &flags, "ADD")?,
        checksum: flags.text("checksum"),
        keep_git_dir: flags.truth("keep-git-dir"),
        unpack: flags.truth("unpack"),
    })))
}

fn copy(node: &Node) -> Result<Kind, Fault> {
    two_at_least(node, "COPY")?;
    let flags = Flags::read(&node.flags, &COPY_FLAGS)?;
    Ok(Kind::Copy(Box::new(Copy {
        paths: paths(node, &flags, "COPY")?,
        from: flags.text("from"),
        parents: flags.truth("parents") == Some(true),
    })))
}

fn two_at_least(node: &Node, keyword: &str) -> Result<(), Fault> {
    if node.arguments.list().len() < 2 {
        return Err(Fault::new(format!(
            "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        )));
    }
    Ok(())
}

fn paths(node: &Node, flags: &Flags, keyword: &str) -> Result<Paths, Fault> {
    let Some((destination, sources)) = node.arguments.list().split_last() else {
        return Err(at_least_one(keyword));
    };
    if matches!(heredoc::from_word(destination), Ok(Some(_))) {
        return Err(Fault::new(format!(
            "{keyword} cannot accept a heredoc as a destination"
        )));
    }
    let mut paths = Paths {
        destination: destination.clone(),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.truth("link") == Some(true),
        excludes: flags.all("exclude").to_vec(),
        ..Paths::default()
    };
    for source in sources {
        match heredoc::from_word(source) {
            Ok(Some(announced)) => {
                // Of several heredocs with one name the last body counts, as in BuildKit.
                let found = node
                    .heredocs
                    .iter()
                    .rev()
                    .find(|heredoc| heredoc.name == announced.name);
                paths.inline.push(InlineSource {
                    content: found
                        .map(crate::dockerfile::tree::Heredoc::content)
                        .unwrap_or_default(),
                    name: announced.name,
                    expands: announced.expands,
                });
            }
            _ => paths.sources.push(source.clone()),
        }
    }
    Ok(paths)
}
