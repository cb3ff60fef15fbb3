//! Dockerfiles to ops and configs, as they are and as BuildKit makes them.

mod support;

use std::collections::BTreeMap;

use cooper_frontend::convert::Step;
use cooper_proto::Digest;
use support::case::{Case, all, folder};
use support::{last_step, run, show};

#[test]
fn every_case_converts_as_it_did() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for case in all() {
            let text = match run(&case) {
                Ok(outcome) => show::outcome(&outcome),
                Err(failed) => show::failed(&failed),
            };
            insta::assert_snapshot!(case.name.clone(), text);
        }
    });
}

/// `digests.tsv` holds what BuildKit's own frontend (moby/buildkit 73ed6825) makes of the same cases: digests of the op
/// that points at the result and of the image config. Whoever adds a case asks BuildKit and adds its line.
#[test]
fn digests_are_those_that_buildkit_makes() {
    let known = std::fs::read_to_string(folder().join("digests.tsv")).unwrap();
    let mut expected: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in known.lines().filter(|line| !line.starts_with('#')) {
        let (name, digests) = line.split_once('\t').unwrap();
        expected.entry(name).or_default().push(digests);
    }
    let mut compared = 0;
    for case in all() {
        let Ok(outcome) = run(&case) else {
            assert!(
                !expected.contains_key(case.name.as_str()),
                "{} fails",
                case.name
            );
            continue;
        };
        let made: Vec<String> = outcome
            .parts
            .iter()
            .map(|part| {
                let head = part.definition.def.last().map(Digest::sha256_of);
                let head = head.map_or("none".to_owned(), |digest| digest.to_string());
                format!("{head}\t{}", Digest::sha256_of(part.image.to_json()))
            })
            .collect();
        if let Some(expected) = expected.get(case.name.as_str()) {
            assert_eq!(made, *expected, "{}", case.name);
            compared += 1;
        }
    }
    assert!(compared >= 55, "only {compared} cases were compared");
}

#[test]
fn a_conversion_depends_on_nothing_but_its_arguments() {
    for case in all() {
        let (Ok(one), Ok(two)) = (run(&case), run(&case)) else {
            continue;
        };
        for (one, two) in one.parts.iter().zip(&two.parts) {
            assert_eq!(one.definition, two.definition, "{}", case.name);
            assert_eq!(one.image, two.image, "{}", case.name);
        }
    }
}

#[test]
fn stages_that_the_target_does_not_need_are_not_looked_at() {
    let text = "FROM nonexistent AS broken\nRUN x\nFROM busybox AS used\nRUN y\n";
    let case = Case::of(text);
    let outcome = run(&case).unwrap();
    assert_eq!(outcome.parts[0].definition.def.len(), 3);
    let failed = run(&case.with("target", "broken")).unwrap_err();
    assert!(
        failed.fault.message.contains("not found"),
        "{}",
        failed.fault
    );
    assert_eq!(failed.fault.lines[0].start, 1);
}

#[test]
fn docker_s_own_frontends_are_the_built_in_one_and_others_are_asked() {
    for image in [
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile:1.7-labs",
        "docker/dockerfile-upstream:master",
    ] {
        let case = Case::of(&format!("# syntax={image}\nFROM scratch\nCOPY a /\n"));
        assert!(run(&case).is_ok(), "{image}");
    }
    let other = last_step(&Case::of("# syntax=example.com/other:1\nFROM scratch\n"));
    let Step::Forward(forward) = other else {
        panic!("another frontend is asked for");
    };
    assert_eq!(forward.image, "example.com/other:1");
}
