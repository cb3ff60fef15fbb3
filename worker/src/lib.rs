//! placeholder

pub mod confine;
pub mod mount;
mod sys;
