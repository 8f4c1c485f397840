//! Sending: checks, idempotency by reference, and the fate that the recipient's last digits or the dials choose.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use serde_json::json;

use super::reports::Fate;
use super::{DamzaSim, Message, SentText, decimal, json_response, refusal, segments};
use crate::phones::is_kenyan_mobile;
use crate::wire::{Reply, Request, Response};

/// KES cents per part.
const CENTS_PER_PART: i64 = 80;
/// The most parts one message may have.
const LONGEST: u32 = 10;
/// A reference is remembered this long.
const REFERENCE_HOURS: i64 = 24;

#[derive(Debug, Deserialize)]
struct Send {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    sender_id: String,
    #[serde(default)]
    recipient: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reference: String,
}

impl DamzaSim {
    pub(super) fn send(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        let slow = self.chance.per_mille(self.faults.slow);
        let longest = u64::try_from(self.faults.slow_up_to.as_millis()).unwrap_or(u64::MAX - 1);
        let delay = Duration::from_millis(if slow { self.chance.below(longest.saturating_add(1)) } else { 0 });
        if self.chance.per_mille(self.faults.dropped) {
            return Reply { response: None, delay };
        }
        if self.chance.per_mille(self.faults.down) {
            return Reply { response: Some(refusal(503, "GATEWAY_ERROR", "Service unavailable", "")), delay };
        }
        if self.chance.per_mille(self.faults.rate_limited) {
            let mut response = refusal(429, "RATE_LIMITED", "Too many requests", "");
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            return Reply { response: Some(response), delay };
        }
        let Ok(send) = serde_json::from_slice::<Send>(request.body()) else {
            return Reply { response: Some(refusal(400, "EMPTY_MESSAGE", "The body is not a message", "")), delay };
        };
        let lost = self.chance.per_mille(self.faults.answer_lost);
        let digits = self.magic_digits(&send.recipient);
        match self.take(now, request, &send, digits.as_deref()) {
            Err(response) => Reply { response: Some(*response), delay },
            Ok((_, true)) if lost || digits.as_deref() == Some("211") => Reply { response: None, delay },
            Ok((answer, fresh)) => {
                let overtaken = fresh && digits.as_deref() == Some("212");
                let delay = if overtaken { delay + Duration::from_secs(2) } else { delay };
                Reply { response: Some(json_response(200, answer)), delay }
            }
        }
    }

    /// The last three digits, when they have a meaning.
    fn magic_digits(&self, recipient: &str) -> Option<String> {
        let digits = recipient.get(recipient.len().checked_sub(3)?..)?;
        (self.options.magic_numbers && matches!(digits.as_bytes(), [b'2', b'0'..=b'1', b'0'..=b'9'])).then(|| digits.to_owned())
    }

