//! From a request to what it means: addresses, query, credentials, rights (Mifos X contract 1.1 to 1.3, section 10).
//!
//! What a read answers stands in `reads`; how a write goes on in `commands`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::Method;

use super::bank::{Bank, User};
use super::body::Body;
use super::commands::{Answer, Call};
use super::json::Json;
use super::options::Fault;
use super::orders::{Order, Work};
use super::refusal::Refusal;

/// A request taken apart.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a Method,
    /// The path below the base address, decoded; with `v2` in front for the one address of version 2.
    pub(crate) path: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: &'a [u8],
    pub(crate) key: Option<String>,
    /// The declared content type, if any.
    pub(crate) content_type: Option<String>,
}

impl Ask<'_> {
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads a query string; of doubled names the first counts.
pub(crate) fn read_query(query: &str) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        members.entry(decode(name, true)).or_insert_with(|| decode(value, true));
    }
    members
}

/// Undoes percent encoding; bad sequences stay as they are.
pub(crate) fn decode(text: &str, plus_is_blank: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' { after.get(..2).and_then(|digits| hex::decode(digits).ok()) } else { None };
        if let Some(decoded) = escaped {
            bytes.extend(decoded);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(if plus_is_blank && first == b'+' { b' ' } else { first });
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// User and password of a Basic header.
fn basic(header: Option<&str>) -> Option<(String, String)> {
    let (scheme, token) = header?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

impl Bank {
    /// Who asks, by the `Authorization` header.
    pub(crate) fn log_in(&self, header: Option<&str>) -> Result<Arc<User>, Refusal> {
        let (name, password) = basic(header).ok_or_else(Refusal::credentials)?;
        let user = self.users.get(&name).filter(|user| user.options.password.as_deref() == Some(password.as_str()));
        let user = user.ok_or_else(Refusal::credentials)?;
        if user.options.password_expired {
            return Err(Refusal::state("error.msg.password.outdated"));
        }
        Ok(Arc::clone(user))
    }

    /// `POST /authentication`.
    pub(crate) fn authenticate(&self, body: &[u8]) -> Result<Json, Refusal> {
        let body = Body::parse(body)?;
        let (Some(name), Some(password)) = (body.filled("username"), body.filled("password")) else {
            return Err(if self.is_old() { Refusal::not_authenticated() } else { Refusal::server("Username or password is missing") });
        };
        let user = self.users.get(&name).filter(|user| user.options.password.as_deref() == Some(password.as_str()));
        let user = user.ok_or_else(Refusal::not_authenticated)?;
        let mut json = Json::map([
            ("username", (&user.options.name).into()),
            ("userId", user.id.into()),
            ("base64EncodedAuthenticationKey", STANDARD.encode(format!("{name}:{password}")).into()),
            ("authenticated", true.into()),
        ]);
        if !user.options.password_expired {
            let role = Json::map([("id", 9_i64.into()), ("name", "Payment integration".into()), ("disabled", false.into())]);
            json.put("officeId", user.options.office_id);
            json.put("officeName", self.offices.get(&user.options.office_id).map(|office| &office.name));
            json.put("roles", vec![role]);
            json.put("permissions", Json::List(user.options.permissions.iter().map(Into::into).collect()));
        }
        json.put("shouldRenewPassword", user.options.password_expired);
        json.put("isTwoFactorAuthenticationRequired", false);
        Ok(json)
    }

    /// Answers a request of somebody who has logged in.
    pub(crate) fn answer(&mut self, now: DateTime<Utc>, user: &Arc<User>, ask: &Ask<'_>) -> Answer {
        if *ask.method == Method::GET {
            return self.answer_read(now, user, ask);
        }
        if let ["v2", "clients", "search"] = *segments(ask) {
            return finish_read(self.search_clients_v2(user, ask.body), ask);
        }
        if let ["makercheckers", id] = *segments(ask) {
            return self.check(now, user, id, ask).map_or_else(Into::into, |json| Answer::json(200, json.render()));
        }
        if ask.content_type.as_deref().is_some_and(|kind| !kind.to_ascii_lowercase().starts_with("application/json")) {
            return Refusal::media_type().into();
        }
        let (entity, action, work) = match self.work_of(ask) {
            Ok(found) => found,
            Err(refusal) => return refusal.into(),
        };
        if !user.may(&format!("{action}_{entity}")) {
            return Refusal::not_authorized().into();
        }
        let body = if work_needs_no_body(work) { Ok(Body::default()) } else { Body::parse(ask.body) };
        let body = match body {
            Ok(body) => body,
            Err(refusal) => return refusal.into(),
        };
        let fault = self.next_write_fault(work, ask.key.is_some());
        self.submit(
            now,
            Call {
                user: Arc::clone(user),
                key: ask.key.clone(),
                is_json: ask.content_type.is_some(),
                order: Order { entity, action, work, body },
                fault,
                raw: String::from_utf8_lossy(ask.body).into_owned(),
            },
        )
    }

    fn answer_read(&mut self, now: DateTime<Utc>, user: &User, ask: &Ask<'_>) -> Answer {
        let fault = self.next_read_fault(ask);
        match fault {
            Some(Fault::DroppedBefore | Fault::DroppedAfter) => return Answer::dropped(),
            Some(Fault::Unavailable) => {
                return Refusal::unavailable("error.msg.sheduler.job.currently.running").into();
            }
            Some(Fault::ServerError) => {
                return Refusal::server("could not extract ResultSet").into();
            }
            _ => {}
        }
        let answer = finish_read(self.read(now, user, ask), ask);
        match fault {
            Some(Fault::Slow(delay)) => Answer { delay, ..answer },
            _ => answer,
        }
    }

    /// `POST /makercheckers/{id}?command=approve|reject`.
    fn check(&mut self, now: DateTime<Utc>, user: &User, id: &str, ask: &Ask<'_>) -> Result<Json, Refusal> {
        if !user.may("CHECKER_SUPER_USER") {
            return Err(Refusal::not_authorized());
        }
        let id = id.parse().map_err(|_| Refusal::no_such_address())?;
        match ask.param("command").unwrap_or_default() {
            "approve" => self.release(now, user, id).map(|done| done.to_json(self.options.profile, true)),
            "reject" => self.turn_down(id).map(|()| Json::map([("commandId", Json::from(id))])),
            other => Err(Refusal::unknown_command(other)),
        }
    }

    /// The loan id behind `/loans/external-id/{externalId}` (1.9+).
    pub(crate) fn loan_by_external_id(&self, external_id: &str) -> Result<u64, Refusal> {
        let id = self.loan_external_ids.get(external_id).copied();
        id.ok_or_else(|| Refusal::not_found("error.msg.loan.external.id.invalid", external_id))
    }

    /// What a write means: entity, action and work.
    fn work_of(&self, ask: &Ask<'_>) -> Result<(&'static str, &'static str, Work), Refusal> {
        let path = segments(ask);
        let command = ask.param("command").unwrap_or_default();
        if let ["loans", "external-id", external_id, rest @ ..] = &*path {
            if self.is_old() {
                return Err(Refusal::no_such_address());
            }
            let loan = self.loan_by_external_id(external_id)?;
            return self.loan_work(ask.method, loan, rest, command);
        }
        match (ask.method, &*path) {
            (_, ["loans", id, rest @ ..]) => self.loan_work(ask.method, number(id)?, rest, command),
            (&Method::POST, ["savingsaccounts", id, "transactions"]) => match command {
                "deposit" => Ok(("SAVINGSACCOUNT", "DEPOSIT", Work::Deposit(number(id)?))),
                "withdrawal" => Ok(("SAVINGSACCOUNT", "WITHDRAWAL", Work::TakeOut(number(id)?))),
                other => Err(Refusal::unknown_command(other)),
            },
            (&Method::POST, ["savingsaccounts", id, "transactions", transaction]) => match command {
                "undo" => Ok(("SAVINGSACCOUNT", "UNDOTRANSACTION", Work::UndoSavings(number(id)?, number(transaction)?))),
                other => Err(Refusal::unknown_command(other)),
            },
            (&Method::POST, ["paymenttypes"]) => Ok(("PAYMENTTYPE", "CREATE", Work::CreatePaymentType)),
            (&Method::POST, ["hooks"]) => Ok(("HOOK", "CREATE", Work::CreateHook)),
            (&Method::PUT, ["hooks", id]) => Ok(("HOOK", "UPDATE", Work::UpdateHook(number(id)?))),
            (&Method::DELETE, ["hooks", id]) => Ok(("HOOK", "DELETE", Work::DeleteHook(number(id)?))),
            (_, ["clients" | "loanproducts" | "search" | "businessdate" | "hooks" | "loans", ..]) => Err(Refusal::method()),
            _ => Err(Refusal::no_such_address()),
        }
    }

    fn loan_work(&self, method: &Method, loan: u64, rest: &[&str], command: &str) -> Result<(&'static str, &'static str, Work), Refusal> {
        if *method != Method::POST {
            return Err(Refusal::method());
        }
        let (action, work) = match rest {
            [] => match command {
                "approve" => ("APPROVE", Work::Approve(loan)),
                "undoapproval" => ("APPROVALUNDO", Work::UndoApproval(loan)),
                "reject" => ("REJECT", Work::Reject(loan)),
                "withdrawnByApplicant" => ("WITHDRAW", Work::Withdraw(loan)),
                "disburse" => ("DISBURSE", Work::Disburse(loan)),
                "disburseToSavings" => ("DISBURSETOSAVINGS", Work::DisburseToSavings(loan)),
                "undodisbursal" => ("DISBURSALUNDO", Work::UndoDisbursal(loan)),
                other => return Err(Refusal::unknown_command(other)),
            },
            ["transactions"] => match command {
                "repayment" => ("REPAYMENT", Work::Repay(loan)),
                "recoverypayment" => ("RECOVERYPAYMENT", Work::Recover(loan)),
                "creditBalanceRefund" => ("CREDITBALANCEREFUND", Work::RefundSurplus(loan)),
                other => return Err(Refusal::unknown_command(other)),
            },
            ["transactions", "external-id", external_id] if !self.is_old() => {
                let found = self.transaction_external_ids.get(*external_id).filter(|(owner, _)| *owner == loan);
                let (_, transaction) = found.ok_or_else(|| Refusal::not_found("error.msg.loan.transaction.external.id.invalid", external_id))?;
                adjustment(loan, *transaction, command)?
            }
            ["transactions", transaction] => adjustment(loan, number(transaction)?, command)?,
            _ => return Err(Refusal::no_such_address()),
        };
        Ok(("LOAN", action, work))
    }

    /// The misfortune of the next command, from the script of its loan or from the dials.
    fn next_write_fault(&mut self, work: Work, has_key: bool) -> Option<Fault> {
        if let Some(fault) = work.loan().and_then(|loan| self.write_scripts.get_mut(&loan)).and_then(std::collections::VecDeque::pop_front) {
            return Some(fault);
        }
        let dials = self.options.dials.clone();
        let new = !self.is_old();
        let on_loan = work.loan().is_some();
        let chances = [
            (dials.dropped_before, Fault::DroppedBefore),
            (dials.dropped_after, Fault::DroppedAfter),
            (dials.unavailable, Fault::Unavailable),
            (dials.server_error, Fault::ServerError),
            (dials.gateway_timeout, Fault::GatewayTimeout),
            (if new && on_loan { dials.locked } else { 0 }, Fault::Locked),
            (if on_loan { dials.conflict } else { 0 }, Fault::Conflict),
            (if new && has_key { dials.key_stuck } else { 0 }, Fault::KeyStuck),
            (dials.parked, Fault::Parked),
            (dials.slow, Fault::Slow(dials.slow_by)),
        ];
        self.first_that_happens(&chances)
    }

    fn next_read_fault(&mut self, ask: &Ask<'_>) -> Option<Fault> {
        let loan = match *segments(ask) {
            ["loans", "external-id", external_id, ..] => self.loan_external_ids.get(external_id).copied(),
            ["loans", id, ..] => id.parse().ok(),
            _ => None,
        };
        if let Some(fault) = loan.and_then(|loan| self.read_scripts.get_mut(&loan)).and_then(std::collections::VecDeque::pop_front) {
            return Some(fault);
        }
        let dials = &self.options.dials;
        let slow_by: Duration = dials.slow_by;
        let chances = [
            (dials.dropped_before, Fault::DroppedBefore),
            (dials.dropped_after, Fault::DroppedAfter),
            (dials.unavailable, Fault::Unavailable),
            (dials.server_error, Fault::ServerError),
            (dials.slow, Fault::Slow(slow_by)),
        ];
        self.first_that_happens(&chances)
    }

    fn first_that_happens(&mut self, chances: &[(u16, Fault)]) -> Option<Fault> {
        chances.iter().find_map(|(per_mille, fault)| self.happens(*per_mille).then_some(*fault))
    }
}

/// Any command but a chargeback means "adjust" (Mifos X contract 4.4); chargebacks are not simulated.
fn adjustment(loan: u64, transaction: u64, command: &str) -> Result<(&'static str, Work), Refusal> {
    if command == "chargeback" { Err(Refusal::unknown_command(command)) } else { Ok(("ADJUST", Work::AdjustRepayment(loan, transaction))) }
}

fn work_needs_no_body(work: Work) -> bool {
    matches!(work, Work::DeleteHook(_))
}

/// An id in an address; anything else is an address that does not exist.
pub(crate) fn number(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::no_such_address())
}

/// The path as slices, for matching.
pub(crate) fn segments<'a>(ask: &'a Ask<'_>) -> Box<[&'a str]> {
    ask.path.iter().map(String::as_str).collect()
}

fn finish_read(result: Result<Json, Refusal>, ask: &Ask<'_>) -> Answer {
    match result {
        Ok(json) => {
            let json = match ask.param("fields") {
                Some(fields) => json.trimmed(&fields.split(',').map(str::trim).collect::<Vec<_>>()),
                None => json,
            };
            Answer::json(200, json.render())
        }
        Err(refusal) => refusal.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_and_bad_sequences_stay() {
        assert_eq!(decode("a%3Db%zz%4", true), "a=b%zz%4");
        assert_eq!(decode("a+b", true), "a b");
        assert_eq!(decode("a+b", false), "a+b");
    }

    #[test]
    fn a_basic_header_is_read_with_colons_in_the_password() {
        let token = format!("Basic {}", STANDARD.encode("user:a:b"));
        assert_eq!(basic(Some(&token)), Some(("user".to_owned(), "a:b".to_owned())));
        assert_eq!(basic(Some("Basic !!!")), None);
        assert_eq!(basic(Some("Bearer x")), None);
    }
}
