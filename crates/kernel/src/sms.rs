//! The port of an SMS gateway (SMS contract 1).

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::Msisdn;

/// A partner's account at a gateway.
#[derive(Debug, Clone)]
pub struct SmsAccount {
    /// Base URL of the gateway; it has no default.
    pub base_url: String,
    /// The account's key.
    pub api_key: SecretString,
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// Registered sender id, at most 11 characters.
    pub sender_id: String,
}

/// One text to one person.
#[derive(Debug, Clone)]
pub struct OutboundSms {
    /// Receiver.
    pub to: Msisdn,
    /// Text.
    pub text: String,
    /// Ours, unique per message: the idempotency key where the gateway has one.
    pub reference: String,
}

/// The gateway took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReceipt {
    /// The gateway's id.
    pub message_id: String,
    /// Parts billed, where told.
    pub segments: Option<u32>,
    /// Cost in 1/10,000 KES, where told (rule B8).
    pub cost_e4: Option<i64>,
}

/// Why a text was not handed over. The class decides about the second gateway (SMS contract 1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The recipient or the text is the problem.
    #[error("refused for good: {0}")]
    Permanent(String),
    /// This gateway refuses or is down.
    #[error("the gateway does not take it: {0}")]
    Provider(String),
    /// It may have been taken.
    #[error("no usable answer: {0}")]
    Unknown(String),
    /// The process ends here (simulation only).
    #[error("the process ends here")]
    Crashed,
}

/// The detailed delivery state (SMS contract 1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Row written.
    Queued,
    /// The gateway took it.
    Accepted,
    /// Handed to the operator.
    Submitted,
    /// The operator holds it.
    Buffered,
    /// A day without any report; a later report still counts.
    NoReport,
    /// Refused by gateway or operator.
    Rejected,
    /// Discarded.
    Expired,
    /// Could not be delivered.
    Undelivered,
    /// On the handset; beats everything.
    Delivered,
}

/// A delivery report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// The gateway's id, when given.
    pub message_id: Option<String>,
    /// Our reference, when given.
    pub reference: Option<String>,
    /// The state it reports.
    pub state: DeliveryState,
    /// The gateway's words on a failure.
    pub error: Option<String>,
}

/// An SMS gateway.
#[async_trait]
pub trait SmsGateway: Send + Sync {
    /// `damza`, `africastalking`.
    fn name(&self) -> &'static str;
    /// Hands one text over.
    async fn send(&self, account: &SmsAccount, message: &OutboundSms) -> Result<SendReceipt, SendError>;
    /// Reads a delivery report.
    fn read_report(&self, body: &[u8]) -> Result<Vec<DeliveryReport>, crate::rail::Unreadable>;
    /// Whether the signature of a report is right for this account; `true` where the gateway does not sign.
    fn report_is_genuine(&self, account: &SmsAccount, signature: Option<&str>, body: &[u8]) -> bool;
}
