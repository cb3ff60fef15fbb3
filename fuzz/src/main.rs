//! Gives what libFuzzer makes up to the target that `COOPER_FUZZ_TARGET` names. `scripts/fuzz` builds and runs it.
#![no_main]

use std::sync::OnceLock;

use cooper_fuzz_targets::TARGETS;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn chosen() -> fn(&[u8]) {
    let wanted = std::env::var("COOPER_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let (_, run) = found.unwrap_or_else(|| panic!("COOPER_FUZZ_TARGET={wanted:?} is no target"));
    *run
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    TARGET.get_or_init(chosen)(data);
});
