//! How loans, their transactions and products look on the wire (Mifos X contract 2, 3.1, 3.3, 4.1).

use chrono::NaiveDate;

use super::bank::Bank;
use super::book::{Loan, LoanStatus, LoanTransaction, PaymentDetail, PaymentType, Product, Step, TransactionKind};
use super::json::{Cents, Json, choice};
use super::repayments::schedule_of;

/// Shillings.
pub(crate) fn currency() -> Json {
    Json::Fixed(concat!(
        r#"{"code":"KES","name":"Kenyan Shilling","decimalPlaces":2,"inMultiplesOf":0,"#,
        r#""displaySymbol":"KSh","nameCode":"currency.KES","displayLabel":"Kenyan Shilling (KSh)"}"#
    ))
}

/// A status as commands answer it: only the flag that is set.
pub(crate) fn short_status(status: LoanStatus) -> Json {
    let mut json = choice(status.id(), status.code(), status.words());
    if status == LoanStatus::Active {
        json.put("active", true);
    }
    json
}

/// A status with all its flags, as reads show it.
pub(crate) fn full_status(status: LoanStatus) -> Json {
    let mut json = choice(status.id(), status.code(), status.words());
    let flag = |wanted: LoanStatus| Json::Bool(status == wanted);
    json.put("pendingApproval", flag(LoanStatus::Submitted));
    json.put("waitingForDisbursal", flag(LoanStatus::Approved));
    json.put("active", flag(LoanStatus::Active));
    json.put("closedObligationsMet", flag(LoanStatus::Closed));
    json.put("closedWrittenOff", flag(LoanStatus::WrittenOff));
    json.put("closedRescheduled", false);
    json.put("closed", matches!(status, LoanStatus::Closed | LoanStatus::WrittenOff));
    json.put("overpaid", flag(LoanStatus::Overpaid));
    json
}

/// A payment detail.
pub(crate) fn payment_json(payment: &PaymentDetail, type_name: &str) -> Json {
    Json::map([
        ("id", payment.id.into()),
        ("paymentType", Json::map([("id", payment.payment_type_id.into()), ("name", type_name.to_owned().into())])),
        ("accountNumber", (&payment.account_number).into()),
        ("checkNumber", (&payment.check_number).into()),
        ("routingCode", (&payment.routing_code).into()),
        ("receiptNumber", (&payment.receipt_number).into()),
        ("bankNumber", (&payment.bank_number).into()),
    ])
}

/// A payment type; 1.9+ adds `codeName` and `isSystemDefined`.
pub(crate) fn payment_type_json(kind: &PaymentType, is_old: bool) -> Json {
    let mut json = Json::map([
        ("id", kind.id.into()),
        ("name", (&kind.name).into()),
        ("description", kind.description.as_ref().into()),
        ("isCashPayment", kind.is_cash.into()),
        ("position", kind.position.into()),
    ]);
    if !is_old {
        json.put("isSystemDefined", kind.id == 2 || kind.id == 3);
    }
    json
}

fn months(what: &'static str, words: &'static str) -> Json {
    choice(2, format!("{what}.periodFrequencyType.months"), words)
}

fn put_step(json: &mut Json, names: (&'static str, &'static str), step: Option<&Step>) {
    if let Some(step) = step {
        json.put(names.0, step.on);
        json.put(names.1, &step.by);
    }
}

/// Hundredths of a percent as percent.
fn percent(basis_points: i64) -> Cents {
    Cents(basis_points)
}

