mod convert;
mod service;

pub(super) use service::GatewayService;
