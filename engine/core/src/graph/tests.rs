//! Vectors for definitions: sound ones load, all others are refused in bounded time with a flat stack.

mod definition;
mod load;
mod refuse;
mod size;
