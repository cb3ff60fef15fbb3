mod convert;
mod exec;
mod service;
mod signal;

pub(crate) use service::GatewayService;
