//! Contexts that are not what the options say they are.

use std::collections::BTreeMap;

use cooper_core::ports::ImageAnswer;
use cooper_frontend::convert::{Input, Step, convert};
use cooper_frontend::facts::{Fact, Facts, Need};
use cooper_frontend::platform;
use cooper_proto::pb;
use prost::Message;

/// Converts with a Dockerfile, and answers about images. Returns what it came to and all that it asked.
fn run(
    text: &'static str,
    options: &[(&str, &str)],
    image: impl Fn(&str) -> ImageAnswer,
) -> (Step, Vec<Need>) {
    let options = options
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    let input = Input {
        options: options.collect(),
        inputs: BTreeMap::new(),
        session: "session".to_owned(),
        host: platform::named("linux", "amd64"),
    };
    let (mut facts, mut asked) = (Facts::default(), Vec::new());
    for _ in 0..50 {
        let needs = match convert(&input, &facts) {
            Step::Need(needs) => needs,
            done => return (done, asked),
        };
        for need in needs {
            let fact = match &need {
                Need::File { path, .. } if path == "Dockerfile" => {
                    Fact::File(Some(text.as_bytes().into()))
                }
                Need::File { .. } => Fact::File(None),
                Need::Image(query) => Fact::Image(Ok(image(&query.reference))),
                Need::Source(query) => panic!("nobody asks for {:?}", query.source),
            };
            facts.insert(&need, fact);
            asked.push(need);
        }
    }
    panic!("the conversion goes on asking");
}

fn sources(definition: &pb::Definition) -> Vec<String> {
    let ops = definition.def.iter();
    ops.filter_map(
        |op| match pb::Op::decode(op.as_slice()).expect("an op").op {
            Some(pb::op::Op::Source(source)) => Some(source.identifier),
            _ => None,
        },
    )
    .collect()
}

fn replaced(reference: &str, by: &str) -> ImageAnswer {
    ImageAnswer::Replaced {
        reference: reference.to_owned(),
        by: by.to_owned(),
    }
}

const COPIES: &str = "FROM scratch AS other\nFROM scratch\nCOPY --from=other /foo /\n";
const IMAGE: (&str, &str) = ("context:other", "docker-image://busybox");

#[test]
fn an_image_that_a_rule_replaces_by_a_folder_is_that_folder() {
    let (step, _) = run(COPIES, &[IMAGE], |reference| {
        replaced(reference, "local://mine")
    });
    let Step::Done(outcome) = step else {
        panic!("{step:?}");
    };
    assert_eq!(sources(&outcome.parts[0].definition), ["local://mine"]);
}

#[test]
fn images_that_rules_replace_without_end_are_an_error() {
    let again = |reference: &str| replaced(reference, "docker-image://busybox");
    let (step, _) = run(COPIES, &[IMAGE], again);
    let Step::Failed(failed) = step else {
        panic!("{step:?}");
    };
    let words = failed.fault.to_string();
    assert!(
        words.contains("context recursion limit exceeded"),
        "{words}"
    );
}

#[test]
fn a_base_that_a_rule_replaces_by_no_image_is_an_error() {
    let (step, _) = run("FROM busybox\n", &[], |reference| {
        replaced(reference, "local://mine")
    });
    let Step::Failed(failed) = step else {
        panic!("{step:?}");
    };
    let words = failed.fault.to_string();
    assert!(
        words.contains("ref mutated by policy to non-image"),
        "{words}"
    );
}

#[test]
fn a_build_without_a_context_needs_none() {
    let (step, asked) = run("FROM scratch\n", &[], |_| panic!("there is no image"));
    assert!(matches!(step, Step::Done(_)), "{step:?}");
    let lenient: Vec<(&str, bool)> = asked
        .iter()
        .filter_map(|need| match need {
            Need::File { path, lenient, .. } => Some((path.as_str(), *lenient)),
            _ => None,
        })
        .collect();
    assert!(lenient.contains(&(".dockerignore", true)), "{lenient:?}");
    assert!(lenient.contains(&("Dockerfile", false)), "{lenient:?}");
}
