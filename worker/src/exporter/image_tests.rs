mod archives;
mod bench;
mod push;
mod statements;
mod store;
