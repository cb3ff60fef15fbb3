use cooper_core::model::{FailedPart, ResultId};
use cooper_proto::pb;
use pb::file_action::Action;

use super::{FileOpError, FileOpFailure, Stop, run};
use crate::confine::Last;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::snapshot::{Durability, Snapshots};
use crate::state::StateDir;

struct Fixture {
    _place: tempfile::TempDir,
    snapshots: Snapshots,
}

fn fixture() -> Fixture {
    let place = tempfile::tempdir().expect("a directory");
    let state = StateDir::open(place.path()).expect("opened");
    let meta = Meta::open(&state.meta()).expect("opened");
    let limits = Limits::default();
    let snapshots = Snapshots::open(&state, meta, &limits, Durability::ProcessDeath);
    Fixture {
        snapshots: snapshots.expect("opened"),
        _place: place,
    }
}

impl Fixture {
    fn run(
        &self,
        actions: Vec<pb::FileAction>,
        inputs: &[ResultId],
    ) -> Result<Vec<ResultId>, FileOpFailure> {
        let op = pb::FileOp { actions };
        let (limits, stop) = (Limits::default(), Stop::default());
        run(&self.snapshots, &limits, &op, inputs, "a test", &stop)
    }

    fn names(&self, result: &ResultId) -> Vec<String> {
        let view = self.snapshots.view(result).expect("kept");
        let entries = view
            .root()
            .expect("mounted")
            .read_dir(std::path::Path::new("."))
            .expect("readable");
        let names = entries.into_iter().map(|entry| entry.name);
        names
            .map(|name| name.into_string().expect("UTF-8"))
            .collect()
    }
}

fn action(input: i64, secondary: i64, output: i64, action: Action) -> pb::FileAction {
    pb::FileAction {
        input,
        secondary_input: secondary,
        output,
        action: Some(action),
    }
}

fn file(path: &str) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: path.to_owned(),
        mode: 0o644,
        timestamp: -1,
        ..pb::FileActionMkFile::default()
    })
}

fn copy(src: &str, dest: &str) -> Action {
    Action::Copy(pb::FileActionCopy {
        src: src.to_owned(),
        dest: dest.to_owned(),
        mode: -1,
        timestamp: -1,
        create_dest_path: true,
        ..pb::FileActionCopy::default()
    })
}

#[test]
fn a_chain_of_actions_makes_one_layer() {
    let fixture = fixture();
    let base = fixture
        .run(vec![action(-1, -1, 0, file("base"))], &[])
        .expect("made");
    let actions = vec![
        action(0, -1, -1, file("one")),
        action(1, -1, -1, file("two")),
        action(2, -1, 0, file("three")),
    ];
    let outputs = fixture.run(actions, &base).expect("made");
    assert_eq!(fixture.names(&outputs[0]), ["base", "one", "three", "two"]);
    assert_eq!(fixture.names(&base[0]), ["base"]);
    let layers = |result| {
        fixture
            .snapshots
            .meta()
            .result(result)
            .expect("kept")
            .layers
    };
    assert_eq!(layers(&outputs[0]).len(), layers(&base[0]).len() + 1);
    let pins = fixture.snapshots.meta().pins();
    assert_eq!(pins.count(&outputs[0]), 1);
    assert_eq!(pins.count(&base[0]), 1);
}

#[test]
fn several_outputs_share_what_leads_to_them() {
    let fixture = fixture();
    let actions = vec![
        action(-1, -1, 1, file("shared")),
        action(0, -1, 0, file("left")),
        action(0, -1, 2, file("right")),
        action(1, 2, 3, copy("/right", "/from-right")),
    ];
    let outputs = fixture.run(actions, &[]).expect("made");
    let names: Vec<_> = outputs.iter().map(|output| fixture.names(output)).collect();
    assert_eq!(names[0], ["left", "shared"]);
    assert_eq!(names[1], ["shared"]);
    assert_eq!(names[2], ["right", "shared"]);
    assert_eq!(names[3], ["from-right", "left", "shared"]);
}

