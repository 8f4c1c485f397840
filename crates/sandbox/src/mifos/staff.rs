//! What people at the bank do, for tests, demo and simulation: new clients and loans, approvals at a desk, disbursing by hand,
//! and tampering that no interface would allow.
//!
//! Acts that Mifos X would do by a command go the way of commands (same checks, same hooks); the rest changes the records.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};

use super::bank::{Bank, User};
use super::body::Body;
use super::book::{
    AccountStatus, Client, Loan, LoanSpec, LoanStatus, LoanTransaction, Office, PaymentType, Portions, Product, ProductSpec, Savings, Step, TopUp,
    Tranche, TransactionKind,
};
use super::commands::Done;
use super::json::{Json, plain};
use super::orders::{Order, Work};
use super::refusal::Refusal;

/// An act that the rules of the bank forbid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bank refuses: {status} {code}")]
pub struct Refused {
    /// The HTTP status that the web interface would have seen.
    pub status: u16,
    /// The inner code.
    pub code: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, code: refusal.inner().to_owned() }
    }
}

/// What a new client is made of.
#[derive(Debug, Clone)]
pub struct ClientSpec {
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Free text, as people type it.
    pub mobile_no: Option<String>,
    /// External id.
    pub external_id: Option<String>,
    /// National id.
    pub national_id: Option<String>,
    /// Branch; 2 is the one that exists from the start.
    pub office_id: u64,
    /// Day of activation.
    pub activated_on: NaiveDate,
}

impl ClientSpec {
    /// A client of branch 2, active since a day.
    pub fn new(first_name: &str, last_name: &str, mobile_no: &str, activated_on: NaiveDate) -> Self {
        Self {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            mobile_no: Some(mobile_no.to_owned()),
            external_id: None,
            national_id: None,
            office_id: 2,
            activated_on,
        }
    }
}

/// The date format that the web interface of Mifos X sends.
const UI_DATE: &str = "%d %B %Y";

impl Bank {
    /// Adds a branch.
    pub fn add_office(&mut self, name: &str, parent: u64) -> u64 {
        let id = after(self.offices.keys().next_back(), 1);
        self.offices.insert(id, Office { id, name: name.to_owned(), parent: Some(parent) });
        id
    }

    /// Adds an active client; ids start at 101.
    pub fn add_client(&mut self, spec: ClientSpec) -> u64 {
        let id = after(self.clients.keys().next_back(), 101);
        let client = Client {
            id,
            account_no: format!("{id:09}"),
            external_id: spec.external_id,
            first_name: spec.first_name,
            last_name: spec.last_name,
            mobile_no: spec.mobile_no,
            national_id: spec.national_id,
            office_id: spec.office_id,
            status: AccountStatus::Active,
            activated_on: spec.activated_on,
        };
        self.clients.insert(id, client);
        id
    }

    /// Changes or removes a client's phone. `false`: no such client.
    pub fn edit_client_phone(&mut self, id: u64, mobile_no: Option<&str>) -> bool {
        self.clients.get_mut(&id).map(|client| client.mobile_no = mobile_no.map(str::to_owned)).is_some()
    }

    /// Changes a client's status. `false`: no such client.
    pub fn set_client_status(&mut self, id: u64, status: AccountStatus) -> bool {
        self.clients.get_mut(&id).map(|client| client.status = status).is_some()
    }

    /// Adds a loan product; ids start at 4.
    pub fn add_product(&mut self, spec: ProductSpec) -> u64 {
        let id = after(self.products.keys().next_back(), 4);
        self.products.insert(id, Product { id, spec });
        id
    }

    /// Adds a payment type; ids follow those that a fresh tenant has.
    pub fn add_payment_type(&mut self, name: &str, is_cash: bool) -> u64 {
        let id = after(self.payment_types.keys().next_back(), 1);
        self.payment_types.insert(id, PaymentType { id, name: name.to_owned(), description: None, is_cash, position: 3 });
        id
    }

    /// `POST /paymenttypes`.
    pub(crate) fn create_payment_type(&mut self, body: &Body) -> Result<Done, Refusal> {
        body.only(&["name", "description", "isCashPayment", "position", "codeName", "isSystemDefined"])?;
        let Some(name) = body.filled("name") else {
            return Err(Refusal::invalid("validation.msg.paymenttype.name.cannot.be.blank", Some("name"), None));
        };
        let id = self.add_payment_type(&name, body.truth("isCashPayment").unwrap_or(false));
        if let Some(kind) = self.payment_types.get_mut(&id) {
            kind.description = body.filled("description");
            kind.position = body.text("position").and_then(|text| text.parse().ok()).unwrap_or(1);
        }
        Ok(Done { resource_id: Some(id), ..Done::default() })
    }

