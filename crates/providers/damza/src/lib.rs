//! The Damza SMS gateway as an [`SmsGateway`], and the counting of SMS parts.
//!
//! No document of Damza's HTTP interface is public: everything in the module `wire` is ASSUMED (SMS contract 2) and stays inside this
//! crate, so that the real document changes only that module. Which gateway is tried next, and when, is decided in `vault`.

mod report;
pub mod segments;
mod send;
#[cfg(test)]
mod testing;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use pv_kernel::{
    rail::Unreadable,
    sms::{DeliveryReport, OutboundSms, SendError, SendReceipt, SmsAccount, SmsGateway},
    transport::Transport,
};

/// The client of the gateway. Base URL and credentials are in each [`SmsAccount`].
#[derive(Clone)]
pub struct Damza {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Damza {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Damza").finish_non_exhaustive()
    }
}

impl Damza {
    /// A client that sends through `transport`.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }
}

#[async_trait]
impl SmsGateway for Damza {
    fn name(&self) -> &'static str {
        "damza"
    }

    async fn send(&self, account: &SmsAccount, message: &OutboundSms) -> Result<SendReceipt, SendError> {
        self.send_one(account, message).await
    }

    fn read_report(&self, body: &[u8]) -> Result<Vec<DeliveryReport>, Unreadable> {
        report::read(body)
    }

    fn report_is_genuine(&self, account: &SmsAccount, signature: Option<&str>, body: &[u8]) -> bool {
        report::is_genuine(account, signature, body)
    }
}
