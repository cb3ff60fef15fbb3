//! Makes the `:authority` of requests on a local socket acceptable.
//!
//! gRPC's own C library (Python, Ruby, C++, PHP), grpc-java and others put the socket's path there, as it is or with
//! `%2F` for its slashes. That is no authority by RFC 3986, and the HTTP/2 library resets such a request; grpc-go's
//! server, which those clients were made against, takes it. On a local socket the value means nothing, so bytes that
//! may not stand in it are replaced while they are read. Lengths stay as they are, and with them everything that
//! HTTP/2 and HPACK (RFC 7541) count.
//!
//! Only strings that are not Huffman coded are looked at: the clients in question do not code theirs.

mod fields;
mod frames;
mod stream;

pub(super) use stream::AcceptableAuthority;