    /// Adds a loan that waits for approval; ids start at 1. It is refused when client, product, old loan or account number do not fit.
    pub fn add_loan(&mut self, spec: LoanSpec) -> Result<u64, Refused> {
        let product = self.products.get(&spec.product_id).ok_or_else(|| Refusal::not_found("error.msg.loanproduct.id.invalid", spec.product_id))?;
        let client = match spec.client_id {
            Some(id) => Some(self.clients.get(&id).ok_or_else(|| Refusal::not_found("error.msg.client.id.invalid", id))?),
            None if spec.group.is_some() => None,
            None => {
                return Err(Refusal::state("validation.msg.loan.clientId.cannot.be.blank").into());
            }
        };
        if spec.top_up_of.is_some_and(|old| !self.loans.contains_key(&old)) {
            return Err(Refusal::rule("error.msg.loan.to.be.closed.with.topup.is.not.active").into());
        }
        let id = after(self.loans.keys().next_back(), 1);
        let account_no = spec.account_no.unwrap_or_else(|| format!("{id:09}"));
        if self.loan_account_nos.contains_key(&account_no) || spec.external_id.as_ref().is_some_and(|id| self.loan_external_ids.contains_key(id)) {
            return Err(Refusal::integrity("error.msg.loan.duplicate.externalId").into());
        }
        let loan = Loan {
            id,
            account_no: account_no.clone(),
            external_id: spec.external_id.clone(),
            client_id: spec.client_id,
            group: spec.group,
            office_id: client.map_or(2, |client| client.office_id),
            product_id: spec.product_id,
            status: LoanStatus::Submitted,
            proposed: spec.principal,
            approved: spec.principal,
            fees_at_disbursement: spec.fees_at_disbursement,
            submitted: Step { on: spec.submitted_on, by: "jane".to_owned() },
            approval: None,
            expected_disbursement: spec.expected_disbursement,
            disbursal: None,
            rejection: None,
            withdrawal: None,
            closed: None,
            write_off: None,
            tranches: spec.tranches.into_iter().map(|(expected_on, principal)| Tranche { expected_on, principal, actual_on: None }).collect(),
            top_up: spec.top_up_of.map(|closes| TopUp { closes, amount: 0 }),
            linked_savings: spec.linked_savings,
            number_of_repayments: product.spec.number_of_repayments,
            interest_basis_points: product.spec.interest_basis_points,
            transactions: Vec::new(),
            figures: super::book::Figures::default(),
            touched: 0,
        };
        self.loan_account_nos.insert(account_no, id);
        if let Some(external_id) = spec.external_id {
            self.loan_external_ids.insert(external_id, id);
        }
        self.loans.insert(id, loan);
        self.touch(id);
        Ok(id)
    }

    /// Adds an active savings account; ids start at 1, so that loans and accounts share numbers. `None`: no such client.
    pub fn add_savings(&mut self, client_id: u64, external_id: Option<&str>) -> Option<u64> {
        let activated_on = self.clients.get(&client_id)?.activated_on;
        let id = after(self.savings.keys().next_back(), 1);
        let account = Savings {
            id,
            account_no: format!("{id:09}"),
            external_id: external_id.map(str::to_owned),
            client_id,
            product_name: "Akiba".to_owned(),
            status: AccountStatus::Active,
            activated_on,
            credit_blocked: false,
            transactions: Vec::new(),
            balance: 0,
        };
        self.savings.insert(id, account);
        Some(id)
    }

    /// Changes an account's status, or blocks its credits. `false`: no such account.
    pub fn set_savings_status(&mut self, id: u64, status: AccountStatus, credit_blocked: bool) -> bool {
        let account = self.savings.get_mut(&id);
        account.map(|account| (account.status, account.credit_blocked) = (status, credit_blocked)).is_some()
    }

    // ---- by command, with checks and hooks ------------------------------------------------------------------

    /// Peter approves the whole amount today, in the web interface.
    pub fn approve(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let amount = self.loans.get(&loan).map_or(0, |loan| loan.proposed);
        self.approve_amount(loan, amount, now)
    }

