//! Transaction status and account balance: asked here, answered later at a `ResultURL` (M-Pesa contract 6.1, 6.2).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::b2c::reason_of;
use super::book::{Account, PaymentState, StatementLine, Till};
use super::faults::{Fault, ThrottleForm, throttle_form};
use super::gateway::{Fields, error, invalid_field, is_json, json_answer, server_error, throttled};
use super::names::{conversation_id, gateway_id, kes, placeholder, stamp};
use super::oauth::Caller;
use super::options::{Product, ShortcodeKind};
use super::result::{ResultParts, Token, loose_result_body};
use super::{DarajaSim, Event, later};
use crate::wire::{Reply, Request, Response};

/// A query that was acknowledged.
#[derive(Debug)]
pub(super) struct Query {
    kind: Kind,
    shortcode: String,
    initiator: String,
    credential: String,
    originator: String,
    conversation: String,
    result_url: String,
    occasion: String,
}

#[derive(Debug)]
enum Kind {
    Status { receipt: String, original: String, unknown: bool },
    Balance { failed: bool },
}

/// The fields that all initiator requests share.
#[derive(Debug)]
struct Shared {
    initiator: String,
    credential: String,
    shortcode: String,
    result_url: String,
    occasion: String,
}

/// What was asked for in a status query: the payment's receipt and its `OriginatorConversationID`; either may be empty.
#[derive(Debug)]
struct Wanted {
    receipt: String,
    original: String,
}

impl Shared {
    fn read(fields: &Fields<'_>, command: &str, production: bool) -> Result<Self, &'static str> {
        let initiator = fields.sized("Initiator", 1, 100)?;
        let credential = fields.sized("SecurityCredential", 1, 1000)?;
        if fields.text("CommandID").as_deref() != Some(command) {
            return Err("CommandID");
        }
        let shortcode = fields.digits("PartyA", 5, 7)?;
        if fields.text("IdentifierType").as_deref() != Some("4") {
            return Err("IdentifierType");
        }
        fields.sized("Remarks", 2, 100)?;
        fields.url("QueueTimeOutURL", production)?;
        let result_url = fields.url("ResultURL", production)?;
        let occasion = fields.text("Occasion").unwrap_or_default();
        Ok(Self { initiator, credential, shortcode, result_url, occasion })
    }
}

impl DarajaSim {
    /// `POST /mpesa/transactionstatus/v1/query`.
    pub(super) fn query_status(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        let (caller, shared, wanted) = match self.read_query(now, request, Product::Status) {
            Ok(read) => read,
            Err(response) => return self.reply(*response),
        };
        if let Some(reply) = self.shortcode_outage(now, &shared.shortcode) {
            return reply;
        }
        let fault = self.status_fault(&wanted);
        let delay = self.options.answer_delay + self.faults.draw_slow(&mut self.chance);
        let refused = if scripted_has(&fault, &Fault::StatusError) {
            Some(server_error(&mut self.chance))
        } else {
            self.door_of_query(now, &caller, &shared.shortcode, Product::Status)
        };
        if let Some(response) = refused {
            return Reply { response: Some(response), delay };
        }
        let unknown = scripted_has(&fault, &Fault::StatusUnknown);
        let kind = Kind::Status { receipt: wanted.receipt, original: wanted.original, unknown };
        let response = self.take_query(now, shared, kind, scripted_has(&fault, &Fault::StatusLost));
        Reply { response: Some(response), delay }
    }

    /// `POST /mpesa/accountbalance/v1/query`.
    pub(super) fn query_balance(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        let (caller, shared, _) = match self.read_query(now, request, Product::Balance) {
            Ok(read) => read,
            Err(response) => return self.reply(*response),
        };
        if let Some(reply) = self.shortcode_outage(now, &shared.shortcode) {
            return reply;
        }
        let delay = self.options.answer_delay + self.faults.draw_slow(&mut self.chance);
        if let Some(response) = self.door_of_query(now, &caller, &shared.shortcode, Product::Balance) {
            return Reply { response: Some(response), delay };
        }
        let failed = self.chance.per_mille(self.faults.balance_failed);
        let lost = self.chance.per_mille(self.faults.balance_result_lost);
        let response = self.take_query(now, shared, Kind::Balance { failed }, lost);
        Reply { response: Some(response), delay }
    }

