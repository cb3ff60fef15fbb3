//! Cache digests against values that BuildKit computes, and what may and may not change them.

mod golden;
mod miss;
mod rules;
