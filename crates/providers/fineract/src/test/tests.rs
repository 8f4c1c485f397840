//! What the connection test finds, host by host.

use pv_kernel::transport::NotSent;

use super::*;
use crate::testing::{Host, PRODUCT, answer, edited, envelope, link, run};

const USER: &str = r#"{ "username": "pv-integration", "userId": 21, "base64EncodedAuthenticationKey": "cHYtaW50ZWdyYXRpb246czNjcmV0",
  "authenticated": true, "officeId": 1, "officeName": "Head Office",
  "roles": [ { "id": 9, "name": "Payment integration", "description": "M-Pesa", "disabled": false } ],
  "permissions": [ "READ_LOAN", "READ_LOANPRODUCT", "READ_CLIENT", "READ_SAVINGSACCOUNT", "READ_PAYMENTTYPE", "DISBURSE_LOAN", "REPAYMENT_LOAN", "DEPOSIT_SAVINGSACCOUNT" ],
  "shouldRenewPassword": false, "isTwoFactorAuthenticationRequired": false }"#;
const HOOK: &str = r#"{"id":4,"name":"Web","displayName":"Payment Vault","isActive":true,"events":[{"actionName":"APPROVE","entityName":"LOAN"}],"config":[{"fieldName":"Payload URL","fieldValue":"https://pv.example.co.ke/h/p7/3f9c1a/"}]}"#;
const NAMES: [&str; 10] =
    ["reachable", "tenant", "credentials", "permissions", "version", "loan_products", "payment_type", "clock", "business_date", "hooks"];

fn now() -> DateTime<Utc> {
    "2026-11-20T06:00:00Z".parse().unwrap()
}

