//! A Mifos X host (Apache Fineract) from the Mifos X contract: the same wire, either release line, faults on demand.
//!
//! The story of a request: [`MifosSim`] finds the tenant and asks who it is (`address`); a read is answered from the
//! records (`reads`, `loan_json`, `clients`, `savings`, `search`); a write goes the way of all commands (`commands`: key, checker, act,
//! event) to its act (`loan_commands`, `repayments`, `savings`, `hooks`). Staff do the same without a wire (`staff`). `book` and `orders` hold the
//! records, `bank` one tenant, `options` the settings and dials.
//!
//! Left out: batches, interoperation, share accounts, external events, OAuth2, two-factor, creating loans over the wire.

mod address;
mod bank;
mod body;
mod book;
mod clients;
mod commands;
mod hooks;
mod json;
mod loan_commands;
mod loan_json;
mod options;
mod orders;
mod reads;
mod refusal;
mod repayments;
mod savings;
mod search;
mod staff;

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};

pub use self::bank::{Bank, HookLog};
pub use self::book::{
    AccountStatus, Client, Figures, Group, Hook, Loan, LoanSpec, LoanStatus, LoanTransaction, Office, PaymentDetail, PaymentType, Portions, Product,
    ProductSpec, Savings, SavingsTransaction, Step, TopUp, Tranche, TransactionKind,
};
pub use self::options::{BusinessDate, Dials, DuplicateExternalId, Fault, HookDials, MifosOptions, Profile, UserOptions};
pub use self::orders::{Command, CommandOutcome};
pub use self::staff::{ClientSpec, Refused};

use self::address::{Ask, decode, read_query};
use self::commands::Answer;
use self::refusal::Refusal;
use crate::wire::{Delivery, Reply, Request, Response, Simulator};

/// One host with its tenants.
#[derive(Debug)]
pub struct MifosSim {
    base_path: String,
    first: Bank,
    others: BTreeMap<String, Bank>,
    /// Windows in which nobody answers.
    down: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// The address of the first request ever, which hooks carry.
    endpoint: Option<String>,
}

impl MifosSim {
    /// A host with one tenant: two offices, staff, no clients, no products, no loans.
    pub fn new(options: MifosOptions) -> Self {
        let base_path = options.base_path.trim_end_matches('/').to_owned();
        Self { base_path, first: Bank::open(options, 0), others: BTreeMap::new(), down: Vec::new(), endpoint: None }
    }

    /// Adds a tenant with settings, users and dials of its own; release and base path stay the host's. A tenant of the same name is
    /// replaced, except the first, which stays.
    pub fn add_tenant(&mut self, options: MifosOptions) {
        if options.tenant == self.first.options.tenant {
            return;
        }
        let number = u64::try_from(self.others.len()).unwrap_or_default().saturating_add(1);
        let options = MifosOptions { profile: self.first.options.profile, base_path: self.base_path.clone(), ..options };
        let mut bank = Bank::open(options, number);
        bank.endpoint.clone_from(&self.endpoint);
        self.others.insert(bank.options.tenant.clone(), bank);
    }

    /// The first tenant.
    pub fn bank(&self) -> &Bank {
        &self.first
    }

    /// The first tenant, for the acts of its staff.
    pub fn bank_mut(&mut self) -> &mut Bank {
        &mut self.first
    }

    /// A tenant by name.
    pub fn bank_of(&self, tenant: &str) -> Option<&Bank> {
        if tenant == self.first.options.tenant { Some(&self.first) } else { self.others.get(tenant) }
    }

    /// A tenant by name, for the acts of its staff.
    pub fn bank_of_mut(&mut self, tenant: &str) -> Option<&mut Bank> {
        if tenant == self.first.options.tenant { Some(&mut self.first) } else { self.others.get_mut(tenant) }
    }

    /// Nobody answers from `from` up to, not including, `until`; hooks that would leave in between are lost.
    pub fn down(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) {
        self.down.push((from, until));
    }

    fn is_down(&self, now: DateTime<Utc>) -> bool {
        self.down.iter().any(|(from, until)| *from <= now && now < *until)
    }

    fn banks_mut(&mut self) -> impl Iterator<Item = &mut Bank> {
        std::iter::once(&mut self.first).chain(self.others.values_mut())
    }

