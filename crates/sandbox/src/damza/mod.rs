//! The Damza SMS gateway, simulated from the SMS contract (an assumed contract: nothing public stands behind it).
//!
//! Here: send, status, balance, delivery reports with their signature and repeats, magic numbers and dials. Texts land in
//! the inboxes of the virtual phones. Not here: any other gateway.

mod options;
mod reports;
mod segments;
mod sending;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

pub use options::{DamzaAccount, DamzaFaults, DamzaOptions};
pub use segments::segments;

use self::reports::{REPEATS, Stage, after};
use crate::phones::Phones;
use crate::random::Chance;
use crate::wire::{Delivery, Reply, Request, Response, Simulator};

/// One text that the gateway took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentText {
    /// The gateway's id.
    pub message_id: String,
    /// The client's id.
    pub reference: String,
    /// The account's user name.
    pub username: String,
    /// Shown to the recipient.
    pub sender_id: String,
    /// `254` and nine digits.
    pub recipient: String,
    /// The text.
    pub message: String,
    /// Parts billed.
    pub segments: u32,
    /// The last status, as in a report.
    pub status: String,
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// When `status` changed last.
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug)]
struct Message {
    text: SentText,
    api_key: String,
    answer: Bytes,
}

/// One simulated Damza gateway.
#[derive(Debug)]
pub struct DamzaSim {
    options: DamzaOptions,
    faults: DamzaFaults,
    phones: Phones,
    chance: Chance,
    messages: Vec<Message>,
    by_id: BTreeMap<String, usize>,
    /// By account key and reference.
    by_reference: BTreeMap<(String, String), usize>,
    agenda: BTreeMap<(DateTime<Utc>, u64), (usize, Stage)>,
    outbox: BTreeMap<(DateTime<Utc>, u64), Delivery>,
    /// Repeats already made of a delivery that has not ended.
    repeats: BTreeMap<u64, usize>,
    sequence: u64,
}

impl DamzaSim {
    /// A gateway whose chance comes from `seed`, texting to `phones`.
    pub fn new(phones: Phones, seed: u64, options: DamzaOptions) -> Self {
        Self {
            options,
            faults: DamzaFaults::default(),
            phones,
            chance: Chance::new(seed ^ 0xd4a2a),
            messages: Vec::new(),
            by_id: BTreeMap::new(),
            by_reference: BTreeMap::new(),
            agenda: BTreeMap::new(),
            outbox: BTreeMap::new(),
            repeats: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Opens another account.
    pub fn add_account(&mut self, account: DamzaAccount) {
        self.options.accounts.push(account);
    }

    /// Sets where an account's delivery reports go. `false`: no account has that user name.
    pub fn set_report_url(&mut self, username: &str, url: &str) -> bool {
        let account = self.options.accounts.iter_mut().find(|account| account.username == username);
        account.map(|account| account.report_url = Some(url.to_owned())).is_some()
    }

    /// The accounts, with their balances.
    pub fn accounts(&self) -> &[DamzaAccount] {
        &self.options.accounts
    }

    /// The accounts, to change.
    pub fn accounts_mut(&mut self) -> &mut Vec<DamzaAccount> {
        &mut self.options.accounts
    }

    /// The dials.
    pub fn faults_mut(&mut self) -> &mut DamzaFaults {
        &mut self.faults
    }

    /// Every text that was taken, oldest first.
    pub fn sent(&self) -> impl Iterator<Item = &SentText> {
        self.messages.iter().map(|message| &message.text)
    }

    fn next_id(&mut self) -> u64 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn account_of(&self, request: &Request) -> Option<usize> {
        let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = value.split_once(' ')?;
        let position = self.options.accounts.iter().position(|account| account.api_key == key.trim())?;
        scheme.eq_ignore_ascii_case("bearer").then_some(position)
    }
    fn status(&self, request: &Request, message_id: &str) -> Response {
        let Some(account) = self.account_of(request).and_then(|index| self.options.accounts.get(index)) else {
            return refusal(401, "INVALID_CREDENTIALS", "Unknown API key", "");
        };
        let message = self.by_id.get(message_id).and_then(|&index| self.messages.get(index));
        let Some(message) = message.filter(|message| message.api_key == account.api_key) else {
            return refusal(404, "NOT_FOUND", "No such message", "");
        };
        let text = &message.text;
        let body = json!({
            "message_id": text.message_id, "reference": text.reference, "status": text.status,
            "updated_at": nairobi(text.updated_at),
        });
        json_response(200, body.to_string())
    }

    fn balance(&self, request: &Request) -> Response {
        match self.account_of(request).and_then(|index| self.options.accounts.get(index)) {
            Some(account) => {
                let body = json!({ "balance": decimal(account.balance_cents), "currency": "KES" });
                json_response(200, body.to_string())
            }
            None => refusal(401, "INVALID_CREDENTIALS", "Unknown API key", ""),
        }
    }
}

impl Simulator for DamzaSim {
    fn handle(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        self.advance(now);
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::POST, "/v1/sms/send") => self.send(now, request),
            (&Method::GET, "/v1/account/balance") => Reply::now(self.balance(request)),
            (&Method::GET, path) => match path.strip_prefix("/v1/sms/") {
                Some(message_id) => Reply::now(self.status(request, message_id)),
                None => Reply::now(refusal(404, "NOT_FOUND", "No such path", "")),
            },
            _ => Reply::now(refusal(404, "NOT_FOUND", "No such path", "")),
        }
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        let stage = self.agenda.first_key_value().map(|(key, _)| key.0);
        let report = self.outbox.first_key_value().map(|(key, _)| key.0);
        match (stage, report) {
            (Some(stage), Some(report)) => Some(stage.min(report)),
            (stage, report) => stage.or(report),
        }
    }

    fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Delivery> {
        self.advance(now);
        let mut due = Vec::new();
        while let Some(entry) = self.outbox.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        due
    }

    fn delivered(&mut self, now: DateTime<Utc>, delivery: &Delivery, status: Option<u16>) {
        let made = self.repeats.remove(&delivery.id).unwrap_or(REPEATS.len());
        if status.is_some_and(|status| (200..300).contains(&status)) {
            return;
        }
        if let Some(&seconds) = REPEATS.get(made) {
            let at = after(now, Duration::from_secs(seconds));
            self.leave(at, delivery.request.clone(), delivery.what.clone(), made + 1);
        }
    }
}

fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

/// With the offset, as the contract's samples: `2025-01-15T09:31:02+03:00`.
fn nairobi(at: DateTime<Utc>) -> String {
    match FixedOffset::east_opt(3 * 3600) {
        Some(offset) => at.with_timezone(&offset).to_rfc3339_opts(SecondsFormat::Secs, false),
        None => at.to_rfc3339(),
    }
}

fn json_response(status: u16, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refusal(status: u16, code: &str, message: &str, reference: &str) -> Response {
    let body = json!({
        "status": "rejected", "error": { "code": code, "message": message }, "reference": reference,
    });
    json_response(status, body.to_string())
}
