mod convert;
mod service;
mod source_meta;

pub(super) use service::GatewayService;
