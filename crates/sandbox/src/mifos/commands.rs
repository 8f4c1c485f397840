//! The way of every write: idempotency key, maker-checker, the act itself, the event, the stored answer
//! (Mifos X contract 1.5, 1.6, 1.8 and 7.2). Staff take the same way without key and faults.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::bank::{Bank, Kept, ParkedOrder, User};
use super::json::Json;
use super::options::{Fault, Profile};
use super::orders::{Command, CommandOutcome, Order, Work};
use super::refusal::Refusal;

/// How long the server itself waits for a running command before it answers 425.
const RUNNING_WAIT: Duration = Duration::from_secs(3);
/// How long a proxy waits before it answers 504 itself.
const PROXY_PATIENCE: Duration = Duration::from_secs(30);
/// Width of the column that keeps an idempotency key.
const LONGEST_KEY: usize = 50;

/// The result of a command (Mifos X contract 1.5).
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    pub(crate) office_id: Option<u64>,
    pub(crate) group_id: Option<u64>,
    pub(crate) client_id: Option<u64>,
    pub(crate) loan_id: Option<u64>,
    pub(crate) savings_id: Option<u64>,
    pub(crate) resource_id: Option<u64>,
    pub(crate) sub_resource_id: Option<u64>,
    pub(crate) resource_external_id: Option<String>,
    pub(crate) sub_resource_external_id: Option<String>,
    pub(crate) changes: Option<Json>,
}

impl Done {
    /// The answer. An event carries the office and leaves it out here; 1.8 knows neither sub-resource nor external ids.
    pub(crate) fn to_json(&self, profile: Profile, with_office: bool) -> Json {
        let new = |value: Json| if profile.is_old() { Json::Null } else { value };
        Json::map([
            ("officeId", self.office_id.filter(|_| with_office).into()),
            ("groupId", self.group_id.into()),
            ("clientId", self.client_id.into()),
            ("loanId", self.loan_id.into()),
            ("savingsId", self.savings_id.into()),
            ("resourceId", self.resource_id.into()),
            ("resourceExternalId", new(self.resource_external_id.as_ref().into())),
            ("subResourceId", new(self.sub_resource_id.into())),
            ("subResourceExternalId", new(self.sub_resource_external_id.as_ref().into())),
            ("changes", self.changes.clone().into()),
        ])
    }
}

/// A write that came over the wire, rights already checked.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) user: Arc<User>,
    pub(crate) key: Option<String>,
    /// Whether the answer is kept under the key (only for JSON requests).
    pub(crate) is_json: bool,
    pub(crate) order: Order,
    pub(crate) fault: Option<Fault>,
    /// The request body, given back by a 425.
    pub(crate) raw: String,
}

/// What goes back over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) is_json: bool,
    /// `x-served-from-cache: true`.
    pub(crate) from_cache: bool,
    /// `WWW-Authenticate`.
    pub(crate) asks_credentials: bool,
    pub(crate) delay: Duration,
    /// The connection closes instead.
    pub(crate) dropped: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, text: String) -> Self {
        Self { status, text, is_json: true, from_cache: false, asks_credentials: false, delay: Duration::ZERO, dropped: false }
    }

    pub(crate) fn dropped() -> Self {
        Self { dropped: true, ..Self::json(0, String::new()) }
    }

    fn cached(self) -> Self {
        Self { from_cache: true, ..self }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let (text, is_json) = refusal.body_text();
        Self { is_json, asks_credentials: refusal.asks_credentials(), ..Self::json(refusal.status, text) }
    }
}

impl Bank {
    /// Carries out a write from the wire, and lets the misfortune of the way back happen.
    pub(crate) fn submit(&mut self, now: DateTime<Utc>, call: Call) -> Answer {
        if let Some(answer) = self.stopped_before(&call) {
            return answer;
        }
        let fault = call.fault;
        let answer = self.admit(now, call);
        match fault {
            Some(Fault::DroppedAfter | Fault::KeyStuck) => Answer::dropped(),
            Some(Fault::GatewayTimeout) => {
                Answer { is_json: false, delay: PROXY_PATIENCE, ..Answer::json(504, "<html><body>504 Gateway Time-out</body></html>".to_owned()) }
            }
            Some(Fault::Slow(delay)) => Answer { delay: delay.max(answer.delay), ..answer },
            _ => answer,
        }
    }

