//! One tenant of a host: its records, its people, its day, and what waits to be posted by its hooks.
//!
//! Looking things up lives here; the acts of staff are in `staff`, what comes over the wire in `address` and `reads`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::body::{Body, Reader};
use super::book::{Client, Hook, Loan, LoanTransaction, Office, PaymentDetail, PaymentType, Product, Savings};
use super::json::Json;
use super::options::{BusinessDate, Fault, MifosOptions, UserOptions};
use super::orders::{Command, Order};
use super::refusal::Refusal;
use crate::wire::Delivery;

/// Somebody with an account at the tenant.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) options: UserOptions,
}

impl User {
    /// Whether the user has the right `{ACTION}_{ENTITY}`.
    pub(crate) fn may(&self, right: &str) -> bool {
        let rights = &self.options.permissions;
        rights.contains(right) || rights.contains("ALL_FUNCTIONS") || (right.starts_with("READ_") && rights.contains("ALL_FUNCTIONS_READ"))
    }
}

/// What the host remembers under an idempotency key.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// In progress, or waiting for a checker, or stuck.
    Running,
    /// Finished: replayed as it was.
    Answer { status: u16, text: String },
}

/// A command that waits for a checker.
#[derive(Debug, Clone)]
pub(crate) struct ParkedOrder {
    pub(crate) order: Order,
    pub(crate) key: Option<String>,
}

/// How the posting of hooks went, as the host's log would tell. Nothing is repeated because of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HookLog {
    /// Events that reached their hour and left.
    pub sent: u64,
    /// Events that the dial lost.
    pub lost: u64,
    /// Answers of 200 to 299.
    pub answered: u64,
    /// Other answers and none.
    pub failed: u64,
}

/// One tenant.
#[derive(Debug)]
pub struct Bank {
    pub(crate) options: MifosOptions,
    pub(crate) users: BTreeMap<String, Arc<User>>,
    pub(crate) offices: BTreeMap<u64, Office>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) products: BTreeMap<u64, Product>,
    pub(crate) payment_types: BTreeMap<u64, PaymentType>,
    pub(crate) loans: BTreeMap<u64, Loan>,
    pub(crate) savings: BTreeMap<u64, Savings>,
    pub(crate) hooks: BTreeMap<u64, Hook>,
    pub(crate) commands: BTreeMap<u64, Command>,
    pub(crate) parked: BTreeMap<u64, ParkedOrder>,
    pub(crate) keys: BTreeMap<(&'static str, &'static str, String), Kept>,
    pub(crate) loan_external_ids: BTreeMap<String, u64>,
    pub(crate) loan_account_nos: BTreeMap<String, u64>,
    /// External id of a transaction to (loan, transaction). Reversed ones stay taken.
    pub(crate) transaction_external_ids: BTreeMap<String, (u64, u64)>,
    /// Loans whose last change cannot be read yet: until when, and what reads show.
    pub(crate) unseen: BTreeMap<u64, (DateTime<Utc>, Loan)>,
    pub(crate) write_scripts: BTreeMap<u64, VecDeque<Fault>>,
    pub(crate) read_scripts: BTreeMap<u64, VecDeque<Fault>>,
    pub(crate) outbox: BTreeMap<(DateTime<Utc>, u64), Delivery>,
    pub(crate) hook_log: HookLog,
    pub(crate) endpoint: Option<String>,
    pub(crate) rng: StdRng,
    pub(crate) touched: u64,
    next_transaction: u64,
    next_savings_transaction: u64,
    next_payment_detail: u64,
    next_command: u64,
    next_delivery: u64,
}