    /// Takes a message or refuses it. `true`: it is new; `false`: its first answer is given again.
    fn take(&mut self, now: DateTime<Utc>, request: &Request, send: &Send, digits: Option<&str>) -> Result<(Bytes, bool), Box<Response>> {
        let refuse = |status, code, message: &str| Err(Box::new(refusal(status, code, message, &send.reference)));
        let position = self.account_of(request);
        let Some(account) = position.and_then(|position| self.options.accounts.get(position)) else {
            return refuse(401, "INVALID_CREDENTIALS", "Unknown API key");
        };
        if send.username == "nobalance" {
            return refuse(402, "INSUFFICIENT_BALANCE", "The account has too little money");
        }
        if account.username != send.username || account.password != send.password {
            return refuse(401, "INVALID_CREDENTIALS", "Unknown user name or password");
        }
        let (api_key, balance) = (account.api_key.clone(), account.balance_cents);
        let registered = account.senders.is_empty() || account.senders.contains(&send.sender_id);
        if !registered || send.sender_id == "NOTREG" || send.sender_id.is_empty() {
            return refuse(403, "INVALID_SENDER", "Sender id is not active for this account");
        }
        if send.message.trim().is_empty() {
            return refuse(400, "EMPTY_MESSAGE", "The message is empty");
        }
        let parts = segments(&send.message);
        if parts > LONGEST {
            return refuse(400, "MESSAGE_TOO_LONG", "The message has too many parts");
        }
        if let Some(answer) = self.answered_before(now, &api_key, send)? {
            return Ok((answer, false));
        }
        if !is_kenyan_mobile(&send.recipient) || digits == Some("202") {
            return refuse(400, "INVALID_RECIPIENT", "The recipient is not a mobile number");
        }
        match digits {
            Some("203") => return refuse(422, "BLACKLISTED", "The recipient opted out"),
            Some("209") => return refuse(503, "GATEWAY_ERROR", "Service unavailable"),
            Some("210") => return refuse(500, "GATEWAY_ERROR", "Internal error"),
            _ => {}
        }
        let cost = CENTS_PER_PART.saturating_mul(i64::from(parts));
        if balance < cost {
            return refuse(402, "INSUFFICIENT_BALANCE", "The account has too little money");
        }
        if let Some(account) = position.and_then(|position| self.options.accounts.get_mut(position)) {
            account.balance_cents = account.balance_cents.saturating_sub(cost);
        }
        let answer = self.keep(now, send, api_key, parts, cost);
        let fate = self.fate(digits);
        self.plan(now, self.messages.len().saturating_sub(1), fate);
        Ok((answer, true))
    }

    /// The first answer to this reference within 24 hours; another text under it is refused.
    fn answered_before(&self, now: DateTime<Utc>, api_key: &str, send: &Send) -> Result<Option<Bytes>, Box<Response>> {
        let key = (api_key.to_owned(), send.reference.clone());
        let known = self.by_reference.get(&key).and_then(|&index| self.messages.get(index));
        let fresh = |message: &&Message| now - message.text.at < TimeDelta::hours(REFERENCE_HOURS);
        let Some(known) = known.filter(fresh).filter(|_| !send.reference.is_empty()) else {
            return Ok(None);
        };
        if known.text.message != send.message || known.text.recipient != send.recipient {
            let message = "Another message has this reference";
            return Err(Box::new(refusal(409, "DUPLICATE_REFERENCE", message, &send.reference)));
        }
        Ok(Some(known.answer.clone()))
    }

    fn keep(&mut self, now: DateTime<Utc>, send: &Send, api_key: String, parts: u32, cost: i64) -> Bytes {
        let index = self.messages.len();
        let message_id = format!("DMZ-SIM-{:06}", index + 1);
        let body = json!({
            "status": "accepted", "message_id": message_id, "reference": send.reference, "segments": parts,
            "cost": decimal(cost), "currency": "KES",
        });
        let answer = Bytes::from(body.to_string());
        let text = SentText {
            message_id: message_id.clone(),
            reference: send.reference.clone(),
            username: send.username.clone(),
            sender_id: send.sender_id.clone(),
            recipient: send.recipient.clone(),
            message: send.message.clone(),
            segments: parts,
            status: "ACCEPTED".to_owned(),
            at: now,
            updated_at: now,
        };
        self.by_id.insert(message_id, index);
        self.by_reference.insert((api_key.clone(), send.reference.clone()), index);
        self.messages.push(Message { text, api_key, answer: answer.clone() });
        answer
    }

    fn fate(&mut self, digits: Option<&str>) -> Fate {
        match digits {
            Some("204") => return Fate::Failed,
            Some("205") => return Fate::BufferedThenDelivered,
            Some("206") => return Fate::Expired,
            Some("207") => return Fate::Silent,
            Some("208") => return Fate::TwiceThenLateFailure,
            Some("212") => return Fate::ReportFirst,
            _ => {}
        }
        if self.chance.per_mille(self.faults.undelivered) {
            Fate::Failed
        } else if self.chance.per_mille(self.faults.report_lost) {
            Fate::Silent
        } else {
            Fate::Delivered
        }
    }
}
