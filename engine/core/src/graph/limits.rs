/// How large a definition may be. Every count and depth that a client chooses has its bound here.
///
/// # Units
/// Bytes where the name says so, else counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All ops of a definition together. BuildKit's gRPC message limit is 16 MiB, so it builds nothing larger.
    pub definition_bytes: usize,
    /// Ops in a definition, the terminal one aside.
    pub ops: usize,
    /// Inputs of all ops together.
    pub edges: usize,
    /// Inputs of one op.
    pub inputs_per_op: usize,
    /// Outputs of one op.
    pub outputs_per_op: usize,
    /// Mounts of an exec op, or actions of a file op.
    pub parts_per_op: usize,
    /// Ops on the longest way from the target to a source.
    pub depth: usize,
    /// Bytes of a name that is made from an op; names of merge and diff ops hold those of their inputs.
    pub name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            definition_bytes: 16 << 20,
            ops: 250_000,
            edges: 1 << 20,
            inputs_per_op: 16_384,
            outputs_per_op: 1_024,
            parts_per_op: 16_384,
            depth: 100_000,
            name_bytes: 1_024,
        }
    }
}