    /// Peter approves an amount (cents) today, in the web interface.
    pub fn approve_amount(&mut self, loan: u64, amount: i64, now: DateTime<Utc>) -> Result<(), Refused> {
        let today = self.today(now);
        let expected = self.loans.get(&loan).map_or(today, |loan| loan.expected_disbursement.max(today));
        let body = ui_body([
            ("approvedOnDate", ui_date(today)),
            ("expectedDisbursementDate", ui_date(expected)),
            ("approvedLoanAmount", Json::Token(plain(amount))),
            ("note", "".into()),
        ]);
        self.desk(now, "APPROVE", Work::Approve(loan), &body).map(|_| ())
    }

    /// Peter takes his approval back.
    pub fn undo_approval(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        self.desk(now, "APPROVALUNDO", Work::UndoApproval(loan), &Json::map([("note", "".into())])).map(|_| ())
    }

    /// Peter rejects a loan that waits for approval.
    pub fn reject(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let body = ui_body([("rejectedOnDate", ui_date(self.today(now)))]);
        self.desk(now, "REJECT", Work::Reject(loan), &body).map(|_| ())
    }

    /// The applicant withdraws.
    pub fn withdraw(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let body = ui_body([("withdrawnOnDate", ui_date(self.today(now)))]);
        self.desk(now, "WITHDRAW", Work::Withdraw(loan), &body).map(|_| ())
    }

    /// Jane disburses by hand with a receipt; the id of the disbursement transaction. The payment type is the first that is not cash.
    pub fn disburse_by_hand(&mut self, loan: u64, receipt: &str, now: DateTime<Utc>) -> Result<u64, Refused> {
        let body = ui_body([
            ("actualDisbursementDate", ui_date(self.today(now))),
            ("paymentTypeId", self.usual_payment_type().into()),
            ("receiptNumber", receipt.to_owned().into()),
        ]);
        self.desk(now, "DISBURSE", Work::Disburse(loan), &body)?;
        let last = self.loans.get(&loan).and_then(|loan| loan.disbursements().last());
        Ok(last.map_or(0, |entry| entry.id))
    }

    /// Jane undoes a disbursal.
    pub fn undo_disbursal(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        self.desk(now, "DISBURSALUNDO", Work::UndoDisbursal(loan), &Json::map([("note", "".into())])).map(|_| ())
    }

    /// Jane books a repayment (cents) with a receipt; the id of the transaction.
    pub fn repay_by_hand(&mut self, loan: u64, amount: i64, receipt: &str, now: DateTime<Utc>) -> Result<u64, Refused> {
        let body = ui_body([
            ("transactionDate", ui_date(self.today(now))),
            ("transactionAmount", Json::Token(plain(amount))),
            ("paymentTypeId", self.usual_payment_type().into()),
            ("receiptNumber", receipt.to_owned().into()),
        ]);
        Ok(self.desk(now, "REPAYMENT", Work::Repay(loan), &body)?.resource_id.unwrap_or_default())
    }

    /// Jane reverses a repayment.
    pub fn undo_repayment(&mut self, loan: u64, transaction: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let body = ui_body([("transactionDate", ui_date(self.today(now))), ("transactionAmount", Json::Token("0".to_owned()))]);
        self.desk(now, "ADJUST", Work::AdjustRepayment(loan, transaction), &body).map(|_| ())
    }

    /// Peter as checker lets a parked command run.
    pub fn checker_approve(&mut self, command_id: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let peter = self.member("peter");
        self.release(now, &peter, command_id)?;
        Ok(())
    }

    /// Peter as checker turns a parked command down.
    pub fn checker_reject(&mut self, command_id: u64) -> Result<(), Refused> {
        Ok(self.turn_down(command_id)?)
    }

    // ---- straight into the records --------------------------------------------------------------------------

    /// Changes the amount (cents) of a loan that is not disbursed yet, without any event; asked for and approved alike.
    pub fn edit_loan_amount(&mut self, loan: u64, principal: i64) -> Result<(), Refused> {
        let found = self.loans.get(&loan).ok_or_else(|| Refusal::not_found("error.msg.loan.id.invalid", loan))?;
        if !matches!(found.status, LoanStatus::Submitted | LoanStatus::Approved) {
            return Err(Refusal::rule("error.msg.loan.cannot.modify.loan.in.its.present.state").into());
        }
        self.change(loan, |loan| {
            (loan.proposed, loan.approved) = (principal, principal);
        });
        Ok(())
    }

