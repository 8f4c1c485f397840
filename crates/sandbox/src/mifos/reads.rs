//! What reads answer: lists with their paging, single accounts, templates (Mifos X contract 1.9, 3.2, 3.3, 3.5, 4.3, 5, 6.2, 6.3).

use chrono::{DateTime, Utc};

use super::address::{Ask, number, segments};
use super::bank::{Bank, User};
use super::book::{Loan, TransactionKind};
use super::json::{Cents, Json, choice};
use super::loan_json::{Associations, currency, payment_type_json};
use super::options::BusinessDate;
use super::refusal::Refusal;
use super::repayments::schedule_of;

/// Rows of a list without `limit` on 1.8.
const OLD_DEFAULT_ROWS: usize = 200;

impl Bank {
    /// Answers a GET.
    pub(crate) fn read(&self, now: DateTime<Utc>, user: &User, ask: &Ask<'_>) -> Result<Json, Refusal> {
        let path = segments(ask);
        let today = self.today(now);
        let right = |right: &str| {
            if user.may(right) { Ok(()) } else { Err(Refusal::not_authorized()) }
        };
        match &*path {
            ["loans"] => right("READ_LOAN").and_then(|()| self.loan_list(now, user, ask)),
            ["loans", "external-id", external_id, rest @ ..] if !self.is_old() => {
                right("READ_LOAN")?;
                let id = self.loan_by_external_id(external_id)?;
                self.loan_read(now, user, ask, id, rest)
            }
            ["loans", id, rest @ ..] => {
                let id = number(id)?;
                right("READ_LOAN")?;
                self.loan_read(now, user, ask, id, rest)
            }
            ["loanproducts"] => {
                right("READ_LOANPRODUCT")?;
                Ok(Json::List(self.products.values().map(|product| self.product_json(product, today)).collect()))
            }
            ["loanproducts", "external-id", external_id] if !self.is_old() => {
                right("READ_LOANPRODUCT")?;
                let product = self.products.values().find(|product| product.spec.external_id.as_deref() == Some(external_id));
                let product = product.ok_or_else(|| Refusal::not_found("error.msg.loanproduct.external.id.invalid", external_id))?;
                Ok(self.product_json(product, today))
            }
            ["loanproducts", id] => {
                let id = number(id)?;
                right("READ_LOANPRODUCT")?;
                let product = self.products.get(&id).ok_or_else(|| Refusal::not_found("error.msg.loanproduct.id.invalid", id))?;
                Ok(self.product_json(product, today))
            }
            ["clients"] => right("READ_CLIENT").and_then(|()| self.client_list(user, ask)),
            ["clients", "external-id", external_id] if !self.is_old() => {
                right("READ_CLIENT")?;
                let client = self.clients.values().find(|client| client.external_id.as_deref() == Some(external_id));
                let client = client.ok_or_else(|| Refusal::not_found("error.msg.client.external.id.invalid", external_id))?;
                Ok(self.client_json(self.client_of(user, client.id)?))
            }
            ["clients", id] => {
                let id = number(id)?;
                right("READ_CLIENT")?;
                Ok(self.client_json(self.client_of(user, id)?))
            }
            ["clients", id, "accounts"] => {
                let id = number(id)?;
                right("READ_CLIENT")?;
                Ok(self.accounts_json(now, self.client_of(user, id)?))
            }
            ["savingsaccounts", rest @ ..] => right("READ_SAVINGSACCOUNT").and_then(|()| self.savings_read(user, ask, rest)),
            ["paymenttypes"] => {
                right("READ_PAYMENTTYPE")?;
                Ok(Json::List(self.payment_types.values().map(|kind| payment_type_json(kind, self.is_old())).collect()))
            }
            ["search"] => Ok(self.search_everything(user, ask)),
            ["businessdate"] => right("READ_BUSINESS_DATE").map(|()| self.business_date_json()),
            ["hooks"] => right("READ_HOOK").map(|()| Json::List(self.hooks.values().map(Self::hook_json).collect())),
            ["hooks", "template"] => right("READ_HOOK").map(|()| Self::hook_template_json()),
            ["hooks", id] => {
                let id = number(id)?;
                right("READ_HOOK")?;
                self.hooks.get(&id).map(Self::hook_json).ok_or_else(|| Refusal::not_found("error.msg.hook.identifier.not.found", id))
            }
            ["makercheckers"] => Ok(self.parked_json()),
            _ => Err(Refusal::no_such_address()),
        }
    }

