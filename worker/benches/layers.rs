//! How fast layers are made and unpacked: `cargo bench -p cooper-worker --bench layers [-- DIR]`.
//!
//! DIR (default `/usr/share`) is what the layer holds. Rates are of uncompressed bytes, by the
//! clock and by processor time; each step runs three times and the best counts.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::{fs, io, path::Path, time::Instant};

use cooper_worker::{
    confine::Root,
    layer::{Compression, apply, compress, decompress, write_changes},
    limits::Limits,
};

fn main() {
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_else(|| String::from("/usr/share"));
    let changes = Root::open(Path::new(&directory)).unwrap();
    let mut archive = Vec::new();
    write_changes(&changes, None, &mut archive).unwrap();
    let bytes = archive.len();
    say(&format!(
        "{directory}: {:.1} MB as an archive, {} threads",
        bytes as f64 / 1e6,
        rayon::current_num_threads()
    ));
    rate("walk and write the archive", bytes, || {
        write_changes(&changes, None, &mut io::sink()).unwrap();
    });
    for compression in [Compression::Gzip, Compression::Zstd] {
        let make = || {
            compress(Vec::new(), compression, None, |output| {
                output.write_all(&archive)
            })
            .unwrap()
        };
        let compressed = make();
        rate(
            &format!(
                "{compression}: compress to {:.1} MB",
                compressed.len() as f64 / 1e6
            ),
            bytes,
            || drop(make()),
        );
        rate(&format!("{compression}: decompress"), bytes, || {
            let input = io::Cursor::new(compressed.clone());
            let mut reader = decompress(input, &Limits::default()).unwrap();
            io::copy(&mut reader, &mut io::sink()).unwrap();
        });
        rate(
            &format!("{compression}: walk, write, compress"),
            bytes,
            || {
                compress(io::sink(), compression, None, |output| {
                    write_changes(&changes, None, output).map_err(io::Error::other)
                })
                .unwrap();
            },
        );
    }
    rate("unpack the plain archive", bytes, || {
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        let applied = apply(&archive[..], &root, &Limits::default()).unwrap();
        assert!(applied.entries > 0);
        let begin = Instant::now();
        fs::remove_dir_all(target.path()).unwrap();
        fs::create_dir(target.path()).unwrap();
        say(&format!("  (removing it took {:?})", begin.elapsed()));
    });
}

fn rate(what: &str, bytes: usize, mut step: impl FnMut()) {
    let mut best = f64::INFINITY;
    let mut least = f64::INFINITY;
    for _ in 0..3 {
        let (begin, used) = (Instant::now(), processor_seconds());
        step();
        best = best.min(begin.elapsed().as_secs_f64());
        least = least.min(processor_seconds() - used);
    }
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    say(&format!(
        "{what:<40} {:>6.0} MB/s, {:>6.0} MB for a second of one core",
        rate(best),
        rate(least)
    ));
}

/// What this process has used of all cores, in seconds.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn say(line: &str) {
    println!("{line}");
}
