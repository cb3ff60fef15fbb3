//! What users type.

pub mod build;
