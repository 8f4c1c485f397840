//! Puts simulators behind real sockets: HTTP/1.1 in, callbacks out.
//!
//! Each simulator has its own listener and its own task for the calls it makes. A simulator stays a plain state machine:
//! this module holds its lock only while it thinks, never while a byte travels.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::StatusCode;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::wire::{Delivery, Request, Response, Simulator};

/// Where the time comes from.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// A simulator that others may look into while it serves.
pub type Shared = Arc<Mutex<dyn Simulator>>;

/// Largest request body, bytes.
const LARGEST_BODY: usize = 1024 * 1024;
/// How long a callback may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls under way at once, per simulator.
const CALLS_AT_ONCE: usize = 256;
/// How often a simulator is asked for due calls although nothing woke us: acts of an operator do not pass by here.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// How long connections may finish at shutdown.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A simulator and the address it shall listen on.
pub struct Stand {
    /// For logs and for `Sandbox::address`.
    pub name: String,
    /// What answers.
    pub simulator: Shared,
    /// Port 0: any free port.
    pub address: SocketAddr,
}

/// Why the sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("could not listen on {address} for {name}")]
    Listen {
        /// Whose.
        name: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client for callbacks could not be built.
    #[error("could not build the client for callbacks")]
    Client(#[source] reqwest::Error),
}

/// Running simulators. Dropping it stops them at once; `stop` lets answers under way finish.
#[derive(Debug)]
pub struct Sandbox {
    addresses: Vec<(String, SocketAddr)>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Stand {
    /// Names a simulator and its address.
    pub fn new(name: &str, simulator: Shared, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), simulator, address }
    }
}

impl Sandbox {
    /// Binds all addresses, then serves. Must be called within a tokio runtime.
    pub async fn start(stands: Vec<Stand>, now: Now) -> Result<Self, StartError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(StartError::Client)?;
        let (stop, stopped) = watch::channel(false);
        let mut sandbox = Self { addresses: Vec::new(), stop, tasks: JoinSet::new() };
        for stand in stands {
            let Stand { name, simulator, address } = stand;
            let listening = async {
                let listener = TcpListener::bind(address).await?;
                let bound = listener.local_addr()?;
                Ok::<_, std::io::Error>((listener, bound))
            };
            let (listener, bound) = listening.await.map_err(|source| StartError::Listen { name: name.clone(), address, source })?;
            info!(simulator = %name, address = %bound, "sandbox listens");
            let party = Arc::new(Party { name: name.clone(), simulator, now: now.clone(), wake: Notify::new() });
            sandbox.tasks.spawn(accept(listener, party.clone(), stopped.clone()));
            sandbox.tasks.spawn(deliver(party, client.clone(), stopped.clone()));
            sandbox.addresses.push((name, bound));
        }
        Ok(sandbox)
    }

    /// Where the simulator of that name listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.iter().find(|(known, _)| known == name).map(|(_, address)| *address)
    }

    /// `http://address` of the simulator of that name, without a slash at the end.
    pub fn base_url(&self, name: &str) -> Option<String> {
        self.address(name).map(|address| format!("http://{address}"))
    }

    /// All names and addresses, in the order of `start`.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Takes no more connections, lets answers and callbacks under way finish (two seconds at most), then returns.
    pub async fn stop(mut self) {
        // Nobody listening to the signal means that all tasks have ended already.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What the tasks of one simulator share.
struct Party {
    name: String,
    simulator: Shared,
    now: Now,
    wake: Notify,
}

impl Party {
    fn lock(&self) -> MutexGuard<'_, dyn Simulator + 'static> {
        // A simulator that panicked goes on: its state is only books of a sandbox, and the panic was reported.
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> DateTime<Utc> {
        (self.now)()
    }
}

/// Resolves when the sandbox stops, or was dropped.
async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn accept(listener: TcpListener, party: Arc<Party>, stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = until_stopped(stopped.clone()) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, party.clone(), stopped.clone()));
                }
                Err(error) => {
                    warn!(simulator = %party.name, %error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    // What has not finished by then is cut off when the set is dropped.
    let _ = tokio::time::timeout(LAST_CALLS, finish).await;
}

async fn connection(stream: TcpStream, party: Arc<Party>, stopped: watch::Receiver<bool>) {
    // Small answers must not wait for more bytes; without it they only come later.
    let _ = stream.set_nodelay(true);
    let name = party.name.clone();
    let service = service_fn(move |request| answer(party.clone(), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(true);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = until_stopped(stopped) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(simulator = %name, %error, "connection ended");
    }
}

/// The connection shall close without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
struct Closed;

async fn answer(party: Arc<Party>, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Closed> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        let mut response = Response::new(Bytes::from_static(b"the body is too large or broken"));
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(response.map(Full::new));
    };
    let request = Request::from_parts(parts, body.to_bytes());
    let now = party.now();
    let reply = party.lock().handle(now, &request);
    party.wake.notify_one();
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    match reply.response {
        Some(response) => Ok(response.map(Full::new)),
        None => Err(Closed),
    }
}

/// Sends what is due, oldest first, many at once.
async fn deliver(party: Arc<Party>, client: reqwest::Client, stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    let mut calls = JoinSet::new();
    loop {
        let now = party.now();
        let (due, next) = {
            let mut simulator = party.lock();
            (simulator.take_due(now), simulator.next_due())
        };
        for delivery in due {
            let permit = tokio::select! {
                permit = room.clone().acquire_owned() => permit,
                () = until_stopped(stopped.clone()) => return,
            };
            let Ok(permit) = permit else { return };
            let (party, client) = (party.clone(), client.clone());
            calls.spawn(async move {
                call(&party, &client, delivery).await;
                drop(permit);
            });
        }
        while calls.try_join_next().is_some() {}
        let until_next = next.map(|at| (at - now).to_std().unwrap_or_default());
        let sleep = until_next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        tokio::select! {
            () = until_stopped(stopped.clone()) => break,
            () = party.wake.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    let finish = async { while calls.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_CALLS, finish).await;
}

/// One call, and the report of how it ended.
async fn call(party: &Party, client: &reqwest::Client, delivery: Delivery) {
    let (parts, body) = delivery.request.clone().into_parts();
    let sent = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body).send().await;
    let status = match sent {
        Ok(response) => {
            let status = response.status().as_u16();
            // Read to the end, so that the connection can be used again; what it says does not matter.
            let _ = response.bytes().await;
            Some(status)
        }
        Err(error) => {
            debug!(simulator = %party.name, what = %delivery.what, %error, "nobody answered a call");
            None
        }
    };
    debug!(simulator = %party.name, what = %delivery.what, ?status, "call made");
    let now = party.now();
    party.lock().delivered(now, &delivery, status);
    party.wake.notify_one();
}
