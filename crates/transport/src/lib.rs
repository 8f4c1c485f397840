//! Requests to the outside: the [`Transport`] port over reqwest.
//!
//! A call is sent at most once. When no answer comes, the error says exactly whether the other side can have the
//! request: see `gate`. Calls are limited, paced and paused per lane: see `lane`. Which addresses may be called: see
//! [`AddressPolicy`]. What an answer *means* is not decided here but by the provider clients.

mod address;
mod breaker;
mod clients;
mod gate;
mod lane;
mod options;
mod pace;
mod send;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pv_kernel::transport::{Call, CallError, NotSent, Transport};

pub use crate::{
    address::AddressPolicy,
    breaker::LaneState,
    lane::LaneHealth,
    options::{BreakerOptions, PaceOptions, TransportOptions},
};
use crate::{
    breaker::Outcome,
    clients::Clients,
    lane::{Lane, Lanes},
    send::Errand,
};

/// The transport cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting up calls to the outside: {0}")]
pub struct SetupError(String);

/// Sends requests over HTTP/1.1 and TLS. Cheap to share behind an `Arc`; one per process.
pub struct HttpTransport {
    options: TransportOptions,
    clients: Clients,
    lanes: Lanes,
}

impl HttpTransport {
    /// Fails when the certificates of the platform cannot be read or the options make no sense.
    pub fn new(options: TransportOptions) -> Result<Self, SetupError> {
        let clients = Clients::new(&options).map_err(SetupError)?;
        let lanes = Lanes::new(options.clone()).map_err(SetupError)?;
        Ok(Self { options, clients, lanes })
    }

    /// How every lane does, by name.
    pub fn lanes(&self) -> Vec<LaneHealth> {
        self.lanes.health()
    }

    /// Stops a lane until [`HttpTransport::resume`]: its calls end as `NotSent(CircuitOpen)`. Calls already in flight are
    /// left alone.
    pub fn pause(&self, lane: &str) -> Result<(), SetupError> {
        self.lanes.pause(lane).map_err(SetupError)
    }

    /// Lets a lane go on after a pause, or closes its circuit at once after an outage.
    pub async fn resume(&self, lane: &str) -> Result<(), SetupError> {
        self.lanes.resume(lane).await.map_err(SetupError)
    }

    async fn run(&self, lane: &Lane, call: Call) -> Outcome {
        if lane.is_paused() {
            return Err(CallError::NotSent(NotSent::CircuitOpen));
        }
        let (timeout, rate) = (call.timeout, call.rate);
        let errand = Errand::prepare(call, &self.clients, &self.options).map_err(CallError::NotSent)?;
        let begun = self.options.clock.monotonic();
        let bound = self.options.max_wait.min(timeout);
        let Ok(Ok(_place)) = tokio::time::timeout(bound, wait(lane, rate)).await else {
            return Err(CallError::NotSent(NotSent::Limited));
        };
        let waited = self.options.clock.monotonic().saturating_sub(begun);
        if lane.is_paused() {
            return Err(CallError::NotSent(NotSent::CircuitOpen));
        }
        let outcome = lane.breaker.run(Box::pin(errand.run(timeout.saturating_sub(waited)))).await;
        if outcome.as_ref().is_ok_and(is_throttling) {
            lane.pace.throttled();
        }
        outcome
    }
}

/// A place in the lane, then a turn.
async fn wait(lane: &Lane, rate: Option<u32>) -> Result<tokio::sync::SemaphorePermit<'_>, tokio::sync::AcquireError> {
    let place = lane.slots.acquire().await?;
    if let Some(rate) = rate {
        lane.pace.turn(rate).await;
    }
    Ok(place)
}

/// "Too fast", in the forms of M-Pesa contract 7.1 and 7.2, and of HTTP itself.
fn is_throttling(answer: &http::Response<Bytes>) -> bool {
    if answer.status() == http::StatusCode::TOO_MANY_REQUESTS {
        return true;
    }
    if answer.status().is_success() {
        return false;
    }
    let body = answer.body();
    let start = String::from_utf8_lossy(body.get(..body.len().min(4096)).unwrap_or_default()).to_ascii_lowercase();
    ["spike arrest", "spikearrest", "quota violation", "quotaviolation"].iter().any(|words| start.contains(words))
}

#[async_trait]
impl Transport for HttpTransport {
    async fn call(&self, call: Call) -> Result<http::Response<Bytes>, CallError> {
        let lane = self.lanes.get(&call.lane).map_err(|e| CallError::NotSent(NotSent::Refused(e)))?;
        let purpose = call.purpose;
        let begun = self.options.clock.monotonic();
        let outcome = self.run(&lane, call).await;
        let took = self.options.clock.monotonic().saturating_sub(begun);
        lane.note(&outcome, took, self.options.clock.now());
        trace(purpose, took, &outcome);
        outcome
    }
}

fn trace(purpose: &'static str, took: Duration, outcome: &Outcome) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(answer) => tracing::debug!(purpose, millis, status = answer.status().as_u16(), "answered"),
        Err(error) => tracing::warn!(purpose, millis, %error, "not answered"),
    }
}
