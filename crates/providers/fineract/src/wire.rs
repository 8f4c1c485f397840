//! Loose reads of what Mifos X sends: one object at a time, every member optional, every number kept as its raw token
//! so that no float ever stands between a core's amount and ours (Mifos X contract 1.4).
//!
//! What a member must be is decided by the module that reads it; here is only how it is read.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use pv_kernel::{Money, core_banking::CoreError};
use serde_json::value::RawValue;

/// A JSON object whose members are still raw text. Members that are `null` count as absent (Mifos X contract 1.4).
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    members: BTreeMap<String, &'a RawValue>,
}

/// The answer cannot be read, and why.
pub(crate) fn unreadable(why: impl Into<String>) -> CoreError {
    CoreError::Unreadable(why.into())
}

impl<'a> Object<'a> {
    /// Reads an object; anything else is unreadable.
    pub(crate) fn read(text: &'a str) -> Result<Self, CoreError> {
        if !text.trim_start().starts_with('{') {
            return Err(unreadable(format!("not a JSON object: {}", excerpt(text))));
        }
        serde_json::from_str(text).map(|members| Self { members }).map_err(|e| unreadable(format!("broken JSON: {e}")))
    }

    /// Reads an object from bytes.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Result<Self, CoreError> {
        let text = std::str::from_utf8(bytes).map_err(|_| unreadable("not UTF-8"))?;
        Self::read(text)
    }

    /// The raw token of a member that is there and is not null.
    pub(crate) fn token(&self, key: &str) -> Option<&'a str> {
        self.members.get(key).map(|raw| raw.get().trim()).filter(|token| *token != "null")
    }

    /// Whether the member is there and is not null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.token(key).is_some()
    }

    /// A member that is an object. A member of another shape is unreadable, an absent one is `None`.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Object<'a>>, CoreError> {
        self.token(key).map(|token| Object::read(token).map_err(|_| unreadable(format!("{key} is not an object")))).transpose()
    }

    /// A member that is an object, where any other shape counts as absent: for hints and errors.
    pub(crate) fn object_if_any(&self, key: &str) -> Option<Object<'a>> {
        self.object(key).ok().flatten()
    }

    /// A member that is an array.
    pub(crate) fn array(&self, key: &str) -> Result<Option<Vec<&'a str>>, CoreError> {
        self.token(key).map(|token| array(token).map_err(|_| unreadable(format!("{key} is not a list")))).transpose()
    }

    /// Text: a string, or a number as it stands. Blank text counts as absent.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let token = self.token(key)?;
        let text = match token.as_bytes().first()? {
            b'"' => serde_json::from_str::<String>(token).ok()?,
            b'-' | b'0'..=b'9' => token.to_owned(),
            _ => return None,
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// An id: a whole number that is not negative, written as a number, a string or a double (`734`, `"734"`, `734.0`).
    pub(crate) fn id(&self, key: &str) -> Option<String> {
        self.text(key).as_deref().and_then(whole_number).map(|n| n.to_string())
    }

    /// A small whole number such as a status id.
    pub(crate) fn small(&self, key: &str) -> Option<u16> {
        self.text(key).as_deref().and_then(whole_number).and_then(|n| u16::try_from(n).ok())
    }

    /// An amount. Absent is `None`; one that is no amount, or has more than two significant places, is unreadable.
    pub(crate) fn money(&self, key: &str) -> Result<Option<Money>, CoreError> {
        let Some(token) = self.token(key) else {
            return Ok(None);
        };
        let text = self.text(key).ok_or_else(|| unreadable(format!("{key} is not an amount: {}", excerpt(token))))?;
        let plain = plain_decimal(&text).ok_or_else(|| unreadable(format!("{key} is not an amount: {}", excerpt(token))))?;
        Money::parse(&plain).map(Some).map_err(|e| unreadable(format!("{key} ({}): {e}", excerpt(token))))
    }

    /// A date: `[yyyy, m, d]`, or a string that begins with `yyyy-mm-dd`. Absent is `None`, anything else unreadable.
    pub(crate) fn date(&self, key: &str) -> Result<Option<NaiveDate>, CoreError> {
        let Some(token) = self.token(key) else {
            return Ok(None);
        };
        date(token).map(Some).ok_or_else(|| unreadable(format!("{key} is not a date: {}", excerpt(token))))
    }

    /// A switch: true, false, or those words as strings. Absent is false; anything else is unreadable, because a switch that
    /// cannot be read may be the one that forbids paying.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, CoreError> {
        match self.token(key) {
            None | Some("false" | "\"false\"" | "0" | "\"\"") => Ok(false),
            Some("true" | "\"true\"" | "1") => Ok(true),
            Some(other) => Err(unreadable(format!("{key} is neither true nor false: {}", excerpt(other)))),
        }
    }
}

/// The elements of a JSON array as raw text.
pub(crate) fn array(text: &str) -> Result<Vec<&str>, CoreError> {
    if !text.trim_start().starts_with('[') {
        return Err(unreadable(format!("not a JSON list: {}", excerpt(text))));
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| unreadable(format!("broken JSON: {e}")))?;
    Ok(items.into_iter().map(RawValue::get).collect())
}

/// The beginning of a text, for messages: bounded, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    let mut out: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

/// The first `limit` bytes of a text, cut at a character.
pub(crate) fn bounded(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// A whole number that is not negative, exactly: `734`, `734.0`, `7.34E2`.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    let plain = plain_decimal(text)?;
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain.as_str(), ""));
    if fraction.bytes().any(|b| b != b'0') {
        return None;
    }
    whole.parse().ok()
}

