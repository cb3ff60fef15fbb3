//! The rules for one op, as far as they can be told from its bytes and the number of its inputs.

use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;
use cooper_proto::pb::user_opt::User;

use super::{Limits, OpError};

/// Number on the wire for "no input".
const EMPTY: i64 = -1;
/// Number on the wire for "this makes no output".
const SKIP: i64 = -1;

/// Checks one op and counts its outputs.
pub(super) fn outputs_of(op: &pb::Op, limits: &Limits) -> Result<u32, OpError> {
    let inputs = count(op.inputs.len(), "inputs", limits.inputs_per_op)?;
    let outputs = match op.op.as_ref().ok_or(OpError::UnknownKind)? {
        Kind::Exec(exec) => exec_outputs(exec, inputs, limits)?,
        Kind::Source(source) => source_outputs(source, inputs)?,
        Kind::File(file) => file_outputs(file, inputs, limits)?,
        Kind::Build(build) => build_outputs(build, inputs)?,
        Kind::Merge(merge) => merge_outputs(merge, inputs)?,
        Kind::Diff(diff) => diff_outputs(diff, inputs)?,
        Kind::Passthrough(passthrough) => passthrough_outputs(passthrough, inputs)?,
    };
    count(
        usize::try_from(outputs).unwrap_or(usize::MAX),
        "outputs",
        limits.outputs_per_op,
    )?;
    u32::try_from(outputs).map_err(|_| OpError::OutputOrder { index: outputs })
}

fn exec_outputs(exec: &pb::ExecOp, inputs: i64, limits: &Limits) -> Result<i64, OpError> {
    let meta = exec.meta.as_ref().ok_or(OpError::Missing("exec.meta"))?;
    if meta.args.is_empty() {
        return Err(OpError::Missing("exec.meta.args"));
    }
    known::<pb::NetMode>("exec.network", exec.network)?;
    pb::SecurityMode::try_from(exec.security).map_err(|_| OpError::SecurityMode(exec.security))?;
    if exec.mounts.is_empty() {
        return Err(OpError::Missing("exec.mounts"));
    }
    count(exec.mounts.len(), "mounts", limits.parts_per_op)?;
    if !exec.mounts.iter().any(|mount| mount.dest == "/") {
        return Err(OpError::Missing("a mount at /"));
    }
    let mut outputs = 0;
    for mount in &exec.mounts {
        if mount_makes_output(mount, inputs)? {
            outputs = next_output(mount.output, outputs)?;
        }
    }
    Ok(outputs)
}

/// Checks a mount; says whether its `output` counts. Clients leave that field 0 on mounts that have no state to give
/// back (secret, ssh, tmpfs, a cache that stands on nothing), where BuildKit does not look at it.
fn mount_makes_output(mount: &pb::Mount, inputs: i64) -> Result<bool, OpError> {
    index("exec.mounts.input", mount.input, EMPTY, inputs)?;
    index("exec.mounts.output", mount.output, SKIP, i64::MAX)?;
    known::<pb::MountContentCache>("exec.mounts.contentCache", mount.content_cache)?;
    let kind = known::<pb::MountType>("exec.mounts.mountType", mount.mount_type)?;
    if mount.dest == "/" && kind != pb::MountType::Bind {
        return Err(OpError::Invalid(format!(
            "the mount at / is of type {}, it must be a bind mount",
            kind.as_str_name()
        )));
    }
    let has_state = match kind {
        pb::MountType::Bind => true,
        pb::MountType::Cache => {
            let cache = mount
                .cache_opt
                .as_ref()
                .ok_or(OpError::Missing("exec.mounts.cacheOpt"))?;
            known::<pb::CacheSharingOpt>("exec.mounts.cacheOpt.sharing", cache.sharing)?;
            mount.input != EMPTY
        }
        pb::MountType::Tmpfs => false,
        pb::MountType::Secret => {
            if mount.secret_opt.is_none() {
                return Err(OpError::Missing("exec.mounts.secretOpt"));
            }
            false
        }
        pb::MountType::Ssh => {
            if mount.ssh_opt.is_none() {
                return Err(OpError::Missing("exec.mounts.SSHOpt"));
            }
            false
        }
    };
    Ok(has_state && mount.output != SKIP)
}

fn source_outputs(source: &pb::SourceOp, inputs: i64) -> Result<i64, OpError> {
    if inputs != 0 {
        return Err(OpError::Invalid(String::from("a source has no inputs")));
    }
    match source.identifier.split_once("://") {
        Some((scheme, _)) if !scheme.is_empty() => Ok(1),
        _ => Err(OpError::Invalid(format!(
            "source identifier {:?} has no scheme",
            source.identifier
        ))),
    }
}

