//! Stages: which there are, what each stands on, which of them the target needs.
//!
//! [`Conversion`] is one Dockerfile on its way to one platform. It makes a [`Node`] of every stage ([`plan`]), links them by
//! what they read from each other ([`link`]), finds out what the reachable ones stand on ([`base`]), adds what ONBUILD of
//! those bases asks for ([`onbuild`]), and hands each reachable stage to [`crate::lower`] in the file's order.

mod args;
mod base;
mod conversion;
mod link;
mod node;
mod onbuild;
mod outline;
mod plan;
mod target;

pub(crate) use conversion::{Conversion, Made, Purpose};
pub(crate) use node::{Command, Declared, Node};
