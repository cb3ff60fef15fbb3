//! What is asked of Dockerfiles but to be built, answered as BuildKit answers.

mod support;

use std::collections::BTreeMap;

use cooper_frontend::convert::Step;
use cooper_frontend::subrequest::Request;
use cooper_proto::Digest;
use support::case::{Case, all, folder};
use support::last_step;

fn ask(case: &Case, request: &str) -> Result<BTreeMap<String, String>, String> {
    match last_step(&case.clone().with("requestid", request)) {
        Step::Answered(answer) => Ok(answer.metadata),
        Step::Failed(failed) => Err(failed.fault.to_string()),
        Step::Done(_) | Step::Need(_) | Step::Forward(_) => panic!("a question has an answer"),
    }
}

/// `answers.tsv` holds the digests of what BuildKit's own frontend (moby/buildkit 73ed6825) answers for the same cases, one
/// line a case and question: `result.json`, then `result.txt` or `-`. Whoever adds a case asks BuildKit and adds its lines.
/// Left out are answers whose order is random there, and errors of which ours tell more: the suggestion, the line.
#[test]
fn answers_are_those_that_buildkit_gives() {
    let known = std::fs::read_to_string(folder().join("answers.tsv")).unwrap();
    let known: BTreeMap<(&str, &str), &str> = known
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (case, rest) = line.split_once('\t').unwrap();
            let (request, digests) = rest.split_once('\t').unwrap();
            ((case, request), digests)
        })
        .collect();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in all() {
        for request in Request::ALL {
            let Some(expected) = known.get(&(case.name.as_str(), request.id())) else {
                continue;
            };
            let made = match ask(&case, request.id()) {
                Err(error) => format!("error {error}"),
                Ok(metadata) => format!(
                    "{}\t{}",
                    Digest::sha256_of(&metadata["result.json"]),
                    metadata
                        .get("result.txt")
                        .map_or("-".to_owned(), |text| Digest::sha256_of(text).to_string())
                ),
            };
            compared += 1;
            if made != *expected {
                wrong.push(format!("{} {}: {made}", case.name, request.id()));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(compared > 350, "{compared}");
}

#[test]
fn an_unknown_question_is_refused() {
    let case = Case::of("FROM scratch\n");
    let error = ask(&case, "frontend.nonsense").unwrap_err();
    assert_eq!(error, "unsupported request frontend.nonsense");
}

#[test]
fn lint_looks_at_all_stages_and_says_what_cannot_be_built() {
    let text = "FROM scratch AS a\nMAINTAINER x\nFROM scratch AS b\nCOPY --from=c /x /\n";
    let found = ask(&Case::of(text), "frontend.lint").unwrap();
    assert_eq!(found["result.statuscode"], "1");
    assert!(found["result.json"].contains("MaintainerDeprecated"));
    assert!(found["result.json"].contains("buildError"));
    let clean = ask(&Case::of("FROM scratch\n"), "frontend.lint").unwrap();
    assert_eq!(clean["result.statuscode"], "0");
    assert_eq!(clean["result.txt"], "");
}
