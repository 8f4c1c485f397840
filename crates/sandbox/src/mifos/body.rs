//! Reading a request body as strictly as Fineract: unknown members are refused, dates need `dateFormat` and `locale`,
//! amounts need `locale` (Mifos X contract 1.4). Amounts are read from the raw token, never through a float.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::Json;
use super::refusal::{FieldError, Refusal};

/// A JSON object as it came: raw tokens by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    fields: BTreeMap<String, Box<RawValue>>,
}

impl Body {
    /// Reads a body; anything but a JSON object is refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let fields = serde_json::from_slice(bytes).map_err(|_| Refusal::body())?;
        Ok(Self { fields })
    }

    /// Refuses every member that is not allowed, one error each.
    pub(crate) fn only(&self, allowed: &[&str]) -> Result<(), Refusal> {
        let errors: Vec<_> = self
            .fields
            .keys()
            .filter(|name| !allowed.contains(&name.as_str()))
            .map(|name| FieldError::new("error.msg.parameter.unsupported", Some(name), None))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(Refusal::validation(errors)) }
    }

    /// The raw JSON of a member; `null` counts as absent.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
    }

    /// A member as text: a string's content, or a number's or a boolean's token.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let raw = self.raw(name)?;
        if raw.starts_with('"') { serde_json::from_str(raw).ok() } else { Some(raw.to_owned()) }
    }

    /// A member that is not blank.
    pub(crate) fn filled(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.trim().is_empty())
    }

    /// A boolean, also as text.
    pub(crate) fn truth(&self, name: &str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The body as a hook carries it: every number has become a double (Mifos X contract 7.2).
    pub(crate) fn with_doubles(&self) -> Json {
        Json::Map(
            self.fields
                .iter()
                .map(|(name, raw)| {
                    let value = serde_json::from_str::<Value>(raw.get()).map_or(Json::Null, |value| doubled(&value));
                    (name.clone().into(), value)
                })
                .collect(),
        )
    }
}

fn doubled(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => Json::Token(java_double(&number.to_string())),
        Value::String(text) => text.clone().into(),
        Value::Array(items) => Json::List(items.iter().map(doubled).collect()),
        Value::Object(members) => Json::Map(members.iter().map(|(name, value)| (name.clone().into(), doubled(value))).collect()),
    }
}

/// The text of a Java double: `15000` becomes `15000.0`, and from ten million on `1.5E7`.
fn java_double(token: &str) -> String {
    let (sign, digits) = token.strip_prefix('-').map_or(("", token), |rest| ("-", rest));
    if digits.contains(['e', 'E']) {
        return token.to_owned();
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.len() < 8 {
        return format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction });
    }
    let mut rest = String::from(whole.get(1..).unwrap_or_default());
    rest.push_str(fraction);
    let rest = rest.trim_end_matches('0');
    let first = whole.get(..1).unwrap_or("0");
    format!("{sign}{first}.{}E{}", if rest.is_empty() { "0" } else { rest }, whole.len().saturating_sub(1))
}

/// Shillings as text to cents. `None`: not a plain decimal, or finer than a cent, or too large for a bank.
pub(crate) fn cents_of(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.len() <= 13 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) {
        return None;
    }
    let (fine, beyond) = fraction.split_at(fraction.len().min(2));
    if beyond.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let cents: i64 = format!("{fine:0<2}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(cents)?.checked_mul(sign)
}