    /// Changes the fees due at disbursement (cents), without any event.
    pub fn edit_loan_fees(&mut self, loan: u64, fees: i64) -> bool {
        let known = self.loans.contains_key(&loan);
        self.change(loan, |loan| loan.fees_at_disbursement = fees);
        known
    }

    /// Writes off what a loan still owes (601).
    pub fn write_off(&mut self, loan: u64, now: DateTime<Utc>) -> Result<(), Refused> {
        let today = self.today(now);
        let found = self.loans.get(&loan).filter(|found| found.status == LoanStatus::Active);
        let owed = found.map(|found| found.figures.outstanding()).ok_or_else(|| Refusal::state("error.msg.loan.writeoff.account.is.not.active"))?;
        let id = self.transaction_id();
        self.change(loan, |loan| {
            loan.transactions.push(LoanTransaction {
                id,
                kind: TransactionKind::WriteOff,
                date: today,
                submitted_on: today,
                amount: owed,
                portions: Portions::default(),
                external_id: None,
                reversal_external_id: None,
                payment: None,
                reversed_on: None,
                note: None,
                entered_by: "peter".to_owned(),
                is_transfer: false,
            });
            loan.status = LoanStatus::WrittenOff;
            loan.write_off = Some(Step { on: today, by: "peter".to_owned() });
        });
        Ok(())
    }

    /// Tampering: a transaction vanishes from the database, status and sums stay. `false`: there was none.
    pub fn delete_transaction(&mut self, loan: u64, transaction: u64) -> bool {
        let before = self.transactions(loan).len();
        self.transaction_external_ids.retain(|_, owner| *owner != (loan, transaction));
        self.change(loan, |loan| {
            loan.transactions.retain(|entry| entry.id != transaction);
        });
        self.transactions(loan).len() < before
    }

    /// Tampering: a transaction gets another amount (cents), status and sums stay. `false`: there was none.
    pub fn tamper_amount(&mut self, loan: u64, transaction: u64, amount: i64) -> bool {
        self.entry(loan, transaction).map(|entry| entry.amount = amount).is_some()
    }

    /// Tampering: a transaction gets another receipt. `false`: there was none, or it has no payment detail.
    pub fn tamper_receipt(&mut self, loan: u64, transaction: u64, receipt: &str) -> bool {
        let payment = self.entry(loan, transaction).and_then(|entry| entry.payment.as_mut());
        payment.map(|payment| receipt.clone_into(&mut payment.receipt_number)).is_some()
    }

    fn entry(&mut self, loan: u64, transaction: u64) -> Option<&mut LoanTransaction> {
        self.loans.get_mut(&loan)?.transactions.iter_mut().find(|entry| entry.id == transaction)
    }

    // ---- how staff do it ------------------------------------------------------------------------------------

    fn desk(&mut self, now: DateTime<Utc>, action: &'static str, work: Work, body: &Json) -> Result<Done, Refused> {
        let member = self.member(if matches!(work, Work::Approve(_) | Work::UndoApproval(_) | Work::Reject(_)) { "peter" } else { "jane" });
        let body = Body::parse(body.render().as_bytes())?;
        Ok(self.by_staff(now, &member, &Order { entity: "LOAN", action, work, body })?)
    }

    fn member(&self, name: &str) -> Arc<User> {
        // Both members are hired when the bank opens; a user of the same name given in the options takes their place.
        let stranger = || User { id: 1, options: super::options::UserOptions::new(name, "", &["ALL_FUNCTIONS"]) };
        self.users.get(name).cloned().unwrap_or_else(|| Arc::new(stranger()))
    }

    fn usual_payment_type(&self) -> Option<u64> {
        self.payment_types.values().filter(|kind| !kind.is_cash).map(|kind| kind.id).next_back()
    }
}

fn after(last: Option<&u64>, first: u64) -> u64 {
    last.map_or(first, |last| last.saturating_add(1))
}

fn ui_date(date: NaiveDate) -> Json {
    date.format(UI_DATE).to_string().into()
}

fn ui_body<const N: usize>(members: [(&'static str, Json); N]) -> Json {
    let mut body = Json::map(members);
    body.put("dateFormat", "dd MMMM yyyy");
    body.put("locale", "en");
    body
}
