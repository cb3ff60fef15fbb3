//! Rules about which sources builds may use and what they use instead (parity sheet C4). Pure: who asks whom is the
//! engine's matter.

mod rewrite;
mod rules;

pub use rewrite::{replace_sources, sources_of};
pub use rules::Rules;
