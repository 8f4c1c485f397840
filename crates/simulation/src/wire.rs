//! The transport of a simulated process: the simulators in process, with connections that are refused, slow or cut, and a process that may die
//! before or after any call. A call can be parked: then the world goes on while it is under way.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use pv_kernel::transport::{Call, CallError, NotSent, TokenError, TokenFetch, TokenStore, Transport};
use tokio::sync::{mpsc, oneshot};

use crate::{chance::Chance, process::Fate, time::WorldTime, world::Shared};

/// A call that is parked: it goes on when this is sent.
#[derive(Debug)]
pub struct Parked(pub oneshot::Sender<()>);

/// How the network behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// Connections refused, per mille.
    pub refused: u16,
    /// Answers lost on the way back, per mille.
    pub cut: u16,
}

/// Dials that the scheduler turns.
#[derive(Debug)]
pub struct Dials {
    /// The network.
    pub network: Network,
    chance: Chance,
}

impl Dials {
    /// Of a seed.
    pub fn new(seed: u64) -> Self {
        Self { network: Network::default(), chance: Chance::new(seed, 21) }
    }
}

/// The transport of one process.
pub struct SimTransport {
    /// The world behind it.
    pub world: Shared,
    /// Its time.
    pub time: WorldTime,
    /// The process's fate.
    pub fate: Fate,
    /// The network.
    pub dials: Arc<Mutex<Dials>>,
    /// Where a call says that it is parked; `None`: calls are answered at once.
    pub parking: Option<mpsc::UnboundedSender<Parked>>,
}

enum Way {
    Refused,
    Cut,
    Fine { park_before: bool, park_after: bool },
}

impl SimTransport {
    fn way(&self, money: bool) -> Way {
        let mut d = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        let network = d.network;
        if d.chance.happens(network.refused) {
            return Way::Refused;
        }
        if d.chance.happens(network.cut) {
            return Way::Cut;
        }
        if self.parking.is_none() {
            return Way::Fine { park_before: false, park_after: false };
        }
        let (before, after) = if money { (300, 500) } else { (100, 200) };
        Way::Fine { park_before: d.chance.happens(before), park_after: d.chance.happens(after) }
    }

    async fn park(&self, wanted: bool) {
        if let Some(parking) = self.parking.as_ref().filter(|_| wanted) {
            let (go, gone) = oneshot::channel();
            if parking.send(Parked(go)).is_ok() {
                // A scheduler that is gone lets everybody go on.
                let _ended = gone.await;
            }
        }
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn call(&self, call: Call) -> Result<http::Response<Bytes>, CallError> {
        if self.fate.passes() {
            return Err(CallError::Crashed);
        }
        let started = self.time.now();
        let money = call.write_before.is_some();
        let (cut, park_before, park_after) = match self.way(money) {
            Way::Refused => return Err(CallError::NotSent(NotSent::NoConnection("refused by the seed".into()))),
            Way::Cut => (true, false, false),
            Way::Fine { park_before, park_after } => (false, park_before, park_after),
        };
        self.park(park_before).await;
        let monotonic = std::time::Duration::from_micros(u64::try_from(self.time.now().timestamp_micros()).unwrap_or(0));
        if call.write_before.is_some_and(|deadline| monotonic >= deadline) {
            return Err(CallError::NotSent(NotSent::TooLate));
        }
        let reply = self.world.lock().handle(self.time.now(), &call.request);
        let Some(reply) = reply else {
            return Err(CallError::NotSent(NotSent::NoConnection("no such host".into())));
        };
        self.park(park_after).await;
        if self.fate.passes() {
            return Err(CallError::Crashed);
        }
        let waited = (self.time.now() - started).to_std().unwrap_or_default() + reply.delay;
        match reply.response {
            _ if cut => Err(CallError::NoAnswer("cut by the seed".into())),
            Some(_) if waited > call.timeout => Err(CallError::NoAnswer("timed out".into())),
            Some(response) => Ok(response),
            None => Err(CallError::NoAnswer("closed without an answer".into())),
        }
    }
}

/// The shared token of a seed: in memory, with the same rules as the one in the database.
#[derive(Debug, Default)]
pub struct SimTokens(tokio::sync::Mutex<std::collections::BTreeMap<String, String>>);

#[async_trait]
impl TokenStore for SimTokens {
    async fn current(&self, key: &str) -> Option<String> {
        self.0.lock().await.get(key).cloned()
    }

    async fn renew(&self, key: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<String, TokenError> {
        if let Some(known) = self.0.lock().await.get(key).filter(|k| stale.is_some_and(|s| s != k.as_str())) {
            return Ok(known.clone());
        }
        // Not held over the fetch: a parked fetch must not stop the other processes of the seed.
        let (token, _) = fetch.fetch().await?;
        self.0.lock().await.insert(key.to_owned(), token.clone());
        Ok(token)
    }
}
