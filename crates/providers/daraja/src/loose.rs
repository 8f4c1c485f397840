//! Reading loosely typed JSON (M-Pesa contract 0.5): every value is kept as its raw token and read as text, so that `0`
//! and `"0"` are the same and an amount never passes through a float.
//!
//! Nothing here recurses into nested values, so depth costs nothing.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use pv_kernel::rail::Unreadable;

use crate::limits::MAX_CALLBACK;

/// The members of one JSON object, in order, keys without spaces (M-Pesa contract 6.1, trap 3).
#[derive(Debug, Default)]
pub(crate) struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let key = without_spaces(&key);
                    // Two answers to one question are no answer: `ResultCode` twice must not be read as either.
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(A::Error::custom("a member occurs twice"));
                    }
                    if members.len() >= MAX_MEMBERS {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// No object of the contract comes near this.
const MAX_MEMBERS: usize = 256;
/// No list of parameters of the contract comes near this.
const MAX_ENTRIES: usize = 1024;

impl Object {
    /// Reads a body. Bytes that are no UTF-8 are replaced: a name in Latin-1 must not lose us a receipt.
    pub(crate) fn from_body(body: &[u8]) -> Result<Self, Unreadable> {
        if body.len() > MAX_CALLBACK {
            return Err(Unreadable(format!("a body of {} bytes", body.len())));
        }
        let text = String::from_utf8_lossy(body);
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| Unreadable(format!("not a JSON object as expected, at line {} column {}", e.line(), e.column())))
    }

    fn raw(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_ref())
    }

    /// The text of a string or number; `None` when missing, `null`, or something else.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.raw(key).and_then(text_of)
    }

    /// The text, when it is not empty.
    pub(crate) fn filled(&self, key: &str) -> Option<String> {
        self.text(key).filter(|t| !t.trim().is_empty())
    }

    /// A member that is an object itself.
    pub(crate) fn object(&self, key: &str) -> Option<Self> {
        self.raw(key).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// A list of objects that may come as an array or as one bare object.
    fn entries(&self, key: &str) -> Vec<Self> {
        let Some(raw) = self.raw(key) else {
            return Vec::new();
        };
        if let Ok(one) = serde_json::from_str::<Self>(raw.get()) {
            return vec![one];
        }
        let many: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).unwrap_or_default();
        many.iter().take(MAX_ENTRIES).filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect()
    }
}

/// The text of a JSON string, number or boolean.
fn text_of(raw: &RawValue) -> Option<String> {
    let token = raw.get();
    match token.as_bytes().first()? {
        b'"' => Some(serde_json::from_str(token).unwrap_or_else(|_| token.trim_matches('"').to_owned())),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(token.to_owned()),
        _ => None,
    }
}

fn without_spaces(key: &str) -> String {
    key.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The `Key`/`Value` pairs of a result, in order, with duplicates (M-Pesa contract 6.1, trap 3).
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, Option<String>)>);

impl Parameters {
    /// From the `Result` object; empty when there are none.
    pub(crate) fn of(result: &Object) -> Self {
        let pairs = result.object("ResultParameters").map(|p| p.entries("ResultParameter")).unwrap_or_default();
        Self(pairs.iter().filter_map(|pair| Some((without_spaces(&pair.text("Key")?), pair.text("Value")))).collect())
    }

    /// All filled values of a key.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == key).filter_map(|(_, value)| value.as_deref()).filter(|v| !v.trim().is_empty()).collect()
    }

    /// The value of a key; `None` when it is missing, empty, or given twice with different values.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let all = self.all(key);
        let first = all.first().copied()?;
        all.iter().all(|v| *v == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_are_the_same_text() {
        let o = Object::from_body(br#"{"a":0,"b":"0","c":null,"d":"","e":[0],"f":{"x":1},"g":10.50,"h":-3}"#).unwrap();
        assert_eq!((o.text("a"), o.text("b")), (Some("0".into()), Some("0".into())));
        assert_eq!((o.text("c"), o.filled("d"), o.text("e"), o.text("f"), o.text("zz")), (None, None, None, None, None));
        assert_eq!((o.text("g"), o.text("h")), (Some("10.50".into()), Some("-3".into())));
    }

    #[test]
    fn a_member_given_twice_makes_the_object_unreadable() {
        assert!(Object::from_body(br#"{"ResultCode":1,"ResultCode":0}"#).is_err());
        assert!(Object::from_body(br#"{"Result Code":1,"ResultCode":0}"#).is_err());
    }

    #[test]
    fn parameters_come_as_array_or_bare_object_or_not_at_all() {
        let read = |json: &str| Parameters::of(&Object::from_body(json.as_bytes()).unwrap());
        assert_eq!(read(r#"{"ResultParameters":{"ResultParameter":{"Key":"A","Value":1}}}"#).get("A"), Some("1"));
        assert_eq!(read(r#"{"ResultParameters":{"ResultParameter":[{"Key":"A B","Value":"x"},{"Key":"C"}, 7]}}"#).get("AB"), Some("x"));
        for none in ["{}", r#"{"ResultParameters":null}"#, r#"{"ResultParameters":{"ResultParameter":"x"}}"#, r#"{"ResultParameters":[]}"#] {
            assert_eq!(read(none).get("A"), None);
        }
        let twice = read(r#"{"ResultParameters":{"ResultParameter":[{"Key":"A","Value":1},{"Key":"A","Value":2}]}}"#);
        assert_eq!((twice.get("A"), twice.all("A").len()), (None, 2));
    }
}
