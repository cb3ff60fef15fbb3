//! How a directory travels: package `fsutil.types`.

tonic::include_proto!("fsutil.types");