impl Bank {
    /// A bank with a head office, a branch (id 2), two payment types and its staff. `number` keeps delivery ids apart.
    pub(crate) fn open(options: MifosOptions, number: u64) -> Self {
        let rng = StdRng::seed_from_u64(options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bank = Self {
            users: BTreeMap::new(),
            offices: BTreeMap::new(),
            clients: BTreeMap::new(),
            products: BTreeMap::new(),
            payment_types: BTreeMap::new(),
            loans: BTreeMap::new(),
            savings: BTreeMap::new(),
            hooks: BTreeMap::new(),
            commands: BTreeMap::new(),
            parked: BTreeMap::new(),
            keys: BTreeMap::new(),
            loan_external_ids: BTreeMap::new(),
            loan_account_nos: BTreeMap::new(),
            transaction_external_ids: BTreeMap::new(),
            unseen: BTreeMap::new(),
            write_scripts: BTreeMap::new(),
            read_scripts: BTreeMap::new(),
            outbox: BTreeMap::new(),
            hook_log: HookLog::default(),
            endpoint: None,
            rng,
            touched: 0,
            next_transaction: 9001,
            next_savings_transaction: 4401,
            next_payment_detail: 551,
            next_command: 5501,
            next_delivery: number.wrapping_mul(1_000_000_000_000),
            options,
        };
        bank.offices.insert(1, Office { id: 1, name: "Head Office".to_owned(), parent: None });
        bank.offices.insert(2, Office { id: 2, name: "Kisumu".to_owned(), parent: Some(1) });
        let cash = |id, name: &str, is_cash| PaymentType { id, name: name.to_owned(), description: None, is_cash, position: 1 };
        bank.payment_types.insert(1, cash(1, "Money Transfer", true));
        if !bank.options.profile.is_old() {
            bank.payment_types.insert(2, cash(2, "Repayment Adjustment Chargeback", false));
            bank.payment_types.insert(3, cash(3, "Repayment Adjustment Refund", false));
        }
        bank.hire("jane", "Jane Wanjiru", 6);
        bank.hire("peter", "Peter Mwangi", 7);
        for (index, user) in bank.options.users.clone().into_iter().enumerate() {
            let id = 21 + u64::try_from(index).unwrap_or_default();
            bank.users.insert(user.name.clone(), Arc::new(User { id, options: user }));
        }
        bank
    }

    fn hire(&mut self, name: &str, full_name: &str, id: u64) {
        let options = UserOptions {
            name: name.to_owned(),
            password: None,
            full_name: full_name.to_owned(),
            permissions: BTreeSet::from(["ALL_FUNCTIONS".to_owned()]),
            office_id: 1,
            password_expired: false,
        };
        self.users.insert(name.to_owned(), Arc::new(User { id, options }));
    }

    /// The tenant's today (Mifos X contract 1.10).
    pub fn today(&self, now: DateTime<Utc>) -> NaiveDate {
        match self.options.business_date {
            BusinessDate::Calendar => now.with_timezone(&self.options.zone).date_naive(),
            BusinessDate::Fixed(date) => date,
        }
    }

    pub(crate) fn is_old(&self) -> bool {
        self.options.profile.is_old()
    }

    /// A draw with a chance of `per_mille`.
    pub(crate) fn happens(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.rng.random_range(0..1000_u16) < per_mille
    }

    pub(crate) fn transaction_id(&mut self) -> u64 {
        next(&mut self.next_transaction)
    }

    pub(crate) fn savings_transaction_id(&mut self) -> u64 {
        next(&mut self.next_savings_transaction)
    }

    pub(crate) fn command_id(&mut self) -> u64 {
        next(&mut self.next_command)
    }

    pub(crate) fn delivery_id(&mut self) -> u64 {
        next(&mut self.next_delivery)
    }

    /// Whether somebody of office `above` sees what belongs to office `below`.
    pub(crate) fn sees(&self, above: u64, below: u64) -> bool {
        let mut office = below;
        // Offices are a tree; its depth is bounded by their number.
        for _ in 0..=self.offices.len() {
            if office == above {
                return true;
            }
            match self.offices.get(&office).and_then(|office| office.parent) {
                Some(parent) => office = parent,
                None => return false,
            }
        }
        false
    }

    /// A loan as it stands, for a command.
    pub(crate) fn loan_of(&self, user: &User, id: u64) -> Result<&Loan, Refusal> {
        self.loans
            .get(&id)
            .filter(|loan| self.sees(user.options.office_id, loan.office_id))
            .ok_or_else(|| Refusal::not_found("error.msg.loan.id.invalid", id))
    }

    /// A loan as a read shows it at a moment: a change that is not committed yet is not seen.
    pub(crate) fn visible<'a>(&'a self, now: DateTime<Utc>, loan: &'a Loan) -> &'a Loan {
        match self.unseen.get(&loan.id) {
            Some((until, before)) if now < *until => before,
            _ => loan,
        }
    }

    /// A savings account.
    pub(crate) fn savings_of(&self, user: &User, id: u64) -> Result<&Savings, Refusal> {
        self.savings
            .get(&id)
            .filter(|account| {
                let office = self.clients.get(&account.client_id).map_or(1, |client| client.office_id);
                self.sees(user.options.office_id, office)
            })
            .ok_or_else(|| Refusal::not_found("error.msg.saving.account.id.invalid", id))
    }

    /// Refuses a day on which the tenant does not book (Mifos X contract 3.6 and 4.2). `what`: "disbursement" or "repayment".
    pub(crate) fn working_day(&self, date: NaiveDate, what: &str) -> Result<(), Refusal> {
        if self.options.holidays.contains(&date) && !self.options.transactions_on_holiday {
            return Err(Refusal::rule(&format!("error.msg.loan.application.{what}.date.on.holiday")));
        }
        if self.options.non_working_days.contains(&date.weekday()) && !self.options.transactions_on_non_working_day {
            return Err(Refusal::rule(&format!("error.msg.loan.application.{what}.date.on.non.working.day")));
        }
        Ok(())
    }

    /// The payment detail of a body: silently nothing without a payment type, 404 for an unknown one.
    pub(crate) fn payment_of(&mut self, body: &Body, payment_type: Option<u64>) -> Result<Option<PaymentDetail>, Refusal> {
        let Some(payment_type_id) = payment_type else {
            return Ok(None);
        };
        let known = self.payment_types.get(&payment_type_id);
        let known = known.ok_or_else(|| Refusal::not_found("error.msg.payment.type.invalid", payment_type_id))?;
        if known.is_cash {
            // The contract names the rule (3.6) but not the code.
            return Err(Refusal::rule("error.msg.no.open.teller.session"));
        }
        let text = |name| body.filled(name).unwrap_or_default();
        Ok(Some(PaymentDetail {
            id: next(&mut self.next_payment_detail),
            payment_type_id,
            account_number: text("accountNumber"),
            check_number: text("checkNumber"),
            routing_code: text("routingCode"),
            receipt_number: text("receiptNumber"),
            bank_number: text("bankNumber"),
        }))
    }

    /// Refuses an external id that a loan transaction of the tenant already has.
    pub(crate) fn free_external_id(&self, external_id: Option<&String>) -> Result<(), Refusal> {
        let Some(external_id) = external_id.filter(|id| self.transaction_external_ids.contains_key(*id)) else {
            return Ok(());
        };
        Err(match self.options.duplicate_external_id {
            super::options::DuplicateExternalId::Validation => {
                Refusal::invalid("validation.msg.loan.transaction.externalId.value.must.be.unique", Some("externalId"), Some(external_id.clone()))
            }
            super::options::DuplicateExternalId::Integrity => Refusal::integrity("error.msg.data.integrity.issue"),
        })
    }

    /// Marks a loan as changed.
    pub(crate) fn touch(&mut self, id: u64) {
        let turn = next(&mut self.touched);
        if let Some(loan) = self.loans.get_mut(&id) {
            loan.touched = turn;
        }
    }

    // ---- what may be looked at from outside -------------------------------------------------------------------

    /// All loans in order of id.
    pub fn loans(&self) -> impl Iterator<Item = &Loan> {
        self.loans.values()
    }

    /// One loan as it stands.
    pub fn loan(&self, id: u64) -> Option<&Loan> {
        self.loans.get(&id)
    }

    /// The transactions of a loan, reversed ones included; none for an unknown loan.
    pub fn transactions(&self, loan_id: u64) -> &[LoanTransaction] {
        self.loans.get(&loan_id).map_or(&[], |loan| loan.transactions.as_slice())
    }

    /// All clients in order of id.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values()
    }

