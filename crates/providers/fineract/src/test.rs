//! The connection test: one line per thing that can be wrong between us and a partner's host, each with what to do about it
//! (Mifos X contract 10). It never fails as a whole; a check that could not be made says so.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, Response, StatusCode};
use pv_kernel::{
    core_banking::{ConnectionCheck, ConnectionReport, CoreError, CoreLink, CorePaymentType, CoreProduct, CoreProfile},
    transport::CallError,
};
use secrecy::ExposeSecret as _;

use crate::{
    Fineract,
    businessdate::date_header,
    connection::{Ask, READ_TIMEOUT},
    errors::Envelope,
    wire::{Object, array, excerpt},
};

/// The rights that an integration user needs at least (Mifos X contract 10).
const NEEDED: &[&str] = &[
    "READ_LOAN",
    "READ_LOANPRODUCT",
    "READ_CLIENT",
    "READ_SAVINGSACCOUNT",
    "READ_PAYMENTTYPE",
    "DISBURSE_LOAN",
    "REPAYMENT_LOAN",
    "DEPOSIT_SAVINGSACCOUNT",
];
/// Rights that it must not have: whoever pays must not be able to approve (Mifos X contract 10).
const NEVER: &[&str] = &["ALL_FUNCTIONS", "CHECKER_SUPER_USER", "APPROVE_LOAN"];
/// How far the host's clock may be from ours.
const CLOCK_SECONDS: i64 = 60;

/// What is known after the log-in.
struct LogIn {
    checks: Vec<ConnectionCheck>,
    /// Our user got in: the other checks are worth making.
    inside: bool,
}

fn check(name: &str, ok: bool, detail: impl Into<String>) -> ConnectionCheck {
    ConnectionCheck { name: name.to_owned(), ok, detail: detail.into() }
}

fn not_made(names: &[&str]) -> impl Iterator<Item = ConnectionCheck> {
    names.iter().map(|name| check(name, false, "Not checked, because an earlier check failed.")).collect::<Vec<_>>().into_iter()
}

impl Fineract {
    /// Tests a connection. `now` is what the host's clock is compared with.
    pub(crate) async fn test_connection(&self, link: &CoreLink, now: DateTime<Utc>) -> ConnectionReport {
        let (log_in, clock) = match self.log_in(link).await {
            Ok(response) => (read_log_in(&response), clock(response.headers(), now)),
            Err(error) => {
                let mut checks = vec![check("reachable", false, unreachable_because(&error))];
                checks.extend(not_made(&[
                    "tenant",
                    "credentials",
                    "permissions",
                    "version",
                    "loan_products",
                    "payment_type",
                    "clock",
                    "business_date",
                    "hooks",
                ]));
                return ConnectionReport { checks, profile: None, products: Vec::new(), payment_types: Vec::new() };
            }
        };
        let mut checks = log_in.checks;
        if !log_in.inside {
            checks.extend(not_made(&["version", "loan_products", "payment_type"]));
            checks.push(clock);
            checks.extend(not_made(&["business_date", "hooks"]));
            return ConnectionReport { checks, profile: None, products: Vec::new(), payment_types: Vec::new() };
        }
        let profile = self.detect_line(link).await;
        checks.push(version(&profile));
        let products = self.read_products(link).await;
        checks.push(loan_products(&products));
        let payment_types = self.read_payment_types(link).await;
        checks.push(payment_type(&payment_types));
        checks.push(clock);
        checks.push(business_date(self.read_business_date(link).await, now));
        checks.push(hooks(self.ask(link, Ask::get("fineract.hooks", "/hooks")).await));
        ConnectionReport { checks, profile: profile.ok(), products: products.unwrap_or_default(), payment_types: payment_types.unwrap_or_default() }
    }

    async fn log_in(&self, link: &CoreLink) -> Result<Response<Bytes>, CallError> {
        let body = serde_json::json!({ "username": link.username, "password": link.password.expose_secret() }).to_string();
        let ask = Ask {
            purpose: "fineract.authentication",
            method: Method::POST,
            path: "/authentication".to_owned(),
            body,
            key: None,
            timeout: READ_TIMEOUT,
        };
        self.ask(link, ask).await
    }
}

fn unreachable_because(error: &CallError) -> String {
    format!("The host cannot be reached: {error}. Check the address, the port, the certificate and whether the host lets us in.")
}

