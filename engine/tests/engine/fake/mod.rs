//! A world for an engine in which every step does what a test says, when the test says it.

mod bench;
mod blobs;
mod cache;
mod client;
mod containers;
mod counted;
mod exporter;
mod files;
mod frontend;
mod llb;
mod remote;
mod storage;
mod worker;

pub(crate) use bench::{Bench, Setup, all, output_of};
pub(crate) use blobs::FakeBlobs;
pub(crate) use client::{Client, PATIENCE, Served};
pub(crate) use containers::FakeContainers;
pub(crate) use counted::{CountedContainers, Counts};
pub(crate) use exporter::FakeExporter;
pub(crate) use frontend::FakeFrontend;
pub(crate) use llb::Llb;
pub(crate) use remote::FakeRemote;
pub(crate) use worker::Script;
