//! Approve, undo, reject, withdraw, disburse, undo disbursal: the state machine of a loan (Mifos X contract 3.1, 3.4, 3.6, 3.7).
//!
//! Every act first checks everything and then changes; a refusal leaves nothing behind.

use chrono::{DateTime, Months, NaiveDate, Utc};

use super::bank::{Bank, PAYMENT_FIELDS, User, put_payment, read_payment};
use super::body::{Body, Reader};
use super::book::{AccountStatus, Loan, LoanStatus, LoanTransaction, PaymentDetail, Portions, Step, Tranche, TransactionKind};
use super::commands::Done;
use super::json::{Json, plain};
use super::loan_json::short_status;
use super::refusal::Refusal;

/// The answer to "already disbursed" and to "not approved" alike (Mifos X contract 3.6).
const NOT_DISBURSABLE: &str = "error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state";

const DISBURSE_FIELDS: [&str; 10] = [
    "actualDisbursementDate",
    "transactionAmount",
    "netDisbursalAmount",
    "fixedEmiAmount",
    "adjustRepaymentDate",
    "externalId",
    "note",
    "postDatedChecks",
    "locale",
    "dateFormat",
];

/// How the tranches of a multi-disbursement loan come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tranches {
    /// Planned with the loan.
    Planned,
    /// Made by each disbursement.
    OnTheFly,
}

/// What a disburse body asks for.
struct DisburseRequest {
    date: NaiveDate,
    amount: Option<i64>,
    payment_type: Option<u64>,
    external_id: Option<String>,
    note: Option<String>,
}

impl DisburseRequest {
    fn read(body: &Body, to_savings: bool) -> Result<Self, Refusal> {
        let mut allowed = DISBURSE_FIELDS.to_vec();
        if !to_savings {
            allowed.extend(PAYMENT_FIELDS);
            allowed.push("paymentTypeId");
        }
        body.only(&allowed)?;
        let mut reader = Reader::new(body, "loan.disbursement");
        let date = reader.date("actualDisbursementDate", true)?;
        let amount = reader.positive("transactionAmount", false)?;
        reader.amount("netDisbursalAmount", false)?;
        reader.date("adjustRepaymentDate", false)?;
        let external_id = reader.text("externalId", 100);
        let note = reader.text("note", 1000);
        let payment_type = read_payment(&mut reader, false);
        reader.finish()?;
        // `finish` has refused a missing date already.
        let date = date.ok_or_else(Refusal::body)?;
        Ok(Self { date, amount, payment_type, external_id, note })
    }
}

impl Bank {
    /// The identity part of every answer about a loan.
    pub(crate) fn done_for(loan: &Loan) -> Done {
        Done {
            office_id: Some(loan.office_id),
            group_id: loan.group.as_ref().map(|group| group.id),
            client_id: loan.client_id,
            loan_id: Some(loan.id),
            resource_id: Some(loan.id),
            resource_external_id: loan.external_id.clone(),
            ..Done::default()
        }
    }

    pub(crate) fn approve_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        body.only(&[
            "loanId",
            "approvedOnDate",
            "expectedDisbursementDate",
            "approvedLoanAmount",
            "netDisbursalAmount",
            "disbursementData",
            "note",
            "locale",
            "dateFormat",
        ])?;
        let mut reader = Reader::new(body, "loanapplication");
        let approved_on = reader.date("approvedOnDate", true)?;
        let expected = reader.date("expectedDisbursementDate", false)?;
        let amount = reader.positive("approvedLoanAmount", false)?;
        reader.text("note", 1000);
        reader.finish()?;
        let approved_on = approved_on.ok_or_else(Refusal::body)?;

        let today = self.today(now);
        let loan = self.loan_of(user, id)?;
        self.active_client(loan)?;
        if loan.status != LoanStatus::Submitted {
            return Err(Refusal::state("error.msg.loan.approve.account.is.not.submitted.and.pending.state"));
        }
        if approved_on < loan.submitted.on {
            return Err(Refusal::rule("error.msg.loan.approval.cannot.be.before.submittal.date"));
        }
        if approved_on > today {
            return Err(Refusal::rule("error.msg.loan.approval.cannot.be.a.future.date"));
        }
        let principal = amount.unwrap_or(loan.proposed);
        if principal > loan.proposed {
            return Err(Refusal::rule("error.msg.loan.approval.amount.can't.be.greater.than.loan.amount.demanded"));
        }

