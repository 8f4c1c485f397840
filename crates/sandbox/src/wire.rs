//! What every simulator has in common: a request comes in at a moment, an answer goes out (or the
//! connection closes without one), and some time later the simulator itself calls somebody.
//!
//! A simulator is a plain state machine. It owns no socket, no thread and no clock, so that the same code runs
//! behind a real port (`serve`), and in process under a seed with a scheduler that decides when anything happens.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

/// A request as it stood on the wire. The URI is absolute (`http://host/path?query`) or at least has its path.
pub type Request = http::Request<Bytes>;
/// An answer as it stands on the wire.
pub type Response = http::Response<Bytes>;

/// What the caller gets to see.
#[derive(Debug)]
pub struct Reply {
    /// `None`: the connection closes without an answer (whatever was done stays done).
    pub response: Option<Response>,
    /// How long the caller waits for it.
    pub delay: Duration,
}

/// A call that a simulator makes: a callback, a hook, a delivery report.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Unique within one simulator.
    pub id: u64,
    /// The moment it leaves.
    pub at: DateTime<Utc>,
    /// The request to send, with an absolute URI.
    pub request: Request,
    /// In words, for logs and stories: "result 0 for pv-…".
    pub what: String,
}

/// One party of the outside world.
pub trait Simulator: Send {
    /// Answers one request. `now` is the simulator's only idea of time.
    fn handle(&mut self, now: DateTime<Utc>, request: &Request) -> Reply;

    /// The moment of the next call this party wants to make.
    fn next_due(&self) -> Option<DateTime<Utc>>;

    /// Takes the calls that are due at `now`, oldest first.
    fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Delivery>;

    /// Reports how a delivery ended: the HTTP status, or `None` when nobody answered.
    fn delivered(&mut self, now: DateTime<Utc>, delivery: &Delivery, status: Option<u16>);
}

impl Reply {
    /// An answer without delay.
    pub fn now(response: Response) -> Self {
        Self { response: Some(response), delay: Duration::ZERO }
    }

    /// The connection closes without an answer.
    pub fn closed() -> Self {
        Self { response: None, delay: Duration::ZERO }
    }
}
