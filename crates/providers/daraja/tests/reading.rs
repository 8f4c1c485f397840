//! What M-Pesa posts to us, from the contract's own examples and from hostile hands.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use pv_daraja::Daraja;
use pv_kernel::{
    Money, Msisdn,
    rail::{CodeClass, PaymentFate, PayoutRail},
    transport::{Call, CallError, TokenError, TokenFetch, TokenStore, Transport},
};

const SUCCESS: &str = include_str!("fixtures/result-success.json");
const FAILURE: &str = include_str!("fixtures/result-failure.json");
const STATUS: &str = include_str!("fixtures/status-result.json");
const BALANCE: &str = include_str!("fixtures/balance-result.json");
const ECHO: &str = include_str!("fixtures/timeout-echo.json");

/// Reading sends nothing.
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn call(&self, _: Call) -> Result<http::Response<Bytes>, CallError> {
        Err(CallError::Crashed)
    }
}

#[async_trait]
impl TokenStore for Nowhere {
    async fn current(&self, _: &str) -> Option<String> {
        None
    }
    async fn renew(&self, _: &str, _: Option<&str>, _: &dyn TokenFetch) -> Result<String, TokenError> {
        Err(TokenError::Crashed)
    }
}

fn rail() -> Daraja {
    Daraja::new(Arc::new(Nowhere), Arc::new(Nowhere))
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with optional fields")]
fn kes(text: &str) -> Option<Money> {
    Some(Money::parse(text).unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with optional fields")]
fn at(text: &str) -> Option<DateTime<Utc>> {
    Some(text.parse().unwrap())
}

#[test]
fn a_success_is_read_with_all_its_facts() {
    let r = rail().read_result(SUCCESS.as_bytes()).unwrap();
    assert!(r.completed);
    assert_eq!((r.code.as_str(), r.receipt.as_deref()), ("0", Some("UA31ABCDE9")));
    assert_eq!(r.rail_id.as_deref(), Some("pv-20260103-7f3c1e9a4b2d"));
    assert_eq!(r.conversation_id.as_deref(), Some("AG_20260103_2010aa11bb22cc33dd44"));
    assert_eq!((r.amount, r.utility_after, r.charges_after), (kes("1500"), kes("842100.50"), kes("-1980")));
    assert_eq!((r.msisdn, r.party_name.as_deref()), (Some(Msisdn::parse("254700000001").unwrap()), Some("TEST BORROWER")));
    assert_eq!(r.completed_at, at("2026-01-03T11:05:09Z"));
}

#[test]
fn a_success_is_read_the_same_in_every_loose_form() {
    let expected = rail().read_result(SUCCESS.as_bytes()).unwrap();
    for (from, to) in [
        ("\"ResultType\": 0", "\"ResultType\": \"0\""),
        ("\"ResultCode\": 0", "\"ResultCode\": \"0\""),
        ("\"Value\": 1500 ", "\"Value\": \"1500.00\" "),
        ("\"Value\": 1500 ", "\"Value\": 1500.0 "),
        ("\"Value\": 842100.5 ", "\"Value\": \"842100.50\" "),
        ("\"Key\": \"TransactionReceipt\"", "\"Key\": \"Transaction Receipt\""),
        ("\"Value\": \"Y\"", "\"Other\": 1"),
        ("\"TransactionID\": \"UA31ABCDE9\",", ""),
    ] {
        let body = SUCCESS.replace(from, to);
        assert_ne!(body, SUCCESS, "{from}");
        assert_eq!(rail().read_result(body.as_bytes()).unwrap(), expected, "{to}");
    }
    let marked = format!("\u{feff}{SUCCESS}");
    assert_eq!(rail().read_result(marked.as_bytes()).unwrap(), expected);
}

#[test]
fn a_failure_has_no_receipt_although_it_carries_a_transaction_id() {
    let r = rail().read_result(FAILURE.as_bytes()).unwrap();
    assert_eq!((r.completed, r.code.as_str(), r.receipt, r.amount), (true, "2001", None, None));
    assert_eq!(rail().classify(&r.code), CodeClass::Halt);
    let with_parameters = SUCCESS.replace("\"ResultCode\": 0", "\"ResultCode\": \"SFC_IC0003\"");
    let r = rail().read_result(with_parameters.as_bytes()).unwrap();
    assert_eq!((r.code.as_str(), r.receipt, r.amount, r.msisdn), ("SFC_IC0003", None, None, None));
}

#[test]
fn placeholders_and_contradicting_receipts_are_no_receipts() {
    for (from, to) in
        [("UA31ABCDE9", "UA30000000"), ("\"TransactionReceipt\", \"Value\": \"UA31ABCDE9\"", "\"TransactionReceipt\", \"Value\": \"UA31ABCDE8\"")]
    {
        let r = rail().read_result(SUCCESS.replace(from, to).as_bytes()).unwrap();
        assert_eq!((r.code.as_str(), r.receipt), ("0", None), "{to}");
    }
}

#[test]
fn a_result_that_waits_for_more_is_not_completed() {
    for (from, to) in [("\"ResultType\": 0", "\"ResultType\": 1"), ("\"ResultType\": 0,", ""), ("\"ResultType\": 0", "\"ResultType\": null")] {
        let r = rail().read_result(SUCCESS.replace(from, to).as_bytes()).unwrap();
        assert_eq!((r.completed, r.receipt), (false, None), "{to}");
    }
}

#[test]
fn names_are_split_at_the_first_dash_and_bad_bytes_cost_no_receipt() {
    let r = rail().read_result(SUCCESS.replace("TEST BORROWER", "ANNE - MARIE").as_bytes()).unwrap();
    assert_eq!(r.party_name.as_deref(), Some("ANNE - MARIE"));
    let mut latin = SUCCESS.replace("TEST BORROWER", "JOS?").into_bytes();
    let place = latin.windows(4).position(|w| w == b"JOS?").unwrap() + 3;
    *latin.get_mut(place).unwrap() = 0xc9;
    let r = rail().read_result(&latin).unwrap();
    assert_eq!((r.receipt.as_deref(), r.party_name.as_deref()), (Some("UA31ABCDE9"), Some("JOS\u{fffd}")));
    let r = rail().read_result(SUCCESS.replace("254700000001 - TEST BORROWER", "not a party").as_bytes()).unwrap();
    assert_eq!((r.msisdn, r.party_name), (None, None));
}

#[test]
fn a_status_answer_tells_of_the_payment_and_not_of_the_question() {
    let s = rail().read_status(STATUS.as_bytes()).unwrap();
    assert_eq!(s.query_conversation_id.as_deref(), Some("AG_20260103_2010ee55ff66aa77bb88"));
    assert_eq!((s.fate, s.code.as_str()), (PaymentFate::Completed, "0"));
    assert_eq!(s.rail_id.as_deref(), Some("pv-20260103-7f3c1e9a4b2d"));
    assert_eq!(s.conversation_id.as_deref(), Some("AG_20260103_2010aa11bb22cc33dd44"));
    assert_eq!((s.receipt.as_deref(), s.amount, s.charge), (Some("UA31ABCDE9"), kes("1500"), kes("5")));
    assert_eq!((s.payer_shortcode.as_deref(), s.party_name.as_deref()), (Some("600111"), Some("TEST BORROWER")));
    assert_eq!((s.msisdn, s.finalised_at), (Some(Msisdn::parse("0700000001").unwrap()), at("2026-01-03T11:05:09Z")));
}

#[test]
fn old_key_spellings_and_the_portal_s_repeated_party_are_read() {
    let expected = rail().read_status(STATUS.as_bytes()).unwrap();
    let old = STATUS
        .replace("\"Key\": \"ConversationID\"", "\"Key\": \"Conversation ID\"")
        .replace("\"Key\": \"OriginatorConversationID\"", "\"Key\": \"Originator Conversation ID\"");
    assert_ne!(old, STATUS);
    assert_eq!(rail().read_status(old.as_bytes()).unwrap(), expected);
    let repeated = STATUS.replace("CreditPartyName", "DebitPartyName");
    assert_eq!(rail().read_status(repeated.as_bytes()).unwrap(), expected);
    let numbers = STATUS.replace("\"20260103140509\"", "20260103140509").replace("\"1500\"", "1500.00");
    assert_eq!(rail().read_status(numbers.as_bytes()).unwrap(), expected);
}

#[test]
fn every_transaction_status_has_its_fate() {
    for (word, fate) in [
        ("Completed", PaymentFate::Completed),
        ("Cancelled", PaymentFate::Ended),
        ("Declined", PaymentFate::Ended),
        ("Expired", PaymentFate::Ended),
        ("Initiated", PaymentFate::Open),
        ("Authorized", PaymentFate::Open),
        ("Pending Authorized", PaymentFate::Open),
        ("Reversed", PaymentFate::Unclear),
        ("completed?", PaymentFate::Unclear),
        ("", PaymentFate::Unclear),
    ] {
        let body = STATUS.replace("\"Completed\"", &format!("\"{word}\""));
        let notice = rail().read_status(body.as_bytes()).unwrap();
        assert_eq!(notice.fate, fate, "{word}");
        // What a person reads is about the payment, not about the question that was "processed successfully".
        assert_eq!(notice.description.ends_with(&format!("of the payment is {word}")), !word.is_empty(), "{word}: {}", notice.description);
    }
    let not_found =
        r#"{"Result":{"ResultType":0,"ResultCode":2032,"ResultDesc":"The transaction receipt number does not exist.","ConversationID":"AG_1"}}"#;
    assert_eq!(rail().read_status(not_found.as_bytes()).unwrap().fate, PaymentFate::NotFound);
    for (from, to) in [
        ("\"ResultCode\": 0", "\"ResultCode\": 25"),
        ("\"ResultCode\": 0", "\"ResultCode\": \"SFC_IC0003\""),
        ("\"ResultCode\": 0", "\"ResultCode\": 2001"),
        ("\"ResultType\": 0", "\"ResultType\": 1"),
    ] {
        let s = rail().read_status(STATUS.replace(from, to).as_bytes()).unwrap();
        assert_eq!((s.fate, s.receipt), (PaymentFate::Unclear, None), "{to}");
    }
    let twice = STATUS.replace("{ \"Key\": \"TransactionReason\" },", "{ \"Key\": \"TransactionStatus\", \"Value\": \"Declined\" },");
    assert_eq!(rail().read_status(twice.as_bytes()).unwrap().fate, PaymentFate::Unclear, "two fates are none");
}

#[test]
fn a_balance_is_read_whole_or_not_at_all() {
    let b = rail().read_balance(BALANCE.as_bytes()).unwrap();
    assert_eq!((b.code.as_str(), b.at), ("0", at("2026-01-03T11:05:09Z")));
    let figures: Vec<(&str, String)> = b.available.iter().map(|(name, money)| (name.as_str(), money.to_decimal())).collect();
    assert_eq!(
        figures,
        [
            ("Charges Paid Account", "-1985.00".to_owned()),
            ("Organization Settlement Account", "0.00".to_owned()),
            ("Utility Account", "842100.50".to_owned()),
            ("Working Account", "120000.00".to_owned())
        ]
    );
    let with = |text: &str| {
        let body = serde_json::json!({"Result":{"ResultType":0,"ResultCode":0,"ResultParameters":{"ResultParameter":{"Key":"AccountBalance","Value":text}}}});
        rail().read_balance(body.to_string().as_bytes()).map(|b| b.available.len())
    };
    assert_eq!(with("Float Account|KES|1.00|1.00|0.00|0.00"), Ok(1));
    for bad in [
        "",
        "Utility",
        "Utility|KES|1|1|0",
        "Utility|USD|1|1|0|0",
        "Utility|KES|1||0|0",
        "Utility|KES|1|1e3|0|0",
        "A|KES|1|1|0|0&A|KES|2|2|0|0",
        "A|KES|1|1|0|0&B",
        "|KES|1|1|0|0",
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_failed_balance_shows_no_figures_although_it_has_parameters() {
    let body = r#"{"Result":{"ResultType":0,"ResultCode":21,"ResultDesc":"no","ResultParameters":{"ResultParameter":[{"Key":"ActionType","Value":"x"},{"Key":"ErrorMsg","Value":"y"},{"Key":"BOCompletedTime","Value":20260103140509}]},"ReferenceData":{"ReferenceItem":{"Key":"Occasion"}}}}"#;
    let b = rail().read_balance(body.as_bytes()).unwrap();
    assert_eq!((b.code.as_str(), b.available.len()), ("21", 0));
    let waiting = BALANCE.replace("\"ResultType\": \"0\"", "\"ResultType\": \"1\"");
    assert_ne!(rail().read_balance(waiting.as_bytes()).unwrap().code, "0");
}

#[test]
fn both_shapes_of_a_timeout_notice_carry_our_id() {
    let id = Some("pv-20260103-7f3c1e9a4b2d".to_owned());
    assert_eq!(rail().read_timeout(ECHO.as_bytes()).unwrap().rail_id, id);
    assert_eq!(rail().read_timeout(FAILURE.as_bytes()).unwrap().rail_id, id);
    assert_eq!(rail().read_timeout(b"{}").unwrap().rail_id, None);
    assert!(rail().read_timeout(b"").is_err());
    let stored = String::from_utf8(rail().redact(ECHO.as_bytes())).unwrap();
    assert!(!stored.contains("Base64Of256Bytes") && stored.contains("254700000001"));
}

fn hostile() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "null",
        "0",
        "[]",
        "\"0\"",
        "{}",
        "{\"Result\":0}",
        "{\"Result\":null}",
        "{\"Result\":[]}",
        "{\"Result\":{}}",
        "{\"Result\":{\"ResultCode\":null}}",
        "{\"Result\":{\"ResultCode\":[0]}}",
        "{\"Result\":{\"ResultCode\":{\"x\":0}}}",
        "{\"Result\":{\"ResultCode\":\"\"}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":0.0}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":00}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":-0}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":1e-400}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":false}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":\"0\\u0000\"}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":1,\"ResultCode\":0}}",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":0}",
        "<html><body>Service unavailable ResultCode 0</body></html>",
        "ResultCode=0",
        "{\"Result\":{\"ResultType\":0,\"ResultCode\":\"\\ud800\"}}",
        "{\"result\":{\"resultType\":0,\"resultCode\":0}}",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    bodies.push("[".repeat(1_000_000).into_bytes());
    bodies.push("{\"Result\":".repeat(100_000).into_bytes());
    bodies.push(format!("{{\"Result\":{{\"ResultType\":0,\"ResultCode\":{}}}}}", "9".repeat(100_000)).into_bytes());
    bodies.push(format!("{{\"Result\":{{\"ResultType\":0,\"ResultCode\":7,\"x\":{}1{}}}}}", "[".repeat(400_000), "]".repeat(400_000)).into_bytes());
    bodies.push(b"{\"Result\":{\"ResultType\":0,\"ResultCode\":\"\xff0\"}}".to_vec());
    bodies.push(vec![0xff; 1000]);
    bodies.push(vec![b' '; 2_000_000]);
    bodies
}

#[test]
fn hostile_bodies_never_panic_and_never_read_as_success() {
    let rail = rail();
    for body in hostile() {
        let shown = String::from_utf8_lossy(body.get(..body.len().min(80)).unwrap()).into_owned();
        if let Ok(notice) = rail.read_result(&body) {
            assert_ne!(rail.classify(&notice.code), CodeClass::Success, "{shown}");
        }
        if let Ok(notice) = rail.read_status(&body) {
            assert_ne!(notice.fate, PaymentFate::Completed, "{shown}");
        }
        assert!(rail.read_balance(&body).is_err() || rail.read_balance(&body).unwrap().available.is_empty(), "{shown}");
        let _ = rail.read_timeout(&body);
        let _ = rail.redact(&body);
    }
}

#[test]
fn a_success_with_unreadable_figures_has_no_figures() {
    for value in ["1e3", "\"1,500\"", "[1500]", "{}", "null", "\"KES 1500\"", "99999999999999999999", "1500.001", "true"] {
        let body = SUCCESS.replace("\"Value\": 1500 ", &format!("\"Value\": {value} "));
        assert_eq!(rail().read_result(body.as_bytes()).unwrap().amount, None, "{value}");
    }
}

/// Any JSON value, built from the words of the contract so that it often comes close to a result.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let word = prop::sample::select(vec![
        "Result",
        "ResultCode",
        "ResultType",
        "ResultParameters",
        "ResultParameter",
        "Key",
        "Value",
        "TransactionStatus",
        "Completed",
        "AccountBalance",
        "0",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        (-3i64..3).prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        word.clone().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map(word.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_without_panic(value in json(), wrapped in any::<bool>()) {
        let rail = rail();
        let value = if wrapped { serde_json::json!({ "Result": value }) } else { value };
        let body = value.to_string();
        if let Ok(notice) = rail.read_result(body.as_bytes()) {
            let code = value.pointer("/Result/ResultCode").cloned().unwrap_or_default();
            let zero = code == serde_json::json!(0) || code == serde_json::json!("0");
            prop_assert_eq!(rail.classify(&notice.code) == CodeClass::Success, zero);
        }
        if let Ok(notice) = rail.read_status(body.as_bytes()) {
            prop_assert!(notice.fate != PaymentFate::Completed || body.contains("Completed"));
        }
        let _ = rail.read_balance(body.as_bytes());
        let _ = rail.read_timeout(body.as_bytes());
        prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&rail.redact(body.as_bytes())).is_ok());
    }

    #[test]
    fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let rail = rail();
        prop_assert!(rail.read_result(&body).is_err());
        let _ = (rail.read_status(&body), rail.read_balance(&body), rail.read_timeout(&body), rail.redact(&body));
    }
}