/// The kind of a transaction with its flags.
fn kind_json(kind: TransactionKind) -> Json {
    let (code, words) = match kind {
        TransactionKind::Disbursement => ("loanTransactionType.disbursement", "Disbursement"),
        TransactionKind::Repayment => ("loanTransactionType.repayment", "Repayment"),
        TransactionKind::RepaymentAtDisbursement => ("loanTransactionType.repaymentAtDisbursement", "Repayment (at time of disbursement)"),
        TransactionKind::WriteOff => ("loanTransactionType.writeOff", "Close (as written-off)"),
        TransactionKind::RecoveryRepayment => ("loanTransactionType.recoveryRepayment", "Repayment (after write-off)"),
        TransactionKind::CreditBalanceRefund => ("loanTransactionType.creditBalanceRefund", "Credit Balance Refund"),
    };
    let mut json = choice(kind.id(), code, words);
    for (name, wanted) in [
        ("disbursement", TransactionKind::Disbursement),
        ("repaymentAtDisbursement", TransactionKind::RepaymentAtDisbursement),
        ("repayment", TransactionKind::Repayment),
        ("writeOff", TransactionKind::WriteOff),
        ("recoveryRepayment", TransactionKind::RecoveryRepayment),
        ("creditBalanceRefund", TransactionKind::CreditBalanceRefund),
    ] {
        json.put(name, kind == wanted);
    }
    json
}

/// What a read of a loan includes beyond the plain loan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Associations {
    pub(crate) schedule: bool,
    pub(crate) transactions: bool,
    pub(crate) charges: bool,
    pub(crate) tranches: bool,
    pub(crate) linked_account: bool,
}

impl Associations {
    /// Reads `associations=` and `exclude=`; nothing is included unless asked.
    pub(crate) fn read(wanted: Option<&str>, excluded: Option<&str>) -> Self {
        let names = |text: Option<&str>| -> Vec<String> { text.unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect() };
        let (wanted, excluded) = (names(wanted), names(excluded));
        let all = wanted.iter().any(|name| name == "all");
        let has = |name: &str| (all || wanted.iter().any(|one| one == name)) && !excluded.iter().any(|one| one == name);
        Self {
            schedule: has("repaymentSchedule"),
            transactions: has("transactions"),
            charges: has("charges"),
            tranches: has("multiDisburseDetails"),
            linked_account: has("linkedAccount"),
        }
    }
}

impl Bank {
    /// A loan as it is read.
    pub(crate) fn loan_json(&self, loan: &Loan, today: NaiveDate, with: Associations) -> Json {
        let client = loan.client_id.and_then(|id| self.clients.get(&id));
        let product = self.products.get(&loan.product_id).map(|product| &product.spec);
        let loan_type = match (&loan.group, loan.client_id) {
            (None, _) => choice(1, "accountType.individual", "Individual"),
            (Some(_), None) => choice(2, "accountType.group", "Group"),
            (Some(_), Some(_)) => choice(3, "accountType.jlg", "JLG"),
        };
        let rate = loan.interest_basis_points;
        let mut json = Json::map([
            ("id", loan.id.into()),
            ("accountNo", (&loan.account_no).into()),
            ("externalId", loan.external_id.as_ref().into()),
            ("status", full_status(loan.status)),
            ("clientId", loan.client_id.into()),
            ("clientAccountNo", client.map(|client| &client.account_no).into()),
            ("clientName", client.map(super::book::Client::display_name).into()),
            ("clientExternalId", client.and_then(|client| client.external_id.as_ref()).into()),
            ("clientOfficeId", loan.office_id.into()),
            ("group", loan.group.as_ref().map(|group| Json::map([("id", group.id.into()), ("name", (&group.name).into())])).into()),
            ("loanProductId", loan.product_id.into()),
            ("loanProductName", product.map(|product| &product.name).into()),
            ("isLoanProductLinkedToFloatingRate", false.into()),
            ("loanType", loan_type),
            ("currency", currency()),
            ("principal", Cents(loan.principal()).into()),
            ("approvedPrincipal", Cents(loan.approved).into()),
            ("proposedPrincipal", Cents(loan.proposed).into()),
            ("netDisbursalAmount", Cents(loan.net_disbursal()).into()),
            ("termFrequency", loan.number_of_repayments.into()),
            ("termPeriodFrequencyType", months("termFrequency", "Months")),
            ("numberOfRepayments", loan.number_of_repayments.into()),
            ("repaymentEvery", 1_i64.into()),
            ("repaymentFrequencyType", months("repaymentFrequency", "Months")),
            ("interestRatePerPeriod", percent(rate).into()),
            ("interestRateFrequencyType", months("interestRateFrequency", "Per month")),
            ("annualInterestRate", percent(rate.saturating_mul(12)).into()),
            ("timeline", timeline(loan)),
            ("feeChargesAtDisbursementCharged", Cents(loan.fees_at_disbursement).into()),
            ("multiDisburseLoan", product.is_some_and(|product| product.multi_disburse).into()),
            ("canDisburse", self.can_disburse(loan).into()),
            ("isTopup", loan.top_up.is_some().into()),
            ("inArrears", false.into()),
            ("isNPA", false.into()),
        ]);
        if let Some(top_up) = &loan.top_up {
            json.put("closureLoanId", top_up.closes);
            json.put("closureLoanAccountNo", self.loans.get(&top_up.closes).map(|old| &old.account_no));
            json.put("topupAmount", if top_up.amount == 0 { Json::Null } else { Cents(top_up.amount).into() });
        }
        if loan.status.is_disbursed() {
            json.put("summary", summary(loan, today));
        }
        if loan.figures.overpaid > 0 {
            json.put("totalOverpaid", Cents(loan.figures.overpaid));
        }
        self.put_associations(&mut json, loan, with);
        json
    }