    // ---- loans ----------------------------------------------------------------------------------------------

    fn loan_read(&self, now: DateTime<Utc>, user: &User, ask: &Ask<'_>, id: u64, rest: &[&str]) -> Result<Json, Refusal> {
        let loan = self.visible(now, self.loan_of(user, id)?);
        match rest {
            [] => Ok(self.loan_json(loan, self.today(now), Associations::read(ask.param("associations"), ask.param("exclude")))),
            ["transactions"] if !self.is_old() => Ok(self.transaction_list(loan, ask)),
            ["transactions", "template"] => self.loan_template(now, loan, ask.param("command").unwrap_or_default()),
            ["transactions", "external-id", external_id] if !self.is_old() => {
                let found = loan.transactions.iter().find(|entry| entry.external_id.as_deref() == Some(external_id));
                let found = found.ok_or_else(|| Refusal::not_found("error.msg.loan.transaction.external.id.invalid", external_id))?;
                Ok(self.loan_transaction_json(loan, found))
            }
            ["transactions", transaction] => {
                let transaction = number(transaction)?;
                let found = loan.transactions.iter().find(|entry| entry.id == transaction);
                let found = found.ok_or_else(|| Refusal::not_found("error.msg.loan.transaction.id.invalid", transaction))?;
                Ok(self.loan_transaction_json(loan, found))
            }
            _ => Err(Refusal::no_such_address()),
        }
    }

    fn loan_list(&self, now: DateTime<Utc>, user: &User, ask: &Ask<'_>) -> Result<Json, Refusal> {
        let status = match ask.param("status").filter(|_| !self.is_old()) {
            Some(text) => Some(text.parse::<i64>().map_err(|_| Refusal::server("For input string: status"))?),
            None => None,
        };
        let condition = match ask.param("sqlSearch").filter(|_| self.is_old()) {
            Some(text) => Some(Condition::read(text)?),
            None => None,
        };
        let client = ask.param("clientId").filter(|_| !self.is_old()).and_then(|id| id.parse::<u64>().ok());
        let (external_id, account_no) = (ask.param("externalId"), ask.param("accountNo"));
        let mut rows: Vec<&Loan> = self
            .loans
            .values()
            .filter(|loan| self.sees(user.options.office_id, loan.office_id))
            .map(|loan| self.visible(now, loan))
            .filter(|loan| status.is_none_or(|status| loan.status.id() == status))
            .filter(|loan| condition.as_ref().is_none_or(|condition| condition.holds(loan)))
            .filter(|loan| client.is_none_or(|client| loan.client_id == Some(client)))
            .filter(|loan| external_id.is_none_or(|id| loan.external_id.as_deref() == Some(id)))
            .filter(|loan| account_no.is_none_or(|account_no| loan.account_no == account_no))
            .collect();
        match ask.param("orderBy") {
            Some("id" | "l.id") => {}
            Some("accountNo") => rows.sort_by(|left, right| left.account_no.cmp(&right.account_no)),
            // Without an order rows come as the database keeps them: the last changed at the end.
            _ => rows.sort_by_key(|loan| loan.touched),
        }
        let today = self.today(now);
        Ok(self.page(rows, ask, |loan| self.loan_json(loan, today, Associations::default())))
    }

    /// A page in the form of 1.9.
    pub(crate) fn page<T>(&self, mut rows: Vec<&T>, ask: &Ask<'_>, json: impl Fn(&T) -> Json) -> Json {
        if ask.param("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("desc")) {
            rows.reverse();
        }
        let total = rows.len();
        let limit = ask.param("limit").and_then(|text| text.parse::<i64>().ok());
        let (skip, take) = match limit {
            Some(limit) if limit > 0 => {
                let offset = ask.param("offset").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
                (offset, usize::try_from(limit).unwrap_or(usize::MAX))
            }
            Some(_) => (0, usize::MAX),
            None => (0, if self.is_old() { OLD_DEFAULT_ROWS } else { usize::MAX }),
        };
        let items: Vec<Json> = rows.into_iter().skip(skip).take(take).map(json).collect();
        Json::map([("totalFilteredRecords", total.into()), ("pageItems", items.into())])
    }

    fn transaction_list(&self, loan: &Loan, ask: &Ask<'_>) -> Json {
        let rows: Vec<Json> = loan.transactions.iter().map(|entry| self.loan_transaction_json(loan, entry)).collect();
        spring_page(rows, ask.param("page"), ask.param("size"))
    }