    /// One client.
    pub fn client(&self, id: u64) -> Option<&Client> {
        self.clients.get(&id)
    }

    /// All products in order of id.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.products.values()
    }

    /// All savings accounts in order of id.
    pub fn savings_accounts(&self) -> impl Iterator<Item = &Savings> {
        self.savings.values()
    }

    /// One savings account.
    pub fn savings(&self, id: u64) -> Option<&Savings> {
        self.savings.get(&id)
    }

    /// All payment types in order of id.
    pub fn payment_types(&self) -> impl Iterator<Item = &PaymentType> {
        self.payment_types.values()
    }

    /// All hooks in order of id.
    pub fn hooks(&self) -> impl Iterator<Item = &Hook> {
        self.hooks.values()
    }

    /// Every command that reached its handler or was parked, in order; replays are not commands.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.values()
    }

    /// How the posting of hooks went.
    pub fn hook_log(&self) -> HookLog {
        self.hook_log
    }

    /// The settings; most may be changed while the bank runs.
    pub fn options(&self) -> &MifosOptions {
        &self.options
    }

    /// The settings, to be changed: dials, holidays, zone, business date, maker-checker, even the release (an upgrade).
    /// `tenant`, `base_path`, `users` and `seed` have no effect after the start.
    pub fn options_mut(&mut self) -> &mut MifosOptions {
        &mut self.options
    }

    /// What goes wrong with the next commands on a loan, in order; one entry per command.
    pub fn script_loan(&mut self, loan_id: u64, faults: impl IntoIterator<Item = Fault>) {
        self.write_scripts.entry(loan_id).or_default().extend(faults);
    }

    /// What goes wrong with the next reads of a loan, in order; one entry per read.
    pub fn script_loan_reads(&mut self, loan_id: u64, faults: impl IntoIterator<Item = Fault>) {
        self.read_scripts.entry(loan_id).or_default().extend(faults);
    }
}

/// Takes a number and moves on.
fn next(counter: &mut u64) -> u64 {
    let taken = *counter;
    *counter = counter.wrapping_add(1);
    taken
}

/// The payment detail fields, for lists of allowed members.
pub(crate) const PAYMENT_FIELDS: [&str; 5] = ["accountNumber", "checkNumber", "routingCode", "receiptNumber", "bankNumber"];

/// Checks the lengths of the payment detail members (at most 50 characters) and reads the payment type.
pub(crate) fn read_payment(reader: &mut Reader<'_>, mandatory: bool) -> Option<u64> {
    for name in PAYMENT_FIELDS {
        reader.text(name, 50);
    }
    reader.id("paymentTypeId", mandatory)
}

/// The members of `changes` that repeat the payment detail, in the order of the contract's examples.
pub(crate) fn put_payment(changes: &mut Json, body: &Body) {
    for name in ["receiptNumber", "accountNumber", "checkNumber", "routingCode", "bankNumber"] {
        changes.put(name, body.filled(name));
    }
    changes.put("paymentTypeId", body.filled("paymentTypeId").and_then(|id| id.parse::<u64>().ok()));
}
