//! Identifiers and times as M-Pesa writes them: receipts, conversation ids, gateway ids, stamps in East Africa Time.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Utc};

use crate::random::Chance;

const DIGITS_AND_CAPITALS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS_AND_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";
/// 36^7: how many sequences a receipt has.
const SEQUENCES: u64 = 78_364_164_096;
/// Receipts that one seed makes before it enters the next seed's.
const PER_SEED: u64 = 46_656;
/// Odd and not divisible by 3, so multiplying by it permutes the sequences.
const STEP: u64 = 48_271_198_967;

/// Local time in Kenya, which has no daylight saving.
pub fn eat(at: DateTime<Utc>) -> NaiveDateTime {
    FixedOffset::east_opt(3 * 3600).map_or(at.naive_utc(), |offset| at.with_timezone(&offset).naive_local())
}

/// `yyyyMMddHHmmss` in EAT (M-Pesa contract 8.7).
pub fn stamp(at: DateTime<Utc>) -> String {
    eat(at).format("%Y%m%d%H%M%S").to_string()
}

/// `dd.MM.yyyy HH:mm:ss` in EAT, the form of B2C results only.
pub fn dotted_stamp(at: DateTime<Utc>) -> String {
    eat(at).format("%d.%m.%Y %H:%M:%S").to_string()
}

/// Year, month and day characters of a receipt (M-Pesa contract 8.8).
pub fn receipt_prefix(at: DateTime<Utc>) -> String {
    let day = eat(at).date();
    let year = u8::try_from((day.year() - 2006).rem_euclid(26)).unwrap_or(0);
    let month = u8::try_from(day.month0()).unwrap_or(0);
    let date = usize::try_from(day.day()).ok().and_then(|day| DIGITS_AND_CAPITALS.get(day)).copied().unwrap_or(b'1');
    [b'A' + year, b'A' + month, date].iter().map(|&byte| char::from(byte)).collect()
}

/// The day's placeholder: date prefix and seven zeros, shared by all failures of the day (M-Pesa contract 2.5).
pub fn placeholder(at: DateTime<Utc>) -> String {
    format!("{}0000000", receipt_prefix(at))
}

/// Makes receipts that never repeat within one simulator, nor (for some ten thousand receipts each) between simulators
/// with different seeds below 36^4, which may share one database of the product.
#[derive(Debug)]
pub(crate) struct Receipts {
    next: u64,
}

impl Receipts {
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: (seed % (SEQUENCES / PER_SEED)) * PER_SEED + 1 }
    }

    pub(crate) fn next(&mut self, at: DateTime<Utc>) -> String {
        let position = self.next % SEQUENCES;
        self.next = self.next.wrapping_add(1);
        let mixed = u64::try_from(u128::from(position) * u128::from(STEP) % u128::from(SEQUENCES)).unwrap_or(0);
        if mixed == 0 {
            // That one would be the placeholder.
            return self.next(at);
        }
        let mut rest = mixed;
        let mut sequence = [b'0'; 7];
        for place in sequence.iter_mut().rev() {
            let digit = usize::try_from(rest % 36).unwrap_or(0);
            *place = DIGITS_AND_CAPITALS.get(digit).copied().unwrap_or(b'0');
            rest /= 36;
        }
        let mut receipt = receipt_prefix(at);
        receipt.extend(sequence.iter().map(|&byte| char::from(byte)));
        receipt
    }
}

/// `AG_<yyyyMMdd>_<20 lower-case letters or digits>`.
pub(crate) fn conversation_id(chance: &mut Chance, at: DateTime<Utc>) -> String {
    format!("AG_{}_{}", eat(at).format("%Y%m%d"), chance.text(DIGITS_AND_LETTERS, 20))
}

/// The hyphenated id the gateway makes for requests and for originators it was not given.
pub(crate) fn gateway_id(chance: &mut Chance) -> String {
    let mut part = |length| chance.text(HEX, length);
    format!("{}-{}-{}-{}", part(4), part(4), part(4), part(18))
}

/// An access token: 28 characters.
pub(crate) fn access_token(chance: &mut Chance) -> String {
    chance.text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 28)
}

/// KES with two decimals and no separator: `842100.50`, `-1985.00`.
pub fn kes(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let magnitude = cents.unsigned_abs();
    format!("{sign}{}.{:02}", magnitude / 100, magnitude % 100)
}

/// KES as in a text to a customer: `1,500.00`.
pub(crate) fn kes_with_commas(cents: i64) -> String {
    let plain = kes(cents);
    let (whole, decimals) = plain.split_once('.').unwrap_or((&plain, "00"));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{decimals}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_receipt_begins_with_the_day_in_nairobi() {
        assert_eq!(receipt_prefix(at("2026-01-03T11:05:09Z")), "UA3");
        assert_eq!(receipt_prefix(at("2026-12-31T20:59:59Z")), "ULV");
        assert_eq!(receipt_prefix(at("2026-12-31T21:00:00Z")), "VA1");
        assert_eq!(receipt_prefix(at("2018-02-10T09:00:00Z")), "MBA");
        assert_eq!(placeholder(at("2026-01-03T11:05:09Z")), "UA30000000");
    }

    #[test]
    fn receipts_do_not_repeat_within_a_seed_nor_between_seeds() {
        let now = at("2026-01-03T11:05:09Z");
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let mut receipts = Receipts::new(seed);
            for _ in 0..500 {
                let receipt = receipts.next(now);
                assert_eq!(receipt.len(), 10);
                assert_ne!(receipt, placeholder(now));
                assert!(seen.insert(receipt));
            }
        }
    }

    #[test]
    fn stamps_are_in_east_africa_time() {
        let now = at("2026-01-03T11:05:09Z");
        assert_eq!(stamp(now), "20260103140509");
        assert_eq!(dotted_stamp(now), "03.01.2026 14:05:09");
    }

    #[test]
    fn money_is_written_without_a_float() {
        assert_eq!(kes(84_210_050), "842100.50");
        assert_eq!(kes(-198_500), "-1985.00");
        assert_eq!(kes(-5), "-0.05");
        assert_eq!(kes_with_commas(150_000), "1,500.00");
        assert_eq!(kes_with_commas(-123_456_789), "-1,234,567.89");
        assert_eq!(kes_with_commas(99_900), "999.00");
    }
}