/// A decimal without an exponent, by moving the point in the text. Java writes large doubles and very small decimals with
/// one (`1.2345678E7`, `0E-7`); no float is involved in undoing it.
fn plain_decimal(text: &str) -> Option<String> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Some(text.to_owned());
    };
    let exponent: i32 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok().filter(|e: &i32| e.abs() <= 40)?;
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || whole.len() + fraction.len() > 60 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let plain = match usize::try_from(point) {
        Ok(at) if at >= all.len() => format!("{all:0<at$}"),
        Ok(at) if at > 0 => format!("{}.{}", all.get(..at)?, all.get(at..)?),
        _ => format!("0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
    };
    Some(format!("{sign}{plain}"))
}

fn date(token: &str) -> Option<NaiveDate> {
    if token.starts_with('[') {
        let parts: Vec<u32> = array(token).ok()?.into_iter().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        // A local date-time has the same first three places.
        let [year, month, day, ..] = parts.as_slice() else {
            return None;
        };
        return NaiveDate::from_ymd_opt(i32::try_from(*year).ok()?, *month, *day);
    }
    let text: String = serde_json::from_str(token).ok()?;
    let text = text.trim();
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    if !(rest.is_empty() || rest.starts_with(['T', ' '])) {
        return None;
    }
    NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_decimals_whatever_way_java_writes_them() {
        let o = Object::read(
            r#"{"a":15000.000000,"b":"450.50","c":1.5E+4,"d":0E-7,"e":14550.005,"f":true,"g":null,"h":1.00001E4,"i":[],"j":"NaN","k":1e999}"#,
        )
        .unwrap();
        assert_eq!(o.money("a").unwrap(), Some(Money::from_minor(1_500_000)));
        assert_eq!(o.money("b").unwrap(), Some(Money::from_minor(45_050)));
        assert_eq!(o.money("c").unwrap(), Some(Money::from_minor(1_500_000)));
        assert_eq!(o.money("d").unwrap(), Some(Money::ZERO));
        assert_eq!(o.money("h").unwrap(), Some(Money::from_minor(1_000_010)));
        assert_eq!(o.money("g").unwrap(), None);
        assert_eq!(o.money("absent").unwrap(), None);
        for key in ["e", "f", "i", "j", "k"] {
            assert!(matches!(o.money(key), Err(CoreError::Unreadable(_))), "{key}");
        }
    }

    #[test]
    fn ids_are_read_from_numbers_strings_and_doubles() {
        let o = Object::read(r#"{"a":734,"b":"734","c":734.0,"d":1.2345678E7,"e":734.5,"f":-1,"g":{},"h":""}"#).unwrap();
        for (key, id) in
            [("a", Some("734")), ("b", Some("734")), ("c", Some("734")), ("d", Some("12345678")), ("e", None), ("f", None), ("g", None), ("h", None)]
        {
            assert_eq!(o.id(key).as_deref(), id, "{key}");
        }
    }

    #[test]
    fn dates_are_arrays_or_iso_texts_and_nothing_else() {
        let o = Object::read(r#"{"a":[2026,11,20],"b":"2026-11-20","c":"2026-11-20T08:14:22Z","d":[2026,2,31],"e":[2026,11],"f":20261120,"g":[2026,11,20,8,30,0],"h":"2026-11-20x"}"#).unwrap();
        let day = NaiveDate::from_ymd_opt(2026, 11, 20);
        for key in ["a", "b", "c", "g"] {
            assert_eq!(o.date(key).unwrap(), day, "{key}");
        }
        for key in ["d", "e", "f", "h"] {
            assert!(o.date(key).is_err(), "{key}");
        }
        assert_eq!(o.date("absent").unwrap(), None);
    }

    #[test]
    fn a_switch_that_cannot_be_read_is_never_taken_for_off() {
        let o = Object::read(r#"{"a":true,"b":"true","c":false,"d":7,"e":"yes"}"#).unwrap();
        assert!(o.flag("a").unwrap() && o.flag("b").unwrap());
        assert!(!o.flag("c").unwrap() && !o.flag("absent").unwrap());
        assert!(o.flag("d").is_err() && o.flag("e").is_err());
    }

    #[test]
    fn what_is_no_object_is_unreadable() {
        for text in ["", "[]", "null", "<html></html>", "{\"a\":", "12", "\"{}\"", "{\"a\":1}x"] {
            assert!(matches!(Object::read(text), Err(CoreError::Unreadable(_))), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,80}", key in "[a-c]") {
            let wrapped = format!("{{\"{key}\":{text}}}");
            for candidate in [text.as_str(), wrapped.as_str()] {
                if let Ok(o) = Object::read(candidate) {
                    let _ = (o.money(&key), o.date(&key), o.flag(&key), o.id(&key), o.small(&key), o.array(&key), o.object(&key));
                }
            }
            let _ = plain_decimal(&text);
            let _ = bounded(text.as_bytes(), 7);
        }

        #[test]
        fn an_exponent_is_undone_without_losing_a_cent(minor in 0i64..10_000_000_000, shift in 0i32..6) {
            let moved = plain_decimal(&format!("{minor}E-2")).unwrap();
            proptest::prop_assert_eq!(Money::parse(&moved), Ok(Money::from_minor(minor)));
            let up = plain_decimal(&format!("{minor}.00E{shift}")).unwrap();
            proptest::prop_assert_eq!(whole_number(&up), Some(u64::try_from(minor).unwrap() * 10u64.pow(shift.unsigned_abs())));
        }
    }
}
