//! JSON as Fineract writes it: members in a fixed order, null members left out, dates as arrays, amounts with six decimals.
//!
//! `serde_json::Value` cannot say `15000.000000` without a float, so answers are built from this small tree. Amounts
//! enter as cents and are printed from the integer. Reading JSON is `serde_json`'s work (`body.rs`).

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{Datelike, NaiveDate};

/// A JSON value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    /// Left out of objects, written as `null` in lists.
    Null,
    Bool(bool),
    Int(i64),
    /// Cents, written as shillings with six decimals.
    Amount(i64),
    /// A number token, written as it is.
    Token(String),
    /// A finished JSON text that never changes, written as it is.
    Fixed(&'static str),
    Text(Cow<'static, str>),
    List(Vec<Json>),
    Map(Vec<(Cow<'static, str>, Json)>),
}

/// Cents that are to be written as an amount of shillings with six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cents(pub(crate) i64);

impl Json {
    /// An object from its members, in order.
    pub(crate) fn map<const N: usize>(members: [(&'static str, Json); N]) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
    }

    /// Appends a member to an object; anything else stays as it is.
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Json>) {
        if let Self::Map(members) = self {
            members.push((Cow::Borrowed(name), value.into()));
        }
    }

    /// The JSON text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(1024);
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => append(out, format_args!("{value}")),
            Self::Amount(cents) => append_amount(out, *cents),
            Self::Token(token) => out.push_str(token),
            Self::Fixed(text) => out.push_str(text),
            Self::Text(text) => write_text(out, text),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(members) => {
                out.push('{');
                let mut first = true;
                for (name, value) in members {
                    if *value == Self::Null {
                        continue;
                    }
                    if !first {
                        out.push(',');
                    }
                    first = false;
                    write_text(out, name);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Keeps only the named members of an object, of each object of a list, or of each item of a page (`fields=`).
    pub(crate) fn trimmed(self, names: &[&str]) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(|item| item.trimmed(names)).collect()),
            Self::Map(members) if members.iter().any(|(name, _)| name == "pageItems") => Self::Map(
                members
                    .into_iter()
                    .map(|(name, value)| {
                        let value = if name == "pageItems" { value.trimmed(names) } else { value };
                        (name, value)
                    })
                    .collect(),
            ),
            Self::Map(members) => Self::Map(members.into_iter().filter(|(name, _)| names.contains(&name.as_ref())).collect()),
            other => other,
        }
    }
}

fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}

fn append_amount(out: &mut String, cents: i64) {
    let sign = if cents < 0 { "-" } else { "" };
    let size = cents.unsigned_abs();
    append(out, format_args!("{sign}{}.{:02}0000", size / 100, size % 100));
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                append(out, format_args!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number without needless decimals: `15000`, `15000.5`, `15000.55` (as in `changes`).
pub(crate) fn plain(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let size = cents.unsigned_abs();
    match (size / 100, size % 100) {
        (whole, 0) => format!("{sign}{whole}"),
        (whole, rest) if rest % 10 == 0 => format!("{sign}{whole}.{}", rest / 10),
        (whole, rest) => format!("{sign}{whole}.{rest:02}"),
    }
}

/// An enumeration as Fineract writes it everywhere: `{id, code, value}`.
pub(crate) fn choice(id: i64, code: impl Into<Json>, value: impl Into<Json>) -> Json {
    Json::map([("id", id.into()), ("code", code.into()), ("value", value.into())])
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<usize> for Json {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&'static str> for Json {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<&String> for Json {
    fn from(value: &String) -> Self {
        Self::Text(Cow::Owned(value.clone()))
    }
}

impl From<Cents> for Json {
    fn from(value: Cents) -> Self {
        Self::Amount(value.0)
    }
}

impl From<NaiveDate> for Json {
    fn from(date: NaiveDate) -> Self {
        Self::List(vec![i64::from(date.year()).into(), date.month().into(), date.day().into()])
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::List(items)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_with_six_decimals_and_never_through_a_float() {
        let value = Json::map([("a", Cents(1_500_000).into()), ("b", Cents(-5).into()), ("none", Json::Null)]);
        assert_eq!(value.render(), r#"{"a":15000.000000,"b":-0.050000}"#);
    }

    #[test]
    fn a_plain_number_has_no_needless_decimals() {
        assert_eq!((plain(1_500_000), plain(1_500_050), plain(1_500_055)), ("15000".into(), "15000.5".into(), "15000.55".into()));
    }

    #[test]
    fn hostile_text_stays_one_json_string() {
        let text = "a\"b\\c\u{1}\n\u{e9}";
        let back: String = serde_json::from_str(&Json::from(text.to_owned()).render()).unwrap_or_default();
        assert_eq!(back, text);
    }
}
