//! Lanes: what is limited, paused and counted together (a shortcode, a host).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use pv_kernel::transport::CallError;
use tokio::sync::Semaphore;

use crate::{
    TransportOptions,
    breaker::{Breaker, LaneState, Outcome},
    pace::Pace,
};

/// How a lane does, for the console and for `doctor`. Counts start with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHealth {
    /// The lane's name, as in [`pv_kernel::transport::Call::lane`].
    pub lane: String,
    /// Whether it calls its host.
    pub state: LaneState,
    /// Calls that hold a place now.
    pub in_flight: usize,
    /// Calls that ended, with any outcome.
    pub calls: u64,
    /// Calls that ended as failures of the host: silence, no connection, 5xx.
    pub failures: u64,
    /// Failures since the last success.
    pub failures_in_a_row: u64,
    /// Calls that this side did not let out (limit, open circuit, deadline).
    pub held_back: u64,
    /// When the host last answered with anything but 5xx.
    pub last_success: Option<DateTime<Utc>>,
    /// When it last failed.
    pub last_failure: Option<DateTime<Utc>>,
    /// What the last failure was, without a URL or a body.
    pub last_error: Option<String>,
    /// How long the last success took.
    pub last_latency: Option<Duration>,
    /// Thousandths of a call per second that are let out now; `None`: never limited.
    pub rate_milli: Option<u64>,
    /// The same as asked for by the callers; more than `rate_milli` while the other side throttles.
    pub rate_asked_milli: Option<u64>,
}

#[derive(Default)]
struct Book {
    calls: u64,
    failures: u64,
    failures_in_a_row: u64,
    held_back: u64,
    last_success: Option<DateTime<Utc>>,
    last_failure: Option<DateTime<Utc>>,
    last_error: Option<String>,
    last_latency: Option<Duration>,
}

pub(crate) struct Lane {
    name: String,
    places: usize,
    pub(crate) slots: Semaphore,
    pub(crate) pace: Pace,
    pub(crate) breaker: Breaker,
    paused: AtomicBool,
    book: Mutex<Book>,
    used: Mutex<Duration>,
}

impl Lane {
    fn new(name: &str, options: &TransportOptions) -> Result<Self, String> {
        Ok(Self {
            name: name.to_owned(),
            places: options.concurrency,
            slots: Semaphore::new(options.concurrency),
            pace: Pace::new(Arc::clone(&options.clock), options.pace),
            breaker: Breaker::new(options.breaker)?,
            paused: AtomicBool::new(false),
            book: Mutex::default(),
            used: Mutex::new(options.clock.monotonic()),
        })
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Writes down how a call ended.
    pub(crate) fn note(&self, outcome: &Outcome, took: Duration, now: DateTime<Utc>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = match outcome {
            Ok(answer) if answer.status().is_server_error() => Some(format!("HTTP {}", answer.status().as_u16())),
            Ok(_) => None,
            Err(CallError::NotSent(pv_kernel::transport::NotSent::NoConnection(why))) => Some(format!("no connection: {why}")),
            Err(CallError::NoAnswer(why)) => Some(format!("no answer: {why}")),
            Err(CallError::NotSent(_) | CallError::Crashed) => {
                book.held_back += 1;
                return;
            }
        };
        book.calls += 1;
        if let Some(error) = failure {
            book.failures += 1;
            book.failures_in_a_row += 1;
            book.last_failure = Some(now);
            book.last_error = Some(error);
        } else {
            book.failures_in_a_row = 0;
            book.last_success = Some(now);
            book.last_latency = Some(took);
        }
    }

    fn health(&self) -> LaneHealth {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let rates = self.pace.rates();
        LaneHealth {
            lane: self.name.clone(),
            state: if self.is_paused() { LaneState::Paused } else { self.breaker.state() },
            in_flight: self.places.saturating_sub(self.slots.available_permits()),
            calls: book.calls,
            failures: book.failures,
            failures_in_a_row: book.failures_in_a_row,
            held_back: book.held_back,
            last_success: book.last_success,
            last_failure: book.last_failure,
            last_error: book.last_error.clone(),
            last_latency: book.last_latency,
            rate_milli: rates.map(|(now, _)| now),
            rate_asked_milli: rates.map(|(_, asked)| asked),
        }
    }
}

/// All lanes of this process.
pub(crate) struct Lanes {
    options: TransportOptions,
    by_name: Mutex<HashMap<String, Arc<Lane>>>,
}

impl Lanes {
    /// Fails when the options of the breaker make no sense.
    pub(crate) fn new(options: TransportOptions) -> Result<Self, String> {
        Breaker::new(options.breaker)?;
        Ok(Self { options, by_name: Mutex::default() })
    }

    /// The lane of this name, made when it is new.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Lane>, String> {
        let mut lanes = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.options.clock.monotonic();
        if let Some(lane) = lanes.get(name) {
            *lane.used.lock().unwrap_or_else(PoisonError::into_inner) = at;
            return Ok(Arc::clone(lane));
        }
        if lanes.len() >= self.options.max_lanes {
            forget_the_oldest(&mut lanes);
        }
        let lane = Arc::new(Lane::new(name, &self.options)?);
        lanes.insert(name.to_owned(), Arc::clone(&lane));
        Ok(lane)
    }

    /// A person stops a lane. Calls in flight end as they may.
    pub(crate) fn pause(&self, name: &str) -> Result<(), String> {
        self.get(name)?.paused.store(true, Ordering::Release);
        Ok(())
    }

    /// A person lets a lane go on, and its breaker forgets what it counted.
    pub(crate) async fn resume(&self, name: &str) -> Result<(), String> {
        let lane = self.get(name)?;
        lane.paused.store(false, Ordering::Release);
        lane.breaker.reset().await;
        Ok(())
    }

    pub(crate) fn health(&self) -> Vec<LaneHealth> {
        let lanes: Vec<Arc<Lane>> = self.by_name.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut health: Vec<LaneHealth> = lanes.iter().map(|lane| lane.health()).collect();
        health.sort_by(|a, b| a.lane.cmp(&b.lane));
        health
    }
}

/// Forgets the lane that was idle for longest. One that is in use or was stopped by a person is kept: forgetting it would
/// lift its limit or its stop.
fn forget_the_oldest(lanes: &mut HashMap<String, Arc<Lane>>) {
    let oldest = lanes
        .iter()
        .filter(|(_, lane)| Arc::strong_count(lane) == 1 && !lane.is_paused())
        .min_by_key(|(_, lane)| *lane.used.lock().unwrap_or_else(PoisonError::into_inner))
        .map(|(name, _)| name.clone());
    if let Some(name) = oldest {
        lanes.remove(&name);
    }
}