/// Reachable, tenant, credentials and permissions, from the answer to the log-in (Mifos X contract 1.2, 1.3).
fn read_log_in(response: &Response<Bytes>) -> LogIn {
    let status = response.status();
    let envelope = Envelope::read(response.body());
    let reachable = check("reachable", true, format!("The host answers (HTTP {}).", status.as_u16()));
    let stop = |failed: Vec<ConnectionCheck>, rest: &[&str]| {
        let mut checks = vec![reachable.clone()];
        checks.extend(failed);
        checks.extend(not_made(rest));
        LogIn { checks, inside: false }
    };
    let wrong_tenant = (status == StatusCode::BAD_REQUEST && !envelope.is_the_cores()) || envelope.says("error.msg.invalid.tenant.identifier");
    if wrong_tenant {
        let detail = "The host does not know this tenant. Check the tenant identifier; most hosts use \"default\".";
        return stop(vec![check("tenant", false, detail)], &["credentials", "permissions"]);
    }
    if envelope.says("error.msg.password.outdated") {
        let detail = "The password has expired. Ask for a user whose password never expires.";
        return stop(vec![check("tenant", true, "The tenant is known."), check("credentials", false, detail)], &["permissions"]);
    }
    if status == StatusCode::UNAUTHORIZED {
        let detail = "The host refuses the user name or the password.";
        return stop(vec![check("tenant", true, "The tenant is known."), check("credentials", false, detail)], &["permissions"]);
    }
    let said = if status == StatusCode::OK { Object::from_bytes(response.body()).ok() } else { None };
    let Some(user) = said.filter(|user| user.has("authenticated") || user.has("userId")) else {
        let body = excerpt(&String::from_utf8_lossy(response.body()));
        let detail = format!("This does not look like a Mifos X host (HTTP {}: {body}). Check the base URL; it ends with /api/v1.", status.as_u16());
        let mut checks = vec![check("reachable", false, detail)];
        checks.extend(not_made(&["tenant", "credentials", "permissions"]));
        return LogIn { checks, inside: false };
    };
    let credentials = credentials(&user);
    let inside = credentials.ok;
    let mut checks = vec![reachable.clone(), check("tenant", true, "The tenant is known."), credentials];
    if inside {
        checks.push(permissions(&user));
    } else {
        checks.extend(not_made(&["permissions"]));
    }
    LogIn { checks, inside }
}

fn credentials(user: &Object<'_>) -> ConnectionCheck {
    // A switch that cannot be read counts as the bad case.
    let on = |key: &str| user.flag(key).unwrap_or(true);
    if !matches!(user.flag("authenticated"), Ok(true)) {
        return check("credentials", false, "The host did not log the user in.");
    }
    if on("shouldRenewPassword") {
        return check("credentials", false, "The password must be renewed before anything works. Ask for a user whose password never expires.");
    }
    if on("isTwoFactorAuthenticationRequired") {
        return check(
            "credentials",
            false,
            "The host asks this user for a second factor. Give the user the permission BYPASS_TWOFACTOR, or nothing runs unattended.",
        );
    }
    check("credentials", true, format!("Logged in as {}.", user.text("username").unwrap_or_else(|| "the integration user".to_owned())))
}

fn permissions(user: &Object<'_>) -> ConnectionCheck {
    let listed = user.array("permissions").ok().flatten().unwrap_or_default();
    let held: BTreeSet<String> = listed.into_iter().filter_map(|token| serde_json::from_str(token).ok()).collect();
    let everything = held.contains("ALL_FUNCTIONS");
    let reads = everything || held.contains("ALL_FUNCTIONS_READ");
    let has = |right: &str| everything || held.contains(right) || (reads && right.starts_with("READ_"));
    let missing: Vec<&str> = NEEDED.iter().copied().filter(|right| !has(right)).collect();
    let too_much: Vec<&str> = NEVER.iter().copied().filter(|right| held.contains(*right)).collect();
    if !missing.is_empty() {
        return check("permissions", false, format!("Missing: {}. Add them to the role of the integration user.", missing.join(", ")));
    }
    if !too_much.is_empty() {
        let detail =
            format!("All needed rights are there, but also {}: whoever pays must not be able to approve. Take them away.", too_much.join(", "));
        return check("permissions", false, detail);
    }
    check("permissions", true, "All needed rights are there and no dangerous one.")
}

fn version(profile: &Result<CoreProfile, CoreError>) -> ConnectionCheck {
    match profile {
        Ok(profile) if profile.idempotency => {
            check("version", true, format!("Fineract {}: repeats are guarded by an idempotency key.", profile.line))
        }
        Ok(profile) => check(
            "version",
            true,
            format!("Fineract {}: this line knows no idempotency keys; each booking is read back and guarded by its external id.", profile.line),
        ),
        Err(why) => check("version", false, format!("The version line could not be found out: {why}.")),
    }
}

