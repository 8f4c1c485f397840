//! The gate between a request and the socket. It answers one question exactly: can the other side have the request?
//!
//! The body of a request passes the gate when hyper first polls it, which is just before the head and the body are
//! written to the socket together. The gate opens once, for one connection, and only before the deadline (rule A4). When
//! a call ends without an answer, the gate is closed in the same atomic step in which it is read: either the body had
//! passed, and the other side may have it, or it never will.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pv_kernel::Clock;

const WAITING: u8 = 0;
const DEPARTED: u8 = 1;
const LATE: u8 = 2;
const CLOSED: u8 = 3;

/// What became of a request, as far as this process can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// The body was handed to the socket: the other side may have the request.
    MayHaveArrived,
    /// The deadline had passed; no complete request left, and none will.
    TooLate,
    /// The body never left, and cannot leave any more.
    NeverLeft,
}

/// See the module.
pub(crate) struct Gate {
    state: AtomicU8,
    write_before: Option<Duration>,
    clock: Arc<dyn Clock>,
}

/// Why the body was held back. Seen only inside hyper, which drops the connection on it.
#[derive(Debug, thiserror::Error)]
#[error("the body of this request was held back")]
pub(crate) struct HeldBack;

impl Gate {
    pub(crate) fn new(clock: Arc<dyn Clock>, write_before: Option<Duration>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WAITING), write_before, clock })
    }

    /// Called by the body at its first poll.
    fn pass(&self) -> Result<(), HeldBack> {
        let late = self.write_before.is_some_and(|deadline| self.clock.monotonic() >= deadline);
        let next = if late { LATE } else { DEPARTED };
        match self.state.compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) if !late => Ok(()),
            _ => Err(HeldBack),
        }
    }

    /// Closes the gate for good and says what had happened before.
    pub(crate) fn close(&self) -> Departure {
        match self.state.compare_exchange(WAITING, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(CLOSED) => Departure::NeverLeft,
            Err(LATE) => Departure::TooLate,
            Err(_) => Departure::MayHaveArrived,
        }
    }
}

/// Closes the gate when the caller goes away, so that a forgotten request does not leave later.
pub(crate) struct CloseOnDrop(pub(crate) Arc<Gate>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A body of known length behind a gate.
pub(crate) struct GatedBody {
    gate: Arc<Gate>,
    left: Option<Bytes>,
}

impl GatedBody {
    /// `bytes` must not be empty: hyper does not poll an empty body.
    pub(crate) fn new(gate: Arc<Gate>, bytes: Bytes) -> Self {
        Self { gate, left: Some(bytes) }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = HeldBack;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HeldBack>>> {
        let Some(bytes) = self.left.take() else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(self.gate.pass().map(|()| Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Exact, so that hyper sends Content-Length: a chunked body confuses the gateways behind Daraja and Mifos X.
        SizeHint::with_exact(self.left.as_ref().map_or(0, |b| b.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use pv_kernel::SystemClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock::new())
    }

    #[tokio::test]
    async fn a_body_that_passed_may_have_arrived() {
        let gate = Gate::new(clock(), None);
        let body = GatedBody::new(Arc::clone(&gate), Bytes::from_static(b"pay"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "pay");
        assert_eq!(gate.close(), Departure::MayHaveArrived);
    }

    #[tokio::test]
    async fn a_late_body_never_leaves() {
        let gate = Gate::new(clock(), Some(Duration::ZERO));
        assert!(GatedBody::new(Arc::clone(&gate), Bytes::from_static(b"pay")).collect().await.is_err());
        assert_eq!(gate.close(), Departure::TooLate);
    }

    #[tokio::test]
    async fn a_closed_gate_stays_closed() {
        let gate = Gate::new(clock(), None);
        drop(CloseOnDrop(Arc::clone(&gate)));
        assert!(GatedBody::new(Arc::clone(&gate), Bytes::from_static(b"pay")).collect().await.is_err());
        assert_eq!(gate.close(), Departure::NeverLeft);
    }

    #[tokio::test]
    async fn a_gate_opens_once() {
        let gate = Gate::new(clock(), None);
        assert!(gate.pass().is_ok());
        assert!(gate.pass().is_err(), "a second connection gets nothing");
    }
}
