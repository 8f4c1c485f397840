//! Money that comes back: repayments, recoveries, surplus given back, adjustments, and the sums that follow from them
//! (Mifos X contract 4.2 and 4.4).
//!
//! Interest is flat on the principal, in equal instalments; each payment settles the oldest instalment first, interest before
//! principal. Sums are a fold over the transactions that stand, so that a reversal needs no arithmetic of its own.

use chrono::{DateTime, Months, NaiveDate, Utc};

use super::bank::{Bank, PAYMENT_FIELDS, User, put_payment, read_payment};
use super::body::{Body, Reader};
use super::book::{Figures, Loan, LoanStatus, LoanTransaction, PaymentDetail, Portions, Step, TransactionKind};
use super::commands::Done;
use super::json::{Json, plain};
use super::refusal::Refusal;

/// One instalment of a loan, cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instalment {
    pub(crate) due: NaiveDate,
    pub(crate) principal: i64,
    pub(crate) interest: i64,
    pub(crate) principal_paid: i64,
    pub(crate) interest_paid: i64,
}

impl Instalment {
    /// Principal and interest still open.
    pub(crate) fn open(&self) -> i64 {
        self.principal - self.principal_paid + self.interest - self.interest_paid
    }
}

/// The instalments of a principal, none paid.
fn unpaid_schedule(loan: &Loan, principal: i64) -> Vec<Instalment> {
    let count = i64::from(loan.number_of_repayments.max(1));
    let start = loan.disbursal.as_ref().map_or(loan.expected_disbursement, |step| step.on);
    let interest = principal.saturating_mul(loan.interest_basis_points).saturating_mul(count) / 10_000;
    let share = |whole: i64, turn: i64| {
        if turn == count { whole - whole / count * (count - 1) } else { whole / count }
    };
    (1..=count)
        .map(|turn| Instalment {
            due: u32::try_from(turn).ok().and_then(|months| start.checked_add_months(Months::new(months))).unwrap_or(start),
            principal: share(principal, turn),
            interest: share(interest, turn),
            principal_paid: 0,
            interest_paid: 0,
        })
        .collect()
}

/// What the standing transactions come to.
struct Fold {
    schedule: Vec<Instalment>,
    figures: Figures,
    /// Place of a transaction, and how it fell.
    portions: Vec<(usize, Portions)>,
}

/// Goes through the transactions that stand, in the order of their days.
fn replay(loan: &Loan) -> Fold {
    let disbursed: i64 = loan.disbursements().map(|entry| entry.amount).sum();
    let mut schedule = if disbursed > 0 { unpaid_schedule(loan, disbursed) } else { Vec::new() };
    let mut figures = Figures { disbursed, interest_charged: schedule.iter().map(|part| part.interest).sum(), ..Figures::default() };
    let mut order: Vec<(usize, &LoanTransaction)> = loan.transactions.iter().enumerate().filter(|(_, entry)| entry.reversed_on.is_none()).collect();
    order.sort_by_key(|(_, entry)| (entry.date, entry.id));
    let mut portions = Vec::with_capacity(order.len());
    for (place, entry) in order {
        let fell = match entry.kind {
            TransactionKind::Repayment => allocate(&mut schedule, &mut figures, entry.amount),
            TransactionKind::CreditBalanceRefund => {
                figures.overpaid -= entry.amount;
                Portions { overpayment: entry.amount, ..Portions::default() }
            }
            TransactionKind::Disbursement => Portions { balance: disbursed - figures.principal_paid, ..Portions::default() },
            TransactionKind::RepaymentAtDisbursement | TransactionKind::WriteOff | TransactionKind::RecoveryRepayment => continue,
        };
        portions.push((place, fell));
    }
    Fold { schedule, figures, portions }
}

fn allocate(schedule: &mut [Instalment], figures: &mut Figures, amount: i64) -> Portions {
    let mut left = amount;
    let mut portions = Portions::default();
    for part in schedule {
        let interest = left.min(part.interest - part.interest_paid);
        part.interest_paid += interest;
        left -= interest;
        let principal = left.min(part.principal - part.principal_paid);
        part.principal_paid += principal;
        left -= principal;
        portions.interest += interest;
        portions.principal += principal;
    }
    figures.interest_paid += portions.interest;
    figures.principal_paid += portions.principal;
    figures.overpaid += left;
    portions.overpayment = left;
    portions.balance = figures.disbursed - figures.principal_paid;
    portions
}

/// The schedule as a read shows it; before the disbursement, that of the approved amount.
pub(crate) fn schedule_of(loan: &Loan) -> Vec<Instalment> {
    if loan.figures.disbursed == 0 {
        return unpaid_schedule(loan, loan.approved);
    }
    replay(loan).schedule
}

