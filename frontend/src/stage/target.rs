//! The stage that is wanted.

use std::collections::HashMap;

use super::Node;
use crate::diagnostic::Fault;
use crate::options::Options;

/// The stage of the option `target`, else the last one.
///
/// # Errors
/// No stage of that name, with the nearest one.
pub(super) fn find(
    options: &Options,
    nodes: &[Node],
    by_name: &HashMap<String, usize>,
) -> Result<usize, Fault> {
    if options.target.is_empty() {
        return nodes
            .len()
            .checked_sub(1)
            .ok_or_else(|| Fault::new("dockerfile contains no stages to build"));
    }
    by_name
        .get(&options.target.to_lowercase())
        .copied()
        .ok_or_else(|| {
            let names = nodes
                .iter()
                .map(|node| node.label.as_str())
                .filter(|name| !name.is_empty());
            Fault::new(format!(
                "target stage {} could not be found",
                crate::golang::quote::quote(&options.target)
            ))
            .suggest(&options.target, names)
        })
}
