//! Cases: a Dockerfile with options and files, and the images that exist for it.

#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod case;
pub(crate) mod images;
pub(crate) mod show;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::ports::ImageAnswer;
use cooper_frontend::convert::{Failed, Input, Outcome, Step, convert};
use cooper_frontend::diagnostic::Fault;
use cooper_frontend::facts::{Fact, Facts, Need};
use cooper_proto::pb;
use prost::Message;

/// Converts, answering questions from the case's files and the images that exist.
pub(crate) fn run(case: &case::Case) -> Result<Box<Outcome>, Box<Failed>> {
    match last_step(case) {
        Step::Done(outcome) => Ok(outcome),
        Step::Failed(failed) => Err(failed),
        Step::Answered(_) => panic!("a build was asked for"),
        Step::Forward(_) => Err(Box::new(Failed {
            fault: Fault::new("another frontend is asked for"),
            warnings: Vec::new(),
            file: None,
        })),
        Step::Need(_) => panic!("the conversion goes on asking"),
    }
}

/// The same, whatever is asked for.
pub(crate) fn last_step(case: &case::Case) -> Step {
    let input = Input {
        options: case.options.clone(),
        inputs: Default::default(),
        session: "session".to_owned(),
        host: cooper_frontend::platform::named("linux", "amd64"),
    };
    let mut facts = Facts::default();
    for _ in 0..20 {
        match convert(&input, &facts) {
            Step::Need(needs) => {
                for need in needs {
                    let fact = answer(case, &need);
                    facts.insert(&need, fact);
                }
            }
            done => return done,
        }
    }
    panic!("the conversion goes on asking");
}

fn answer(case: &case::Case, need: &Need) -> Fact {
    match need {
        Need::File {
            definition, path, ..
        } => {
            let op = pb::Op::decode(definition.def[0].as_slice()).expect("a string takes all");
            let Some(pb::op::Op::Source(source)) = op.op else {
                panic!("only sources are read from");
            };
            let content = case.files.get(&format!("{}/{path}", source.identifier));
            Fact::File(content.map(|text| text.clone().into()))
        }
        Need::Source(query) => panic!("no case asks for {:?}", query.source),
        Need::Image(query) => {
            Fact::Image(images::find(query).map(ImageAnswer::Image).ok_or_else(|| {
                Failure::new(
                    FailureKind::NotFound,
                    format!("{}: not found", query.reference),
                )
            }))
        }
    }
}