const REPAYMENT_FIELDS: [&str; 8] = ["transactionDate", "transactionAmount", "paymentTypeId", "externalId", "note", "loanId", "locale", "dateFormat"];

/// What a repayment body says was received.
struct Receipt {
    date: NaiveDate,
    amount: i64,
    payment_type: Option<u64>,
    external_id: Option<String>,
    note: Option<String>,
}

impl Receipt {
    fn read(body: &Body, more: &[&str], may_be_zero: bool) -> Result<Self, Refusal> {
        let allowed: Vec<&str> = REPAYMENT_FIELDS.iter().chain(&PAYMENT_FIELDS).chain(more).copied().collect();
        body.only(&allowed)?;
        let mut reader = Reader::new(body, "loan.transaction");
        let date = reader.date("transactionDate", true)?;
        let amount = if may_be_zero { reader.amount("transactionAmount", true)? } else { reader.positive("transactionAmount", true)? };
        let external_id = reader.text("externalId", 100);
        let note = reader.text("note", 1000);
        let payment_type = read_payment(&mut reader, false);
        reader.finish()?;
        match (date, amount) {
            (Some(date), Some(amount)) if amount >= 0 => Ok(Self { date, amount, payment_type, external_id, note }),
            _ => Err(Refusal::invalid("validation.msg.loan.transaction.transactionAmount.not.zero.or.greater", Some("transactionAmount"), None)),
        }
    }

    fn transaction(&self, id: u64, kind: TransactionKind, today: NaiveDate, user: &User, detail: Option<PaymentDetail>) -> LoanTransaction {
        LoanTransaction {
            id,
            kind,
            date: self.date,
            submitted_on: today,
            amount: self.amount,
            portions: Portions::default(),
            external_id: self.external_id.clone(),
            reversal_external_id: None,
            payment: detail,
            reversed_on: None,
            note: self.note.clone(),
            entered_by: user.options.name.clone(),
            is_transfer: false,
        }
    }

    fn changes(&self, body: &Body) -> Json {
        let mut changes = Json::map([
            ("transactionDate", body.filled("transactionDate").into()),
            ("transactionAmount", plain(self.amount).into()),
            ("locale", body.filled("locale").into()),
            ("dateFormat", body.filled("dateFormat").into()),
        ]);
        put_payment(&mut changes, body);
        changes.put("note", self.note.as_ref());
        changes.put("externalId", self.external_id.as_ref());
        changes
    }
}

impl Bank {
    /// Folds the transactions of a loan into its sums and its status.
    pub(crate) fn settle(&mut self, id: u64, on: NaiveDate, by: &str) {
        self.change(id, |loan| {
            let Fold { figures, portions, .. } = replay(loan);
            loan.figures = figures;
            for (place, fell) in portions {
                if let Some(entry) = loan.transactions.get_mut(place) {
                    entry.portions = fell;
                }
            }
            if !matches!(loan.status, LoanStatus::Active | LoanStatus::Closed | LoanStatus::Overpaid) {
                return;
            }
            loan.status = match (figures.outstanding(), figures.overpaid) {
                (0, 0) => LoanStatus::Closed,
                (0, _) => LoanStatus::Overpaid,
                _ => LoanStatus::Active,
            };
            loan.closed = if loan.status == LoanStatus::Active { None } else { loan.closed.take().or(Some(Step { on, by: by.to_owned() })) };
        });
    }

