//! What a client may want to be told of a result beside the result itself: where it came from (provenance, SLSA) and
//! what is in it (an SBOM, made by a program in an image).

mod options;
mod purl;
mod scan;

pub use options::{Detail, ProvenanceOptions, ScanOptions, SlsaVersion, Wanted};
pub use purl::{ImagePlace, image_purl};
pub use scan::Scanner;
