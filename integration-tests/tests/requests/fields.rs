use std::time::Instant;

use anyhow::Result;
use cooper_proto::{control, frontend};
use futures::{StreamExt, stream};
use prost::Message;
use prost_reflect::MethodDescriptor;

use crate::bench::{AT_ONCE, BUILD_ID, Bench, Case, Counts, PATIENCE, complaint, nothing_wrong};
use crate::caller::{Answer, Call};
use crate::malformed::malformed;
use crate::plan::{self, Driven};

/// How far fields of fields are followed.
const DEPTH: usize = 3;

/// The methods that a daemon serves.
fn methods() -> Result<Vec<MethodDescriptor>> {
    let services = plan::description()?;
    let services = services.services();
    let served = services.filter(|service| plan::SERVED.contains(&service.full_name()));
    Ok(served
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect())
}

/// The calls of one method.
fn cases(method: &MethodDescriptor, driven: &Driven) -> Result<Vec<Case>> {
    let path = plan::path(method);
    let mut cases = Vec::new();
    for form in malformed(&method.input(), DEPTH) {
        let sensible = plan::sensible(&path, driven)?;
        let has_more = !sensible.is_empty();
        let with = Case {
            call: of_build(&path, &[sensible, form.bytes.clone()].concat(), driven)?,
            what: form.what.clone(),
        };
        cases.push(with);
        // What stands alone is refused for what it lacks, or is not missed.
        if has_more && !form.what.contains(": ") {
            cases.push(Case {
                call: of_build(&path, &form.bytes, driven)?,
                what: format!("{}, alone", form.what),
            });
        }
    }
    Ok(cases)
}

fn of_build(path: &str, message: &[u8], driven: &Driven) -> Result<Call> {
    let call = Call::new(path, message);
    match path {
        path if path.contains("LLBBridge") => call.with(BUILD_ID, driven.job.as_bytes()),
        "/moby.buildkit.v1.Control/Session" => {
            call.with("x-docker-expose-session-uuid", plan::new_name().as_bytes())
        }
        _ => Ok(call),
    }
}

/// Ends builds with malformed results: each is asked of a build of its own.
async fn end_builds(bench: &Bench, cases: Vec<Case>) -> Result<Vec<String>> {
    let ends = cases.into_iter().map(|case| async move {
        let job = plan::new_name();
        let asked = control::SolveRequest {
            r#ref: job.clone(),
            internal: true,
            ..control::SolveRequest::default()
        };
        let build = Call::new("/moby.buildkit.v1.Control/Solve", &asked.encode_to_vec());
        let build = bench.caller.call(&build, PATIENCE);
        let mut call = case.call;
        call.headers.clear();
        let call = call.with(BUILD_ID, job.as_bytes())?;
        let returned = bench.caller.call(&call, PATIENCE);
        tokio::pin!(build, returned);
        // The end of a build may be heard of before the answer that ended it.
        let (returned, ended) = tokio::select! {
            answer = &mut returned => (answer, None),
            ended = &mut build => (returned.await, Some(ended)),
        };
        let mut wrong: Vec<_> = complaint(&call.path, &case.what, &returned)
            .into_iter()
            .collect();
        if returned.is_ok() {
            let ended = match ended {
                Some(ended) => ended,
                None => build.await,
            };
            // It may have failed with whatever the frontend's error says.
            if !matches!(ended, Answer::Status { .. }) {
                wrong.push(format!("the end of a build: {}: {ended:?}", case.what));
            }
        }
        anyhow::Ok(wrong)
    });
    let mut ends = stream::iter(ends).buffer_unordered(AT_ONCE);
    let mut wrong = Vec::new();
    while let Some(found) = ends.next().await {
        wrong.extend(found?);
    }
    Ok(wrong)
}

/// Containers that are made at a time: some wait for a session that does not come, and no more than 100 may be open.
const CONTAINERS: usize = 64;

/// Makes containers and releases each that was made.
async fn make_containers(bench: &Bench, cases: Vec<Case>, counts: &mut Counts) -> Vec<String> {
    let made = cases.into_iter().map(|case| async move {
        let answer = bench.caller.call(&case.call, PATIENCE).await;
        let release = release(&case.call).filter(|_| answer.is_ok());
        let released = match &release {
            Some(release) => Some(bench.caller.call(release, PATIENCE).await),
            None => None,
        };
        (case, answer, released)
    });
    let mut made = stream::iter(made).buffer_unordered(CONTAINERS);
    let mut wrong = Vec::new();
    while let Some((case, answer, released)) = made.next().await {
        counts.add(&case.call.path, &answer);
        wrong.extend(complaint(&case.call.path, &case.what, &answer));
        if let Some(released) = released.filter(|released| !released.is_ok()) {
            wrong.push(format!("its release: {}: {released:?}", case.what));
        }
    }
    wrong
}

/// The call that releases the container that another one makes.
fn release(call: &Call) -> Option<Call> {
    let message = call.body.first()?.get(5..)?;
    let made = frontend::NewContainerRequest::decode(message).ok()?;
    let message = frontend::ReleaseContainerRequest {
        container_id: made.container_id,
    };
    let path = "/moby.buildkit.v1.frontend.LLBBridge/ReleaseContainer";
    let mut release = Call::new(path, &message.encode_to_vec());
    release.headers.clone_from(&call.headers);
    Some(release)
}

// T-A3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_field_of_every_request_gets_a_status() -> Result<()> {
    let mut bench = Bench::new().await?;
    let driven = bench.drive().await?;
    let mut wrong = Vec::new();
    let mut counts = Counts::default();
    for method in methods()? {
        let begun = Instant::now();
        let path = plan::path(&method);
        let cases = cases(&method, &driven)?;
        let number = cases.len();
        wrong.extend(match method.name() {
            "Return" => end_builds(&bench, cases).await?,
            "NewContainer" => make_containers(&bench, cases, &mut counts).await,
            _ => bench.try_all(cases, &mut counts).await,
        });
        // Shown when the test fails.
        eprintln!("{path}: {number} requests in {:?}", begun.elapsed());
        bench.still_serves().await?;
    }
    eprintln!("{counts}");
    nothing_wrong(&wrong)?;
    assert!(counts.total() > 1000, "{counts}");
    Ok(())
}

// Who adds a service, or takes one away, sees here that its requests are tried.
#[tokio::test]
async fn services_that_are_served_are_those_that_are_tried() -> Result<()> {
    let bench = Bench::new().await?;
    let services = plan::description()?;
    for service in services.services() {
        for method in service.methods() {
            let path = plan::path(&method);
            // No message at all: nothing is done, whatever the method.
            let mut call = Call::new(&path, &[]);
            call.body.clear();
            let answer = bench.caller.call(&call, PATIENCE).await;
            // A path that nobody serves is refused without a word.
            let is_unknown =
                matches!(&answer, Answer::Status { code: 12, message, .. } if message.is_empty());
            let is_tried = plan::SERVED.contains(&service.full_name());
            assert_eq!(!is_unknown, is_tried, "{path}: {answer:?}");
        }
    }
    Ok(())
}
