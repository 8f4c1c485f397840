//! `/search`: SQL LIKE in both modes, at most 50 rows, empty status for savings (Mifos X contract 6.1, 6.2).

use super::address::Ask;
use super::bank::{Bank, User};
use super::body::Body;
use super::book::Client;
use super::clients::client_status;
use super::json::{Json, choice};
use super::reads::spring_page;
use super::refusal::Refusal;

/// Rows that `/search` answers at most.
const MOST_ROWS: usize = 50;

/// SQL LIKE without regard to case: `%` is any run, `_` any letter.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    // One row of the usual table: `reach` says which prefixes of the text the pattern so far can match.
    let mut reach = vec![false; text.len() + 1];
    if let Some(start) = reach.first_mut() {
        *start = true;
    }
    for letter in pattern {
        let before = reach.clone();
        let mut any = false;
        for (index, slot) in reach.iter_mut().enumerate() {
            let here = before.get(index).copied().unwrap_or(false);
            any = any || here;
            let previous = index.checked_sub(1);
            let step = previous.and_then(|index| before.get(index)).copied().unwrap_or(false);
            let same = previous.and_then(|index| text.get(index)).is_some_and(|&found| letter == '_' || found == letter);
            *slot = if letter == '%' { any } else { step && same };
        }
    }
    reach.last().copied().unwrap_or(false)
}

impl Bank {
    /// `GET /search`.
    pub(crate) fn search_everything(&self, user: &User, ask: &Ask<'_>) -> Json {
        let query = ask.param("query").unwrap_or_default();
        let exact = ask.param("exactMatch").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let pattern = if exact { query.to_owned() } else { format!("%{query}%") };
        let wanted = |resource: &str| ask.param("resource").is_none_or(|list| list.split(',').any(|name| name.trim().eq_ignore_ascii_case(resource)));
        let hit = |text: Option<&String>| text.is_some_and(|text| like(&pattern, text));

        let mut rows = Vec::new();
        if wanted("clients") {
            let seen = self.clients_of(user).filter(|client| {
                hit(Some(&client.account_no))
                    || hit(client.external_id.as_ref())
                    || hit(client.mobile_no.as_ref())
                    || like(&pattern, &client.display_name())
            });
            rows.extend(seen.map(|client| self.client_row(client)));
        }
        if wanted("loans") {
            let found = self.loans.values().filter(|loan| self.sees(user.options.office_id, loan.office_id));
            let found = found.filter(|loan| hit(Some(&loan.account_no)) || hit(loan.external_id.as_ref()));
            rows.extend(found.map(|loan| {
                let product = self.products.get(&loan.product_id).map(|product| &product.spec.name);
                let client = loan.client_id.and_then(|id| self.clients.get(&id));
                let parent = match (client, &loan.group) {
                    (Some(client), _) => (Some(client.id), Some(client.display_name()), "client"),
                    (None, group) => (group.as_ref().map(|group| group.id), group.as_ref().map(|group| group.name.clone()), "group"),
                };
                row(
                    loan.id,
                    "LOAN",
                    (&loan.account_no, loan.external_id.as_ref()),
                    product,
                    parent,
                    choice(loan.status.id(), loan.status.code(), loan.status.words()),
                    "depositAccountType.invalid",
                )
            }));
        }
        if wanted("savings") {
            let found = self.savings.values().filter(|account| self.savings_of(user, account.id).is_ok());
            let found = found.filter(|account| hit(Some(&account.account_no)) || hit(account.external_id.as_ref()));
            rows.extend(found.map(|account| {
                let client = self.clients.get(&account.client_id);
                let parent = (Some(account.client_id), client.map(Client::display_name), "client");
                let numbers = (&account.account_no, account.external_id.as_ref());
                row(account.id, "SAVING", numbers, Some(&account.product_name), parent, choice(0, "", ""), "depositAccountType.savingsDeposit")
            }));
        }
        if wanted("clientIdentifiers") {
            let seen = self.clients_of(user).filter(|client| hit(client.national_id.as_ref()));
            rows.extend(seen.map(|client| {
                let parent = (Some(client.id), Some(client.display_name()), "client");
                row(
                    client.id,
                    "CLIENTIDENTIFIER",
                    (&client.account_no, None),
                    client.national_id.as_ref(),
                    parent,
                    client_status(client.status),
                    "depositAccountType.invalid",
                )
            }));
        }
        rows.truncate(MOST_ROWS);
        Json::List(rows)
    }

