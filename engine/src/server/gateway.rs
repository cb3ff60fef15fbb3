mod convert;
mod exec;
mod service;
mod signal;
mod source_meta;

pub(crate) use service::GatewayService;
