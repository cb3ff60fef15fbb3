//! Nothing but a container's helper, for this package's own tests and benchmarks: their programs have a `main` that is not
//! ours. The `cooper` binary starts itself instead.

fn main() {
    cooper_worker::exec::runner_main_if_asked();
}