    fn clients_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Client> {
        self.clients.values().filter(|client| self.sees(user.options.office_id, client.office_id))
    }

    fn client_row(&self, client: &Client) -> Json {
        let office = self.offices.get(&client.office_id);
        let parent = (Some(client.office_id), office.map(|office| office.name.clone()), "office");
        let name = client.display_name();
        let numbers = (&client.account_no, client.external_id.as_ref());
        let mut json = row(client.id, "CLIENT", numbers, Some(&name), parent, client_status(client.status), "depositAccountType.invalid");
        json.put("entityMobileNo", client.mobile_no.as_ref());
        json
    }

    /// `POST /v2/clients/search` (1.9+).
    pub(crate) fn search_clients_v2(&self, user: &User, body: &[u8]) -> Result<Json, Refusal> {
        if self.is_old() {
            return Err(Refusal::no_such_address());
        }
        if !user.may("READ_CLIENT") {
            return Err(Refusal::not_authorized());
        }
        let body = Body::parse(body)?;
        let request: serde_json::Value = body.raw("request").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
        let text = request.get("text").and_then(serde_json::Value::as_str).unwrap_or_default();
        let pattern = format!("%{text}%");
        let hit = |text: Option<&String>| text.is_some_and(|text| like(&pattern, text));
        let found = self.clients_of(user).filter(|client| {
            hit(Some(&client.account_no))
                || hit(client.external_id.as_ref())
                || hit(client.mobile_no.as_ref())
                || like(&pattern, &client.display_name())
        });
        let rows = found.map(|client| {
            Json::map([
                ("id", client.id.into()),
                ("displayName", client.display_name().into()),
                ("externalId", client.external_id.as_ref().into()),
                ("accountNumber", (&client.account_no).into()),
                ("officeId", client.office_id.into()),
                ("officeName", self.offices.get(&client.office_id).map(|office| &office.name).into()),
                ("mobileNo", client.mobile_no.as_ref().into()),
                ("status", client_status(client.status)),
                ("activationDate", client.activated_on.into()),
                ("createdDate", client.activated_on.into()),
            ])
        });
        Ok(spring_page(rows.collect(), body.text("page").as_deref(), body.text("size").as_deref()))
    }
}

/// One row of `/search`. `numbers`: account number and external id; `parent`: id, name and kind.
fn row(
    id: u64,
    kind: &'static str,
    numbers: (&String, Option<&String>),
    name: Option<&String>,
    parent: (Option<u64>, Option<String>, &'static str),
    status: Json,
    sub_kind: &'static str,
) -> Json {
    Json::map([
        ("entityId", id.into()),
        ("entityAccountNo", numbers.0.into()),
        ("entityExternalId", numbers.1.into()),
        ("entityName", name.into()),
        ("entityType", kind.into()),
        ("parentId", parent.0.into()),
        ("parentName", parent.1.into()),
        ("parentType", parent.2.into()),
        ("entityStatus", status),
        ("subEntityType", sub_kind.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_knows_both_wildcards_and_no_case() {
        assert!(like("000000066", "000000066"));
        assert!(!like("00000006", "000000066"));
        assert!(like("%66", "000000066"));
        assert!(like("LN_73_", "ln-734"));
        assert!(like("%", ""));
        assert!(!like("_", ""));
        assert!(like("a%b%c", "aXXbYYc"));
        assert!(!like("a%b%c", "aXXbYY"));
    }
}
