//! Names of vertices, as BuildKit makes them from an op.

use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;

use crate::model::redacted;

/// Key in an op's description that overrides the name made from the op.
const CUSTOM_NAME: &str = "llb.customname";

/// The name to show for an op; `input` gives the name of the op behind an input. At most `limit` bytes are made, as
/// merges of merges would else double the name's length at each level.
pub(super) fn of<'a>(
    op: &pb::Op,
    metadata: Option<&pb::OpMetadata>,
    limit: usize,
    input: impl Fn(usize) -> &'a str,
) -> String {
    if let Some(name) = metadata.and_then(|metadata| metadata.description.get(CUSTOM_NAME)) {
        return redacted(name).into_owned();
    }
    let mut name = Name {
        text: String::new(),
        limit,
    };
    match op.op.as_ref() {
        Some(Kind::Source(source)) => name.push(&redacted(&source.identifier)),
        Some(Kind::Exec(exec)) => {
            let args = exec.meta.iter().flat_map(|meta| &meta.args);
            name.join(" ", args.map(String::as_str));
        }
        Some(Kind::File(file)) => name.actions(&file.actions),
        Some(Kind::Build(_)) => name.push("build"),
        Some(Kind::Merge(_)) => {
            name.push("merge (");
            name.join(", ", (0..op.inputs.len()).map(input));
            name.push(")");
        }
        Some(Kind::Diff(diff)) => {
            let side = |index: i64| usize::try_from(index).ok().map(&input);
            name.push("diff ");
            name.side(side(diff.lower.map_or(-1, |lower| lower.input)));
            name.push(" -> ");
            name.side(side(diff.upper.map_or(-1, |upper| upper.input)));
        }
        Some(Kind::Passthrough(passthrough)) => {
            name.push("passthrough ");
            name.push(&passthrough.id);
        }
        None => name.push("unknown"),
    }
    name.text
}

/// A text that stops growing at its limit.
struct Name {
    text: String,
    limit: usize,
}

impl Name {
    fn push(&mut self, part: &str) {
        let room = self.limit.saturating_sub(self.text.len());
        self.text.push_str(&part[..part.floor_char_boundary(room)]);
    }

    fn join<'a>(&mut self, separator: &str, parts: impl Iterator<Item = &'a str>) {
        for (index, part) in parts.enumerate() {
            if self.text.len() >= self.limit {
                return;
            }
            if index > 0 {
                self.push(separator);
            }
            self.push(part);
        }
    }

    fn side(&mut self, input: Option<&str>) {
        match input {
            Some(input) => {
                self.push("(");
                self.push(input);
                self.push(")");
            }
            None => self.push("scratch"),
        }
    }

    fn actions(&mut self, actions: &[pb::FileAction]) {
        for (index, action) in actions.iter().enumerate() {
            if self.text.len() >= self.limit {
                return;
            }
            if index > 0 {
                self.push(", ");
            }
            match action.action.as_ref() {
                Some(Action::Mkdir(action)) => self.join(" ", ["mkdir", &action.path].into_iter()),
                Some(Action::Mkfile(action)) => {
                    self.join(" ", ["mkfile", &action.path].into_iter());
                }
                Some(Action::Symlink(action)) => self.join(
                    " ",
                    ["symlink", &action.newpath, "->", &action.oldpath].into_iter(),
                ),
                Some(Action::Rm(action)) => self.join(" ", ["rm", &action.path].into_iter()),
                Some(Action::Copy(action)) => {
                    self.join(" ", ["copy", &action.src, &action.dest].into_iter());
                }
                None => {}
            }
        }
    }
}