    fn read_query(&mut self, now: DateTime<Utc>, request: &Request, product: Product) -> Result<(Caller, Shared, Wanted), Box<Response>> {
        let caller = self.admit(now, request, product)?;
        if !is_json(request) {
            return Err(Box::new(invalid_field(&mut self.chance, "Initiator")));
        }
        let Some(fields) = Fields::parse(request.body()) else {
            return Err(Box::new(error(&mut self.chance, 400, "400.002.05", "Invalid Request Payload")));
        };
        let command = if product == Product::Status { "TransactionStatusQuery" } else { "AccountBalance" };
        let shared = Shared::read(&fields, command, self.options.production).map_err(|field| Box::new(invalid_field(&mut self.chance, field)))?;
        let trimmed = |field| fields.text(field).unwrap_or_default().trim().to_owned();
        let wanted = Wanted { receipt: trimmed("TransactionID"), original: trimmed("OriginalConversationID") };
        if product == Product::Status && wanted.receipt.is_empty() && wanted.original.is_empty() {
            return Err(Box::new(invalid_field(&mut self.chance, "TransactionID")));
        }
        if !self.speaks_for(&caller, &shared.shortcode) {
            return Err(Box::new(invalid_field(&mut self.chance, "PartyA")));
        }
        Ok((caller, shared, wanted))
    }

    /// Script before dials.
    fn status_fault(&mut self, wanted: &Wanted) -> Fault {
        let index = self.find_payment(wanted);
        let record = index.and_then(|index| self.book.records.get(index));
        let (originator, msisdn) = match record {
            Some(record) => (record.payment.originator_conversation_id.as_str(), record.payment.msisdn.as_str()),
            None => (wanted.original.as_str(), ""),
        };
        if let Some(fault) = self.scripts.for_query(originator, msisdn) {
            return fault;
        }
        let dials = [
            (self.faults.status_error, Fault::StatusError),
            (self.faults.status_result_lost, Fault::StatusLost),
            (self.faults.status_unknown, Fault::StatusUnknown),
        ];
        Fault::All(dials.into_iter().filter(|(dial, _)| self.chance.per_mille(*dial)).map(|(_, fault)| fault).collect())
    }

    /// Throttled, token revoked, too fast.
    fn door_of_query(&mut self, now: DateTime<Utc>, caller: &Caller, shortcode: &str, product: Product) -> Option<Response> {
        if self.chance.per_mille(self.faults.throttled) {
            let form = throttle_form(&mut self.chance);
            return Some(throttled(&mut self.chance, form));
        }
        if self.chance.per_mille(self.faults.token_revoked) {
            return Some(self.revoke(caller, product));
        }
        if self.too_fast(now, shortcode) {
            return Some(throttled(&mut self.chance, ThrottleForm::SpikeArrest));
        }
        None
    }

    /// Acknowledges; the ids are the gateway's own.
    fn take_query(&mut self, now: DateTime<Utc>, shared: Shared, kind: Kind, lost: bool) -> Response {
        let originator = gateway_id(&mut self.chance);
        let conversation = conversation_id(&mut self.chance, now);
        let response = json_answer(
            200,
            &[
                ("OriginatorConversationID", &originator),
                ("ConversationID", &conversation),
                ("ResponseCode", "0"),
                ("ResponseDescription", "Accept the service request successfully."),
            ],
        );
        if !lost {
            let Shared { initiator, credential, shortcode, result_url, occasion } = shared;
            let query = Query { kind, shortcode, initiator, credential, originator, conversation, result_url, occasion };
            let jitter = Duration::from_millis(self.chance.below(250));
            self.schedule(later(now, self.options.query_delay + jitter), Event::Answer(Box::new(query)));
        }
        response
    }

    /// The core answers a query: the world as it is at this moment.
    pub(super) fn answer_query(&mut self, at: DateTime<Utc>, query: Query) {
        let refused = self.check_operator(&query.shortcode, &query.initiator, &query.credential, false);
        let parts = match &query.kind {
            Kind::Status { receipt, original, unknown } => {
                let wanted = Wanted { receipt: receipt.clone(), original: original.clone() };
                self.status_parts(at, &query, &wanted, refused.or(unknown.then_some("2032")))
            }
            Kind::Balance { failed } => self.balance_parts(at, &query, refused.or(failed.then_some("17"))),
        };
        let what = match query.kind {
            Kind::Status { .. } => format!("status result {} of query {}", parts.result_code, query.originator),
            Kind::Balance { .. } => format!("balance result {} of {}", parts.result_code, query.shortcode),
        };
        let body = loose_result_body(parts, &mut self.chance, self.options.loose_typing_per_mille);
        self.call(at, &query.result_url, body, what);
    }

