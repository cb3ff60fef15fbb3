//! `debug dump-llb`: a graph as JSON, in graphviz's language, or as a picture.

use std::path::Path;

use cooper_core::model::{Failure, FailureKind};
use cooper_frontend::subrequest::op_json;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op;
use cooper_proto::{Digest, pb};
use prost::Message;
use serde_json::{Map, Value};

use super::build::read_definition;
use super::graph::{Edge, Node, Shape, dot, svg};

/// How a graph is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// One JSON document an op.
    Json,
    /// For graphviz.
    Dot,
    /// A picture.
    Svg,
}

impl Shown {
    /// What the flags say.
    pub(super) fn of(dot: bool, svg: bool) -> Self {
        match (dot, svg) {
            (true, _) => Self::Dot,
            (_, true) => Self::Svg,
            _ => Self::Json,
        }
    }
}

/// Reads a graph from a file, or from standard input.
///
/// # Errors
/// `InvalidInput` for what is none.
pub(super) fn run(file: Option<&Path>, shown: Shown) -> Result<String, Failure> {
    let definition = match file {
        None => read_definition(std::io::stdin().lock())?,
        Some(path) => {
            let opened = std::fs::File::open(path).map_err(|error| {
                let words = format!("cannot read {}: {error}", path.display());
                Failure::new(FailureKind::InvalidInput, words)
            })?;
            read_definition(opened)?
        }
    };
    text(&definition, shown)
}

fn text(definition: &pb::Definition, shown: Shown) -> Result<String, Failure> {
    let mut ops = Vec::with_capacity(definition.def.len());
    for bytes in &definition.def {
        let op = pb::Op::decode(bytes.as_slice()).map_err(|error| {
            let words = format!("the graph has an op that is none: {error}");
            Failure::new(FailureKind::InvalidInput, words)
        })?;
        ops.push((Digest::sha256_of(bytes).to_string(), op));
    }
    let said = |digest: &str| definition.metadata.get(digest);
    if shown == Shown::Json {
        let lines = ops
            .iter()
            .map(|(digest, op)| line(digest, op, said(digest)));
        return lines.collect();
    }
    let nodes: Vec<Node> = ops
        .iter()
        .map(|(digest, op)| {
            let (label, shape) = label(digest, op);
            let name = said(digest).and_then(|said| said.description.get("llb.customname"));
            Node {
                id: digest.clone(),
                name: name.cloned(),
                label,
                shape,
            }
        })
        .collect();
    let edges: Vec<Edge> = ops
        .iter()
        .flat_map(|(digest, op)| edges(digest, op))
        .collect();
    Ok(match shown {
        Shown::Svg => svg(&nodes, &edges),
        Shown::Dot | Shown::Json => dot(&nodes, &edges),
    })
}

/// One op as buildctl writes it: what kind of op it is stands a level below its inputs.
fn line(digest: &str, op: &pb::Op, said: Option<&pb::OpMetadata>) -> Result<String, Failure> {
    const KINDS: [&str; 7] = [
        "exec",
        "source",
        "file",
        "build",
        "merge",
        "diff",
        "passthrough",
    ];
    let text = op_json(digest, op, said);
    let internal = |what: &str| Failure::new(FailureKind::Internal, what);
    let mut value: Value = serde_json::from_str(&text).map_err(|e| internal(&e.to_string()))?;
    let fields = value["Op"].as_object_mut();
    let fields = std::mem::take(fields.ok_or_else(|| internal("an op is no object"))?);
    let (kinds, rest): (Map<_, _>, Map<_, _>) = fields
        .into_iter()
        .partition(|(key, _)| KINDS.contains(&key.as_str()));
    let mut nested = Map::new();
    let mut rest = rest.into_iter().peekable();
    nested.extend(rest.next_if(|(key, _)| key == "inputs"));
    nested.insert("Op".to_owned(), Value::Object(kinds));
    nested.extend(rest);
    value["Op"] = Value::Object(nested);
    Ok(format!("{value}\n"))
}

fn edges(digest: &str, op: &pb::Op) -> Vec<Edge> {
    let mounted_at = |index: usize| match &op.op {
        Some(Op::Exec(exec)) => {
            let at = exec
                .mounts
                .iter()
                .rev()
                .find(|mount| usize::try_from(mount.input) == Ok(index) && mount.dest != "/");
            at.map(|mount| mount.dest.clone()).unwrap_or_default()
        }
        _ => String::new(),
    };
    let inputs = op.inputs.iter().enumerate();
    let edge = |(index, input): (usize, &pb::Input)| Edge {
        from: input.digest.clone(),
        to: digest.to_owned(),
        label: mounted_at(index),
    };
    inputs.map(edge).collect()
}

