mod convert;
mod exec;
mod service;
mod signal;
mod source_meta;

pub(super) use service::GatewayService;
