//! Delivery reports: what is reported when, signed, and repeated until somebody takes it (SMS contract 2.4, 7).

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Uri};
use serde_json::json;

use super::{DamzaSim, nairobi};
use crate::wire::{Delivery, Request};

/// A report that was not answered 2xx is repeated after these many seconds (SMS contract 2.4).
pub(super) const REPEATS: [u64; 3] = [5, 30, 120];

/// A status that a message reaches.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    status: &'static str,
    error: Option<&'static str>,
    /// Copies of the report that leave.
    reports: u32,
}

/// What one send is going to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Delivered,
    Failed,
    BufferedThenDelivered,
    Expired,
    Silent,
    TwiceThenLateFailure,
    ReportFirst,
}

impl DamzaSim {
    /// What will be reported, and when (SMS contract 7).
    pub(super) fn plan(&mut self, now: DateTime<Utc>, index: usize, fate: Fate) {
        let last = if self.chance.per_mille(self.faults.report_twice) { 2 } else { 1 };
        let stage = |status, reports| Stage { status, error: None, reports };
        let failed = |status, error| Stage { status, error: Some(error), reports: last };
        let stages: Vec<(u64, Stage)> = match fate {
            Fate::Delivered => vec![(1_000, stage("SENT", 1)), (3_000, stage("DELIVERED", last))],
            Fate::Failed => vec![(1_000, stage("SENT", 1)), (3_000, failed("FAILED", "UserDoesNotExist"))],
            Fate::BufferedThenDelivered => {
                vec![(1_000, stage("SENT", 1)), (2_000, stage("BUFFERED", 1)), (20_000, stage("DELIVERED", last))]
            }
            Fate::Expired => vec![(1_000, stage("SENT", 1)), (5_000, failed("EXPIRED", "Expired"))],
            Fate::Silent => vec![(1_000, stage("SENT", 0)), (3_000, stage("DELIVERED", 0))],
            Fate::TwiceThenLateFailure => vec![
                (1_000, stage("SENT", 1)),
                (3_000, stage("DELIVERED", 2)),
                (8_000, Stage { status: "FAILED", error: Some("DeliveryFailure"), reports: 1 }),
            ],
            Fate::ReportFirst => vec![(0, stage("SENT", 1)), (500, stage("DELIVERED", last))],
        };
        for (millis, stage) in stages {
            let id = self.next_id();
            self.agenda.insert((after(now, Duration::from_millis(millis)), id), (index, stage));
        }
    }

    pub(super) fn advance(&mut self, now: DateTime<Utc>) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let (index, stage) = entry.remove();
            self.reach(at, index, &stage);
        }
    }

    /// A message reaches a stage: the phone gets the text, the client its report.
    fn reach(&mut self, at: DateTime<Utc>, index: usize, stage: &Stage) {
        let Some(message) = self.messages.get_mut(index) else {
            return;
        };
        let text = &mut message.text;
        if stage.status == "DELIVERED" {
            self.phones.inbox_push(at, &text.recipient, &text.sender_id, &text.message);
        }
        // A failure reported after the delivery does not take the text back.
        if text.status != "DELIVERED" {
            stage.status.clone_into(&mut text.status);
            text.updated_at = at;
        }
        let body = json!({
            "message_id": text.message_id, "reference": text.reference, "recipient": text.recipient,
            "status": stage.status, "error_code": stage.error, "error_message": stage.error,
            "updated_at": nairobi(at),
        });
        let body = Bytes::from(body.to_string());
        let what = format!("report {} for {}", stage.status, text.message_id);
        let account = self.options.accounts.iter().find(|account| account.api_key == message.api_key);
        let url = account.and_then(|account| account.report_url.as_deref()).and_then(|url| url.parse::<Uri>().ok());
        let Some(url) = url else { return };
        let signature = hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, message.api_key.as_bytes()), &body));
        let Ok(signature) = HeaderValue::from_str(&signature) else {
            return;
        };
        for _ in 0..stage.reports {
            let mut request = Request::new(body.clone());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = url.clone();
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.headers_mut().insert(HeaderName::from_static("x-damza-signature"), signature.clone());
            self.leave(at, request, what.clone(), 0);
        }
    }

    pub(super) fn leave(&mut self, at: DateTime<Utc>, request: Request, what: String, repeats: usize) {
        let id = self.next_id();
        self.repeats.insert(id, repeats);
        self.outbox.insert((at, id), Delivery { id, at, request, what });
    }
}

pub(super) fn after(at: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| at.checked_add_signed(by)).unwrap_or(at)
}
