//! The port through which every request to the outside leaves, and the one question that matters when no answer comes:
//! can the other side have received it?

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// One request to the outside.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it is for, for metrics, limits and stories: `b2c.pay`, `fineract.loan`. Never contains an id.
    pub purpose: &'static str,
    /// The request itself, with an absolute URI.
    pub request: http::Request<Bytes>,
    /// How long to wait for the whole answer.
    pub timeout: Duration,
    /// The body is handed to the socket only before this moment of [`crate::Clock::monotonic`] (rule A4). After it the
    /// call ends as [`CallError::NotSent`].
    pub write_before: Option<Duration>,
    /// An extra certificate authority to trust for this host alone, PEM.
    pub trust: Option<String>,
    /// The name under which calls are limited and counted together: a shortcode, a host. Concurrency, rate and the
    /// circuit breaker are kept per lane.
    pub lane: String,
    /// Calls per second that the lane may make; `None`: no rate limit (M-Pesa contract 8.2: 5 per shortcode).
    pub rate: Option<u32>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request provably never reached the other side. Sending it again is safe.
    #[error("not sent ({0})")]
    NotSent(NotSent),
    /// The request may have been received, and the answer is lost.
    #[error("no answer ({0})")]
    NoAnswer(String),
    /// This process is going down (only a simulation says so). Nothing may be concluded and nothing may be written.
    #[error("the process ends here")]
    Crashed,
}

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// No connection: refused, no such host, no TLS.
    #[error("no connection: {0}")]
    NoConnection(String),
    /// The deadline of the send had passed before the body was written (rule A4).
    #[error("the deadline of this send had passed")]
    TooLate,
    /// The circuit breaker of the lane is open: the host failed too often just now.
    #[error("the host is failing; paused")]
    CircuitOpen,
    /// The lane's own rate or concurrency limit.
    #[error("the limit of this lane is reached")]
    Limited,
    /// The request is not one we send (bad URL, refused address).
    #[error("refused to send: {0}")]
    Refused(String),
}

/// Sends requests. No automatic retry, no redirect, no replay on another connection: a money call is sent at most once.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends one request and waits for its answer, whatever its status.
    async fn call(&self, call: Call) -> Result<http::Response<Bytes>, CallError>;
}

/// Hands a bearer token to all processes, and lets one of them renew it (M-Pesa contract 1: a new token makes the old one
/// invalid, so there is one shared token per environment and consumer key, renewed under a lock).
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// A token that is good for a while yet, if there is one. `key` names environment and consumer key.
    async fn current(&self, key: &str) -> Option<String>;
    /// Renews under the lock. When the stored token is another than `stale`, somebody else has renewed already and the stored
    /// one comes back without a fetch.
    async fn renew(&self, key: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<String, TokenError>;
}

/// Gets a new token from the provider.
#[async_trait]
pub trait TokenFetch: Send + Sync {
    /// The token and the seconds it lives.
    async fn fetch(&self) -> Result<(String, u32), TokenError>;
}

/// Why there is no token. In every case the request it was for has not been sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The provider refuses these credentials.
    #[error("the provider refuses the credentials: {0}")]
    Refused(String),
    /// No answer, or one that cannot be read; try again later.
    #[error("no token now: {0}")]
    Unavailable(String),
    /// This process is going down.
    #[error("the process ends here")]
    Crashed,
}
