//! placeholder

pub mod confine;
