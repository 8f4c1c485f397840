//! Savings accounts: deposits, withdrawals, undo, and how they are read (Mifos X contract, section 5).

use chrono::{DateTime, NaiveDate, Utc};

use super::bank::{Bank, PAYMENT_FIELDS, User, put_payment, read_payment};
use super::body::{Body, Reader};
use super::book::{AccountStatus, Savings, SavingsTransaction};
use super::commands::Done;
use super::json::{Cents, Json, choice};
use super::loan_json::{currency, payment_json};
use super::refusal::Refusal;

impl Bank {
    /// A deposit, or else a withdrawal.
    pub(crate) fn move_savings(&mut self, now: DateTime<Utc>, user: &User, id: u64, body: &Body, is_deposit: bool) -> Result<Done, Refusal> {
        let mut allowed = vec!["transactionDate", "transactionAmount", "paymentTypeId", "note", "locale", "dateFormat"];
        allowed.extend(PAYMENT_FIELDS);
        body.only(&allowed)?;
        let mut reader = Reader::new(body, "savingsaccount.transaction");
        let date = reader.date("transactionDate", true)?;
        let amount = reader.positive("transactionAmount", true)?;
        let payment_type = read_payment(&mut reader, true);
        let note = reader.text("note", 1000);
        reader.finish()?;
        let (Some(date), Some(amount)) = (date, amount) else {
            return Err(Refusal::body());
        };

        let today = self.today(now);
        let account = self.savings_of(user, id)?;
        self.takes_entry(account, date, today)?;
        if is_deposit && account.credit_blocked {
            // The contract leaves the code open (section 5).
            return Err(Refusal::rule("error.msg.savings.account.credit.transaction.not.allowed"));
        }
        if !is_deposit && amount > account.balance {
            return Err(Refusal::rule("error.msg.savingsaccount.transaction.insufficient.account.balance"));
        }
        let payment = self.payment_of(body, payment_type)?;
        let entry = SavingsTransaction {
            id: self.savings_transaction_id(),
            is_deposit,
            date,
            submitted_on: today,
            amount,
            running_balance: 0,
            payment,
            reversed: false,
            is_transfer: false,
            note,
        };
        let resource = self.enter(id, entry);
        let mut changes = Json::map([]);
        put_payment(&mut changes, body);
        self.savings_done(user, id, resource, Some(changes))
    }

    fn takes_entry(&self, account: &Savings, date: NaiveDate, today: NaiveDate) -> Result<(), Refusal> {
        let refuse = |code: &str| Err(Refusal::invalid(code, Some("transactionDate"), Some(date.to_string())));
        let client = self.clients.get(&account.client_id);
        if client.is_some_and(|client| client.status != AccountStatus::Active) {
            return Err(Refusal::rule("error.msg.client.not.active.exception"));
        }
        if account.status != AccountStatus::Active {
            return refuse("error.msg.savingsaccount.transaction.account.is.not.active");
        }
        if date > today {
            return refuse("error.msg.savingsaccount.transaction.in.the.future");
        }
        if date < account.activated_on {
            return refuse("error.msg.savingsaccount.transaction.before.activation.date");
        }
        Ok(())
    }

    pub(crate) fn undo_savings(&mut self, user: &User, id: u64, transaction: u64, body: &Body) -> Result<Done, Refusal> {
        body.only(&["note", "locale", "dateFormat"])?;
        let account = self.savings_of(user, id)?;
        let entry = account.transactions.iter().find(|entry| entry.id == transaction && !entry.reversed);
        let entry = entry.ok_or_else(|| Refusal::not_found("error.msg.saving.account.trasaction.id.invalid", transaction))?;
        if entry.is_transfer {
            return Err(Refusal::unavailable("error.msg.saving.account.transaction.update.not.allowed"));
        }
        if entry.is_deposit && account.balance < entry.amount {
            return Err(Refusal::rule("error.msg.savingsaccount.transaction.insufficient.account.balance"));
        }
        self.change_savings(id, |account| {
            if let Some(entry) = account.transactions.iter_mut().find(|entry| entry.id == transaction) {
                entry.reversed = true;
            }
        });
        self.savings_done(user, id, transaction, None)
    }

    /// A loan paid into its linked account.
    pub(crate) fn credit_from_loan(&mut self, id: u64, amount: i64, date: NaiveDate, today: NaiveDate) {
        self.transfer(id, amount, date, today, true);
    }

    /// Takes such a loan back when its disbursal is undone.
    pub(crate) fn take_back_from_savings(&mut self, id: u64, amount: i64, today: NaiveDate) -> Result<(), Refusal> {
        if self.savings.get(&id).is_none_or(|account| account.balance < amount) {
            return Err(Refusal::rule("error.msg.savingsaccount.transaction.insufficient.account.balance"));
        }
        self.transfer(id, amount, today, today, false);
        Ok(())
    }

    fn transfer(&mut self, id: u64, amount: i64, date: NaiveDate, today: NaiveDate, is_deposit: bool) {
        let entry = SavingsTransaction {
            id: self.savings_transaction_id(),
            is_deposit,
            date,
            submitted_on: today,
            amount,
            running_balance: 0,
            payment: None,
            reversed: false,
            is_transfer: true,
            note: None,
        };
        self.enter(id, entry);
    }

    fn enter(&mut self, id: u64, entry: SavingsTransaction) -> u64 {
        let resource = entry.id;
        self.change_savings(id, |account| account.transactions.push(entry));
        resource
    }

