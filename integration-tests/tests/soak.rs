//! The long runs of `scripts/soak`, short enough for every change.

use anyhow::Result;
use integration_tests::soak::{
    cancel::cancel, crash::crash, crowd::crowd, damage::damage, faults::faults, growth::growth,
};

// RT-18
#[test]
fn killed_engines_lose_nothing_and_leave_nothing() -> Result<()> {
    let report = crash(12)?;
    assert!(report.kills == 12 && report.blobs > 0, "{report:?}");
    Ok(())
}

// RT-10, RT-5
#[test]
fn cancelled_builds_leave_no_container_and_harm_no_other() -> Result<()> {
    assert_eq!(cancel(8)?.cancels, 8);
    Ok(())
}

// RT-13
#[test]
fn descriptors_threads_and_mounts_do_not_grow_with_builds() -> Result<()> {
    assert_eq!(growth(100)?.builds, 100);
    Ok(())
}

// RT-21
#[test]
fn one_failing_call_harms_no_other_build() -> Result<()> {
    assert_eq!(faults(6)?.faults, 6);
    Ok(())
}

// RT-17
#[test]
fn damaged_state_is_noticed_and_made_again() -> Result<()> {
    assert_eq!(damage(8)?.damaged, 8);
    Ok(())
}

// RT-2, T-A17
#[test]
fn many_builds_at_once_that_share_their_base_all_end() -> Result<()> {
    assert_eq!(crowd(50)?.builds, 50);
    Ok(())
}