    fn loan_template(&self, now: DateTime<Utc>, loan: &Loan, command: &str) -> Result<Json, Refusal> {
        let (kind, code, words, amount, net) = match command {
            "disburse" => {
                let planned = loan.tranches.iter().find(|tranche| tranche.actual_on.is_none()).map_or(loan.approved, |tranche| tranche.principal);
                let old = loan.top_up.as_ref().and_then(|top_up| self.loans.get(&top_up.closes));
                let net = planned - loan.fees_at_disbursement - old.map_or(0, |old| old.figures.outstanding());
                (TransactionKind::Disbursement, "loanTransactionType.disbursement", "Disbursement", planned, Some(net))
            }
            "repayment" => {
                let due = if loan.status.is_disbursed() { schedule_of(loan).into_iter().find(|part| part.open() > 0) } else { None };
                let amount = match due {
                    Some(part) => part.open(),
                    None if self.is_old() => 0,
                    None => return Err(Refusal::server("No value present")),
                };
                (TransactionKind::Repayment, "loanTransactionType.repayment", "Repayment", amount, None)
            }
            "prepayLoan" => (TransactionKind::Repayment, "loanTransactionType.repayment", "Repayment", loan.figures.outstanding(), None),
            other => return Err(Refusal::unknown_command(other)),
        };
        let mut kind_json = choice(kind.id(), code, words);
        kind_json.put("disbursement", kind == TransactionKind::Disbursement);
        let types: Vec<Json> = self.payment_types.values().map(|kind| payment_type_json(kind, self.is_old())).collect();
        Ok(Json::map([
            ("type", kind_json),
            ("date", self.today(now).into()),
            ("currency", currency()),
            ("amount", Cents(amount).into()),
            ("netDisbursalAmount", net.map(Cents).into()),
            ("manuallyReversed", false.into()),
            ("paymentTypeOptions", types.into()),
        ]))
    }

    // ---- savings --------------------------------------------------------------------------------------------

    fn savings_read(&self, user: &User, ask: &Ask<'_>, rest: &[&str]) -> Result<Json, Refusal> {
        match rest {
            [] => {
                let rows = self
                    .savings
                    .values()
                    .filter(|account| self.savings_of(user, account.id).is_ok())
                    .filter(|account| ask.param("externalId").is_none_or(|id| account.external_id.as_deref() == Some(id)))
                    .collect();
                Ok(self.page(rows, ask, |account| self.savings_json(account, false)))
            }
            ["external-id", external_id] if !self.is_old() => {
                let account = self.savings.values().find(|account| account.external_id.as_deref() == Some(external_id));
                let account = account.ok_or_else(|| Refusal::not_found("error.msg.saving.account.external.id.invalid", external_id))?;
                Ok(self.savings_json(self.savings_of(user, account.id)?, asks_transactions(ask)))
            }
            [id] => Ok(self.savings_json(self.savings_of(user, number(id)?)?, asks_transactions(ask))),
            [id, "transactions", "search"] if !self.is_old() => self.savings_search(user, number(id)?, ask),
            [id, "transactions", transaction] => {
                let account = self.savings_of(user, number(id)?)?;
                let transaction = number(transaction)?;
                let entry = account.transactions.iter().find(|entry| entry.id == transaction);
                let entry = entry.ok_or_else(|| Refusal::not_found("error.msg.saving.account.trasaction.id.invalid", transaction))?;
                Ok(self.savings_transaction_json(account, entry))
            }
            _ => Err(Refusal::no_such_address()),
        }
    }

