//! Compiles our .proto files with protox, so that no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

/// All files, in reading order. Imports are found by their paths below `proto/`.
const FILES: &[&str] = &["ops.proto", "fsutil.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, prost::Message::encode_to_vec(&descriptors))?;
    // Maps are ordered so that the same value always encodes to the same bytes.
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".moby.buildkit.v1.BytesMessage")
        .bytes(".fsutil.types.Packet.data")
        .compile_fds(descriptors)?;
    Ok(())
}