    /// Changes an account and folds its transactions into balances.
    pub(crate) fn change_savings(&mut self, id: u64, act: impl FnOnce(&mut Savings)) {
        let Some(account) = self.savings.get_mut(&id) else {
            return;
        };
        act(account);
        let mut balance = 0;
        for entry in account.transactions.iter_mut().filter(|entry| !entry.reversed) {
            balance += if entry.is_deposit { entry.amount } else { -entry.amount };
            entry.running_balance = balance;
        }
        account.balance = balance;
    }

    fn savings_done(&self, user: &User, id: u64, transaction: u64, changes: Option<Json>) -> Result<Done, Refusal> {
        let account = self.savings_of(user, id)?;
        Ok(Done {
            office_id: self.clients.get(&account.client_id).map(|client| client.office_id),
            client_id: Some(account.client_id),
            savings_id: Some(id),
            resource_id: Some(transaction),
            changes,
            ..Done::default()
        })
    }

    /// An account as it is read.
    pub(crate) fn savings_json(&self, account: &Savings, with_transactions: bool) -> Json {
        let sum = |deposits: bool| -> i64 {
            account.transactions.iter().filter(|entry| !entry.reversed && entry.is_deposit == deposits).map(|entry| entry.amount).sum()
        };
        let withdrawn = sum(false);
        let mut json = Json::map([
            ("id", account.id.into()),
            ("accountNo", (&account.account_no).into()),
            ("depositType", choice(100, "depositAccountType.savingsDeposit", "Savings")),
            ("externalId", account.external_id.as_ref().into()),
            ("clientId", account.client_id.into()),
            ("clientName", self.clients.get(&account.client_id).map(super::book::Client::display_name).into()),
            ("savingsProductId", 2_i64.into()),
            ("savingsProductName", (&account.product_name).into()),
            ("status", savings_status(account.status)),
            ("subStatus", sub_status(account.credit_blocked)),
            ("timeline", Json::map([("submittedOnDate", account.activated_on.into()), ("activatedOnDate", account.activated_on.into())])),
            ("currency", currency()),
            (
                "summary",
                Json::map([
                    ("currency", currency()),
                    ("totalDeposits", Cents(sum(true)).into()),
                    ("totalWithdrawals", if withdrawn == 0 { Json::Null } else { Cents(withdrawn).into() }),
                    ("accountBalance", Cents(account.balance).into()),
                    ("availableBalance", Cents(account.balance).into()),
                ]),
            ),
        ]);
        if with_transactions {
            let list: Vec<Json> = account.transactions.iter().rev().map(|entry| self.savings_transaction_json(account, entry)).collect();
            json.put("transactions", list);
        }
        json
    }

    /// A transaction of an account as it is read.
    pub(crate) fn savings_transaction_json(&self, account: &Savings, entry: &SavingsTransaction) -> Json {
        let (id, code, words) = if entry.is_deposit {
            (1, "savingsAccountTransactionType.deposit", "Deposit")
        } else {
            (2, "savingsAccountTransactionType.withdrawal", "Withdrawal")
        };
        let mut kind = choice(id, code, words);
        kind.put("deposit", entry.is_deposit);
        kind.put("withdrawal", !entry.is_deposit);
        Json::map([
            ("id", entry.id.into()),
            ("transactionType", kind),
            ("entryType", if entry.is_deposit { "CREDIT" } else { "DEBIT" }.into()),
            ("accountId", account.id.into()),
            ("accountNo", (&account.account_no).into()),
            ("date", entry.date.into()),
            ("currency", currency()),
            ("paymentDetailData", entry.payment.as_ref().map(|payment| self.named_payment(payment)).into()),
            ("amount", Cents(entry.amount).into()),
            ("runningBalance", Cents(entry.running_balance).into()),
            ("reversed", entry.reversed.into()),
            ("submittedOnDate", entry.submitted_on.into()),
            ("note", entry.note.as_ref().into()),
        ])
    }

    /// A payment detail with the name of its type.
    pub(crate) fn named_payment(&self, payment: &super::book::PaymentDetail) -> Json {
        let name = self.payment_types.get(&payment.payment_type_id).map_or("", |kind| kind.name.as_str());
        payment_json(payment, name)
    }
}

/// The status of a savings account with its flags.
pub(crate) fn savings_status(status: AccountStatus) -> Json {
    let (code, words) = match status {
        AccountStatus::Pending => ("savingsAccountStatusType.submitted.and.pending.approval", "Submitted and pending approval"),
        AccountStatus::Active => ("savingsAccountStatusType.active", "Active"),
        AccountStatus::Closed => ("savingsAccountStatusType.closed", "Closed"),
    };
    let mut json = choice(status.id(), code, words);
    json.put("submittedAndPendingApproval", status == AccountStatus::Pending);
    for flag in ["approved", "rejected", "withdrawnByApplicant"] {
        json.put(flag, false);
    }
    json.put("active", status == AccountStatus::Active);
    json.put("closed", status == AccountStatus::Closed);
    for flag in ["prematureClosed", "transferInProgress", "transferOnHold", "matured"] {
        json.put(flag, false);
    }
    json
}

fn sub_status(credit_blocked: bool) -> Json {
    let mut json = if credit_blocked {
        choice(400, "SavingsAccountSubStatusEnum.blockCredit", "BlockCredit")
    } else {
        choice(0, "SavingsAccountSubStatusEnum.none", "None")
    };
    json.put("none", !credit_blocked);
    for flag in ["inactive", "dormant", "escheat", "block"] {
        json.put(flag, false);
    }
    json.put("blockCredit", credit_blocked);
    json.put("blockDebit", false);
    json
}