    fn savings_search(&self, user: &User, id: u64, ask: &Ask<'_>) -> Result<Json, Refusal> {
        let account = self.savings_of(user, id)?;
        let pattern = ask.param("dateFormat").unwrap_or("yyyy-MM-dd");
        let day = |name: &str| match ask.param(name) {
            Some(text) => super::body::read_date(text, pattern)
                .map(Some)
                .ok_or_else(|| Refusal::invalid("validation.msg.invalid.dateFormat.format", Some(name), Some(text.to_owned()))),
            None => Ok(None),
        };
        let cents = |name: &str| match ask.param(name) {
            Some(text) => super::body::cents_of(text)
                .map(Some)
                .ok_or_else(|| Refusal::invalid("validation.msg.invalid.decimal.format", Some(name), Some(text.to_owned()))),
            None => Ok(None),
        };
        let (from, to, least, most) = (day("fromDate")?, day("toDate")?, cents("fromAmount")?, cents("toAmount")?);
        let kinds: Vec<&str> = ask.param("types").map(|text| text.split(',').collect()).unwrap_or_default();
        let mut rows: Vec<Json> = account
            .transactions
            .iter()
            .filter(|entry| from.is_none_or(|from| entry.date >= from) && to.is_none_or(|to| entry.date <= to))
            .filter(|entry| least.is_none_or(|least| entry.amount >= least) && most.is_none_or(|most| entry.amount <= most))
            .filter(|entry| kinds.is_empty() || kinds.contains(&if entry.is_deposit { "1" } else { "2" }))
            .map(|entry| self.savings_transaction_json(account, entry))
            .collect();
        if ask.param("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("desc")) {
            rows.reverse();
        }
        let size = ask.param("limit").and_then(|text| text.parse::<usize>().ok()).filter(|&size| size > 0);
        let offset = ask.param("offset").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        let page = size.map(|size| (offset / size).to_string());
        Ok(spring_page(rows, page.as_deref(), size.map(|size| size.to_string()).as_deref()))
    }

    // ---- the rest -------------------------------------------------------------------------------------------

    fn business_date_json(&self) -> Json {
        match self.options.business_date {
            BusinessDate::Calendar => Json::List(Vec::new()),
            BusinessDate::Fixed(date) => {
                Json::List(vec![Json::map([("description", "Business Date".into()), ("type", "BUSINESS_DATE".into()), ("date", date.into())])])
            }
        }
    }

    fn parked_json(&self) -> Json {
        let rows = self.parked.keys().filter_map(|id| self.commands.get(id)).map(|command| {
            Json::map([
                ("id", command.id.into()),
                ("madeOnDate", command.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into()),
                ("processingResult", "awaiting.approval".into()),
                ("maker", (&command.user).into()),
                ("actionName", command.action.into()),
                ("entityName", command.entity.into()),
                ("resourceId", command.target.into()),
            ])
        });
        Json::List(rows.collect())
    }
}

fn asks_transactions(ask: &Ask<'_>) -> bool {
    ask.param("associations").is_some_and(|text| text.split(',').any(|name| name == "all" || name == "transactions"))
}

/// A page in the form of Spring.
pub(crate) fn spring_page(rows: Vec<Json>, page: Option<&str>, size: Option<&str>) -> Json {
    let total = rows.len();
    let size = size.and_then(|text| text.parse::<usize>().ok()).filter(|&size| size > 0).unwrap_or(20);
    let page = page.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let content: Vec<Json> = rows.into_iter().skip(page.saturating_mul(size)).take(size).collect();
    let pages = total.div_ceil(size);
    Json::map([
        ("totalElements", total.into()),
        ("totalPages", pages.into()),
        ("size", size.into()),
        ("number", page.into()),
        ("numberOfElements", content.len().into()),
        ("first", (page == 0).into()),
        ("last", (page.saturating_add(1) >= pages).into()),
        ("empty", content.is_empty().into()),
        ("content", content.into()),
    ])
}

/// The one comparison that `sqlSearch` understands here: a column of `l` equals a value.
#[derive(Debug)]
enum Condition {
    Status(i64),
    Id(u64),
    AccountNo(String),
    ExternalId(String),
}

impl Condition {
    fn read(text: &str) -> Result<Self, Refusal> {
        let refused = || Refusal::rule("error.msg.sql.validation.failed");
        let (column, value) = text.split_once('=').ok_or_else(refused)?;
        let value = value.trim().trim_matches('\'').to_owned();
        if value.contains(['\'', ';', ' ', '(']) {
            return Err(refused());
        }
        match column.trim() {
            "l.loan_status_id" => value.parse().map(Self::Status).map_err(|_| refused()),
            "l.id" => value.parse().map(Self::Id).map_err(|_| refused()),
            "l.account_no" => Ok(Self::AccountNo(value)),
            "l.external_id" => Ok(Self::ExternalId(value)),
            _ => Err(refused()),
        }
    }

    fn holds(&self, loan: &Loan) -> bool {
        match self {
            Self::Status(status) => loan.status.id() == *status,
            Self::Id(id) => loan.id == *id,
            Self::AccountNo(account_no) => loan.account_no == *account_no,
            Self::ExternalId(external_id) => loan.external_id.as_deref() == Some(external_id),
        }
    }
}
