//! Caches in stores of objects: Amazon S3 and what speaks like it, Azure Blob Storage, the cache of GitHub Actions.
//!
//! A cache there is its document under the cache's name and each layer under its digest; what an importer must know of
//! a layer stands in the document (parity sheet C3). Keys and documents are BuildKit's, so that both read each other's.

mod attributes;
mod azblob;
mod azure;
mod cache;
mod gha;
mod http;
mod keyed_hash;
mod s3;
mod s3_parts;
mod s3_signature;

pub use cache::ObjectCache;

#[cfg(test)]
mod tests;
