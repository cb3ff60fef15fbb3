mod archives;
mod bench;
mod push;
mod store;
