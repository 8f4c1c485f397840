//! Time as a value of the scheduler, and ids in the order of their making.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use pv_kernel::{Clock, Ids, clock::uuid_v7};
use uuid::Uuid;

use crate::chance::Chance;

/// The world's time, in microseconds since the epoch. Only the scheduler moves it.
#[derive(Debug, Clone)]
pub struct WorldTime(Arc<AtomicI64>);

impl WorldTime {
    /// Starts at a moment.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self(Arc::new(AtomicI64::new(at.timestamp_micros())))
    }

    /// Now.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap_or_default()
    }

    /// Moves on; never back.
    pub fn advance_to(&self, at: DateTime<Utc>) {
        self.0.fetch_max(at.timestamp_micros(), Ordering::SeqCst);
    }

    /// Moves on by this much.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap_or(0), Ordering::SeqCst);
    }
}

/// A process's clock: the world's time, off by its skew.
#[derive(Debug)]
pub struct SimClock {
    time: WorldTime,
    skew_micros: i64,
}

impl SimClock {
    /// A clock that is off by so many milliseconds.
    pub fn new(time: WorldTime, skew_millis: i64) -> Self {
        Self { time, skew_micros: skew_millis * 1000 }
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        self.time.now() + chrono::Duration::microseconds(self.skew_micros)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.time.0.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

/// Ids in the order of their making, and seeded randomness.
#[derive(Debug)]
pub struct SimIds {
    seed: u64,
    next: AtomicU64,
    chance: Mutex<Chance>,
}

impl SimIds {
    /// Ids of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(1), chance: Mutex::new(Chance::new(seed, 11)) }
    }
}

impl Ids for SimIds {
    fn uuid(&self, now: DateTime<Utc>) -> Uuid {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        let mut random = [0u8; 10];
        let (head, tail) = random.split_at_mut(5);
        head.iter_mut().zip(n.to_be_bytes().get(3..).unwrap_or_default()).for_each(|(r, b)| *r = *b);
        tail.iter_mut().zip(self.seed.to_be_bytes().get(3..).unwrap_or_default()).for_each(|(r, b)| *r = *b);
        uuid_v7(now, random)
    }

    fn fill(&self, bytes: &mut [u8]) {
        if let Ok(mut chance) = self.chance.lock() {
            for chunk in bytes.chunks_mut(8) {
                let draw = chance.draw().to_be_bytes();
                chunk.iter_mut().zip(draw).for_each(|(b, d)| *b = d);
            }
        }
    }
}
