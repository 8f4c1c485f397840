//! ASSUMED shapes of Damza (SMS contract 2.2 to 2.4): paths, members, codes and states. Nothing outside this crate may know
//! one of these names; when the real document arrives, this is what changes.

use pv_kernel::sms::{DeliveryState, SendError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Path of the send call after the base URL.
pub(crate) const SEND_PATH: &str = "/v1/sms/send";
/// Longest alphanumeric sender (SMS contract 5).
pub(crate) const LONGEST_SENDER: usize = 11;

/// The body of a send.
#[derive(Serialize)]
pub(crate) struct Send<'a> {
    pub username: &'a str,
    pub password: &'a str,
    pub sender_id: &'a str,
    pub recipient: String,
    pub message: &'a str,
    pub reference: &'a str,
}

/// Any answer to a send: taken or refused, every member optional and of any type.
#[derive(Deserialize)]
pub(crate) struct SendAnswer<'a> {
    #[serde(borrow, default)]
    pub status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub segments: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub currency: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

/// `error` of a refusal.
#[derive(Deserialize)]
pub(crate) struct Refusal<'a> {
    #[serde(borrow, default)]
    pub code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub message: Option<&'a RawValue>,
}

/// A delivery report.
#[derive(Deserialize)]
pub(crate) struct Report<'a> {
    #[serde(borrow, default)]
    pub message_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub reference: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error_message: Option<&'a RawValue>,
}

/// Longest text that is taken from the gateway.
const LONGEST_TEXT: usize = 200;

/// A member as text: a string or a number as it stands; blank, null and everything else is absent.
pub(crate) fn text(raw: Option<&RawValue>) -> Option<String> {
    let token = raw?.get().trim();
    let text = match token.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(token).ok()?,
        b'-' | b'0'..=b'9' => token.to_owned(),
        _ => return None,
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().take(LONGEST_TEXT).collect())
}

/// A cost in KES as 1/10,000 KES (rule B8), exactly: four places at most, otherwise it is not told.
pub(crate) fn cost_e4(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || !digits(whole) || !digits(fraction) || text.ends_with('.') {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 4 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<4}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(10_000)?.checked_add(fraction)
}

/// The class of a refusal (table of SMS contract 2.2). The code decides; without one that is known, the HTTP status does.
/// What cannot be placed is a refusal of this gateway when it is a 4xx or one of the listed 5xx, and unknown otherwise:
/// a message may have gone out before a proxy gave up.
pub(crate) fn class(http: u16, code: Option<&str>) -> fn(String) -> SendError {
    match code {
        Some("INVALID_RECIPIENT" | "EMPTY_MESSAGE" | "MESSAGE_TOO_LONG" | "DUPLICATE_REFERENCE" | "BLACKLISTED") => return SendError::Permanent,
        Some("INVALID_CREDENTIALS" | "INSUFFICIENT_BALANCE" | "INVALID_SENDER" | "RATE_LIMITED" | "GATEWAY_ERROR") => return SendError::Provider,
        _ => {}
    }
    match http {
        408 => SendError::Unknown,
        // The gateway's own refusal of this text, with a code that is not in the table.
        400 | 409 | 422 if code.is_some() => SendError::Permanent,
        400..=499 | 500 | 502 | 503 => SendError::Provider,
        _ => SendError::Unknown,
    }
}

/// The state of a report (SMS contract 2.4).
pub(crate) fn state(status: &str) -> Option<DeliveryState> {
    Some(match status.to_ascii_uppercase().as_str() {
        "SENT" => DeliveryState::Submitted,
        "BUFFERED" => DeliveryState::Buffered,
        "DELIVERED" => DeliveryState::Delivered,
        "FAILED" => DeliveryState::Undelivered,
        "EXPIRED" => DeliveryState::Expired,
        "REJECTED" => DeliveryState::Rejected,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_to_a_hundredth_of_a_cent() {
        for (text, cost) in [("0.80", Some(8_000)), ("0.8", Some(8_000)), ("1", Some(10_000)), ("0.0001", Some(1)), ("0.80000000", Some(8_000))] {
            assert_eq!(cost_e4(text), cost, "{text}");
        }
        for text in ["", "0.00001", "-1", "1e3", "KES 0.80", "1.", ".8", "99999999999999999999", "٣"] {
            assert_eq!(cost_e4(text), None, "{text}");
        }
    }

    #[test]
    fn states_are_those_of_the_contract_and_no_others() {
        for (status, expected) in [
            ("SENT", DeliveryState::Submitted),
            ("BUFFERED", DeliveryState::Buffered),
            ("DELIVERED", DeliveryState::Delivered),
            ("FAILED", DeliveryState::Undelivered),
            ("EXPIRED", DeliveryState::Expired),
            ("REJECTED", DeliveryState::Rejected),
            ("delivered", DeliveryState::Delivered),
        ] {
            assert_eq!(state(status), Some(expected), "{status}");
        }
        assert_eq!(state("ON_THE_MOON"), None);
    }
}