#[test]
fn copies_read_inputs_and_what_other_actions_made() {
    let fixture = fixture();
    let input = fixture
        .run(vec![action(-1, -1, 0, file("in"))], &[])
        .expect("made");
    let actions = vec![
        action(-1, -1, -1, file("made")),
        action(-1, 0, -1, copy("/in", "/a/")),
        action(2, 1, 0, copy("/made", "/b/")),
    ];
    let outputs = fixture.run(actions, &input).expect("made");
    assert_eq!(fixture.names(&outputs[0]), ["a", "b"]);
}

#[test]
fn actions_that_no_output_needs_are_not_performed() {
    let fixture = fixture();
    let actions = vec![
        action(-1, -1, -1, copy("/does/not/exist", "/x")),
        action(-1, -1, 0, file("f")),
    ];
    fixture.run(actions, &[]).expect("made");
}

#[test]
fn indices_that_make_no_sense_are_errors() {
    let fixture = fixture();
    let base = [ResultId::scratch()];
    for actions in [
        vec![],
        vec![action(0, -1, -1, file("f"))],
        vec![action(0, -1, 1, file("f"))],
        vec![action(0, -1, -2, file("f"))],
        vec![action(0, -1, i64::MAX, file("f"))],
        vec![action(0, -1, 0, file("f")), action(0, -1, 0, file("g"))],
        vec![action(-2, -1, 0, file("f"))],
        vec![action(i64::MIN, -1, 0, file("f"))],
        vec![action(2, -1, 0, file("f"))],
        vec![action(0, 9, 0, copy("/", "/"))],
        vec![action(1, -1, 0, file("f"))],
        vec![action(2, -1, 0, file("f")), action(1, -1, -1, file("g"))],
        vec![
            action(0, 2, 0, copy("/", "/")),
            action(1, -1, -1, file("g")),
        ],
        vec![pb::FileAction {
            action: None,
            ..action(0, -1, 0, file("f"))
        }],
    ] {
        let shown = format!("{actions:?}");
        let error = fixture.run(actions, &base).expect_err(&shown);
        let error = error.error;
        assert!(matches!(error, FileOpError::Invalid(_)), "{shown}: {error}");
    }
}

#[test]
fn a_failure_shows_what_was_made_and_keeps_nothing_else() {
    let fixture = fixture();
    let actions = vec![
        action(-1, -1, 0, file("f")),
        action(0, -1, 1, copy("/none", "/x")),
    ];
    let error = fixture.run(actions, &[]).expect_err("nothing to copy");
    assert_eq!(error.to_string(), "lstat /none: no such file or directory");
    let failed = error.told(&[], &fixture.snapshots).op.expect("looked into");
    assert_eq!(failed.part, Some(FailedPart::Action(1)));
    let states: Vec<_> = failed.mounts.iter().flatten().collect();
    assert_eq!(states.len(), 2);
    for state in states {
        assert_eq!(fixture.names(state), ["f"]);
    }
    let pins = fixture.snapshots.meta().pins();
    failed.made().iter().for_each(|state| pins.unpin(state));
    for result in fixture.snapshots.meta().results().expect("readable") {
        assert_eq!(pins.count(&result.id), 0);
    }
}

#[test]
fn a_stop_ends_the_op() {
    let fixture = fixture();
    let (limits, stop) = (Limits::default(), Stop::default());
    stop.ask();
    let op = pb::FileOp {
        actions: vec![action(-1, -1, 0, file("f"))],
    };
    let error = run(&fixture.snapshots, &limits, &op, &[], "a test", &stop);
    let error = error.expect_err("stopped").error;
    assert!(matches!(error, FileOpError::Cancelled));
}

#[test]
fn scratch_is_an_empty_directory_with_mode_755() {
    let fixture = fixture();
    let view = fixture
        .snapshots
        .view(&ResultId::scratch())
        .expect("scratch");
    let root = view.root().expect("mounted");
    let metadata = root
        .metadata(std::path::Path::new("."), Last::NoFollow)
        .expect("there");
    assert!(metadata.is_dir());
    assert!(fixture.names(&ResultId::scratch()).is_empty());
}
