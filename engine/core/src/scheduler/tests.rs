//! Facts about the scheduler, one a test, in a world where each piece of work waits until the test ends it.

mod bench;
mod cached;
mod nested;
mod shared;
mod stopped;
mod told;