/// What an op does in a few words, and the shape that buildctl gives its kind.
fn label(digest: &str, op: &pb::Op) -> (String, Shape) {
    match &op.op {
        Some(Op::Source(source)) => (source.identifier.clone(), Shape::Ellipse),
        Some(Op::Exec(exec)) => {
            let arguments = exec.meta.as_ref().map(|meta| meta.args.join(" "));
            (arguments.unwrap_or_default(), Shape::Box)
        }
        Some(Op::Build(_)) => ("build".to_owned(), Shape::Box3d),
        Some(Op::Merge(_)) => ("merge".to_owned(), Shape::InvTriangle),
        Some(Op::Diff(_)) => ("diff".to_owned(), Shape::DoubleCircle),
        Some(Op::File(file)) => {
            let actions: Vec<String> = file.actions.iter().map(action).collect();
            (actions.join(","), Shape::Note)
        }
        Some(Op::Passthrough(_)) | None => (digest.to_owned(), Shape::Plaintext),
    }
}

fn action(action: &pb::FileAction) -> String {
    match &action.action {
        Some(Action::Copy(copy)) => format!("copy{{src={}, dest={}}}", copy.src, copy.dest),
        Some(Action::Mkfile(file)) => format!("mkfile{{path={}}}", file.path),
        Some(Action::Mkdir(folder)) => format!("mkdir{{path={}}}", folder.path),
        Some(Action::Rm(removed)) => format!("rm{{path={}}}", removed.path),
        Some(Action::Symlink(link)) => {
            format!(
                "symlink{{oldpath={}, newpath={}}}",
                link.oldpath, link.newpath
            )
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> pb::Definition {
        let op = |op: Option<Op>, inputs: &[&Vec<u8>]| {
            let input = |bytes: &&Vec<u8>| pb::Input {
                digest: Digest::sha256_of(bytes).to_string(),
                index: 0,
            };
            let inputs = inputs.iter().map(input).collect();
            pb::Op {
                op,
                inputs,
                ..pb::Op::default()
            }
            .encode_to_vec()
        };
        let source = |name: &str| {
            Some(Op::Source(pb::SourceOp {
                identifier: name.to_owned(),
                ..pb::SourceOp::default()
            }))
        };
        let (base, lib) = (
            op(source("docker-image://a"), &[]),
            op(source("local://<b>"), &[]),
        );
        let mount = |input: i64, dest: &str| pb::Mount {
            input,
            dest: dest.to_owned(),
            ..pb::Mount::default()
        };
        let exec = Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec!["make".to_owned(), "\"all\"".to_owned()],
                ..pb::Meta::default()
            }),
            mounts: vec![mount(0, "/"), mount(1, "/lib")],
            ..pb::ExecOp::default()
        });
        let exec = op(Some(exec), &[&base, &lib]);
        let end = op(None, &[&exec]);
        pb::Definition {
            def: vec![base, lib, exec, end],
            ..pb::Definition::default()
        }
    }

    #[test]
    fn dot_names_every_op_and_the_mounts_of_edges() {
        let text = text(&definition(), Shown::Dot).unwrap();
        assert!(
            text.starts_with("digraph {\n") && text.ends_with("}\n"),
            "{text}"
        );
        assert!(
            text.contains(r#"[label="docker-image://a" shape="ellipse"];"#),
            "{text}"
        );
        assert!(
            text.contains(r#"[label="make \"all\"" shape="box"];"#),
            "{text}"
        );
        assert!(text.contains(r#"[label="/lib"];"#), "{text}");
        assert_eq!(text.matches(" -> ").count(), 3);
    }

    #[test]
    fn picture_shows_all_ops_once_and_escapes_what_they_say() {
        let text = text(&definition(), Shown::Svg).unwrap();
        assert!(
            text.starts_with("<svg ") && text.ends_with("</svg>\n"),
            "{text}"
        );
        assert_eq!(text.matches("<g class=\"op\"").count(), 4);
        assert_eq!(text.matches("<path class=\"edge\"").count(), 3);
        assert!(
            text.contains("local://&lt;b&gt;") && !text.contains("<b>"),
            "{text}"
        );
    }

    #[test]
    fn json_has_an_op_a_line() {
        let text = text(&definition(), Shown::Json).unwrap();
        let ops: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(ops.len(), 4);
        assert_eq!(ops[2]["Op"]["Op"]["exec"]["mounts"][1]["dest"], "/lib");
        assert_eq!(ops[2]["Digest"], ops[3]["Op"]["inputs"][0]["digest"]);
    }
}
