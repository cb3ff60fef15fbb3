//! Every cap that the worker puts on what it did not make itself.

/// The caps of one worker, each with its unit and what it guards against.
///
/// A value that exceeds a cap is an error that names the cap, never a clipped value.
/// Source: security.md I13, T-C23.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest blob that enters the content store when its size is not known in
    /// advance, in bytes.
    pub blob_bytes: u64,
    /// The largest manifest, index or image config, in bytes. Registries refuse more
    /// than 4 MiB, and BuildKit reads no more than that.
    pub manifest_bytes: u64,
    /// The most entries of one layer archive.
    pub layer_entries: u64,
    /// The most bytes that one layer may unpack to, headers included.
    pub layer_unpacked_bytes: u64,
    /// How many bytes one compressed byte of a layer may become.
    pub layer_ratio: u64,
    /// Unpacked bytes below which [`Self::layer_ratio`] is not looked at: runs of
    /// zeroes compress far better than any honest average.
    pub layer_ratio_floor_bytes: u64,
    /// All extension headers (PAX, GNU long names) of one archive entry, in bytes.
    pub entry_metadata_bytes: u32,
    /// The longest path and link target of an archive entry, in bytes: the kernel's
    /// `PATH_MAX`.
    pub path_bytes: u32,
    /// The base-2 logarithm of the largest window that a zstd frame may ask for.
    pub zstd_window_log: u32,
    /// The largest file that is fetched by URL, in bytes, unpacked if the server sends it compressed.
    pub download_bytes: u64,
    /// How many layers one overlay mount may stack. The kernel refuses more than 500.
    pub mount_layers: usize,
}

/// The largest statement about a result that is read, in bytes: BuildKit's own bound.
pub(crate) const ATTESTATION_BYTES: u64 = 40 << 20;

/// The most statements about one platform's result.
pub(crate) const ATTESTATIONS: usize = 256;

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            blob_bytes: 64 * GIB,
            manifest_bytes: 4 * MIB,
            layer_entries: 4_000_000,
            layer_unpacked_bytes: 256 * GIB,
            layer_ratio: 200,
            layer_ratio_floor_bytes: 512 * MIB,
            entry_metadata_bytes: 1 << 20,
            path_bytes: 4096,
            zstd_window_log: 27,
            download_bytes: 64 * GIB,
            mount_layers: 500,
        }
    }
}
