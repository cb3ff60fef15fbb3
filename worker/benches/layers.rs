//! How fast layers are made and unpacked: `cargo bench -p cooper-worker --bench layers [-- DIR]`.
//!
//! DIR (default `/usr/share`) is what the layer holds. Rates are of uncompressed bytes; each
//! step runs three times and the best counts.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark stops where it cannot go on"
)]

use std::{
    fs,
    io::{self, Write},
    path::Path,
    time::Instant,
};

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
        let make =
            || compress(Vec::new(), compression, |output| output.write_all(&archive)).unwrap();
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
                compress(io::sink(), compression, |output| {
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
    let best = (0..3)
        .map(|_| {
            let begin = Instant::now();
            step();
            begin.elapsed()
        })
        .min()
        .unwrap_or_default();
    let rate = bytes as f64 / 1e6 / best.as_secs_f64();
    say(&format!("{what:<40} {rate:>8.0} MB/s  {best:?}"));
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn say(line: &str) {
    println!("{line}");
}
