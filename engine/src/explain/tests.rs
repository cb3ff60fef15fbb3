use std::collections::BTreeMap;

use super::{Cause, Contents, Evidence, Files, Part, Verdict, explain, to_text};
use crate::history::RecordedVertex;

fn vertex(digest: &str, name: &str, inputs: &[&str], parts: &[(&str, &str)]) -> RecordedVertex {
    RecordedVertex {
        digest: digest.into(),
        name: name.into(),
        started_ns: Some(1),
        completed_ns: Some(2),
        cached: false,
        error: None,
        miss: None,
        miss_kind: None,
        evidence: Evidence {
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            parts: parts
                .iter()
                .map(|(name, value)| Part {
                    name: (*name).into(),
                    value: (*value).into(),
                })
                .collect(),
            ..Evidence::default()
        },
    }
}

fn contents(pairs: &[(&str, &str)]) -> BTreeMap<usize, Contents> {
    let owned = |(path, digest): &(&str, &str)| ((*path).to_owned(), (*digest).to_owned());
    BTreeMap::from([(1, pairs.iter().map(owned).collect())])
}

fn causes(before: &[RecordedVertex], after: &[RecordedVertex], name: &str) -> Vec<Cause> {
    let all = explain(Some(before), after);
    let one = all.iter().find(|one| one.name == name);
    one.expect("the step is explained").causes.clone()
}

#[test]
fn first_builds_have_nothing_to_compare_with() {
    let after = [vertex("a", "[1/1] RUN x", &["b"], &[("command", "x")])];
    assert_eq!(explain(None, &after)[0].causes, [Cause::FirstBuild]);
}

#[test]
fn a_changed_instruction_is_named_with_both_texts() {
    let before = [vertex("a", "[1/1] RUN x", &["b"], &[("command", "x")])];
    let after = [vertex("c", "[1/1] RUN y", &["b"], &[("command", "y")])];
    assert_eq!(
        causes(&before, &after, "[1/1] RUN y"),
        [Cause::InstructionChanged {
            before: "RUN x".into(),
            after: "RUN y".into()
        }]
    );
}

#[test]
fn files_are_named_up_to_twenty_of_a_kind() {
    let mut before = vertex("a", "[1/1] COPY . /", &["b", "l"], &[("copied path", "/")]);
    let mut after = before.clone();
    before.evidence.contents = contents(&[("gone", "1"), ("same", "1"), ("other", "1")]);
    let new: Vec<(String, String)> = (0..25)
        .map(|n| (format!("new{n:02}"), "1".into()))
        .collect();
    let mut now = contents(&[("same", "1"), ("other", "2")]);
    now.get_mut(&1).unwrap().extend(new);
    after.evidence.contents = now;
    let Cause::FilesChanged(Files {
        added,
        removed,
        changed,
        more,
    }) = &causes(&[before], &[after], "[1/1] COPY . /")[0]
    else {
        panic!("files changed");
    };
    assert_eq!(added.len(), 20);
    assert_eq!(removed, &["gone"]);
    assert_eq!(changed, &["other"]);
    assert_eq!(*more, 5);
}

#[test]
fn steps_below_are_explained_by_the_step_that_ran() {
    let before = [
        vertex("a", "[1/2] RUN x", &["b"], &[("command", "x")]),
        vertex("d", "[2/2] RUN z", &["a"], &[("command", "z")]),
    ];
    let after = [
        vertex("c", "[1/2] RUN y", &["b"], &[("command", "y")]),
        vertex("e", "[2/2] RUN z", &["c"], &[("command", "z")]),
    ];
    assert_eq!(
        causes(&before, &after, "[2/2] RUN z"),
        [Cause::InputRan {
            name: "[1/2] RUN y".into()
        }]
    );
}

#[test]
fn steps_that_changed_places_say_so() {
    let step = |digest: &str, name: &str, input: &str| {
        let command = name.rsplit(' ').next().unwrap().to_owned();
        vertex(digest, name, &[input], &[("command", &command)])
    };
    let before = [step("1", "[1/2] RUN x", "b"), step("2", "[2/2] RUN y", "1")];
    let after = [step("3", "[1/2] RUN y", "b"), step("4", "[2/2] RUN x", "3")];
    assert!(
        causes(&before, &after, "[2/2] RUN x")
            .iter()
            .any(|cause| matches!(cause, Cause::InputRan { name } if name == "[1/2] RUN y"))
    );
}

#[test]
fn reused_steps_say_whether_anything_around_them_ran() {
    let mut reused = vertex("d", "[2/2] COPY a /", &["a"], &[("copied path", "/a")]);
    reused.cached = true;
    let ran = vertex("a", "[1/2] RUN x", &["b"], &[("command", "x")]);
    let all = [ran, reused];
    let explained = explain(Some(&all), &all);
    assert_eq!(explained[1].verdict, Verdict::Reused);
    assert_eq!(
        explained[1].causes,
        [Cause::ReadsTheSame {
            name: "[1/2] RUN x".into()
        }]
    );
    let text = to_text(&explained);
    assert!(
        text.contains("reused: what it reads is as before"),
        "{text}"
    );
}