    fn put_associations(&self, json: &mut Json, loan: &Loan, with: Associations) {
        if with.schedule {
            json.put("repaymentSchedule", schedule_json(loan));
        }
        if with.transactions && !loan.transactions.is_empty() {
            let list: Vec<Json> = loan.transactions.iter().map(|entry| self.loan_transaction_json(loan, entry)).collect();
            json.put("transactions", list);
        }
        if with.tranches {
            let tranches = loan.tranches.iter().enumerate().map(|(index, tranche)| {
                Json::map([
                    ("id", index.saturating_add(1).into()),
                    ("expectedDisbursementDate", tranche.expected_on.into()),
                    ("actualDisbursementDate", tranche.actual_on.into()),
                    ("principal", Cents(tranche.principal).into()),
                ])
            });
            json.put("disbursementDetails", tranches.collect::<Vec<_>>());
        }
        if with.charges && loan.fees_at_disbursement > 0 {
            let paid = loan.status.is_disbursed();
            let charge = Json::map([
                ("id", loan.id.into()),
                ("name", "Processing fee".into()),
                ("chargeTimeType", choice(1, "chargeTimeType.disbursement", "Disbursement")),
                ("amount", Cents(loan.fees_at_disbursement).into()),
                ("amountPaid", Cents(if paid { loan.fees_at_disbursement } else { 0 }).into()),
                ("amountOutstanding", Cents(if paid { 0 } else { loan.fees_at_disbursement }).into()),
                ("paid", paid.into()),
            ]);
            json.put("charges", vec![charge]);
        }
        if let Some(account) = loan.linked_savings.filter(|_| with.linked_account).and_then(|id| self.savings.get(&id)) {
            json.put("linkedAccount", Json::map([("id", account.id.into()), ("accountNo", (&account.account_no).into())]));
        }
    }

    fn can_disburse(&self, loan: &Loan) -> bool {
        let product = self.products.get(&loan.product_id).map(|product| &product.spec);
        let multi = product.is_some_and(|product| product.multi_disburse);
        let on_the_fly = product.is_some_and(|product| product.disallow_expected_disbursements);
        let open = on_the_fly || loan.tranches.iter().any(|tranche| tranche.actual_on.is_none());
        loan.status == LoanStatus::Approved || (multi && loan.status == LoanStatus::Active && open)
    }