    /// Looks at the key first: a command that ran already is answered from the store.
    fn admit(&mut self, now: DateTime<Utc>, call: Call) -> Answer {
        let slot = self.key_slot(&call);
        if let Some(slot) = &slot {
            if slot.2.chars().count() > LONGEST_KEY {
                // The contract leaves the status open (1.8); the column cannot hold it.
                return Refusal::server("value too long for type character varying(50)").into();
            }
            match self.keys.get(slot) {
                Some(Kept::Running) => {
                    return Answer { delay: RUNNING_WAIT, ..Answer::json(425, call.raw).cached() };
                }
                Some(Kept::Answer { status, text }) => {
                    return Answer::json(*status, text.clone()).cached();
                }
                None => {}
            }
        }
        let right = format!("{}_{}", call.order.action, call.order.entity);
        if call.fault == Some(Fault::Parked) || self.options.maker_checker.contains(&right) {
            return self.park(now, call, slot);
        }
        let answer = self.carry_out(now, &call);
        if let Some(slot) = slot {
            if call.fault == Some(Fault::KeyStuck) {
                self.keys.insert(slot, Kept::Running);
            } else if call.is_json {
                self.keys.insert(slot, Kept::Answer { status: answer.status, text: answer.text.clone() });
            }
        }
        answer
    }

    /// Faults that strike before the command is looked at. Nothing of them is kept under the key.
    fn stopped_before(&self, call: &Call) -> Option<Answer> {
        match call.fault? {
            Fault::DroppedBefore => Some(Answer::dropped()),
            Fault::Unavailable => Some(Refusal::unavailable("error.msg.sheduler.job.currently.running").into()),
            Fault::Locked if !self.is_old() && call.order.work.loan().is_some() => Some(Refusal::locked().into()),
            _ => None,
        }
    }

    fn key_slot(&self, call: &Call) -> Option<(&'static str, &'static str, String)> {
        let key = call.key.as_ref().filter(|_| !self.is_old())?;
        Some((call.order.action, call.order.entity, key.clone()))
    }

    /// The act itself with its record, its event and its answer.
    fn carry_out(&mut self, now: DateTime<Utc>, call: &Call) -> Answer {
        let waiting = self.waiting(now, call.order.work);
        let before = self.snapshot(call.order.work);
        let result = match call.fault {
            Some(Fault::Conflict) if !self.is_old() => Err(Refusal::conflict("loan")),
            Some(Fault::Conflict | Fault::ServerError) => Err(Refusal::server("could not execute statement")),
            _ => {
                if call.fault == Some(Fault::RetriedInside) {
                    self.emit_failed(now, &call.user, &call.order, &Refusal::conflict("loan"));
                }
                self.execute(now, &call.user, &call.order)
            }
        };
        self.record(now, &call.user, &call.order, call.key.clone(), true, outcome(&result));
        let lag = self.announce(now, &call.user, &call.order, &result, before);
        let answer = match result {
            Ok(done) => Answer::json(200, done.to_json(self.options.profile, true).render()),
            Err(refusal) => refusal.into(),
        };
        // The caller of 1.8 gets its answer only after the commit, its own and that of the change it waited for.
        Answer { delay: lag.max(waiting), ..answer }
    }

    /// How long an earlier change of the loan still has to its commit; a second command waits for it.
    fn waiting(&self, now: DateTime<Utc>, work: Work) -> Duration {
        let until = work.loan().and_then(|loan| self.unseen.get(&loan)).map(|(until, _)| *until);
        until.and_then(|until| (until - now).to_std().ok()).unwrap_or_default()
    }

    /// The loan as it was, if this command's event is to leave before its commit.
    fn snapshot(&mut self, work: Work) -> Option<super::book::Loan> {
        let loan = work.loan()?;
        let early = self.is_old() && self.happens(self.options.hooks.before_commit);
        if early { self.loans.get(&loan).cloned() } else { None }
    }

    /// Sends the event; returns how long the change stays unseen.
    fn announce(
        &mut self,
        now: DateTime<Utc>,
        user: &User,
        order: &Order,
        result: &Result<Done, Refusal>,
        before: Option<super::book::Loan>,
    ) -> Duration {
        match result {
            Ok(done) => {
                let lag = before.map(|loan| {
                    let lag = self.options.hooks.commit_lag;
                    self.unseen.retain(|_, (until, _)| now < *until);
                    self.unseen.insert(loan.id, (now + lag, loan));
                    lag
                });
                self.emit_done(now, user, order, done, lag);
                lag.unwrap_or_default()
            }
            Err(refusal) => {
                self.emit_failed(now, user, order, refusal);
                Duration::ZERO
            }
        }
    }

    fn record(&mut self, now: DateTime<Utc>, user: &User, order: &Order, key: Option<String>, over_the_wire: bool, outcome: CommandOutcome) -> u64 {
        let id = self.command_id();
        let command = Command {
            id,
            at: now,
            user: user.options.name.clone(),
            entity: order.entity,
            action: order.action,
            target: order.work.target(),
            key,
            outcome,
            over_the_wire,
        };
        self.commands.insert(id, command);
        id
    }

