//! A seeded simulation of the scheduler in virtual time.
//!
//! Each seed gives one schedule: random graphs that share vertices, jobs that come, change their minds and leave,
//! work of random duration that fails at times, a store and a worker that lose things. Checked throughout: every
//! request is answered exactly once, and with the state that its definition says; no vertex runs twice at a time or
//! again while its result is kept; no result is used unpinned, and no pin is left at the end; nothing waits for ever.
//!
//! `COOPER_SIM_SEED=n` replays one schedule; `COOPER_SIM_COUNT=n` runs another number of them than 2,000.

#![expect(
    clippy::unwrap_used,
    reason = "a simulation that meets what cannot be should stop there"
)]
#![expect(
    clippy::print_stdout,
    reason = "tells what was simulated, in the test's own output"
)]

mod plan;
mod rng;
mod schedule;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};

use schedule::{Counts, Schedule};

#[expect(
    clippy::disallowed_methods,
    reason = "which schedules to run is said to the test by its environment"
)]
fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("the variable holds a number"))
}

fn simulate(seed: u64) -> Counts {
    match catch_unwind(AssertUnwindSafe(|| Schedule::new(seed).run())) {
        Ok(counts) => counts,
        Err(panic) => {
            eprintln!("replay with COOPER_SIM_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_schedule_keeps_the_rules() {
    if let Some(seed) = number_from("COOPER_SIM_SEED") {
        println!("{:?}", simulate(seed));
        return;
    }
    let seeds = number_from("COOPER_SIM_COUNT").unwrap_or(2_000);
    let lanes = std::thread::available_parallelism().map_or(1, |lanes| lanes.get() as u64);
    let total = std::thread::scope(|scope| {
        let lane =
            |lane| scope.spawn(move || (lane..seeds).step_by(lanes as usize).map(simulate).sum());
        let lanes: Vec<_> = (0..lanes).map(lane).collect();
        let totals = lanes.into_iter().map(|lane| lane.join());
        totals
            .map(|total: std::thread::Result<Counts>| {
                total.expect("every schedule keeps the rules")
            })
            .sum::<Counts>()
    });
    println!("{total:?}");
    for count in [
        total.built,
        total.failed,
        total.cancelled,
        total.runs,
        total.loads,
        total.stops,
    ] {
        assert!(
            count > 20,
            "schedules are not varied enough to mean anything: {total:?}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_schedule_each_time() {
    let twice = [0, 0].map(|_| format!("{:?}", simulate(12_345)));
    assert_eq!(twice[0], twice[1]);
}