    /// A loan transaction as it is read.
    pub(crate) fn loan_transaction_json(&self, loan: &Loan, entry: &LoanTransaction) -> Json {
        let new = |value: Json| if self.is_old() { Json::Null } else { value };
        let portions = entry.portions;
        Json::map([
            ("id", entry.id.into()),
            ("loanId", new(loan.id.into())),
            ("externalLoanId", new(loan.external_id.as_ref().into())),
            ("officeId", loan.office_id.into()),
            ("officeName", self.offices.get(&loan.office_id).map(|office| &office.name).into()),
            ("type", kind_json(entry.kind)),
            ("date", entry.date.into()),
            ("submittedOnDate", entry.submitted_on.into()),
            ("currency", currency()),
            ("paymentDetailData", entry.payment.as_ref().map(|payment| self.named_payment(payment)).into()),
            ("amount", Cents(entry.amount).into()),
            ("netDisbursalAmount", Cents(loan.net_disbursal()).into()),
            ("principalPortion", Cents(portions.principal).into()),
            ("interestPortion", Cents(portions.interest).into()),
            ("feeChargesPortion", Cents(portions.fees).into()),
            ("penaltyChargesPortion", 0_i64.into()),
            ("overpaymentPortion", Cents(portions.overpayment).into()),
            ("outstandingLoanBalance", Cents(portions.balance).into()),
            ("externalId", entry.external_id.as_ref().into()),
            ("reversalExternalId", new(entry.reversal_external_id.as_ref().into())),
            ("reversedOnDate", new(entry.reversed_on.into())),
            ("manuallyReversed", entry.reversed_on.is_some().into()),
            ("transactionRelations", new(Json::List(Vec::new()))),
            ("note", entry.note.as_ref().into()),
        ])
    }

    /// A loan product as it is read.
    pub(crate) fn product_json(&self, product: &Product, today: NaiveDate) -> Json {
        let spec = &product.spec;
        let closed = spec.close_date.is_some_and(|close| close < today);
        let mut json = Json::map([
            ("id", product.id.into()),
            ("name", (&spec.name).into()),
            ("shortName", (&spec.short_name).into()),
            ("externalId", spec.external_id.as_ref().into()),
            ("closeDate", spec.close_date.into()),
            ("status", if closed { "loanProduct.inActive" } else { "loanProduct.active" }.into()),
            ("currency", currency()),
            ("principal", Cents(spec.principal).into()),
            ("minPrincipal", Cents(spec.min_principal).into()),
            ("maxPrincipal", Cents(spec.max_principal).into()),
            ("numberOfRepayments", spec.number_of_repayments.into()),
            ("repaymentEvery", 1_i64.into()),
            ("repaymentFrequencyType", months("repaymentFrequency", "Months")),
            ("interestRatePerPeriod", percent(spec.interest_basis_points).into()),
            ("interestRateFrequencyType", months("interestRateFrequency", "Per month")),
            ("annualInterestRate", percent(spec.interest_basis_points.saturating_mul(12)).into()),
            ("amortizationType", choice(1, "amortizationType.equal.installments", "Equal installments")),
            ("interestType", choice(1, "interestType.flat", "Flat")),
        ]);
        if self.is_old() {
            json.put("transactionProcessingStrategyId", 1_i64);
            json.put("transactionProcessingStrategyName", "Penalties, Fees, Interest, Principal order");
        } else {
            json.put("transactionProcessingStrategyCode", "mifos-standard-strategy");
        }
        json.put("multiDisburseLoan", spec.multi_disburse);
        json.put("disallowExpectedDisbursements", spec.disallow_expected_disbursements);
        json.put("syncExpectedWithDisbursementDate", spec.sync_expected_with_disbursement_date);
        json.put("canUseForTopup", spec.can_use_for_topup);
        json
    }
}

