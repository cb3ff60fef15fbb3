use cooper_proto::pb;
use cooper_proto::pb::file_action::Action;
use cooper_proto::pb::op::Op as Kind;

use super::json::{Object, object};
use super::wire;

/// An op as BuildKit's provenance shows it: the JSON of Go's generated code, with alternatives in objects of their own.
#[must_use]
pub fn op_json(op: &pb::Op) -> String {
    object(|o| {
        o.messages("inputs", &op.inputs, |input, o| {
            o.text("digest", &input.digest);
            o.number("index", input.index);
        });
        o.message("Op", Some(op), work);
        o.message("platform", op.platform.as_ref(), |platform, o| {
            o.text("Architecture", &platform.architecture);
            o.text("OS", &platform.os);
            o.text("Variant", &platform.variant);
            o.text("OSVersion", &platform.os_version);
            o.texts("OSFeatures", &platform.os_features);
        });
        o.message("constraints", op.constraints.as_ref(), |constraints, o| {
            o.texts("filter", &constraints.filter);
        });
    })
}

fn work(op: &pb::Op, o: &mut Object<'_>) {
    match &op.op {
        Some(Kind::Exec(op)) => o.message("exec", Some(op), wire::exec),
        Some(Kind::Source(op)) => o.message("source", Some(op), |source, o| {
            o.text("identifier", &source.identifier);
            o.map_of_texts("attrs", &source.attrs);
        }),
        Some(Kind::File(op)) => o.message("file", Some(op), |file, o| {
            o.messages("actions", &file.actions, action);
        }),
        Some(Kind::Build(op)) => o.message("build", Some(op), wire::build),
        Some(Kind::Merge(op)) => o.message("merge", Some(op), wire::merge),
        Some(Kind::Diff(op)) => o.message("diff", Some(op), wire::diff),
        Some(Kind::Passthrough(op)) => o.message("passthrough", Some(op), wire::passthrough),
        None => {}
    }
}

fn action(action: &pb::FileAction, o: &mut Object<'_>) {
    o.always_number("input", action.input);
    o.always_number("secondaryInput", action.secondary_input);
    o.always_number("output", action.output);
    o.message("Action", Some(action), |action, o| match &action.action {
        Some(Action::Copy(copy)) => o.message("copy", Some(copy), wire::copy),
        Some(Action::Mkfile(file)) => o.message("mkfile", Some(file), wire::make_file),
        Some(Action::Mkdir(folder)) => o.message("mkdir", Some(folder), wire::make_directory),
        Some(Action::Rm(remove)) => o.message("rm", Some(remove), wire::remove),
        // BuildKit leaves it out, and a step that does nothing visible with it.
        Some(Action::Symlink(link)) => o.message("symlink", Some(link), wire::symlink),
        None => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    // What buildkitd wrote for a Dockerfile's `COPY --chown=1:2 /x /y` and for the end of a definition.
    #[test]
    fn ops_are_shown_as_buildkit_shows_them() {
        let by_id = |id| {
            Some(pb::UserOpt {
                user: Some(pb::user_opt::User::ById(id)),
            })
        };
        let copy = pb::FileActionCopy {
            src: "/x".into(),
            dest: "/y".into(),
            owner: Some(pb::ChownOpt {
                user: by_id(1),
                group: by_id(2),
            }),
            mode: -1,
            create_dest_path: true,
            timestamp: -1,
            ..pb::FileActionCopy::default()
        };
        let op = pb::Op {
            op: Some(Kind::File(pb::FileOp {
                actions: vec![pb::FileAction {
                    input: -1,
                    action: Some(Action::Copy(copy)),
                    ..pb::FileAction::default()
                }],
            })),
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        assert_eq!(
            op_json(&op),
            r#"{"Op":{"file":{"actions":[{"input":-1,"secondaryInput":0,"output":0,"Action":{"copy":{"src":"/x","dest":"/y","owner":{"user":{"User":{"byId":1}},"group":{"User":{"byId":2}}},"mode":-1,"createDestPath":true,"timestamp":-1}}}]}},"constraints":{}}"#
        );
        assert_eq!(op_json(&pb::Op::default()), r#"{"Op":{}}"#);
    }
}
