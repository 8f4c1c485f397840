//! Safaricom's Daraja, simulated from the M-Pesa contract: tokens, B2C payments, status and balance queries, result
//! callbacks, and M-Pesa's own books behind them.
//!
//! The way of a request: `handle` finds the endpoint; `oauth`, `b2c` or `queries` answers; what happens later stands in an
//! agenda of events with their moments; what M-Pesa calls by itself stands in an outbox. Every new API (C2B, STK, B2B)
//! is a file of its own with its arm in `handle` and its kind of `Event`.
//!
//! Everything that is drawn by chance comes from one seed, and nothing depends on the order of a hash map: the same seed
//! and the same calls give the same bytes.

mod b2c;
mod book;
mod codes;
mod credential;
mod faults;
mod gateway;
mod names;
mod oauth;
mod options;
mod portal;
mod queries;
mod result;
mod tariff;
mod urls;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Uri};
use serde::Serialize;

pub use book::{Account, Balances, Payment, PaymentState, StatementLine};
pub use codes::description;
pub use credential::{encrypt_credential, sandbox_certificate_der, sandbox_certificate_pem};
pub use faults::{DarajaFaults, Fault, NoticeShape, Outage, OutageForm, OutageTarget, ThrottleForm, magic_fault};
pub use options::{App, ChargeAccount, DarajaOptions, Initiator, Product, Shortcode, ShortcodeKind};
pub use portal::PortalRefused;
pub use result::{ResultParts, Token, result_body};
pub use tariff::b2c_charge_cents;
pub use urls::{UrlRefused, check_url};

use self::book::{Book, Till};
use self::credential::Credentials;
use self::faults::Scripts;
use self::names::Receipts;
use self::oauth::Tokens;
use self::queries::Query;
use crate::phones::Phones;
use crate::random::Chance;
use crate::wire::{Delivery, Reply, Request, Response, Simulator};

/// A call that M-Pesa made, and how it ended. M-Pesa does not repeat it (M-Pesa contract 8.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallbackRecord {
    /// The delivery's id.
    pub id: u64,
    /// When it left.
    pub at: DateTime<Utc>,
    /// In words.
    pub what: String,
    /// HTTP status of the answer; `None` when nobody answered.
    pub status: Option<u16>,
}

/// What happens later inside M-Pesa.
#[derive(Debug)]
enum Event {
    /// The payment at this index is processed: money moves or not.
    Process(usize),
    /// A query is answered.
    Answer(Box<Query>),
}

/// One simulated M-Pesa with its gateway.
#[derive(Debug)]
pub struct DarajaSim {
    options: DarajaOptions,
    faults: DarajaFaults,
    scripts: Scripts,
    outages: Vec<Outage>,
    phones: Phones,
    chance: Chance,
    receipts: Receipts,
    tokens: Tokens,
    credentials: Credentials,
    book: Book,
    /// First submissions per recipient with a magic number that counts.
    met: BTreeMap<String, u32>,
    agenda: BTreeMap<(DateTime<Utc>, u64), Event>,
    outbox: BTreeMap<(DateTime<Utc>, u64), Delivery>,
    callbacks: Vec<CallbackRecord>,
    sequence: u64,
}

impl DarajaSim {
    /// A simulator whose chance comes from `seed`, paying to `phones`.
    pub fn new(phones: Phones, seed: u64, mut options: DarajaOptions) -> Self {
        let mut book = Book::default();
        for shortcode in std::mem::take(&mut options.shortcodes) {
            book.tills.insert(shortcode.number.clone(), Till::new(shortcode));
        }
        Self {
            options,
            faults: DarajaFaults::default(),
            scripts: Scripts::default(),
            outages: Vec::new(),
            phones,
            chance: Chance::new(seed),
            receipts: Receipts::new(seed),
            tokens: Tokens::default(),
            credentials: Credentials::default(),
            book,
            met: BTreeMap::new(),
            agenda: BTreeMap::new(),
            outbox: BTreeMap::new(),
            callbacks: Vec::new(),
            sequence: 0,
        }
    }

    /// The options, which may be changed while it runs. Its list of shortcodes is empty: they are in the books.
    pub fn options_mut(&mut self) -> &mut DarajaOptions {
        &mut self.options
    }

    /// Opens another shortcode; one of the same number is replaced, books and all.
    pub fn add_shortcode(&mut self, shortcode: Shortcode) {
        self.book.tills.insert(shortcode.number.clone(), Till::new(shortcode));
    }

    /// Registers another portal app.
    pub fn add_app(&mut self, app: App) {
        self.options.apps.push(app);
    }

    /// The dials.
    pub fn faults_mut(&mut self) -> &mut DarajaFaults {
        &mut self.faults
    }

    /// Sets all dials.
    pub fn set_faults(&mut self, faults: DarajaFaults) {
        self.faults = faults;
    }

    /// Queues faults for requests that concern a payment whose `OriginatorConversationID` starts with `key`, or whose
    /// recipient is `key`. Each payment request that passes validation takes the next payment fault, each status query the
    /// next status fault; when a queue is empty, magic numbers and dials decide again. A scripted request is not
    /// touched by dials.
    pub fn script(&mut self, key: &str, faults: Vec<Fault>) {
        self.scripts.add(key, faults);
    }

