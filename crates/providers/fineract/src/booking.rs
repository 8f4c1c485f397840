//! Booking a disbursement that happened (Mifos X contract 3.6, 1.5, 1.6, 1.8), and what the answer means.
//!
//! The money has left before this module is called, so nothing here may claim too much: success is only what says so in
//! full, a refusal only what the core itself refused, everything else is unclear and is read back.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use pv_kernel::{
    core_banking::{BookingAnswer, BookingMeaning, BookingOrder, BookingRefusal, CoreLink},
    transport::CallError,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Fineract,
    connection::{Ask, BOOKING_TIMEOUT, path_id},
    errors::{Envelope, booking_refusal_of},
    loans::same_id,
    wire::{Object, bounded},
};

/// The column that stores the key holds 50 characters (Mifos X contract 1.8).
const LONGEST_KEY: usize = 50;
/// Payment detail fields hold 50 characters, the external id 100, the note 1000 (Mifos X contract 3.6).
const LONGEST_DETAIL: usize = 50;
const LONGEST_EXTERNAL_ID: usize = 100;
const LONGEST_NOTE: usize = 1000;
/// Bytes of an answer that are kept.
const KEPT_ANSWER: usize = 16 * 1024;
/// The code of an order that was never sent, because the core would lose or refuse a part of it.
const BAD_ORDER: &str = "payvault.booking.order.invalid";
/// Marks an answer that is a repeat of a stored one (Mifos X contract 1.8).
const FROM_CACHE: &str = "x-served-from-cache";

/// The body of `command=disburse`, in the order of the contract.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Disbursal<'a> {
    actual_disbursement_date: String,
    transaction_amount: Box<RawValue>,
    payment_type_id: u64,
    receipt_number: &'a str,
    account_number: &'a str,
    external_id: &'a str,
    note: String,
    date_format: &'static str,
    locale: &'static str,
}

impl Fineract {
    /// Books a disbursement, once. The caller reads the loan back whatever the answer means.
    pub(crate) async fn book_disbursement(&self, link: &CoreLink, order: &BookingOrder) -> BookingAnswer {
        let body = match body(order) {
            Ok(body) => body,
            Err(why) => {
                tracing::error!(core = %link.core_id, why, "a booking was not sent: the order is not valid");
                return not_sent_because(&why);
            }
        };
        // On 1.8 the header does nothing. Before detection it is sent: ignored at worst, a guard at best.
        let honours_keys = link.profile.as_ref().is_none_or(|profile| profile.idempotency);
        let ask = Ask {
            purpose: "fineract.disburse",
            method: Method::POST,
            path: format!("/loans/{}?command=disburse", order.loan_id),
            body: body.clone(),
            key: honours_keys.then_some(order.key.as_str()),
            timeout: BOOKING_TIMEOUT,
        };
        match self.ask(link, ask).await {
            Ok(response) => BookingAnswer {
                meaning: meaning(&response, order, link.profile.as_ref().is_some_and(|profile| !profile.idempotency)),
                http_status: Some(response.status().as_u16()),
                request: body,
                response: bounded(response.body(), KEPT_ANSWER),
            },
            Err(error) => BookingAnswer {
                meaning: match error {
                    CallError::NotSent(_) => BookingMeaning::NotSent,
                    CallError::NoAnswer(_) => BookingMeaning::Unclear,
                    CallError::Crashed => BookingMeaning::Crashed,
                },
                http_status: None,
                request: body,
                response: error.to_string(),
            },
        }
    }
}

/// An order that the core would refuse, or of which it would silently lose a part, goes to a person and not to the core.
fn not_sent_because(why: &str) -> BookingAnswer {
    BookingAnswer {
        meaning: BookingMeaning::Refused { code: BAD_ORDER.to_owned(), replayed: false, kind: BookingRefusal::Rule },
        http_status: None,
        request: String::new(),
        response: format!("not sent: {why}"),
    }
}