    /// Hooks carry the address of the first request that the process served.
    fn remember_endpoint(&mut self, request: &Request) {
        if self.endpoint.is_some() {
            return;
        }
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let host = authority.or_else(|| header(request, HOST.as_str()).map(str::to_owned));
        let Some(host) = host else { return };
        let endpoint = format!("{}://{host}{}/", request.uri().scheme_str().unwrap_or("https"), self.base_path);
        for bank in self.banks_mut() {
            bank.endpoint = Some(endpoint.clone());
        }
        self.endpoint = Some(endpoint);
    }

    /// The path below the base address; the one address of version 2 keeps its `v2`.
    fn path_below(&self, path: &str) -> Option<Vec<String>> {
        let split = |rest: &str| rest.split('/').filter(|part| !part.is_empty()).map(|part| decode(part, false)).collect();
        if let Some(rest) = path.strip_prefix(&self.base_path).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Some(split(rest));
        }
        let root = self.base_path.strip_suffix("v1")?;
        path.strip_prefix(root).filter(|rest| rest.starts_with("v2/")).map(split)
    }

    fn answer(&mut self, now: DateTime<Utc>, request: &Request) -> Answer {
        let Some(path) = self.path_below(request.uri().path()) else {
            return Refusal::no_such_address().into();
        };
        let query = read_query(request.uri().query().unwrap_or_default());
        let tenant = header(request, "fineract-platform-tenantid").or(query.get("tenantIdentifier").map(String::as_str));
        let Some(bank) = tenant.map(str::to_owned).and_then(|tenant| self.bank_of_mut(&tenant)) else {
            return Refusal::tenant().into();
        };
        if let [only] = path.as_slice()
            && only == "authentication"
        {
            let answer = if request.method() == Method::POST { bank.authenticate(request.body()) } else { Err(Refusal::method()) };
            return answer.map_or_else(Into::into, |json| Answer::json(200, json.render()));
        }
        let user = match bank.log_in(header(request, AUTHORIZATION.as_str())) {
            Ok(user) => user,
            Err(refusal) => return refusal.into(),
        };
        let ask = Ask {
            method: request.method(),
            path,
            query,
            body: request.body(),
            key: header(request, "idempotency-key").filter(|key| !key.is_empty()).map(str::to_owned),
            content_type: header(request, CONTENT_TYPE.as_str()).map(str::to_owned),
        };
        bank.answer(now, &user, &ask)
    }
}

impl Simulator for MifosSim {
    fn handle(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        if self.is_down(now) {
            return Reply::closed();
        }
        self.remember_endpoint(request);
        let answer = self.answer(now, request);
        if answer.dropped {
            return Reply { response: None, delay: answer.delay };
        }
        let delay = answer.delay;
        Reply { response: Some(respond(answer)), delay }
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        let banks = std::iter::once(&self.first).chain(self.others.values());
        banks.filter_map(|bank| bank.outbox.first_key_value().map(|((at, _), _)| *at)).min()
    }

    fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Delivery> {
        let windows = self.down.clone();
        let mut due = Vec::new();
        for bank in self.banks_mut() {
            while let Some(entry) = bank.outbox.first_entry().filter(|entry| entry.key().0 <= now) {
                let delivery = entry.remove();
                if windows.iter().any(|(from, until)| *from <= delivery.at && delivery.at < *until) {
                    bank.hook_log.lost += 1;
                } else {
                    bank.hook_log.sent += 1;
                    due.push(delivery);
                }
            }
        }
        due.sort_by_key(|delivery| (delivery.at, delivery.id));
        due
    }

    fn delivered(&mut self, _now: DateTime<Utc>, delivery: &Delivery, status: Option<u16>) {
        let tenant = header(&delivery.request, "fineract-platform-tenantid").map(str::to_owned);
        // A probe names no tenant; its answer is nobody's business.
        let Some(bank) = tenant.and_then(|tenant| self.bank_of_mut(&tenant)) else {
            return;
        };
        if status.is_some_and(|status| (200..300).contains(&status)) {
            bank.hook_log.answered += 1;
        } else {
            bank.hook_log.failed += 1;
        }
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Bytes::from(answer.text));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if answer.is_json { "application/json" } else { "text/html;charset=utf-8" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if answer.from_cache {
        response.headers_mut().insert("x-served-from-cache", HeaderValue::from_static("true"));
    }
    if answer.asks_credentials {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Fineract Platform API\""));
    }
    response
}