    /// Announces an outage.
    pub fn outage(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    /// All accepted B2C payments, in the order of acceptance.
    pub fn payments(&self) -> impl Iterator<Item = &Payment> {
        self.book.records.iter().map(|record| &record.payment)
    }

    /// One payment by its `OriginatorConversationID`.
    pub fn payment(&self, originator: &str) -> Option<&Payment> {
        self.book.find(originator).map(|record| &record.payment)
    }

    /// The balances of a shortcode.
    pub fn balances(&self, shortcode: &str) -> Option<Balances> {
        self.book.tills.get(shortcode).map(|till| till.balances)
    }

    /// The movements of a shortcode's utility account, oldest first.
    pub fn statement(&self, shortcode: &str) -> Vec<StatementLine> {
        self.statement_of(shortcode, Account::Utility)
    }

    /// The movements of one account of a shortcode, oldest first.
    pub fn statement_of(&self, shortcode: &str, account: Account) -> Vec<StatementLine> {
        let lines = self.book.tills.get(shortcode).map(|till| till.lines.as_slice()).unwrap_or_default();
        lines.iter().filter(|line| line.account == account).cloned().collect()
    }

    /// All calls made so far whose end was reported.
    pub fn callbacks(&self) -> &[CallbackRecord] {
        &self.callbacks
    }

    /// The virtual phones.
    pub fn phones(&self) -> &Phones {
        &self.phones
    }

    fn next_id(&mut self) -> u64 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn schedule(&mut self, at: DateTime<Utc>, event: Event) {
        let id = self.next_id();
        self.agenda.insert((at, id), event);
    }

    /// Puts a POST into the outbox.
    fn call(&mut self, at: DateTime<Utc>, url: &str, body: Bytes, what: String) {
        // The URL was parsed when the request was checked; one that cannot be called is like a lost callback.
        let Ok(uri) = url.parse::<Uri>() else { return };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Apache-HttpClient/4.5.5 (Java/1.8.0_181)"));
        let id = self.next_id();
        self.outbox.insert((at, id), Delivery { id, at, request, what });
    }

    /// Lets everything happen that is due.
    fn advance(&mut self, now: DateTime<Utc>) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            match entry.remove() {
                Event::Process(index) => self.process(at, index),
                Event::Answer(query) => self.answer_query(at, *query),
            }
        }
    }

    /// The outage that strikes a request for this shortcode (or any request, with `None`).
    fn outage_form(&self, now: DateTime<Utc>, shortcode: Option<&str>) -> Option<OutageForm> {
        let strikes = |outage: &&Outage| match (&outage.target, shortcode) {
            (OutageTarget::Host, None) => true,
            (OutageTarget::Shortcode(number), Some(shortcode)) => number == shortcode,
            _ => false,
        };
        let mut current = self.outages.iter().filter(|outage| outage.from <= now && now < outage.until);
        current.find(strikes).map(|outage| outage.form)
    }

    fn outage_reply(&mut self, form: OutageForm) -> Reply {
        Reply { response: gateway::outage(&mut self.chance, form), delay: self.options.answer_delay }
    }

    fn reply(&self, response: Response) -> Reply {
        Reply { response: Some(response), delay: self.options.answer_delay }
    }
}

impl Simulator for DarajaSim {
    fn handle(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        self.advance(now);
        if let Some(form) = self.outage_form(now, None) {
            return self.outage_reply(form);
        }
        let path = request.uri().path();
        if path == "/oauth/v1/generate" {
            return self.issue_token(now, request);
        }
        let post = request.method() == Method::POST;
        match path {
            "/mpesa/b2c/v3/paymentrequest" if post => self.pay(now, request, b2c::Version::V3),
            "/mpesa/b2c/v1/paymentrequest" if post => self.pay(now, request, b2c::Version::V1),
            "/mpesa/transactionstatus/v1/query" if post => self.query_status(now, request),
            "/mpesa/accountbalance/v1/query" if post => self.query_balance(now, request),
            "/mpesa/b2c/v3/paymentrequest"
            | "/mpesa/b2c/v1/paymentrequest"
            | "/mpesa/transactionstatus/v1/query"
            | "/mpesa/accountbalance/v1/query" => {
                let response = gateway::error(&mut self.chance, 405, "405.001", "Method Not Allowed");
                self.reply(response)
            }
            _ => {
                let response = gateway::error(&mut self.chance, 404, "404.001.01", "Resource not found");
                self.reply(response)
            }
        }
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        let event = self.agenda.first_key_value().map(|(key, _)| key.0);
        let call = self.outbox.first_key_value().map(|(key, _)| key.0);
        match (event, call) {
            (Some(event), Some(call)) => Some(event.min(call)),
            (event, call) => event.or(call),
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

    fn delivered(&mut self, _now: DateTime<Utc>, delivery: &Delivery, status: Option<u16>) {
        let Delivery { id, at, what, .. } = delivery;
        self.callbacks.push(CallbackRecord { id: *id, at: *at, what: what.clone(), status });
    }
}

/// A moment some time later; far beyond the calendar it stays where it is.
fn later(at: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| at.checked_add_signed(by)).unwrap_or(at)
}