fn body(order: &BookingOrder) -> Result<String, String> {
    path_id(&order.loan_id, "loan").map_err(|e| e.to_string())?;
    path_id(&order.payment_type_id, "payment type").map_err(|e| e.to_string())?;
    let payment_type_id = order.payment_type_id.parse().map_err(|_| "the payment type is no number".to_owned())?;
    if !order.gross.is_positive() {
        return Err("the amount is not greater than zero".to_owned());
    }
    for (what, value, longest) in [
        ("idempotency key", &order.key, LONGEST_KEY),
        ("receipt number", &order.receipt, LONGEST_DETAIL),
        ("account number", &order.account_number, LONGEST_DETAIL),
        ("external id", &order.external_id, LONGEST_EXTERNAL_ID),
    ] {
        let length = value.chars().count();
        if length == 0 || length > longest {
            return Err(format!("the {what} has {length} characters, allowed are 1 to {longest}"));
        }
    }
    if !order.key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the idempotency key has characters that no header carries".to_owned());
    }
    let disbursal = Disbursal {
        actual_disbursement_date: order.date.format("%Y-%m-%d").to_string(),
        transaction_amount: RawValue::from_string(order.gross.to_decimal()).map_err(|e| e.to_string())?,
        payment_type_id,
        receipt_number: &order.receipt,
        account_number: &order.account_number,
        external_id: &order.external_id,
        note: order.note.chars().take(LONGEST_NOTE).collect(),
        date_format: "yyyy-MM-dd",
        locale: "en",
    };
    serde_json::to_string(&disbursal).map_err(|e| e.to_string())
}