/// Reads typed members and gathers the errors of all of them, as Fineract's validator does.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    body: &'a Body,
    /// The resource in codes: `validation.msg.{resource}.{parameter}.cannot.be.blank`.
    resource: &'static str,
    errors: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a Body, resource: &'static str) -> Self {
        Self { body, resource, errors: Vec::new() }
    }

    fn fault(&mut self, name: &str, what: &str) {
        let code = format!("validation.msg.{}.{name}.{what}", self.resource);
        self.errors.push(FieldError::new(code, Some(name), self.body.text(name)));
    }

    /// Refuses a member that stands without its `locale`, or with a bad one. This answer comes at once, not gathered.
    fn locale(&self) -> Result<(), Refusal> {
        let Some(locale) = self.body.filled("locale") else {
            return Err(Refusal::invalid("validation.msg.missing.locale.parameter", Some("locale"), None));
        };
        let (language, country) = locale.split_once('_').map_or((locale.as_str(), None), |(language, country)| (language, Some(country)));
        let good = language.len() == 2
            && language.bytes().all(|byte| byte.is_ascii_lowercase())
            && country.is_none_or(|country| country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()));
        if good { Ok(()) } else { Err(Refusal::invalid("validation.msg.invalid.locale.format", Some("locale"), Some(locale))) }
    }

    /// A date in the body's own `dateFormat`.
    pub(crate) fn date(&mut self, name: &str, mandatory: bool) -> Result<Option<NaiveDate>, Refusal> {
        let Some(text) = self.body.filled(name) else {
            if mandatory {
                self.fault(name, "cannot.be.blank");
            }
            return Ok(None);
        };
        let Some(pattern) = self.body.filled("dateFormat") else {
            return Err(Refusal::invalid("validation.msg.missing.dateFormat.parameter", Some("dateFormat"), None));
        };
        self.locale()?;
        let bad = || Refusal::invalid("validation.msg.invalid.dateFormat.format", Some(name), Some(text.clone()));
        read_date(&text, &pattern).map(Some).ok_or_else(bad)
    }

    /// An amount in shillings, as cents.
    pub(crate) fn amount(&mut self, name: &str, mandatory: bool) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.body.filled(name) else {
            if mandatory {
                self.fault(name, "cannot.be.blank");
            }
            return Ok(None);
        };
        self.locale()?;
        cents_of(&text).map(Some).ok_or_else(|| Refusal::invalid("validation.msg.invalid.decimal.format", Some(name), Some(text)))
    }

    /// An amount above zero.
    pub(crate) fn positive(&mut self, name: &str, mandatory: bool) -> Result<Option<i64>, Refusal> {
        let amount = self.amount(name, mandatory)?;
        if amount.is_some_and(|cents| cents <= 0) {
            self.fault(name, "not.greater.than.zero");
        }
        Ok(amount)
    }

    /// A text of at most `longest` characters.
    pub(crate) fn text(&mut self, name: &str, longest: usize) -> Option<String> {
        let text = self.body.filled(name)?;
        if text.chars().count() > longest {
            self.fault(name, "exceeds.max.length");
        }
        Some(text)
    }

    /// An id.
    pub(crate) fn id(&mut self, name: &str, mandatory: bool) -> Option<u64> {
        let Some(text) = self.body.filled(name) else {
            if mandatory {
                self.fault(name, "cannot.be.blank");
            }
            return None;
        };
        let id = text.parse().ok();
        if id.is_none() {
            self.fault(name, "not.greater.than.zero");
        }
        id
    }

    /// All gathered errors at once.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::validation(self.errors)) }
    }
}

/// A date by a Java pattern, strictly: 31 February and missing digits are refused.
pub(crate) fn read_date(text: &str, pattern: &str) -> Option<NaiveDate> {
    let mut format = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut count = 1;
        while letter.is_ascii_alphabetic() && letters.peek() == Some(&letter) {
            letters.next();
            count += 1;
        }
        format.push_str(match (letter, count) {
            ('y', 4) => "%Y",
            ('M', 4..) => "%B",
            ('M', 3) => "%b",
            ('M', 2) => "%m",
            ('M', 1) => "%-m",
            ('d', 2) => "%d",
            ('d', 1) => "%-d",
            ('%', _) => "%%",
            (other, _) if other.is_ascii_alphabetic() => return None,
            (other, _) => {
                format.push(other);
                continue;
            }
        });
    }
    let date = NaiveDate::parse_from_str(text, &format).ok()?;
    (date.format(&format).to_string() == text).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_from_the_token_to_the_cent() {
        assert_eq!(cents_of("15000"), Some(1_500_000));
        assert_eq!(cents_of("15000.5"), Some(1_500_050));
        assert_eq!(cents_of("15000.550000"), Some(1_500_055));
        assert_eq!(cents_of("-3"), Some(-300));
        for bad in ["", "15,000", "1e5", "1.005", ".5", "5.", "1.2.3", "99999999999999"] {
            assert_eq!(cents_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_read_strictly_by_their_pattern() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 20);
        assert_eq!(read_date("2026-11-20", "yyyy-MM-dd"), day);
        assert_eq!(read_date("20 November 2026", "dd MMMM yyyy"), day);
        assert_eq!(read_date("2026-02-31", "yyyy-MM-dd"), None);
        assert_eq!(read_date("2026-2-03", "yyyy-MM-dd"), None);
        assert_eq!(read_date("20/11/2026", "yyyy-MM-dd"), None);
        assert_eq!(read_date("2026-11-20", "qq"), None);
    }

    #[test]
    fn numbers_of_a_request_become_doubles_in_the_hook() {
        let body = Body::parse(br#"{"a":15000,"b":"x","c":[5],"d":15000000,"e":1.50}"#).unwrap();
        assert_eq!(body.with_doubles().render(), r#"{"a":15000.0,"b":"x","c":[5.0],"d":1.5E7,"e":1.5}"#);
    }

    #[test]
    fn a_date_without_its_companions_is_refused_by_name() {
        let body = Body::parse(br#"{"day":"2026-11-20","locale":"en-KE"}"#).unwrap();
        let code = |body: &Body| Reader::new(body, "loan").date("day", true).unwrap_err().inner().to_owned();
        assert_eq!(code(&body), "validation.msg.missing.dateFormat.parameter");
        let body = Body::parse(br#"{"day":"2026-11-20","dateFormat":"yyyy-MM-dd"}"#).unwrap();
        assert_eq!(code(&body), "validation.msg.missing.locale.parameter");
        let body = Body::parse(br#"{"day":"2026-11-20","dateFormat":"yyyy-MM-dd","locale":"en-KE"}"#).unwrap();
        assert_eq!(code(&body), "validation.msg.invalid.locale.format");
    }
}
