//! Money: whole minor units (cents) in one currency. There is no float in here, and no way to get one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

/// Currencies the product handles. Kenya first; others when a rail needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Currency {
    /// Kenya shilling, two decimal places.
    #[default]
    KES,
}

impl Currency {
    /// The ISO 4217 code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::KES => "KES",
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in minor units (cents) of a currency. May be negative where a balance may.
///
/// In JSON it is written as a decimal string with two places (`"1500.00"`) and read from a number or a string of
/// shillings with at most two places, always from the raw token. The bound is one trillion shillings either way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// The largest absolute amount that [`Money`] reads from outside, in minor units: a trillion shillings.
pub const MAX_MINOR: i64 = 100_000_000_000_000;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("not an amount: write shillings with at most two decimal places, for example 1500 or 1500.50")]
    NotANumber,
    /// More than two places behind the point.
    #[error("an amount has at most two decimal places")]
    TooPrecise,
    /// Beyond the bound, or an addition that would pass it.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Money {
    /// Zero shillings.
    pub const ZERO: Self = Self { minor: 0, currency: Currency::KES };

    /// From minor units (cents).
    pub const fn from_minor(minor: i64) -> Self {
        Self { minor, currency: Currency::KES }
    }

    /// From whole shillings; `None` when out of range.
    pub fn from_shillings(shillings: i64) -> Option<Self> {
        shillings.checked_mul(100).filter(|m| m.abs() <= MAX_MINOR).map(Self::from_minor)
    }

    /// Minor units (cents).
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Whole shillings when there are no cents, else `None`. M-Pesa moves whole shillings only (rule A17).
    pub const fn whole_shillings(self) -> Option<i64> {
        if self.minor % 100 == 0 { Some(self.minor / 100) } else { None }
    }

    /// The amount without its cents, and the cents: `1500.75` gives `(1500.00, 0.75)` (rule A17, policy `floor`).
    pub const fn split_cents(self) -> (Self, Self) {
        let cents = self.minor % 100;
        (Self::from_minor(self.minor - cents), Self::from_minor(cents))
    }

    /// Greater than zero.
    pub const fn is_positive(self) -> bool {
        self.minor > 0
    }

    /// Exactly zero.
    pub const fn is_zero(self) -> bool {
        self.minor == 0
    }

    /// Sum; `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.minor.checked_add(other.minor).map(Self::from_minor)
    }

    /// Difference; `None` on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.minor.checked_sub(other.minor).map(Self::from_minor)
    }

    /// The sum of many; `None` on overflow.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// Reads a decimal text. Zeros beyond the second place are accepted (`15000.000000` is how Mifos X writes it),
    /// other digits there are refused.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let only_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !only_digits(whole) || !only_digits(fraction) || digits.ends_with('.') {
            return Err(MoneyError::NotANumber);
        }
        let (kept, surplus) = fraction.split_at(fraction.len().min(2));
        if surplus.bytes().any(|b| b != b'0') {
            return Err(MoneyError::TooPrecise);
        }
        if whole.trim_start_matches('0').len() > 13 {
            return Err(MoneyError::OutOfRange);
        }
        let whole: i64 = whole.parse().map_err(|_| MoneyError::OutOfRange)?;
        let cents: i64 = format!("{kept:0<2}").parse().map_err(|_| MoneyError::NotANumber)?;
        let minor = whole.checked_mul(100).and_then(|m| m.checked_add(cents)).ok_or(MoneyError::OutOfRange)?;
        if minor > MAX_MINOR {
            return Err(MoneyError::OutOfRange);
        }
        Ok(Self::from_minor(if negative { -minor } else { minor }))
    }

    /// Reads a JSON number or string from its raw token, so that no float ever stands between (rule of the house:
    /// money is parsed from the token).
    pub fn parse_json_token(token: &str) -> Result<Self, MoneyError> {
        let token = token.trim();
        match token.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            Some(inner) => Self::parse(inner.trim()),
            None => Self::parse(token),
        }
    }

    /// As a decimal with two places and no separators: `1500.00`.
    pub fn to_decimal(self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let abs = self.minor.unsigned_abs();
        format!("{sign}{}.{:02}", abs / 100, abs % 100)
    }

    /// For people: `1,500.00`.
    pub fn grouped(self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let abs = self.minor.unsigned_abs();
        let whole = (abs / 100).to_string();
        let mut out = String::with_capacity(whole.len() + whole.len() / 3);
        for (i, c) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                out.push(',');
            }
            out.push(c);
        }
        format!("{sign}{out}.{:02}", abs % 100)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.currency, self.grouped())
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.currency, self.to_decimal())
    }
}

impl FromStr for Money {
    type Err = MoneyError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_decimal())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::parse_json_token(raw.get()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_from_the_token_and_never_through_a_float() {
        for (text, minor) in [
            ("0", 0),
            ("10", 1000),
            ("10.0", 1000),
            ("\"10.50\"", 1050),
            ("15000.000000", 1_500_000),
            ("-3.07", -307),
            ("0.1", 10),
            ("1000000000000", MAX_MINOR),
            ("007", 700),
        ] {
            assert_eq!(Money::parse_json_token(text), Ok(Money::from_minor(minor)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_reason() {
        for (text, error) in [
            ("", MoneyError::NotANumber),
            ("1e3", MoneyError::NotANumber),
            ("1,000", MoneyError::NotANumber),
            (".5", MoneyError::NotANumber),
            ("5.", MoneyError::NotANumber),
            ("--1", MoneyError::NotANumber),
            ("NaN", MoneyError::NotANumber),
            ("true", MoneyError::NotANumber),
            ("٣", MoneyError::NotANumber),
            ("1.001", MoneyError::TooPrecise),
            ("1000000000000.01", MoneyError::OutOfRange),
            ("99999999999999999999999999999999", MoneyError::OutOfRange),
        ] {
            assert_eq!(Money::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn json_answers_carry_a_decimal_string() {
        let json = serde_json::to_string(&Money::from_minor(150_005)).unwrap();
        assert_eq!(json, "\"1500.05\"");
        assert_eq!(serde_json::from_str::<Money>("1500.05").unwrap(), Money::from_minor(150_005));
        assert!(serde_json::from_str::<Money>("[1]").is_err());
    }

    #[test]
    fn people_read_grouped_thousands() {
        assert_eq!(Money::from_minor(-123_456_789).grouped(), "-1,234,567.89");
        assert_eq!(Money::from_minor(99).to_string(), "KES 0.99");
    }
}
