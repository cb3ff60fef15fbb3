mod convert;
mod exec;
mod program;
mod service;
mod signal;

pub(crate) use service::GatewayService;