    /// The payment that a status query means: by the request's id, else by receipt.
    fn find_payment(&self, wanted: &Wanted) -> Option<usize> {
        let by_id = self.book.by_originator.get(&wanted.original).filter(|_| !wanted.original.is_empty());
        by_id.or_else(|| self.book.by_receipt.get(&wanted.receipt)).copied()
    }

    fn status_parts(&mut self, at: DateTime<Utc>, query: &Query, wanted: &Wanted, refused: Option<&str>) -> ResultParts {
        let found = if refused.is_some() { None } else { self.status_of(at, query, wanted) };
        let code = refused.unwrap_or(if found.is_some() { "0" } else { "2032" });
        let mut parts = ResultParts::new(code, &query.originator, &query.conversation, &placeholder(at));
        let occasion = if query.occasion.is_empty() { Token::Missing } else { Token::Text(query.occasion.clone()) };
        parts.reference = ("Occasion".to_owned(), occasion);
        parts.parameters = found.unwrap_or_default();
        parts
    }

    /// The parameters of a found transaction; `None` when M-Pesa does not know it (yet) for this shortcode.
    fn status_of(&mut self, at: DateTime<Utc>, query: &Query, wanted: &Wanted) -> Option<Vec<(String, Token)>> {
        let Some(index) = self.find_payment(wanted) else {
            return self.status_of_line(query, wanted);
        };
        let record = self.book.records.get(index)?;
        let payment = &record.payment;
        let index_delay = TimeDelta::from_std(self.options.index_delay).unwrap_or_default();
        if payment.shortcode != query.shortcode || at - payment.accepted_at < index_delay {
            return None;
        }
        let till = self.book.tills.get(&payment.shortcode)?;
        let text = |value: &str| Token::Text(value.to_owned());
        let name = self.phones.name_of(&payment.msisdn).unwrap_or_default();
        let status = if payment.state == PaymentState::SentBack { "Reversed" } else { record.status_word };
        let charges = match payment.charge_cents {
            0 => String::new(),
            cents => format!("Fee For B2C Payment|KES|{}", kes(cents)),
        };
        let conversation = key_spelling(&mut self.chance, "ConversationID", "Conversation ID");
        let originator = key_spelling(&mut self.chance, "OriginatorConversationID", "Originator Conversation ID");
        let slip = self.chance.per_mille(self.options.loose_typing_per_mille) && self.chance.below(4) == 0;
        // The portal's own sample names both parties "DebitPartyName".
        let credit = if slip { "DebitPartyName" } else { "CreditPartyName" };
        let pairs = [
            ("ReceiptNo", payment.receipt.clone().map_or(Token::Missing, Token::Text)),
            (conversation, text(&payment.conversation_id)),
            (originator, text(&payment.originator_conversation_id)),
            ("TransactionStatus", text(status)),
            ("Amount", Token::Money(payment.cents)),
            ("InitiatedTime", Token::Digits(stamp(payment.accepted_at))),
            ("FinalisedTime", payment.settled_at.map_or(Token::Missing, |at| Token::Digits(stamp(at)))),
            ("ReasonType", text(reason_of(&payment.command))),
            ("TransactionReason", Token::Missing),
            ("DebitPartyName", Token::Text(format!("{} - {}", payment.shortcode, till.name))),
            (credit, Token::Text(format!("{} - {name}", payment.msisdn))),
            ("DebitAccountType", text("Utility Account")),
            ("DebitPartyCharges", Token::Text(charges)),
        ];
        Some(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A movement made at the portal, found by its receipt.
    fn status_of_line(&mut self, query: &Query, wanted: &Wanted) -> Option<Vec<(String, Token)>> {
        let till = self.book.tills.get(&query.shortcode)?;
        let line = till.lines.iter().find(|line| line.receipt == wanted.receipt)?;
        Some(line_parameters(query, till, line))
    }

    fn balance_parts(&mut self, at: DateTime<Utc>, query: &Query, refused: Option<&str>) -> ResultParts {
        let code = refused.unwrap_or("0");
        let parts = ResultParts::new(code, &query.originator, &query.conversation, &placeholder(at));
        let completed = Token::Digits(stamp(at));
        if refused.is_some() {
            // A failed balance result carries parameters all the same, and a reference without a value.
            let message = Token::Text(parts.result_desc.clone());
            let mut parts =
                parts.with("ActionType", Token::Text("AccountBalance".to_owned())).with("ErrorMsg", message).with("BOCompletedTime", completed);
            parts.reference = ("QueueTimeoutURL".to_owned(), Token::Missing);
            return parts;
        }
        let balances = self.balance_text(&query.shortcode);
        parts.with("AccountBalance", Token::Text(balances)).with("BOCompletedTime", completed)
    }

    /// Accounts joined by `&`, six fields joined by `|`: name, currency, current, available, reserved, uncleared.
    fn balance_text(&mut self, shortcode: &str) -> String {
        let Some(till) = self.book.tills.get(shortcode) else {
            return String::new();
        };
        let line = |name: &str, available: i64, reserved: i64| {
            let current = kes(available.saturating_add(reserved));
            format!("{name}|KES|{current}|{}|{}|0.00", kes(available), kes(reserved))
        };
        let balances = till.balances;
        let main = if till.kind == ShortcodeKind::Till { "Merchant Account" } else { "Utility Account" };
        let reserved = till.working_reserved_cents;
        let mut accounts = vec![
            line("Working Account", balances.working_cents.saturating_sub(reserved), reserved),
            line(main, balances.utility_cents, 0),
            line("Charges Paid Account", balances.charges_cents, 0),
        ];
        if matches!(till.kind, ShortcodeKind::Paybill | ShortcodeKind::OneAccount) {
            accounts.push(line("Organization Settlement Account", 0, 0));
        }
        self.chance.shuffle(&mut accounts);
        accounts.join("&")
    }

    /// The API operator's credential and role: the code that refuses, or none. Wrong ones count towards the lock.
    pub(super) fn check_operator(&mut self, shortcode: &str, name: &str, credential: &str, pays: bool) -> Option<&'static str> {
        let Some(till) = self.book.tills.get_mut(shortcode) else {
            return Some("6");
        };
        let known = till.operators.iter_mut().find(|operator| operator.initiator.name == name);
        // An unknown name is told like a wrong password, and locks nobody.
        let Some(operator) = known else {
            return Some("2001");
        };
        if operator.mismatches >= self.options.lock_after {
            return Some("8006");
        }
        if self.credentials.open(credential).as_deref() != Some(operator.initiator.password.as_str()) {
            operator.mismatches = operator.mismatches.saturating_add(1);
            return Some("2001");
        }
        operator.mismatches = 0;
        let allowed = if pays { operator.initiator.may_pay } else { operator.initiator.may_query };
        if allowed { None } else { Some("21") }
    }
}

/// Whether a fault is this one or contains it.
fn scripted_has(fault: &Fault, wanted: &Fault) -> bool {
    match fault {
        Fault::All(faults) => faults.iter().any(|fault| scripted_has(fault, wanted)),
        fault => fault == wanted,
    }
}

fn key_spelling(chance: &mut crate::random::Chance, new: &'static str, old: &'static str) -> &'static str {
    if chance.coin() { new } else { old }
}

fn line_parameters(query: &Query, till: &Till, line: &StatementLine) -> Vec<(String, Token)> {
    let text = |value: &str| Token::Text(value.to_owned());
    let ours = format!("{} - {}", query.shortcode, till.name);
    let (debit, credit) = if line.delta_cents < 0 { (ours, line.party.clone()) } else { (line.party.clone(), ours) };
    let account = match line.account {
        Account::Utility => "Utility Account",
        Account::Working => "Working Account",
        Account::ChargesPaid => "Charges Paid Account",
    };
    let pairs = [
        ("ReceiptNo", text(&line.receipt)),
        ("TransactionStatus", text("Completed")),
        ("Amount", Token::Money(line.delta_cents.saturating_abs())),
        ("InitiatedTime", Token::Digits(stamp(line.initiated_at))),
        ("FinalisedTime", Token::Digits(stamp(line.completed_at))),
        ("ReasonType", text(&line.reason)),
        ("DebitPartyName", Token::Text(debit)),
        ("CreditPartyName", Token::Text(credit)),
        ("DebitAccountType", text(account)),
        ("DebitPartyCharges", text("")),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