fn timeline(loan: &Loan) -> Json {
    let mut json = Json::map([("submittedOnDate", loan.submitted.on.into()), ("submittedByUsername", (&loan.submitted.by).into())]);
    put_step(&mut json, ("rejectedOnDate", "rejectedByUsername"), loan.rejection.as_ref());
    put_step(&mut json, ("withdrawnOnDate", "withdrawnByUsername"), loan.withdrawal.as_ref());
    put_step(&mut json, ("approvedOnDate", "approvedByUsername"), loan.approval.as_ref());
    json.put("expectedDisbursementDate", loan.expected_disbursement);
    put_step(&mut json, ("actualDisbursementDate", "disbursedByUsername"), loan.disbursal.as_ref());
    put_step(&mut json, ("closedOnDate", "closedByUsername"), loan.closed.as_ref());
    let start = loan.disbursal.as_ref().map_or(loan.expected_disbursement, |step| step.on);
    json.put("expectedMaturityDate", start.checked_add_months(chrono::Months::new(loan.number_of_repayments)));
    put_step(&mut json, ("writeOffOnDate", "writeOffByUsername"), loan.write_off.as_ref());
    json
}

fn summary(loan: &Loan, today: NaiveDate) -> Json {
    let figures = loan.figures;
    let late: Vec<_> = schedule_of(loan).into_iter().filter(|part| part.due < today && part.open() > 0).collect();
    let late_principal: i64 = late.iter().map(|part| part.principal - part.principal_paid).sum();
    let late_interest: i64 = late.iter().map(|part| part.interest - part.interest_paid).sum();
    let fees = loan.fees_at_disbursement;
    Json::map([
        ("currency", currency()),
        ("principalDisbursed", Cents(figures.disbursed).into()),
        ("principalPaid", Cents(figures.principal_paid).into()),
        ("principalOutstanding", Cents(figures.disbursed - figures.principal_paid).into()),
        ("principalOverdue", Cents(late_principal).into()),
        ("interestCharged", Cents(figures.interest_charged).into()),
        ("interestPaid", Cents(figures.interest_paid).into()),
        ("interestOutstanding", Cents(figures.interest_charged - figures.interest_paid).into()),
        ("interestOverdue", Cents(late_interest).into()),
        ("feeChargesCharged", Cents(fees).into()),
        ("feeChargesDueAtDisbursementCharged", Cents(fees).into()),
        ("feeChargesPaid", Cents(fees).into()),
        ("feeChargesOutstanding", 0_i64.into()),
        ("feeChargesOverdue", 0_i64.into()),
        ("penaltyChargesCharged", 0_i64.into()),
        ("penaltyChargesPaid", 0_i64.into()),
        ("penaltyChargesOutstanding", 0_i64.into()),
        ("penaltyChargesOverdue", 0_i64.into()),
        ("totalExpectedRepayment", Cents(figures.disbursed + figures.interest_charged + fees).into()),
        ("totalRepayment", Cents(figures.principal_paid + figures.interest_paid + fees).into()),
        ("totalOutstanding", Cents(figures.outstanding()).into()),
        ("totalOverdue", Cents(late_principal + late_interest).into()),
        ("overdueSinceDate", late.first().map(|part| part.due).into()),
    ])
}

fn schedule_json(loan: &Loan) -> Json {
    let periods = schedule_of(loan).into_iter().enumerate().map(|(index, part)| {
        Json::map([
            ("period", index.saturating_add(1).into()),
            ("dueDate", part.due.into()),
            ("complete", (part.open() == 0).into()),
            ("principalDue", Cents(part.principal).into()),
            ("principalPaid", Cents(part.principal_paid).into()),
            ("interestDue", Cents(part.interest).into()),
            ("interestPaid", Cents(part.interest_paid).into()),
            ("totalDueForPeriod", Cents(part.principal + part.interest).into()),
            ("totalOutstandingForPeriod", Cents(part.open()).into()),
        ])
    });
    let periods: Vec<Json> = periods.collect();
    Json::map([("currency", currency()), ("periods", periods.into())])
}