/// What an answer means. `old_line`: detection found 1.8.
fn meaning(response: &Response<Bytes>, order: &BookingOrder, old_line: bool) -> BookingMeaning {
    let status = response.status();
    let replayed = response.headers().get(FROM_CACHE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if status == StatusCode::OK {
        return accepted(response.body(), order, old_line);
    }
    // In progress under our key. Its body is the request, and it carries the cache header too.
    if status == StatusCode::TOO_EARLY {
        return BookingMeaning::Unclear;
    }
    let envelope = Envelope::read(response.body());
    let refused =
        |kind| BookingMeaning::Refused { code: envelope.code().map_or_else(|| format!("http.{}", status.as_u16()), str::to_owned), replayed, kind };
    let passing = status == StatusCode::CONFLICT || status.is_server_error();
    match status {
        // The stored answer of an earlier try with this key, whatever it was: only a new key runs again. A stored lock or
        // break-down is no rule of the core, so the loan is what tells.
        _ if replayed && passing => refused(BookingRefusal::NotInState),
        _ if passing => BookingMeaning::Unclear,
        StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED => refused(BookingRefusal::Access),
        _ if status.is_client_error() && envelope.is_the_cores() => refused(booking_refusal_of(&envelope)),
        // The security filter before the core: tenant or rights.
        StatusCode::FORBIDDEN => refused(BookingRefusal::Access),
        StatusCode::BAD_REQUEST if response.headers().contains_key(http::header::WWW_AUTHENTICATE) => refused(BookingRefusal::Access),
        _ if status.is_client_error() && replayed => refused(BookingRefusal::Rule),
        _ => BookingMeaning::Unclear,
    }
}

/// A 200 is success only with our loan's id and with the changes (Mifos X contract 1.6).
fn accepted(body: &[u8], order: &BookingOrder, old_line: bool) -> BookingMeaning {
    let Ok(result) = Object::from_bytes(body) else {
        return BookingMeaning::Unclear;
    };
    let command_id = result.id("commandId");
    let loan_is_ours = result.token("loanId").map(|_| result.id("loanId").is_some_and(|id| same_id(&id, &order.loan_id)));
    let changed = matches!(result.object("changes"), Ok(Some(_)));
    match loan_is_ours {
        Some(true) if changed => {
            let old_id = || {
                if old_line { result.id("resourceId") } else { None }
            };
            BookingMeaning::Done { transaction_id: result.id("subResourceId").or_else(old_id) }
        }
        Some(true) => BookingMeaning::Parked { command_id },
        None if command_id.is_some() || matches!(result.flag("rollbackTransaction"), Ok(true)) => BookingMeaning::Parked { command_id },
        // About another loan (our key was used for that one, and for ours nothing was done), or about nothing we know.
        Some(false) | None => BookingMeaning::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use pv_kernel::{Money, core_banking::CoreProfile, transport::NotSent};

    use super::*;
    use crate::testing::{Host, answer, edited, envelope, link, run};

    const DONE_NEW: &str = r#"{ "officeId": 2, "clientId": 118, "loanId": 734, "resourceId": 734, "resourceExternalId": "LN-734",
      "subResourceId": 9021, "subResourceExternalId": "pv-d-7f0c1d5e",
      "changes": { "receiptNumber": "TKJ7H5X2QP", "accountNumber": "254712000111", "paymentTypeId": 5, "locale": "en",
        "dateFormat": "yyyy-MM-dd", "actualDisbursementDate": "2026-11-20",
        "status": { "id": 300, "code": "loanStatusType.active", "value": "Active", "active": true },
        "note": "M-Pesa B2C via Payment Vault" } }"#;
    const DONE_OLD: &str = r#"{ "officeId": 2, "clientId": 118, "loanId": 734, "resourceId": 9021, "changes": { "paymentTypeId": 5 } }"#;
    const PARKED: &str = r#"{ "commandId": 5512, "resourceId": 734, "rollbackTransaction": true }"#;

    fn order() -> BookingOrder {
        BookingOrder {
            loan_id: "734".into(),
            gross: Money::from_minor(1_500_000),
            date: NaiveDate::from_ymd_opt(2026, 11, 20).unwrap(),
            receipt: "TKJ7H5X2QP".into(),
            account_number: "254712000111".into(),
            external_id: "pv-d-7f0c1d5e".into(),
            key: "0b1c1b62-1111-4222-8333-444455556666".into(),
            payment_type_id: "5".into(),
            note: "M-Pesa B2C via Payment Vault".into(),
        }
    }

    fn on(line: &str) -> CoreLink {
        CoreLink { profile: Some(CoreProfile { line: line.into(), idempotency: line != "1.8" }), ..link() }
    }

    fn means(status: u16, body: &str) -> BookingMeaning {
        meaning(&answer(status, body), &order(), false)
    }

    fn replay(status: u16, body: &str) -> BookingMeaning {
        let mut response = answer(status, body);
        response.headers_mut().insert(FROM_CACHE, "true".parse().unwrap());
        meaning(&response, &order(), false)
    }

    fn refused(code: &str, replayed: bool, kind: BookingRefusal) -> BookingMeaning {
        BookingMeaning::Refused { code: code.into(), replayed, kind }
    }

    fn rule(code: &str) -> String {
        envelope("validation.msg.domain.rule.violation", Some(code))
    }

    #[test]
    fn the_gross_amount_goes_out_with_receipt_payment_type_and_key() {
        let host = Host::answering([(200, DONE_NEW.to_owned())]);
        let answer = run(host.core().book_disbursement(&on("1.9+"), &order()));
        assert_eq!(answer.meaning, BookingMeaning::Done { transaction_id: Some("9021".into()) });
        assert_eq!((answer.http_status, answer.response.as_str()), (Some(200), DONE_NEW));
        let sent = host.sent();
        assert_eq!(sent[0].request.uri(), "https://mifos.example/fineract-provider/api/v1/loans/734?command=disburse");
        assert_eq!(sent[0].request.method(), Method::POST);
        assert_eq!(sent[0].request.headers()["Idempotency-Key"], order().key.as_str());
        assert_eq!(sent[0].request.headers()["Content-Type"], "application/json");
        assert_eq!(sent[0].timeout.as_secs(), 30);
        assert_eq!(
            answer.request,
            r#"{"actualDisbursementDate":"2026-11-20","transactionAmount":15000.00,"paymentTypeId":5,"receiptNumber":"TKJ7H5X2QP","accountNumber":"254712000111","externalId":"pv-d-7f0c1d5e","note":"M-Pesa B2C via Payment Vault","dateFormat":"yyyy-MM-dd","locale":"en"}"#
        );
        assert_eq!(sent[0].request.body(), answer.request.as_bytes());
    }

    #[test]
    fn the_old_line_gets_no_key_and_its_resource_id_is_the_transaction() {
        let host = Host::answering([(200, DONE_OLD.to_owned())]);
        let answer = run(host.core().book_disbursement(&on("1.8"), &order()));
        assert_eq!(answer.meaning, BookingMeaning::Done { transaction_id: Some("9021".into()) });
        assert!(host.sent()[0].request.headers().get("Idempotency-Key").is_none());
    }

    #[test]
    fn an_undetected_host_gets_the_key_and_its_resource_id_is_not_trusted() {
        let host = Host::answering([(200, DONE_OLD.to_owned())]);
        let answer = run(host.core().book_disbursement(&link(), &order()));
        assert_eq!(answer.meaning, BookingMeaning::Done { transaction_id: None });
        assert!(host.sent()[0].request.headers().get("Idempotency-Key").is_some());
    }

    #[test]
    fn a_200_that_did_nothing_is_parked_and_not_done() {
        assert_eq!(means(200, PARKED), BookingMeaning::Parked { command_id: Some("5512".into()) });
        assert_eq!(means(200, r#"{"commandId":5512,"resourceId":734}"#), BookingMeaning::Parked { command_id: Some("5512".into()) });
        assert_eq!(means(200, r#"{"commandId":5512,"loanId":734}"#), BookingMeaning::Parked { command_id: Some("5512".into()) });
        assert_eq!(means(200, r#"{"commandId":5512,"loanId":734,"changes":null}"#), BookingMeaning::Parked { command_id: Some("5512".into()) });
        assert_eq!(replay(200, PARKED), BookingMeaning::Parked { command_id: Some("5512".into()) });
    }

    #[test]
    fn an_answer_about_another_loan_is_never_ours() {
        let other = DONE_NEW.replace("\"loanId\": 734", "\"loanId\": 735");
        assert_eq!(means(200, &other), BookingMeaning::Unclear);
        assert_eq!(replay(200, &other), BookingMeaning::Unclear);
        assert_eq!(means(200, &DONE_NEW.replace("\"loanId\": 734", "\"loanId\": \"x\"")), BookingMeaning::Unclear);
        assert_eq!(replay(200, DONE_NEW), BookingMeaning::Done { transaction_id: Some("9021".into()) });
    }

    #[test]
    fn nonsense_with_a_200_is_unclear() {
        for body in ["", "<html>ok</html>", "{}", "[]", "null", "true", &DONE_NEW[..200], r#"{"resourceId":734}"#, r#"{"changes":{}}"#, "\u{feff}{}"]
        {
            assert_eq!(means(200, body), BookingMeaning::Unclear, "{body}");
        }
        assert_eq!(means(201, DONE_NEW), BookingMeaning::Unclear);
        assert_eq!(means(302, ""), BookingMeaning::Unclear);
    }

    #[test]
    fn business_refusals_carry_their_code_and_kind_whatever_their_status() {
        let state = "error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state";
        assert_eq!(means(400, &envelope("validation.msg.validation.errors.exist", Some(state))), refused(state, false, BookingRefusal::NotInState));
        let holiday = "error.msg.loan.application.disbursement.date.on.holiday";
        assert_eq!(means(403, &rule(holiday)), refused(holiday, false, BookingRefusal::Date));
        let closed = "error.msg.glJournalEntry.invalid.accounting.closed";
        assert_eq!(means(403, &rule(closed)), refused(closed, false, BookingRefusal::Date));
        let client = "error.msg.client.not.active.exception";
        assert_eq!(means(403, &rule(client)), refused(client, false, BookingRefusal::Rule));
        let taken = "validation.msg.loan.transaction.externalId.value.must.be.unique";
        assert_eq!(means(400, &envelope("validation.msg.validation.errors.exist", Some(taken))), refused(taken, false, BookingRefusal::Duplicate));
        let integrity = "error.msg.data.integrity.issue";
        assert_eq!(means(403, &envelope(integrity, None)), refused(integrity, false, BookingRefusal::Duplicate));
        let right = "error.msg.not.authorized";
        assert_eq!(means(403, &envelope(right, Some(right))), refused(right, false, BookingRefusal::Access));
        let kind = "error.msg.payment.type.invalid";
        assert_eq!(means(404, &envelope("error.msg.resource.not.found", Some(kind))), refused(kind, false, BookingRefusal::Rule));
        assert_eq!(means(401, ""), refused("http.401", false, BookingRefusal::Access));
    }

    #[test]
    fn busy_locked_and_broken_hosts_are_unclear() {
        for (status, body) in [
            (409, envelope("error.msg.loan.locked", None)),
            (409, "locked".to_owned()),
            (425, order().note),
            (500, "{\"Exception\":\"text\"}".to_owned()),
            (502, "<html>".to_owned()),
            (503, envelope("error.msg.platform.service.unavailable", Some("error.msg.sheduler.job.currently.running"))),
            (504, String::new()),
            (429, String::new()),
            (404, "<html>nginx</html>".to_owned()),
            (400, "<html>".to_owned()),
        ] {
            assert_eq!(means(status, &body), BookingMeaning::Unclear, "{status} {body}");
        }
    }

    #[test]
    fn a_replayed_failure_needs_a_new_key_but_a_replayed_425_is_still_running() {
        let client = "error.msg.client.not.active.exception";
        assert_eq!(replay(403, &rule(client)), refused(client, true, BookingRefusal::Rule));
        assert_eq!(replay(500, "{\"Exception\":\"x\"}"), refused("http.500", true, BookingRefusal::NotInState));
        assert_eq!(replay(400, "?"), refused("http.400", true, BookingRefusal::Rule));
        assert_eq!(replay(425, "{}"), BookingMeaning::Unclear);
    }

    #[test]
    fn a_silent_host_is_unclear_and_an_unsent_request_is_not_sent() {
        for (error, meaning) in [
            (CallError::NoAnswer("timeout".into()), BookingMeaning::Unclear),
            (CallError::NotSent(NotSent::NoConnection("refused".into())), BookingMeaning::NotSent),
            (CallError::NotSent(NotSent::CircuitOpen), BookingMeaning::NotSent),
            (CallError::Crashed, BookingMeaning::Crashed),
        ] {
            let host = Host::failing(error);
            let answer = run(host.core().book_disbursement(&on("1.9+"), &order()));
            assert_eq!((answer.meaning, answer.http_status), (meaning, None));
        }
    }

    #[test]
    fn an_order_of_which_the_core_would_lose_a_part_is_not_sent() {
        let long = "x".repeat(101);
        for bad in [
            BookingOrder { payment_type_id: String::new(), ..order() },
            BookingOrder { payment_type_id: "cash".into(), ..order() },
            BookingOrder { loan_id: "734/../735".into(), ..order() },
            BookingOrder { gross: Money::ZERO, ..order() },
            BookingOrder { gross: Money::from_minor(-5), ..order() },
            BookingOrder { key: "k".repeat(51), ..order() },
            BookingOrder { key: "a\nb".into(), ..order() },
            BookingOrder { receipt: String::new(), ..order() },
            BookingOrder { external_id: long, ..order() },
        ] {
            let host = Host::answering([]);
            let answer = run(host.core().book_disbursement(&on("1.9+"), &bad));
            assert!(matches!(answer.meaning, BookingMeaning::Refused { kind: BookingRefusal::Rule, replayed: false, .. }), "{bad:?}");
            assert!(host.sent().is_empty());
        }
        let wordy = BookingOrder { note: "ü".repeat(1200), key: "k".repeat(50), ..order() };
        let sent: serde_json::Value = serde_json::from_str(&body(&wordy).unwrap()).unwrap();
        assert_eq!(sent["note"].as_str().unwrap().chars().count(), 1000);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_without_our_loan_and_changes_reads_as_done(
            value in crate::testing::any_json(),
            key in crate::testing::loan_key(),
            status in proptest::prop_oneof![proptest::strategy::Just(200u16), 100u16..600],
            cached: bool,
        ) {
            for body in [value.clone(), edited(DONE_NEW, &format!("\"{key}\":{value}"))] {
                let got = if cached { replay(status, &body) } else { means(status, &body) };
                if let BookingMeaning::Done { .. } = got {
                    let result = Object::read(&body).unwrap();
                    proptest::prop_assert_eq!(status, 200);
                    proptest::prop_assert_eq!(result.id("loanId"), Some("734".to_owned()));
                    let changes = result.token("changes").unwrap_or_default();
                    proptest::prop_assert_eq!(changes.as_bytes().first(), Some(&b'{'));
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, status in 200u16..600) {
            let response = http::Response::builder().status(status).body(Bytes::from(bytes)).unwrap();
            let done = matches!(meaning(&response, &order(), true), BookingMeaning::Done { .. });
            proptest::prop_assert!(!done);
        }
    }
}
