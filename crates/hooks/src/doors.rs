//! What all doors share: taking the body in, storing it in a task that nobody can cancel, counting, waking.

use std::{sync::Arc, time::Duration};

use axum::extract::Request;
use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use pv_vault::{
    VaultError,
    engine::Step,
    message::{self, Inbound, Kind, Stored},
};
use tokio::sync::Semaphore;

use crate::{Counted, HookState, limits::Buckets, source::Peer};

/// Largest body of a message, bytes. M-Pesa's results have two or three thousand.
pub const LARGEST_BODY: usize = 256 * 1024;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The longest header value that is kept, characters.
const LONGEST_HEADER: usize = 300;

/// The shared half of every door.
pub(crate) struct Doors {
    pub(crate) state: HookState,
    pub(crate) buckets: Buckets,
    places: Arc<Semaphore>,
}

/// Why a message is not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    /// The database did not take it.
    #[error("the message could not be stored: {0}")]
    Vault(#[from] VaultError),
    /// It took too long; it may be stored later.
    #[error("the message was not stored in time")]
    TooSlow,
    /// The task ended without an answer.
    #[error("the message could not be stored: its task ended")]
    Ended,
}

/// Why a body was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoBody;

/// A request whose body has arrived.
pub(crate) struct Arrived {
    pub(crate) peer: Peer,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Doors {
    pub(crate) fn new(state: HookState) -> Self {
        let buckets = Buckets::new(&state.limits, &state.engine.clock);
        let places = Arc::new(Semaphore::new(state.limits.at_once.max(1)));
        Self { state, buckets, places }
    }

    /// Who knocks, before anything of the body is read.
    pub(crate) fn peer(&self, request: &Request) -> Peer {
        self.state.sources.peer(request.extensions(), request.headers())
    }

    /// Reads the body, whatever its content type.
    pub(crate) async fn take_in(&self, request: Request, peer: Peer) -> Result<Arrived, NoBody> {
        let (Parts { headers, .. }, body) = request.into_parts();
        match tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, LARGEST_BODY)).await {
            Ok(Ok(body)) => Ok(Arrived { peer, headers, body }),
            Ok(Err(error)) => {
                tracing::warn!(%peer, %error, "a body was too large or broke off; it is not stored");
                self.count(Counted::Limited);
                Err(NoBody)
            }
            Err(_) => {
                tracing::warn!(%peer, "a body did not arrive in time; it is not stored");
                self.count(Counted::Limited);
                Err(NoBody)
            }
        }
    }

    pub(crate) fn count(&self, what: Counted) {
        self.state.counts.add(what);
    }

    /// Stores it and commits, in a task that goes on when the caller hangs up; then wakes the weighing.
    pub(crate) async fn store(&self, inbound: Inbound) -> Result<Stored, NotStored> {
        let (state, places) = (self.state.clone(), Arc::clone(&self.places));
        let task = tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            let stored = message::store_inbound(&state.engine, &inbound).await;
            match &stored {
                Ok(stored) => {
                    state.counts.add(if stored.known { Counted::Known } else { Counted::Unmatched });
                    tracing::info!(message = %stored.id, kind = inbound.kind.as_str(), peer = %inbound.peer, trusted = inbound.trusted, known = stored.known, "stored");
                    if stored.known {
                        (state.wake)(Step::Weigh);
                    }
                }
                Err(error) => {
                    state.counts.add(Counted::Failed);
                    tracing::error!(kind = inbound.kind.as_str(), peer = %inbound.peer, %error, "a message could not be stored");
                }
            }
            stored
        });
        match tokio::time::timeout(self.state.limits.patience, task).await {
            Ok(Ok(stored)) => Ok(stored?),
            Ok(Err(_)) => Err(NotStored::Ended),
            Err(_) => Err(NotStored::TooSlow),
        }
    }
}

impl Arrived {
    /// As a message of this kind for this token, with the headers that matter to it.
    pub(crate) fn inbound(self, kind: Kind, token: String, trusted: bool, keep: &[&str]) -> Inbound {
        let headers = keep
            .iter()
            .filter_map(|name| {
                let value = self.headers.get(*name)?.to_str().ok()?;
                Some(((*name).to_owned(), value.chars().take(LONGEST_HEADER).collect()))
            })
            .collect();
        Inbound { kind, token, peer: self.peer.to_string(), trusted, headers, body: self.body.to_vec() }
    }
}