fn loan_products(products: &Result<Vec<CoreProduct>, CoreError>) -> ConnectionCheck {
    match products {
        Ok(products) if products.is_empty() => check(
            "loan_products",
            false,
            "No loan product can be seen. Check the right READ_LOANPRODUCT and whether the user's office may use products.",
        ),
        Ok(products) => check("loan_products", true, format!("{} loan products can be read.", products.len())),
        Err(why) => check("loan_products", false, format!("Loan products cannot be read: {why}.")),
    }
}

fn payment_type(kinds: &Result<Vec<CorePaymentType>, CoreError>) -> ConnectionCheck {
    match kinds {
        Ok(kinds) => {
            let names: Vec<&str> = kinds.iter().filter(|kind| !kind.cash).map(|kind| kind.name.as_str()).collect();
            if names.is_empty() {
                let detail = "There is no payment type that is not cash. Create one, for example \"M-Pesa\", and map it to a ledger account.";
                check("payment_type", false, detail)
            } else {
                check("payment_type", true, format!("Payment types that are not cash: {}.", excerpt(&names.join(", "))))
            }
        }
        Err(why) => check("payment_type", false, format!("Payment types cannot be read: {why}.")),
    }
}

fn clock(headers: &HeaderMap, now: DateTime<Utc>) -> ConnectionCheck {
    let Some(theirs) = date_header(headers) else {
        return check("clock", true, "The host does not tell its time; its clock was not compared.");
    };
    let seconds = (theirs - now).num_seconds();
    if seconds.abs() > CLOCK_SECONDS {
        let way = if seconds > 0 { "ahead" } else { "behind" };
        return check("clock", false, format!("The host's clock is {} seconds {way}. Let the host set its clock by NTP.", seconds.abs()));
    }
    check("clock", true, format!("The host's clock agrees within {CLOCK_SECONDS} seconds."))
}

fn business_date(date: Result<Option<chrono::NaiveDate>, CoreError>, now: DateTime<Utc>) -> ConnectionCheck {
    const ZONE: &str = "Check that the tenant's time zone is Africa/Nairobi: a fresh tenant stands at Asia/Kolkata.";
    match date {
        Ok(None) => {
            check("business_date", true, format!("The host tells no business date: its day is the calendar day in the tenant's time zone. {ZONE}"))
        }
        Ok(Some(date)) => {
            let today = pv_kernel::clock::nairobi_day(now);
            let days = (date - today).num_days();
            match days {
                0 => check("business_date", true, format!("The business date is {date}, which is today in Nairobi.")),
                _ if days > 0 => check("business_date", false, format!("The business date {date} is {days} days ahead of today in Nairobi. {ZONE}")),
                _ => check(
                    "business_date",
                    false,
                    format!("The business date {date} is {} days behind today in Nairobi: bookings get that date until the host moves on.", -days),
                ),
            }
        }
        Err(why) => check("business_date", false, format!("The business date cannot be read: {why}.")),
    }
}

/// Hooks only make things faster, so a host without one passes; one that is registered and never fires does not.
fn hooks(answer: Result<Response<Bytes>, CallError>) -> ConnectionCheck {
    const POLL: &str = "Approvals are found by polling.";
    let response = match answer {
        Ok(response) if response.status() == StatusCode::OK => response,
        Ok(response) => {
            return check("hooks", true, format!("Hooks cannot be read (HTTP {}). {POLL}", response.status().as_u16()));
        }
        Err(error) => {
            return check("hooks", true, format!("Hooks cannot be read: {error}. {POLL}"));
        }
    };
    let rows = std::str::from_utf8(response.body()).ok().and_then(|text| array(text).ok());
    let Some(rows) = rows else {
        return check("hooks", true, format!("The list of hooks cannot be read. {POLL}"));
    };
    let for_approvals: Vec<bool> = rows
        .into_iter()
        .filter_map(|row| Object::read(row).ok())
        .filter(announces_approvals)
        .map(|hook| matches!(hook.flag("isActive"), Ok(true)))
        .collect();
    match (for_approvals.is_empty(), for_approvals.contains(&true)) {
        (true, _) => check("hooks", true, format!("No hook announces approved loans. {POLL}")),
        (false, true) => check("hooks", true, "An active hook announces approved loans."),
        (false, false) => check("hooks", false, format!("The hook for approved loans is not active and never fires. Switch it on. {POLL}")),
    }
}

fn announces_approvals(hook: &Object<'_>) -> bool {
    let web = hook.text("name").is_none_or(|name| name == "Web");
    let events = hook.array("events").ok().flatten().unwrap_or_default();
    web && events
        .into_iter()
        .filter_map(|event| Object::read(event).ok())
        .any(|event| event.text("entityName").is_some_and(|name| name == "LOAN") && event.text("actionName").is_some_and(|name| name == "APPROVE"))
}

#[cfg(test)]
mod tests;