        let mut changes = Json::map([("status", short_status(LoanStatus::Approved))]);
        put_companions(&mut changes, body);
        changes.put("approvedOnDate", body.filled("approvedOnDate"));
        changes.put("expectedDisbursementDate", expected);
        if amount.is_some() {
            changes.put("approvedLoanAmount", Json::Token(plain(principal)));
            changes.put("principal", Json::Token(plain(principal)));
        }
        self.change(id, |loan| {
            loan.status = LoanStatus::Approved;
            loan.approved = principal;
            loan.approval = Some(Step { on: approved_on, by: user.options.name.clone() });
            loan.expected_disbursement = expected.unwrap_or(loan.expected_disbursement);
        });
        self.finish_loan_command(user, id, changes)
    }

    pub(crate) fn undo_approval_of_loan(&mut self, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        body.only(&["note", "locale", "dateFormat"])?;
        let loan = self.loan_of(user, id)?;
        if loan.status != LoanStatus::Approved {
            return Err(Refusal::state("error.msg.loan.undo.approval.account.is.not.approved"));
        }
        self.change(id, |loan| {
            loan.status = LoanStatus::Submitted;
            loan.approved = loan.proposed;
            loan.approval = None;
        });
        let changes = Json::map([("status", short_status(LoanStatus::Submitted)), ("approvedOnDate", "".into())]);
        self.finish_loan_command(user, id, changes)
    }

    pub(crate) fn reject_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        let on =
            self.end_before_approval(now, user, id, body, "rejectedOnDate", "error.msg.loan.reject.account.is.not.submitted.pending.approval.state")?;
        self.change(id, |loan| {
            loan.status = LoanStatus::Rejected;
            loan.rejection = Some(Step { on, by: user.options.name.clone() });
        });
        self.finish_end(user, id, body, LoanStatus::Rejected, "rejectedOnDate")
    }

    pub(crate) fn withdraw_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        let on = self.end_before_approval(
            now,
            user,
            id,
            body,
            "withdrawnOnDate",
            "error.msg.loan.withdrawn.account.is.not.submitted.pending.approval.state",
        )?;
        self.change(id, |loan| {
            loan.status = LoanStatus::Withdrawn;
            loan.withdrawal = Some(Step { on, by: user.options.name.clone() });
        });
        self.finish_end(user, id, body, LoanStatus::Withdrawn, "withdrawnOnDate")
    }

    fn end_before_approval(&self, now: DateTime<Utc>, user: &User, id: u64, body: &Body, field: &str, code: &str) -> Result<NaiveDate, Refusal> {
        body.only(&[field, "note", "locale", "dateFormat"])?;
        let mut reader = Reader::new(body, "loanapplication");
        let on = reader.date(field, true)?;
        reader.finish()?;
        let on = on.ok_or_else(Refusal::body)?;
        let loan = self.loan_of(user, id)?;
        if loan.status != LoanStatus::Submitted {
            return Err(Refusal::state(code));
        }
        if on < loan.submitted.on || on > self.today(now) {
            return Err(Refusal::rule("error.msg.loan.reject.cannot.be.before.submittal.date"));
        }
        Ok(on)
    }

    fn finish_end(&mut self, user: &User, id: u64, body: &Body, status: LoanStatus, field: &'static str) -> Result<Done, Refusal> {
        let mut changes = Json::map([("status", short_status(status))]);
        put_companions(&mut changes, body);
        changes.put(field, body.filled(field));
        self.finish_loan_command(user, id, changes)
    }

    /// Hands the loan out, in whole or as a tranche. `to_savings`: into the linked account, without a cash leg.
    pub(crate) fn disburse_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body, to_savings: bool) -> Result<Done, Refusal> {
        let request = DisburseRequest::read(body, to_savings)?;
        let today = self.today(now);
        let loan = self.loan_of(user, id)?;
        self.active_client(loan)?;
        let amount = self.disbursable(loan, &request, today)?;
        let settlement = self.settlement_of_old_loan(loan, amount)?;
        let linked = match (to_savings, loan.linked_savings) {
            (true, None) => {
                return Err(Refusal::rule("error.msg.loan.disburse.to.savings.requires.linked.account"));
            }
            (true, linked) => linked,
            (false, _) => None,
        };
        self.free_external_id(request.external_id.as_ref())?;
        let payment = self.payment_of(body, request.payment_type)?;

        let transaction = self.book_disbursement(user, id, &request, amount, payment, today, to_savings);
        if let Some((old, owed)) = settlement {
            self.close_old_loan(user, id, old, owed, request.date, today);
        }
        if let Some(account) = linked {
            let net = self.loans.get(&id).map_or(0, Loan::net_disbursal);
            self.credit_from_loan(account, net, request.date, today);
        }
        let mut done = self.finish_loan_command(user, id, disburse_changes(body, &request, to_savings))?;
        if !to_savings {
            if self.is_old() {
                done.resource_id = Some(transaction);
            } else {
                done.sub_resource_id = Some(transaction);
                done.sub_resource_external_id = request.external_id;
            }
        }
        Ok(done)
    }

    /// Checks state, dates and amount of a disbursement; the gross amount in cents.
    fn disbursable(&self, loan: &Loan, request: &DisburseRequest, today: NaiveDate) -> Result<i64, Refusal> {
        let product = self.products.get(&loan.product_id).map(|product| &product.spec);
        let multi = product.is_some_and(|product| product.multi_disburse);
        let on_the_fly = multi && product.is_some_and(|product| product.disallow_expected_disbursements);
        let open = loan.tranches.iter().find(|tranche| tranche.actual_on.is_none());
        let again = multi && loan.status == LoanStatus::Active && (on_the_fly || open.is_some());
        if loan.status != LoanStatus::Approved && !again {
            return Err(Refusal::state(NOT_DISBURSABLE));
        }
        if loan.approval.as_ref().is_some_and(|approval| request.date < approval.on) {
            return Err(Refusal::rule("error.msg.loan.disbursal.cannot.be.before.approval.date"));
        }
        if request.date > today {
            return Err(Refusal::rule("error.msg.loan.disbursal.cannot.be.a.future.date"));
        }
        if loan.expected_disbursement.checked_add_months(Months::new(1)).is_some_and(|first| request.date > first) {
            return Err(Refusal::rule("error.msg.loan.disbursal.cannot.be.after.expected.first.repayment.date"));
        }
        self.working_day(request.date, "disbursement")?;
        let synced = product.is_some_and(|product| product.sync_expected_with_disbursement_date);
        if synced && request.date != loan.expected_disbursement {
            return Err(Refusal::rule("error.msg.actual.disbursement.date.does.not.match.with.expected.disbursal.date"));
        }
        let planned = if on_the_fly { loan.approved } else { open.map_or(loan.approved, |tranche| tranche.principal) };
        let amount = request.amount.unwrap_or(planned);
        let above = if on_the_fly { product.map_or(0, |product| product.over_applied_percent) } else { 0 };
        let limit = loan.approved.saturating_add(loan.approved.saturating_mul(above) / 100);
        if loan.figures.disbursed.saturating_add(amount) > limit {
            return Err(Refusal::rule("error.msg.loan.disburse.amount.must.be.less.than.approved.amount"));
        }
        Ok(amount)
    }

    /// For a top-up: the old loan and what it still takes.
    fn settlement_of_old_loan(&self, loan: &Loan, amount: i64) -> Result<Option<(u64, i64)>, Refusal> {
        let Some(top_up) = &loan.top_up else {
            return Ok(None);
        };
        let old = self.loans.get(&top_up.closes).filter(|old| old.status == LoanStatus::Active);
        let old = old.ok_or_else(|| Refusal::rule("error.msg.loan.to.be.closed.with.topup.is.not.active"))?;
        let owed = old.figures.outstanding();
        if amount.saturating_sub(loan.fees_at_disbursement) < owed {
            return Err(Refusal::rule("error.msg.loan.amount.less.than.outstanding.of.loan.to.be.closed"));
        }
        Ok(Some((old.id, owed)))
    }

    #[expect(clippy::too_many_arguments, reason = "all parts of one booking, checked by the only caller")]
    fn book_disbursement(
        &mut self,
        user: &User,
        id: u64,
        request: &DisburseRequest,
        amount: i64,
        payment: Option<PaymentDetail>,
        today: NaiveDate,
        to_savings: bool,
    ) -> u64 {
        let transaction = self.transaction_id();
        let fees = self.loans.get(&id).filter(|loan| loan.disbursements().next().is_none()).map_or(0, |loan| loan.fees_at_disbursement);
        let fee_transaction = if fees > 0 { Some(self.transaction_id()) } else { None };
        if let Some(external_id) = &request.external_id {
            self.transaction_external_ids.insert(external_id.clone(), (id, transaction));
        }
        let multi = self.tranches_allowed(id).is_some();
        let entry = |id, kind, amount, portions| LoanTransaction {
            id,
            kind,
            date: request.date,
            submitted_on: today,
            amount,
            portions,
            external_id: None,
            reversal_external_id: None,
            payment: None,
            reversed_on: None,
            note: None,
            entered_by: user.options.name.clone(),
            is_transfer: to_savings,
        };
        self.change(id, |loan| {
            loan.transactions.push(LoanTransaction {
                external_id: request.external_id.clone(),
                payment,
                note: request.note.clone(),
                ..entry(transaction, TransactionKind::Disbursement, amount, Portions::default())
            });
            if let Some(fee_transaction) = fee_transaction {
                let portions = Portions { fees, ..Portions::default() };
                loan.transactions.push(entry(fee_transaction, TransactionKind::RepaymentAtDisbursement, fees, portions));
            }
            match loan.tranches.iter_mut().find(|tranche| tranche.actual_on.is_none()) {
                Some(tranche) => {
                    tranche.actual_on = Some(request.date);
                    tranche.principal = amount;
                }
                None if multi => loan.tranches.push(Tranche { expected_on: request.date, principal: amount, actual_on: Some(request.date) }),
                None => {}
            }
            if loan.disbursal.is_none() {
                loan.disbursal = Some(Step { on: request.date, by: user.options.name.clone() });
            }
            loan.status = LoanStatus::Active;
        });
        self.settle(id, request.date, &user.options.name);
        transaction
    }

    fn close_old_loan(&mut self, user: &User, id: u64, old: u64, owed: i64, date: NaiveDate, today: NaiveDate) {
        let transaction = self.transaction_id();
        self.change(old, |loan| {
            loan.transactions.push(LoanTransaction {
                id: transaction,
                kind: TransactionKind::Repayment,
                date,
                submitted_on: today,
                amount: owed,
                portions: Portions::default(),
                external_id: None,
                reversal_external_id: None,
                payment: None,
                reversed_on: None,
                note: None,
                entered_by: user.options.name.clone(),
                is_transfer: true,
            });
        });
        self.settle(old, date, &user.options.name);
        self.change(id, |loan| {
            if let Some(top_up) = &mut loan.top_up {
                top_up.amount = owed;
            }
        });
    }

    pub(crate) fn undo_disbursal_of_loan(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body) -> Result<Done, Refusal> {
        body.only(&["note", "locale", "dateFormat"])?;
        let today = self.today(now);
        let loan = self.loan_of(user, id)?;
        if loan.status != LoanStatus::Active {
            return Err(Refusal::state("error.msg.loan.undo.disbursal.account.is.not.active"));
        }
        if loan.top_up.is_some() {
            return Err(Refusal::state("error.msg.loan.undo.disbursal.not.allowed.on.topup.loan"));
        }
        let transferred: i64 = loan.disbursements().filter(|entry| entry.is_transfer).map(|entry| entry.amount).sum();
        let linked = loan.linked_savings.filter(|_| transferred > 0);
        let net = loan.net_disbursal();
        let planned = self.tranches_allowed(id) == Some(Tranches::Planned);
        if let Some(account) = linked {
            self.take_back_from_savings(account, net, today)?;
        }
        self.change(id, |loan| {
            for entry in loan.transactions.iter_mut().filter(|entry| entry.reversed_on.is_none()) {
                entry.reversed_on = Some(today);
            }
            if planned {
                for tranche in &mut loan.tranches {
                    tranche.actual_on = None;
                }
            } else {
                loan.tranches.clear();
            }
            loan.status = LoanStatus::Approved;
            loan.disbursal = None;
            loan.closed = None;
        });
        self.settle(id, today, &user.options.name);
        let changes = Json::map([("status", short_status(LoanStatus::Approved)), ("actualDisbursementDate", "".into())]);
        self.finish_loan_command(user, id, changes)
    }

    /// How a loan's product lets it be handed out in tranches, if at all.
    fn tranches_allowed(&self, id: u64) -> Option<Tranches> {
        let product = self.loans.get(&id).and_then(|loan| self.products.get(&loan.product_id))?;
        if !product.spec.multi_disburse {
            return None;
        }
        Some(if product.spec.disallow_expected_disbursements { Tranches::OnTheFly } else { Tranches::Planned })
    }

    /// Refuses when the borrower is not an active client.
    fn active_client(&self, loan: &Loan) -> Result<(), Refusal> {
        let client = loan.client_id.and_then(|client| self.clients.get(&client));
        if client.is_some_and(|client| client.status != AccountStatus::Active) {
            return Err(Refusal::rule("error.msg.client.not.active.exception"));
        }
        Ok(())
    }

    /// Changes a loan that was looked up before.
    pub(crate) fn change(&mut self, id: u64, act: impl FnOnce(&mut Loan)) {
        if let Some(loan) = self.loans.get_mut(&id) {
            act(loan);
        }
        self.touch(id);
    }

    fn finish_loan_command(&mut self, user: &User, id: u64, changes: Json) -> Result<Done, Refusal> {
        let loan = self.loan_of(user, id)?;
        Ok(Done { changes: Some(changes), ..Self::done_for(loan) })
    }
}

fn put_companions(changes: &mut Json, body: &Body) {
    changes.put("locale", body.filled("locale"));
    changes.put("dateFormat", body.filled("dateFormat"));
}

fn disburse_changes(body: &Body, request: &DisburseRequest, to_savings: bool) -> Json {
    let mut changes = Json::map([]);
    if !to_savings {
        put_payment(&mut changes, body);
    }
    put_companions(&mut changes, body);
    changes.put("actualDisbursementDate", body.filled("actualDisbursementDate"));
    changes.put("status", short_status(LoanStatus::Active));
    changes.put("note", request.note.as_ref());
    changes
}