fn file_outputs(file: &pb::FileOp, inputs: i64, limits: &Limits) -> Result<i64, OpError> {
    if file.actions.is_empty() {
        return Err(OpError::Missing("file.actions"));
    }
    let actions = count(file.actions.len(), "actions", limits.parts_per_op)?;
    let mut numbers = Vec::new();
    // States that an action may name: the op's inputs, then what the actions before it made.
    for (states, action) in (inputs..inputs.saturating_add(actions)).zip(&file.actions) {
        index("file.actions.input", action.input, EMPTY, states)?;
        index(
            "file.actions.secondaryInput",
            action.secondary_input,
            EMPTY,
            states,
        )?;
        index("file.actions.output", action.output, SKIP, actions)?;
        if action.output != SKIP {
            numbers.push(action.output);
        }
        let owner = match action
            .action
            .as_ref()
            .ok_or(OpError::Missing("file.actions.action"))?
        {
            Action::Copy(copy) => copy.owner.as_ref(),
            Action::Mkfile(file) => file.owner.as_ref(),
            Action::Mkdir(directory) => directory.owner.as_ref(),
            Action::Symlink(link) => link.owner.as_ref(),
            Action::Rm(_) => None,
        };
        if let Some(owner) = owner {
            named_user(owner.user.as_ref(), states)?;
            named_user(owner.group.as_ref(), states)?;
        }
    }
    if numbers.is_empty() {
        return Err(OpError::Missing("an output of a file action"));
    }
    numbers.sort_unstable();
    numbers
        .into_iter()
        .try_fold(0, |next, number| next_output(number, next))
}

fn named_user(user: Option<&pb::UserOpt>, states: i64) -> Result<(), OpError> {
    match user.and_then(|user| user.user.as_ref()) {
        Some(User::ByName(named)) => index("file.actions.owner.input", named.input, EMPTY, states),
        Some(User::ById(_)) | None => Ok(()),
    }
}

fn build_outputs(build: &pb::BuildOp, inputs: i64) -> Result<i64, OpError> {
    // -1 says that the definition is solved here; BuildKit knows no other builder.
    index("build.builder", build.builder, EMPTY, 0)?;
    if build.def.is_some() {
        // BuildKit carries this field but never reads it; nested definitions are not checked either.
        return Err(OpError::Invalid(String::from(
            "a build op takes its definition from an input, not from the op",
        )));
    }
    if !build.inputs.contains_key("buildkit.llb.definition") {
        return Err(OpError::Missing("build.inputs[buildkit.llb.definition]"));
    }
    for input in build.inputs.values() {
        index("build.inputs.input", input.input, 0, inputs)?;
    }
    Ok(1)
}

fn merge_outputs(merge: &pb::MergeOp, inputs: i64) -> Result<i64, OpError> {
    for input in &merge.inputs {
        index("merge.inputs.input", input.input, 0, inputs)?;
    }
    if i64::try_from(merge.inputs.len()) != Ok(inputs) {
        return Err(OpError::Invalid(format!(
            "a merge of {} states has {inputs} inputs",
            merge.inputs.len()
        )));
    }
    Ok(1)
}

fn diff_outputs(diff: &pb::DiffOp, inputs: i64) -> Result<i64, OpError> {
    let lower = diff.lower.as_ref().ok_or(OpError::Missing("diff.lower"))?;
    let upper = diff.upper.as_ref().ok_or(OpError::Missing("diff.upper"))?;
    index("diff.lower.input", lower.input, EMPTY, inputs)?;
    index("diff.upper.input", upper.input, EMPTY, inputs)?;
    // Inputs are taken by position, lower first; other numbers would be read differently by BuildKit and by us.
    let named = [lower.input, upper.input]
        .into_iter()
        .filter(|i| *i != EMPTY);
    if named.eq(0..inputs) {
        Ok(1)
    } else {
        Err(OpError::Invalid(format!(
            "a diff names its inputs in order, lower first; {} and {} of {inputs} do not",
            lower.input, upper.input
        )))
    }
}

fn passthrough_outputs(op: &pb::PassthroughOp, inputs: i64) -> Result<i64, OpError> {
    if op.id.is_empty() {
        return Err(OpError::Missing("passthrough.id"));
    }
    if op.outputs.is_empty() {
        return Err(OpError::Missing("passthrough.outputs"));
    }
    for output in &op.outputs {
        index("passthrough.outputs", *output, 0, inputs)?;
    }
    Ok(i64::try_from(op.outputs.len()).unwrap_or(i64::MAX))
}

fn next_output(found: i64, expected: i64) -> Result<i64, OpError> {
    if found == expected {
        Ok(expected.saturating_add(1))
    } else {
        Err(OpError::OutputOrder { index: found })
    }
}

fn index(field: &'static str, index: i64, low: i64, high: i64) -> Result<(), OpError> {
    if (low..high).contains(&index) {
        Ok(())
    } else {
        Err(OpError::Index {
            field,
            index,
            low,
            high,
        })
    }
}

fn known<E: TryFrom<i32>>(field: &'static str, value: i32) -> Result<E, OpError> {
    E::try_from(value).map_err(|_| OpError::UnknownValue { field, value })
}

fn count(found: usize, what: &'static str, limit: usize) -> Result<i64, OpError> {
    match i64::try_from(found) {
        Ok(counted) if found <= limit => Ok(counted),
        _ => Err(OpError::TooMany { what, found, limit }),
    }
}
