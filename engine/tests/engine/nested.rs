//! Build ops: graphs in files of other results.

use std::num::NonZeroUsize;

use cooper_core::model::{Failure, FailureKind};
use cooper_core::policy::Rules;
use cooper_engine::Limits;
use cooper_proto::pb;
use cooper_proto::source_policy::{Policy, PolicyAction, Rule, Selector};
use prost::Message;

use crate::fake::{Bench, Llb, Script, Setup, all, output_of};

/// A step on what the graph in a file makes.
fn outer(file: &str, step: &str) -> pb::Definition {
    let mut llb = Llb::default();
    let files = llb.source("files");
    let build = llb.build("nested", file, &files);
    let step = llb.step(step, &[&build]);
    llb.wanting(&step)
}

/// A build op and nothing on it.
fn only(file: &str) -> pb::Definition {
    let mut llb = Llb::default();
    let files = llb.source("files");
    let build = llb.build("nested", file, &files);
    llb.wanting(&build)
}

async fn refusal(bench: &Bench, definition: pb::Definition) -> Failure {
    let outcome = bench.engine.solve(Bench::graph("job", definition)).await;
    outcome.result.expect_err("refused")
}

#[tokio::test]
async fn the_graph_in_a_file_makes_the_result_and_the_second_build_is_all_cached() {
    let bench = Bench::new(Setup::default());
    let inner = Llb::chain("base", &["inner"]);
    bench.files.put("graph.llb", inner.encode_to_vec());
    let first = Bench::graph("first", outer("graph.llb", "last"));
    let first = bench.engine.start(first).expect("it starts");
    let progress = first.progress();
    let outcome = first.outcome().await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let told = output_of(&all(progress).await);
    assert!(told.contains("inner ends\n"), "{told}");

    let second = Bench::graph("second", outer("graph.llb", "last"));
    let second = bench.engine.solve(second).await;
    assert!(second.result.is_ok(), "{second:?}");
    let nested = second.summary.vertices.iter().find(|v| v.name == "nested");
    assert!(nested.is_some_and(|nested| nested.cached), "{second:?}");
    assert_eq!(
        ["inner", "last"].map(|step| bench.worker.runs(step)),
        [1, 1]
    );
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn without_another_name_the_file_is_buildkit_llb_definition() {
    let bench = Bench::new(Setup::default());
    let inner = Llb::chain("base", &["inner"]).encode_to_vec();
    bench.files.put("buildkit.llb.definition", inner);
    let mut definition = only("x");
    let mut op = pb::Op::decode(definition.def[1].as_slice()).expect("an op");
    if let Some(pb::op::Op::Build(build)) = &mut op.op {
        build.attrs.clear();
    }
    definition.def[1] = op.encode_to_vec();
    let end = pb::Op {
        inputs: vec![pb::Input {
            digest: cooper_proto::Digest::sha256_of(&definition.def[1]).to_string(),
            index: 0,
        }],
        ..pb::Op::default()
    };
    definition.def[2] = end.encode_to_vec();
    definition.metadata.clear();
    let outcome = bench.engine.solve(Bench::graph("job", definition)).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.worker.runs("inner"), 1);
}

#[tokio::test]
async fn an_empty_file_is_the_empty_file_system() {
    let bench = Bench::new(Setup::default());
    bench.files.put("empty", "");
    let outcome = bench.engine.solve(Bench::graph("job", only("empty"))).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_no_definition_is_named() {
    let bench = Bench::new(Setup::default());
    let failure = refusal(&bench, only("missing")).await;
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.message.contains("missing"), "{failure}");

    bench.files.put("noise", "this is no definition");
    let failure = refusal(&bench, only("noise")).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains("noise"), "{failure}");
    assert!(failure.hint.is_some());

    let mut headless = Llb::chain("base", &["inner"]);
    headless.def.remove(0);
    bench.files.put("headless", headless.encode_to_vec());
    let failure = refusal(&bench, only("headless")).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains("headless"), "{failure}");
    assert_eq!(bench.worker.runs("inner"), 0);
}