    pub(crate) fn repay_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        let payment = Receipt::read(body, &[], false)?;
        let loan = self.loan_of(user, id)?;
        self.takes_repayment(loan)?;
        self.repayment_day(loan, payment.date, self.today(now))?;
        let waits = loan.tranches.iter().any(|tranche| tranche.actual_on.is_none());
        if waits && payment.amount > loan.figures.outstanding() {
            return Err(Refusal::rule("error.msg.loan.transaction.amount.exceeds.threshold"));
        }
        self.free_external_id(payment.external_id.as_ref())?;
        self.book_payment(now, user, id, body, &payment, TransactionKind::Repayment)
    }

    /// Which loans accept a repayment (the table of 4.2).
    fn takes_repayment(&self, loan: &Loan) -> Result<(), Refusal> {
        match (loan.status, self.is_old()) {
            (LoanStatus::Active, _) | (LoanStatus::Closed | LoanStatus::Overpaid, false) => Ok(()),
            (_, true) => Err(Refusal::state("error.msg.loan.repayment.or.waiver.account.is.not.active")),
            (_, false) => Err(Refusal::state("error.msg.loan.must.be.active.fully.paid.or.overpaid")),
        }
    }

    fn repayment_day(&self, loan: &Loan, date: NaiveDate, today: NaiveDate) -> Result<(), Refusal> {
        if date > today {
            return Err(Refusal::rule("error.msg.loan.transaction.cannot.be.a.future.date"));
        }
        if loan.disbursal.as_ref().is_some_and(|step| date < step.on) {
            return Err(Refusal::rule("error.msg.loan.transaction.cannot.be.before.disbursement.date"));
        }
        self.working_day(date, "repayment")
    }

    pub(crate) fn recover_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        let payment = Receipt::read(body, &[], false)?;
        let loan = self.loan_of(user, id)?;
        if loan.status != LoanStatus::WrittenOff {
            return Err(Refusal::state("error.msg.loan.account.is.not.written.off"));
        }
        self.repayment_day(loan, payment.date, self.today(now))?;
        self.free_external_id(payment.external_id.as_ref())?;
        self.book_payment(now, user, id, body, &payment, TransactionKind::RecoveryRepayment)
    }

    pub(crate) fn refund_surplus(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        let payment = Receipt::read(body, &[], false)?;
        let loan = self.loan_of(user, id)?;
        if loan.status != LoanStatus::Overpaid || payment.amount > loan.figures.overpaid {
            return Err(Refusal::rule("error.msg.transaction.amount.invalid"));
        }
        self.repayment_day(loan, payment.date, self.today(now))?;
        self.free_external_id(payment.external_id.as_ref())?;
        self.book_payment(now, user, id, body, &payment, TransactionKind::CreditBalanceRefund)
    }

    fn book_payment(
        &mut self,
        now: DateTime<Utc>,
        user: &User,
        id: u64,
        body: &Body,
        payment: &Receipt,
        kind: TransactionKind,
    ) -> Result<Done, Refusal> {
        let detail = self.payment_of(body, payment.payment_type)?;
        let transaction = self.transaction_id();
        let today = self.today(now);
        if let Some(external_id) = &payment.external_id {
            self.transaction_external_ids.insert(external_id.clone(), (id, transaction));
        }
        self.change(id, |loan| {
            loan.transactions.push(payment.transaction(transaction, kind, today, user, detail));
        });
        self.settle(id, payment.date, &user.options.name);
        self.payment_done(user, id, transaction, payment.external_id.clone(), payment.changes(body))
    }

    fn payment_done(&self, user: &User, id: u64, transaction: u64, external_id: Option<String>, changes: Json) -> Result<Done, Refusal> {
        let loan = self.loan_of(user, id)?;
        Ok(Done { resource_id: Some(transaction), resource_external_id: external_id, changes: Some(changes), ..Self::done_for(loan) })
    }

    /// Amount 0 reverses, any other amount replaces the transaction by a new one.
    pub(crate) fn adjust_repayment(&mut self, now: DateTime<Utc>, user: &User, id: u64, transaction: u64, body: &Body) -> Result<Done, Refusal> {
        let more: &[&str] = if self.is_old() { &[] } else { &["reversalExternalId"] };
        let payment = Receipt::read(body, more, true)?;
        let today = self.today(now);
        let loan = self.loan_of(user, id)?;
        let entry = loan.transactions.iter().find(|entry| entry.id == transaction);
        let entry = entry.ok_or_else(|| Refusal::not_found("error.msg.loan.transaction.id.invalid", transaction))?;
        if entry.is_transfer || loan.status == LoanStatus::WrittenOff {
            return Err(Refusal::unavailable("error.msg.loan.transaction.update.not.allowed"));
        }
        if entry.kind != TransactionKind::Repayment || entry.reversed_on.is_some() {
            return Err(Refusal::rule("error.msg.loan.adjustment.is.only.allowed.to.repayment.or.waiver.transaction"));
        }
        self.repayment_day(loan, payment.date, today)?;
        self.free_external_id(payment.external_id.as_ref())?;
        let detail = self.payment_of(body, payment.payment_type)?;

        let replacement = if payment.amount > 0 { Some(self.transaction_id()) } else { None };
        if let (Some(new), Some(external_id)) = (replacement, &payment.external_id) {
            self.transaction_external_ids.insert(external_id.clone(), (id, new));
        }
        let reversal_external_id = body.filled("reversalExternalId");
        self.change(id, |loan| {
            if let Some(entry) = loan.transactions.iter_mut().find(|entry| entry.id == transaction) {
                entry.reversed_on = Some(today);
                entry.reversal_external_id = reversal_external_id;
            }
            if let Some(new) = replacement {
                loan.transactions.push(payment.transaction(new, TransactionKind::Repayment, today, user, detail));
            }
        });
        self.settle(id, payment.date, &user.options.name);
        let resource = replacement.unwrap_or(transaction);
        self.payment_done(user, id, resource, payment.external_id.clone(), payment.changes(body))
    }
}
