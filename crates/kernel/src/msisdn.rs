//! Kenyan mobile numbers in the one form the rails take: `254` and nine digits that start with 7 or 1.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A normalised Kenyan mobile number, twelve digits (`254712345678`). The network cannot be told from the prefix
/// (numbers are ported), so it is not tried (M-Pesa contract 8.10).
///
/// `Debug` and [`Msisdn::masked`] hide the middle; the whole number is written only where somebody asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Msisdn(u64);

/// The text is no Kenyan mobile number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Kenyan mobile number: use the form 0712345678, 0112345678 or 254712345678")]
pub struct NotAMsisdn;

impl Msisdn {
    /// Reads `07…`, `01…`, `7…`, `1…`, `254…`, `+254…`, `00254…`, with spaces, dashes, dots and brackets.
    pub fn parse(text: &str) -> Result<Self, NotAMsisdn> {
        if text.len() > 40 {
            return Err(NotAMsisdn);
        }
        let mut digits = String::with_capacity(14);
        for (i, c) in text.trim().chars().enumerate() {
            match c {
                '0'..='9' => digits.push(c),
                '+' if i == 0 => {}
                ' ' | '-' | '.' | '(' | ')' | '\u{a0}' => {}
                _ => return Err(NotAMsisdn),
            }
        }
        let digits = digits.strip_prefix("00").unwrap_or(&digits);
        let national = match digits.len() {
            12 => digits.strip_prefix("254"),
            10 => digits.strip_prefix('0'),
            9 => Some(digits),
            _ => None,
        };
        let national = national.filter(|n| n.starts_with(['7', '1'])).ok_or(NotAMsisdn)?;
        let number: u64 = national.parse().map_err(|_| NotAMsisdn)?;
        Ok(Self(254_000_000_000 + number))
    }

    /// The number as an integer, as STK push and B2C want it.
    pub const fn as_number(self) -> u64 {
        self.0
    }

    /// `2547****5678`: for logs and for people without the right to see it.
    pub fn masked(self) -> String {
        let s = self.0.to_string();
        format!("{}****{}", s.get(..4).unwrap_or_default(), s.get(8..).unwrap_or_default())
    }

    /// `0712 345 678`: for people with the right to see it.
    pub fn local(self) -> String {
        let n = self.0 % 1_000_000_000;
        format!("0{:03} {:03} {:03}", n / 1_000_000, n / 1000 % 1000, n % 1000)
    }
}

impl fmt::Display for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl FromStr for Msisdn {
    type Err = NotAMsisdn;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl Serialize for Msisdn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Msisdn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_kenyans_write_a_number_is_read() {
        for text in ["0712345678", "712345678", "254712345678", "+254712345678", "+254 712-345 678", "00254712345678"] {
            assert_eq!(Msisdn::parse(text).unwrap().to_string(), "254712345678", "{text}");
        }
        assert_eq!(Msisdn::parse("0112345678").unwrap().to_string(), "254112345678");
    }

    #[test]
    fn other_countries_and_other_texts_are_refused() {
        for text in [
            "",
            "255712345678",
            "+1 202 555 0100",
            "0812345678",
            "07123456789",
            "071234567a",
            "0712345678+",
            "2547123456789012345678901234567890123456789",
        ] {
            assert_eq!(Msisdn::parse(text), Err(NotAMsisdn), "{text}");
        }
    }

    #[test]
    fn debug_never_shows_the_whole_number() {
        let m = Msisdn::parse("0712345678").unwrap();
        assert_eq!(format!("{m:?}"), "2547****5678");
        assert_eq!(m.local(), "0712 345 678");
    }
}
