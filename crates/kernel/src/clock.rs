//! Time, ids and randomness come in through these two ports, so that a simulation can hold them in its hand.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use uuid::Uuid;

/// What time it is.
pub trait Clock: Send + Sync {
    /// The wall clock, corrected to the database's clock in production (rule D4).
    fn now(&self) -> DateTime<Utc>;
    /// A clock that never goes back and never jumps: for deadlines before a write to a socket (rule A4).
    fn monotonic(&self) -> Duration;
}

/// Where identifiers and secrets come from.
pub trait Ids: Send + Sync {
    /// A time-ordered UUID (version 7) for `now`: rows written together stand together.
    fn uuid(&self, now: DateTime<Utc>) -> Uuid;
    /// Random bytes for tokens and keys. From the operating system in production.
    fn fill(&self, bytes: &mut [u8]);
    /// A token of 32 lower-case hexadecimal digits. Hexadecimal, because no word that Safaricom bans from URLs can
    /// occur in it (M-Pesa contract 8.4, rule D2).
    fn hex_token(&self) -> String {
        let mut bytes = [0u8; 16];
        self.fill(&mut bytes);
        hex::encode(bytes)
    }
}

/// East Africa Time, UTC+3, no daylight saving: the zone of every M-Pesa timestamp (M-Pesa contract 8.7).
pub fn nairobi() -> FixedOffset {
    FixedOffset::east_opt(3 * 3600).unwrap_or_else(|| FixedOffset::east_opt(0).unwrap_or_else(|| unreachable!("three hours is a valid offset")))
}

/// The calendar day in Nairobi at a moment (rule D7).
pub fn nairobi_day(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&nairobi()).date_naive()
}

/// The operating system's clock, shifted by a measured offset to the database's clock (rule D4).
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
    offset_micros: std::sync::atomic::AtomicI64,
}

impl SystemClock {
    /// Not yet corrected.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the operating system's clock comes in")]
    pub fn new() -> Self {
        Self { started: std::time::Instant::now(), offset_micros: std::sync::atomic::AtomicI64::new(0) }
    }

    /// Shifts the clock so that it agrees with the database, and returns the shift.
    #[expect(clippy::disallowed_methods, reason = "the uncorrected clock is what the correction is measured against")]
    pub fn correct_to(&self, database: DateTime<Utc>) -> chrono::Duration {
        let shift = database - Utc::now();
        let micros = shift.num_microseconds().unwrap_or(0);
        self.offset_micros.store(micros, std::sync::atomic::Ordering::Relaxed);
        shift
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the operating system's clock comes in")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + chrono::Duration::microseconds(self.offset_micros.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Identifiers and randomness from the operating system. Ids that this process makes stand in the order of their making, also within one
/// millisecond: rows that are written together are read in order.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemIds;

/// The last id's millisecond (upper 52 bits) and its number within it (lower 12).
static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// The place of the next id: its millisecond and number. A full millisecond, or a clock that went back a little, borrows from the next one.
fn next_place(now: DateTime<Utc>) -> (i64, u16) {
    use std::sync::atomic::Ordering::{AcqRel, Acquire};
    let here = u64::try_from(now.timestamp_millis()).unwrap_or(0) << 12;
    let mut last = LAST.load(Acquire);
    loop {
        // A clock set back by more than a minute is followed, rather than left behind for ever.
        let next = if here > last || last.saturating_sub(here) > 60_000 << 12 { here } else { last + 1 };
        match LAST.compare_exchange_weak(last, next, AcqRel, Acquire) {
            Ok(_) => return (i64::try_from(next >> 12).unwrap_or(0), u16::try_from(next & 0xfff).unwrap_or(0)),
            Err(seen) => last = seen,
        }
    }
}

impl Ids for SystemIds {
    fn uuid(&self, now: DateTime<Utc>) -> Uuid {
        let mut random = [0u8; 10];
        self.fill(&mut random);
        let (millis, number) = next_place(now);
        let [high, low] = number.to_be_bytes();
        let [first, second, ..] = &mut random;
        (*first, *second) = (high, low);
        uuid_v7(DateTime::from_timestamp_millis(millis).unwrap_or(now), random)
    }

    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Without randomness no token is safe: stopping the process is the only honest answer.
            std::process::abort();
        }
    }
}

/// A version 7 UUID from a moment and ten random bytes.
pub fn uuid_v7(now: DateTime<Utc>, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_the_order_of_their_making() {
        let now = DateTime::from_timestamp_millis(1_790_000_000_000).unwrap();
        let ids: Vec<Uuid> = (0..10_000).map(|_| SystemIds.uuid(now)).collect();
        assert!(ids.windows(2).all(|w| w.first() < w.last()));
        assert_eq!(ids.first().unwrap().get_version_num(), 7);
    }
}