    fn park(&mut self, now: DateTime<Utc>, call: Call, slot: Option<(&'static str, &'static str, String)>) -> Answer {
        let id = self.record(now, &call.user, &call.order, call.key.clone(), true, CommandOutcome::Parked);
        if let Some(slot) = slot {
            self.keys.insert(slot, Kept::Running);
        }
        if !self.is_old() {
            // From 1.10 a parked command also fires its hook, in the failed form.
            self.emit_failed(now, &call.user, &call.order, &Refusal::server("parked"));
        }
        let rollback = if self.is_old() { Json::Null } else { true.into() };
        let answer = Json::map([("commandId", id.into()), ("resourceId", call.order.work.target().into()), ("rollbackTransaction", rollback)]);
        self.parked.insert(id, ParkedOrder { order: call.order, key: call.key });
        Answer::json(200, answer.render())
    }

    /// A checker lets a parked command run; the answer is that of the command.
    pub(crate) fn release(&mut self, now: DateTime<Utc>, checker: &User, command_id: u64) -> Result<Done, Refusal> {
        let parked = self.parked.remove(&command_id);
        let parked = parked.ok_or_else(|| Refusal::not_found("error.msg.command.id.invalid", command_id))?;
        let before = self.snapshot(parked.order.work);
        let result = self.execute(now, checker, &parked.order);
        self.announce(now, checker, &parked.order, &result, before);
        if result.is_err() {
            // A refusal leaves the command with the checkers.
            self.parked.insert(command_id, parked);
            return result;
        }
        if let Some(command) = self.commands.get_mut(&command_id) {
            command.outcome = outcome(&result);
        }
        if let (Some(key), Ok(done)) = (parked.key, &result) {
            let text = done.to_json(self.options.profile, true).render();
            self.keys.insert((parked.order.action, parked.order.entity, key), Kept::Answer { status: 200, text });
        }
        result
    }

    /// A checker turns a parked command down. Its key stays used.
    pub(crate) fn turn_down(&mut self, command_id: u64) -> Result<(), Refusal> {
        self.parked.remove(&command_id).ok_or_else(|| Refusal::not_found("error.msg.command.id.invalid", command_id))?;
        if let Some(command) = self.commands.get_mut(&command_id) {
            command.outcome = CommandOutcome::TurnedDown;
        }
        Ok(())
    }

    /// Staff do something in the web interface.
    pub(crate) fn by_staff(&mut self, now: DateTime<Utc>, user: &User, order: &Order) -> Result<Done, Refusal> {
        let before = self.snapshot(order.work);
        let result = self.execute(now, user, order);
        self.record(now, user, order, None, false, outcome(&result));
        self.announce(now, user, order, &result, before);
        result
    }

    /// The act. A refusal leaves everything as it was.
    fn execute(&mut self, now: DateTime<Utc>, user: &User, order: &Order) -> Result<Done, Refusal> {
        let body = &order.body;
        match order.work {
            Work::Approve(loan) => self.approve_loan(now, user, loan, body),
            Work::UndoApproval(loan) => self.undo_approval_of_loan(user, loan, body),
            Work::Reject(loan) => self.reject_loan(now, user, loan, body),
            Work::Withdraw(loan) => self.withdraw_loan(now, user, loan, body),
            Work::Disburse(loan) => self.disburse_loan(now, user, loan, body, false),
            Work::DisburseToSavings(loan) => self.disburse_loan(now, user, loan, body, true),
            Work::UndoDisbursal(loan) => self.undo_disbursal_of_loan(now, user, loan, body),
            Work::Repay(loan) => self.repay_loan(now, user, loan, body),
            Work::Recover(loan) => self.recover_loan(now, user, loan, body),
            Work::RefundSurplus(loan) => self.refund_surplus(now, user, loan, body),
            Work::AdjustRepayment(loan, transaction) => self.adjust_repayment(now, user, loan, transaction, body),
            Work::Deposit(account) => self.move_savings(now, user, account, body, true),
            Work::TakeOut(account) => self.move_savings(now, user, account, body, false),
            Work::UndoSavings(account, transaction) => self.undo_savings(user, account, transaction, body),
            Work::CreatePaymentType => self.create_payment_type(body),
            Work::CreateHook => self.create_hook(now, body),
            Work::UpdateHook(hook) => self.update_hook(now, hook, body),
            Work::DeleteHook(hook) => self.delete_hook(hook),
        }
    }
}

fn outcome(result: &Result<Done, Refusal>) -> CommandOutcome {
    match result {
        Ok(_) => CommandOutcome::Done,
        Err(refusal) => CommandOutcome::Refused(refusal.inner().to_owned()),
    }
}
