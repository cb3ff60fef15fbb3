//! Outcomes as text that people can compare.

use std::fmt::Write;

use cooper_frontend::convert::{Failed, Outcome, Part};
use cooper_proto::{Digest, pb};
use prost::Message;
use serde_json::{Map, Value, json};

/// Ops, metadata, config and findings.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    let mut out = String::new();
    for part in &outcome.parts {
        writeln!(
            out,
            "platform {}",
            cooper_frontend::platform::full(&part.platform)
        )
        .expect("a string takes all");
        definition(&mut out, part);
        writeln!(out, "config {}", part.image.to_json()).expect("a string takes all");
    }
    for warning in &outcome.warnings {
        let (rule, lines) = (warning.rule.name(), warning.lines);
        writeln!(out, "line {}: {rule}: {}", lines.start, warning.message)
            .expect("a string takes all");
    }
    out
}

/// What is wrong, and where.
pub(crate) fn failed(failed: &Failed) -> String {
    let mut out = format!("{}\n", failed.fault);
    for lines in &failed.fault.lines {
        writeln!(out, "at lines {} to {}", lines.start, lines.end).expect("a string takes all");
    }
    out
}

fn definition(out: &mut String, part: &Part) {
    let definition = &part.definition;
    for bytes in &definition.def {
        let digest = Digest::sha256_of(bytes);
        let op = pb::Op::decode(bytes.as_slice()).expect("a string takes all");
        let name = definition
            .metadata
            .get(digest.as_str())
            .and_then(|metadata| metadata.description.get("llb.customname"));
        writeln!(
            out,
            "{} {}",
            digest.short(),
            name.map_or("", String::as_str)
        )
        .expect("a string takes all");
        writeln!(out, "    {}", op_json(&op)).expect("a string takes all");
    }
}

fn op_json(op: &pb::Op) -> Value {
    let mut map = Map::new();
    let inputs: Vec<String> = op
        .inputs
        .iter()
        .map(|input| format!("{}:{}", &input.digest[7..19], input.index))
        .collect();
    map.insert("inputs".to_owned(), json!(inputs));
    let (kind, work) = match &op.op {
        None => return Value::Object(map),
        Some(pb::op::Op::Source(source)) => (
            "source",
            json!({"identifier": source.identifier, "attrs": source.attrs}),
        ),
        Some(pb::op::Op::Exec(exec)) => ("exec", exec_json(exec)),
        Some(pb::op::Op::File(file)) => {
            let actions: Vec<Value> = file.actions.iter().map(action_json).collect();
            ("file", json!(actions))
        }
        Some(other) => ("other", json!(format!("{other:?}"))),
    };
    map.insert(kind.to_owned(), work);
    if let Some(platform) = &op.platform {
        let text = format!(
            "{}/{}/{}",
            platform.os, platform.architecture, platform.variant
        );
        map.insert("platform".to_owned(), json!(text.trim_end_matches('/')));
    }
    Value::Object(map)
}

fn exec_json(exec: &pb::ExecOp) -> Value {
    let meta = exec.meta.clone().unwrap_or_default();
    let mounts: Vec<Value> = exec.mounts.iter().map(mount_json).collect();
    let mut map = Map::new();
    map.insert("args".to_owned(), json!(meta.args));
    map.insert("env".to_owned(), json!(meta.env));
    map.insert("cwd".to_owned(), json!(meta.cwd));
    map.insert("mounts".to_owned(), json!(mounts));
    // What is unusual is shown as it is; the usual is left out.
    let usual = pb::Meta {
        args: meta.args.clone(),
        env: meta.env.clone(),
        cwd: meta.cwd.clone(),
        remove_mount_stubs_recursive: true,
        ..pb::Meta::default()
    };
    if meta != usual {
        map.insert("meta".to_owned(), json!(format!("{meta:?}")));
    }
    if exec.network != 0 || exec.security != 0 {
        let modes = [exec.network, exec.security];
        map.insert("network and security".to_owned(), json!(modes));
    }
    if !exec.secretenv.is_empty() {
        let secrets = format!("{:?}", exec.secretenv);
        map.insert("secretenv".to_owned(), json!(secrets));
    }
    Value::Object(map)
}

fn mount_json(mount: &pb::Mount) -> Value {
    let options = [
        mount.cache_opt.as_ref().map(|option| format!("{option:?}")),
        mount.tmpfs_opt.as_ref().map(|option| format!("{option:?}")),
        mount
            .secret_opt
            .as_ref()
            .map(|option| format!("{option:?}")),
        mount.ssh_opt.as_ref().map(|option| format!("{option:?}")),
    ];
    let mut map = Map::new();
    map.insert("dest".to_owned(), json!(mount.dest));
    map.insert("input".to_owned(), json!(mount.input));
    map.insert("output".to_owned(), json!(mount.output));
    if !mount.selector.is_empty() {
        map.insert("selector".to_owned(), json!(mount.selector));
    }
    if mount.readonly {
        map.insert("readonly".to_owned(), json!(true));
    }
    if let Some(option) = options.into_iter().flatten().next() {
        map.insert("option".to_owned(), json!(option));
    }
    Value::Object(map)
}

fn action_json(action: &pb::FileAction) -> Value {
    let indices = [action.input, action.secondary_input, action.output];
    let work = match &action.action {
        Some(pb::file_action::Action::Copy(copy)) => format!("{copy:?}"),
        Some(pb::file_action::Action::Mkdir(mkdir)) => format!("{mkdir:?}"),
        Some(pb::file_action::Action::Mkfile(mkfile)) => format!(
            "Mkfile {} {:o} {:?}",
            mkfile.path,
            mkfile.mode,
            String::from_utf8_lossy(&mkfile.data)
        ),
        other => format!("{other:?}"),
    };
    json!([indices, work])
}
