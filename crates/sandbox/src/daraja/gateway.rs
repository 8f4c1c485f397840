//! The API gateway in front of M-Pesa: error bodies, tokens at the door, request bodies, field checks.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::value::RawValue;

use super::faults::{OutageForm, ThrottleForm};
use super::names::gateway_id;
use super::result::push_json_text;
use super::urls::check_url;
use crate::random::Chance;
use crate::wire::{Request, Response};

/// An answer with a body of the given type.
pub(crate) fn answer(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !response.body().is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// A JSON answer made of text fields.
pub(crate) fn json_answer(status: u16, fields: &[(&str, &str)]) -> Response {
    let mut out = String::with_capacity(256);
    for (index, (key, value)) in fields.iter().enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        push_json_text(&mut out, key);
        out.push(':');
        push_json_text(&mut out, value);
    }
    out.push('}');
    answer(status, "application/json", out)
}

/// The error envelope (M-Pesa contract 7.1).
pub(crate) fn error(chance: &mut Chance, status: u16, code: &str, message: &str) -> Response {
    json_answer(status, &[("requestId", &gateway_id(chance)), ("errorCode", code), ("errorMessage", message)])
}

/// `400.002.02`, naming the field.
pub(crate) fn invalid_field(chance: &mut Chance, field: &str) -> Response {
    error(chance, 400, "400.002.02", &format!("Bad Request - Invalid {field}"))
}

/// Throttled, in one of the documented forms.
pub(crate) fn throttled(chance: &mut Chance, form: ThrottleForm) -> Response {
    match form {
        ThrottleForm::GatewayFault => answer(
            429,
            "application/json",
            "{\"fault\":{\"faultstring\":\"Spike arrest violation. Allowed rate : MessageRate{messagesPerPeriod=5, \
             periodInMicroseconds=1000000, maxBurstMessageCount=1.0}\",\"detail\":{\"errorcode\":\
             \"policies.ratelimit.SpikeArrestViolation\"}}}",
        ),
        ThrottleForm::SpikeArrest => error(chance, 500, "500.003.02", "Error Occurred: Spike Arrest Violation"),
        ThrottleForm::Busy => error(chance, 500, "500.003.02", "System is busy. Please try again in few minutes."),
        ThrottleForm::Quota => error(chance, 500, "500.003.03", "Error Occurred: Quota Violation"),
    }
}

/// One of the 5xx answers that say nothing about whether the request was taken (M-Pesa contract 7.2).
pub(crate) fn server_error(chance: &mut Chance) -> Response {
    match chance.below(6) {
        0 => error(chance, 500, "500.002.1001", "System internal error."),
        1 => error(chance, 500, "500.003.1001", "Internal Server Error"),
        2 => error(chance, 500, "500.001.1001", "Internal failure"),
        3 => answer(500, "application/json", "{\"errorMessage\":\"Service is temporarily unavailable. Please try again later\"}"),
        4 => html(503),
        _ => html(502),
    }
}

/// A proxy's page.
pub(crate) fn html(status: u16) -> Response {
    answer(status, "text/html", "<html><head><title>Error</title></head><body><h1>Upstream error</h1></body></html>")
}

/// What an outage shows; `None` closes the connection.
pub(crate) fn outage(chance: &mut Chance, form: OutageForm) -> Option<Response> {
    match form {
        OutageForm::Closed => None,
        OutageForm::Html => Some(html(503)),
        OutageForm::Unreachable => {
            let message = "Service is currently unreachable. Please try again later.";
            Some(error(chance, 500, "500.003.1001", message))
        }
    }
}

/// The bearer token of a request.
pub(crate) fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

/// Whether the body says it is JSON; otherwise the gateway cannot read it (M-Pesa contract 0.3).
pub(crate) fn is_json(request: &Request) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The fields of a request's JSON object, each with its raw token, so that no number passes through a float.
#[derive(Debug)]
pub(crate) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// A string, or a number as it stands; `None` when missing, null or something else.
    pub(crate) fn text(&self, field: &str) -> Option<String> {
        let raw = self.0.get(field)?.get();
        match raw.as_bytes().first()? {
            b'"' => serde_json::from_str(raw).ok(),
            b'-' | b'0'..=b'9' => Some(raw.to_owned()),
            _ => None,
        }
    }

    /// A text of at least `shortest` and at most `longest` characters, or the name of the field that is wrong.
    pub(crate) fn sized(&self, field: &'static str, shortest: usize, longest: usize) -> Result<String, &'static str> {
        let text = self.text(field).unwrap_or_default();
        let length = text.trim().chars().count();
        if (shortest..=longest).contains(&length) { Ok(text) } else { Err(field) }
    }

    /// Digits only, of a length in the range.
    pub(crate) fn digits(&self, field: &'static str, shortest: usize, longest: usize) -> Result<String, &'static str> {
        let text = self.sized(field, shortest, longest)?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) { Ok(text) } else { Err(field) }
    }

    /// A callback URL that the gateway takes.
    pub(crate) fn url(&self, field: &'static str, production: bool) -> Result<String, &'static str> {
        let url = self.sized(field, 1, 2048)?;
        check_url(&url, production).map_err(|_| field)?;
        Ok(url)
    }

    /// Whole shillings as KES cents; `10`, `10.0`, `"10"` and `"10.00"` are the same.
    pub(crate) fn whole_shillings(&self, field: &'static str) -> Result<i64, &'static str> {
        let text = self.text(field).ok_or(field)?;
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(decimals) || decimals.bytes().any(|byte| byte != b'0') {
            return Err(field);
        }
        let shillings: i64 = whole.parse().map_err(|_| field)?;
        let cents = shillings.checked_mul(100).ok_or(field)?;
        if cents > 0 { Ok(cents) } else { Err(field) }
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    fn amount(token: &str) -> Option<i64> {
        let body = format!("{{\"Amount\":{token}}}");
        let fields = Fields::parse(body.as_bytes()).unwrap();
        fields.whole_shillings("Amount").ok()
    }

    #[test]
    fn amounts_are_read_from_the_token_and_must_be_whole() {
        for good in ["10", "10.0", "\"10\"", "\"10.00\""] {
            assert_eq!(amount(good), Some(1000), "{good}");
        }
        for bad in ["0", "-10", "10.5", "\"10.01\"", "1e3", "\"\"", "null", "true", "[10]", "\"ten\"", "\".\"", "99999999999999999999"] {
            assert_eq!(amount(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_body_that_is_no_object_is_no_request() {
        for body in ["", "[]", "3", "\"x\"", "{", "{\"a\":}", "null"] {
            assert!(Fields::parse(body.as_bytes()).is_none(), "{body}");
        }
    }
}