fn good() -> Vec<(u16, String)> {
    vec![
        (200, USER.to_owned()),
        (404, envelope("error.msg.resource.not.found", Some("error.msg.loan.external.id.invalid"))),
        (200, format!("[{PRODUCT}]")),
        (200, r#"[{"id":5,"name":"M-Pesa","isCashPayment":false}]"#.to_owned()),
        (200, r#"[{"description":"Business Date","type":"BUSINESS_DATE","date":[2026,11,20]}]"#.to_owned()),
        (200, format!("[{HOOK}]")),
    ]
}

fn report(answers: Vec<(u16, String)>) -> ConnectionReport {
    run(Host::answering(answers).core().test_connection(&link(), now()))
}

fn failed(report: &ConnectionReport) -> Vec<&str> {
    assert_eq!(report.checks.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), NAMES, "the rows are always the same");
    report.checks.iter().filter(|c| !c.ok).map(|c| c.name.as_str()).collect()
}

fn with(position: usize, status: u16, body: &str) -> Vec<(u16, String)> {
    let mut answers = good();
    answers[position] = (status, body.to_owned());
    answers
}

#[test]
fn a_good_host_passes_every_check() {
    let host = Host::answering(good());
    let report = run(host.core().test_connection(&link(), now()));
    assert_eq!(failed(&report), [""; 0]);
    assert_eq!(report.profile.as_ref().map(|p| p.line.as_str()), Some("1.9+"));
    assert_eq!((report.products.len(), report.payment_types.len()), (1, 1));
    let log_in = &host.sent()[0].request;
    assert_eq!((log_in.method(), log_in.uri().path()), (&Method::POST, "/fineract-provider/api/v1/authentication"));
    assert_eq!(log_in.body().as_ref(), br#"{"password":"s3cret","username":"pv-integration"}"#);
}

#[test]
fn a_host_that_cannot_be_reached_says_why_and_nothing_else_is_claimed() {
    let host = Host::failing(CallError::NotSent(NotSent::NoConnection("connection refused".into())));
    let report = run(host.core().test_connection(&link(), now()));
    assert_eq!(failed(&report), NAMES);
    assert!(report.checks[0].detail.contains("connection refused"));
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn tenant_user_password_and_wrong_addresses_are_told_apart() {
    let first = |status, body: &str| {
        let report = report(vec![(status, body.to_owned())]);
        failed(&report)[0].to_owned()
    };
    assert_eq!(first(400, "<html>HTTP Status 400</html>"), "tenant");
    assert_eq!(first(401, &envelope("error.msg.invalid.tenant.identifier", None)), "tenant");
    assert_eq!(first(401, &envelope("error.msg.not.authenticated", None)), "credentials");
    assert_eq!(first(401, ""), "credentials");
    assert_eq!(first(400, &envelope("error.msg.password.outdated", None)), "credentials");
    for (status, body) in
        [(404, "<html>nginx</html>"), (200, "<html>Welcome</html>"), (200, ""), (200, "{}"), (302, ""), (500, "{\"Exception\":\"x\"}")]
    {
        assert_eq!(first(status, body), "reachable", "{status} {body}");
    }
}

#[test]
fn a_user_that_cannot_run_unattended_is_found() {
    for member in
        [r#""shouldRenewPassword":true"#, r#""isTwoFactorAuthenticationRequired":true"#, r#""authenticated":false"#, r#""shouldRenewPassword":"?""#]
    {
        let report = report(with(0, 200, &edited(USER, member)));
        assert_eq!(failed(&report)[0], "credentials", "{member}");
    }
}

#[test]
fn missing_rights_are_named_and_dangerous_ones_too() {
    let detail = |permissions: &str| {
        let report = report(with(0, 200, &edited(USER, &format!("\"permissions\":{permissions}"))));
        assert_eq!(failed(&report), ["permissions"]);
        report.checks[3].detail.clone()
    };
    assert!(detail(r#"["ALL_FUNCTIONS_READ","REPAYMENT_LOAN"]"#).starts_with("Missing: DISBURSE_LOAN, DEPOSIT_SAVINGSACCOUNT."));
    assert!(detail(r#"["ALL_FUNCTIONS"]"#).contains("ALL_FUNCTIONS"));
    for shape in ["null", "[]", "\"all\"", "[1,2]"] {
        assert!(detail(shape).starts_with("Missing: READ_LOAN,"), "{shape}");
    }
}

#[test]
fn each_later_check_can_fail_alone() {
    for (position, status, body, name) in [
        (1, 500, "", "version"),
        (2, 200, "[]", "loan_products"),
        (2, 403, "{}", "loan_products"),
        (3, 200, r#"[{"id":1,"name":"Cash","isCashPayment":true}]"#, "payment_type"),
        (3, 200, "<html>", "payment_type"),
        (4, 200, r#"[{"type":"BUSINESS_DATE","date":[2026,11,18]}]"#, "business_date"),
        (4, 500, "", "business_date"),
    ] {
        assert_eq!(failed(&report(with(position, status, body))), [name]);
    }
}

#[test]
fn a_hook_that_sleeps_is_a_finding_and_no_hook_is_not() {
    assert_eq!(failed(&report(with(5, 200, &format!("[{}]", edited(HOOK, r#""isActive":false"#))))), ["hooks"]);
    for (status, body) in [(200, "[]"), (403, ""), (200, "<html>"), (200, "{}")] {
        assert_eq!(failed(&report(with(5, status, body))), [""; 0], "{status} {body}");
    }
}

#[test]
fn the_clock_is_compared_with_the_date_header() {
    for (date, ok) in [("Fri, 20 Nov 2026 06:00:59 GMT", true), ("Fri, 20 Nov 2026 06:01:01 GMT", false), ("Fri, 20 Nov 2026 05:58:59 GMT", false)] {
        let mut response = answer(200, USER);
        response.headers_mut().insert("Date", date.parse().unwrap());
        let rest = good().into_iter().skip(1).map(|(status, body)| Ok(answer(status, &body)));
        let host = Host::with(std::iter::once(Ok(response)).chain(rest));
        let report = run(host.core().test_connection(&link(), now()));
        let Some(clock) = report.checks.iter().find(|c| c.name == "clock") else { panic!("{report:?}") };
        assert_eq!(clock.ok, ok, "{date}: {}", clock.detail);
    }
}

proptest::proptest! {
    #[test]
    fn any_answer_gives_a_whole_report(values in proptest::collection::vec((200u16..600, crate::testing::any_json()), 0..8)) {
        let report = report(values);
        let _ = failed(&report);
    }
}