#[tokio::test]
async fn a_failing_step_of_a_nested_graph_names_itself() {
    let bench = Bench::new(Setup::default());
    bench.worker.script("inner", Script::Exit(3));
    let inner = Llb::chain("base", &["inner"]);
    bench.files.put("graph.llb", inner.encode_to_vec());
    let definition = outer("graph.llb", "last");
    let outcome = bench.engine.solve(Bench::graph("job", definition)).await;
    let failure = outcome.result.expect_err("it fails");
    assert_eq!(failure.kind, FailureKind::Exit { code: 3 });
    let step = outcome.summary.vertices.iter().find(|v| v.name == "inner");
    let step = step.expect("it was reported");
    assert_eq!(failure.vertex.as_ref(), Some(&step.digest));
    assert_eq!(bench.worker.runs("last"), 0);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn a_definition_that_holds_the_op_that_reads_it_is_refused() {
    let bench = Bench::new(Setup::default());
    bench.files.put("circle", only("circle").encode_to_vec());
    let failure = refusal(&bench, only("circle")).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    let told = &failure.message;
    assert!(told.contains("needs the build op that reads it"), "{told}");

    // Through another file.
    bench
        .files
        .put("there", outer("back", "there").encode_to_vec());
    bench
        .files
        .put("back", outer("there", "back").encode_to_vec());
    let failure = refusal(&bench, outer("there", "last")).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn definitions_lead_to_one_another_as_often_as_the_limit_says() {
    let limit = 3;
    let bench = Bench::new(Setup {
        limits: Limits {
            nested_definitions: limit,
            // What waits for what it leads to takes no place from it.
            steps_per_worker: NonZeroUsize::new(1),
            ..Limits::default()
        },
        ..Setup::default()
    });
    let last = Llb::chain("base", &["innermost"]);
    bench.files.put("0", last.encode_to_vec());
    for level in 1..=limit {
        let below = only(&(level - 1).to_string());
        bench.files.put(&level.to_string(), below.encode_to_vec());
    }
    let failure = refusal(&bench, only("3")).await;
    assert_eq!(failure.kind, FailureKind::InvalidInput);
    assert!(failure.message.contains("more than 3 deep"), "{failure}");
    assert_eq!(bench.worker.runs("innermost"), 0);
    let outcome = bench.engine.solve(Bench::graph("job", only("2"))).await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.worker.runs("innermost"), 1);
}

#[tokio::test]
async fn rules_and_permissions_of_the_build_are_those_of_its_nested_graphs() {
    let bench = Bench::new(Setup::default());
    let inner = Llb::chain("base", &["inner"]);
    bench.files.put("graph.llb", inner.encode_to_vec());
    let deny = Rule {
        action: PolicyAction::Deny.into(),
        selector: Some(Selector {
            identifier: "docker-image://docker.io/library/base:latest".into(),
            ..Selector::default()
        }),
        ..Rule::default()
    };
    let policy = Policy {
        version: 1,
        rules: vec![deny],
    };
    let mut spec = Bench::graph("job", only("graph.llb"));
    spec.source_rules = Rules::read(vec![policy]).expect("rules");
    let failure = bench.engine.solve(spec).await.result.expect_err("refused");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert_eq!(bench.worker.runs("base"), 0);

    let mut llb = Llb::default();
    let base = llb.source("base");
    let mut exec = pb::ExecOp {
        meta: Some(pb::Meta {
            args: vec!["insecure".into()],
            ..pb::Meta::default()
        }),
        mounts: vec![pb::Mount {
            dest: "/".into(),
            ..pb::Mount::default()
        }],
        ..pb::ExecOp::default()
    };
    exec.set_security(pb::SecurityMode::Insecure);
    let step = llb.exec("insecure", &[&base], exec);
    let insecure = llb.wanting(&step);
    bench.files.put("insecure", insecure.encode_to_vec());
    let failure = refusal(&bench, only("insecure")).await;
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert_eq!(bench.worker.runs("insecure"), 0);
}

#[tokio::test]
async fn builds_that_share_a_build_op_see_its_steps_and_one_may_leave() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("inner");
    let inner = Llb::chain("base", &["inner"]);
    bench.files.put("graph.llb", inner.encode_to_vec());
    let one = Bench::graph("one", outer("graph.llb", "only one"));
    let one = bench.engine.start(one).expect("it starts");
    bench.worker.reached("inner").await;
    let two = Bench::graph("two", outer("graph.llb", "only two"));
    let two = bench.engine.start(two).expect("it starts");
    let mut progress = two.progress();
    // Until the second build is told of the nested step, the first one is all that keeps it.
    loop {
        let news = futures::StreamExt::next(&mut progress).await;
        let news = news.expect("it goes on").expect("a readable log");
        if news
            .vertexes
            .iter()
            .any(|it| it.name == "inner" && it.started.is_some())
        {
            break;
        }
    }
    drop(one);
    bench.worker.let_go("inner");
    let outcome = two.outcome().await;
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(bench.worker.runs("inner"), 1);
    assert_eq!(bench.worker.runs("only two"), 1);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.stopped(), [""; 0]);
    assert_eq!(bench.worker.pinned(), []);
}

#[tokio::test]
async fn cancelling_the_build_stops_the_steps_of_its_nested_graphs() {
    let bench = Bench::new(Setup::default());
    bench.worker.hold("inner");
    let inner = Llb::chain("base", &["inner"]);
    bench.files.put("graph.llb", inner.encode_to_vec());
    let build = Bench::graph("job", outer("graph.llb", "last"));
    let build = bench.engine.start(build).expect("it starts");
    bench.worker.reached("inner").await;
    drop(build);
    bench.engine.shutdown().await;
    assert_eq!(bench.worker.stopped(), ["inner"]);
    assert_eq!(bench.worker.pinned(), []);
}
