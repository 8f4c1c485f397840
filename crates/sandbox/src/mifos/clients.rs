//! How clients and their accounts are read (Mifos X contract 6.2).

use chrono::{DateTime, Utc};

use super::address::Ask;
use super::bank::{Bank, User};
use super::book::{AccountStatus, Client};
use super::json::{Cents, Json, choice};
use super::loan_json::{currency, full_status};
use super::refusal::Refusal;
use super::savings::savings_status;

impl Bank {
    /// A client within the office subtree of the user.
    pub(crate) fn client_of(&self, user: &User, id: u64) -> Result<&Client, Refusal> {
        let client = self.clients.get(&id).filter(|client| self.sees(user.options.office_id, client.office_id));
        client.ok_or_else(|| Refusal::not_found("error.msg.client.id.invalid", id))
    }

    pub(crate) fn client_list(&self, user: &User, ask: &Ask<'_>) -> Result<Json, Refusal> {
        let status = match ask.param("status") {
            None => None,
            Some("active") => Some(AccountStatus::Active),
            Some("pending") => Some(AccountStatus::Pending),
            Some("closed") => Some(AccountStatus::Closed),
            Some(other) => {
                return Err(Refusal::invalid("validation.msg.client.status.invalid", Some("status"), Some(other.to_owned())));
            }
        };
        let equal = |value: &str, name: &str| ask.param(name).is_none_or(|wanted| value.eq_ignore_ascii_case(wanted));
        let rows: Vec<&Client> = self
            .clients
            .values()
            .filter(|client| self.sees(user.options.office_id, client.office_id))
            .filter(|client| status.is_none_or(|status| client.status == status))
            .filter(|client| ask.param("officeId").is_none_or(|office| office == client.office_id.to_string()))
            .filter(|client| ask.param("externalId").is_none_or(|id| client.external_id.as_deref() == Some(id)))
            .filter(|client| equal(&client.first_name, "firstName") && equal(&client.last_name, "lastName"))
            .filter(|client| {
                let name = client.display_name().to_lowercase();
                ask.param("displayName").is_none_or(|wanted| name.contains(&wanted.to_lowercase()))
            })
            .collect();
        Ok(self.page(rows, ask, |client| self.client_json(client)))
    }

    pub(crate) fn client_json(&self, client: &Client) -> Json {
        let savings = self.savings.values().find(|account| account.client_id == client.id);
        Json::map([
            ("id", client.id.into()),
            ("accountNo", (&client.account_no).into()),
            ("externalId", client.external_id.as_ref().into()),
            ("status", client_status(client.status)),
            ("active", (client.status == AccountStatus::Active).into()),
            ("activationDate", client.activated_on.into()),
            ("firstname", (&client.first_name).into()),
            ("lastname", (&client.last_name).into()),
            ("displayName", client.display_name().into()),
            ("mobileNo", client.mobile_no.as_ref().into()),
            ("officeId", client.office_id.into()),
            ("officeName", self.offices.get(&client.office_id).map(|office| &office.name).into()),
            ("savingsAccountId", savings.map(|account| account.id).into()),
            ("isStaff", false.into()),
            ("timeline", Json::map([("submittedOnDate", client.activated_on.into()), ("activatedOnDate", client.activated_on.into())])),
            ("legalForm", choice(1, "legalFormType.person", "Person")),
        ])
    }

    pub(crate) fn accounts_json(&self, now: DateTime<Utc>, client: &Client) -> Json {
        let loans = self.loans.values().filter(|loan| loan.client_id == Some(client.id)).map(|loan| {
            let loan = self.visible(now, loan);
            let product = self.products.get(&loan.product_id).map(|product| &product.spec);
            let figures = loan.figures;
            let paid = loan.status.is_disbursed();
            Json::map([
                ("id", loan.id.into()),
                ("accountNo", (&loan.account_no).into()),
                ("externalId", loan.external_id.as_ref().into()),
                ("productId", loan.product_id.into()),
                ("productName", product.map(|product| &product.name).into()),
                ("shortProductName", product.map(|product| &product.short_name).into()),
                ("status", full_status(loan.status)),
                ("loanType", choice(1, "accountType.individual", "Individual")),
                ("inArrears", false.into()),
                ("originalLoan", Cents(loan.principal()).into()),
                ("loanBalance", if paid { Cents(figures.outstanding()).into() } else { Json::Null }),
                ("amountPaid", if paid { Cents(figures.principal_paid + figures.interest_paid).into() } else { Json::Null }),
            ])
        });
        let savings = self.savings.values().filter(|account| account.client_id == client.id).map(|account| {
            Json::map([
                ("id", account.id.into()),
                ("accountNo", (&account.account_no).into()),
                ("externalId", account.external_id.as_ref().into()),
                ("productName", (&account.product_name).into()),
                ("status", savings_status(account.status)),
                ("currency", currency()),
                ("accountBalance", Cents(account.balance).into()),
                ("depositType", choice(100, "depositAccountType.savingsDeposit", "Savings")),
            ])
        });
        let group = |list: Vec<Json>| {
            if list.is_empty() { Json::Null } else { Json::List(list) }
        };
        Json::map([("loanAccounts", group(loans.collect())), ("savingsAccounts", group(savings.collect()))])
    }
}

/// The status of a client.
pub(crate) fn client_status(status: AccountStatus) -> Json {
    match status {
        AccountStatus::Pending => choice(100, "clientStatusType.pending", "Pending"),
        AccountStatus::Active => choice(300, "clientStatusType.active", "Active"),
        AccountStatus::Closed => choice(600, "clientStatusType.closed", "Closed"),
    }
}
