//! LLB, the graph that a build is made of (package `pb`).

tonic::include_proto!("pb");
