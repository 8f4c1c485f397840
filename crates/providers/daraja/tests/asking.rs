//! What goes out to Daraja, and what each answer means for the money, against a scripted transport.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use pv_daraja::{Daraja, limits};
use pv_kernel::{
    Money, Msisdn,
    rail::{NotAccepted, PayoutOrder, PayoutRail, QueryMeaning, RailAccount, StatusQuestion, SubmissionAnswer, SubmissionMeaning},
    transport::{Call, CallError, NotSent, TokenError, TokenFetch, TokenStore, Transport},
};
use secrecy::SecretString;

type Scripted = Result<(u16, String), CallError>;

/// Answers from a list, and keeps what it was asked. The token endpoint always answers with a new token.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    token_answers: Mutex<VecDeque<Scripted>>,
    calls: Mutex<Vec<Call>>,
    tokens_given: Mutex<u32>,
}

#[async_trait]
impl Transport for Script {
    async fn call(&self, call: Call) -> Result<http::Response<Bytes>, CallError> {
        let is_token = call.purpose == "mpesa.token";
        self.calls.lock().unwrap().push(call);
        let scripted = if is_token {
            self.token_answers.lock().unwrap().pop_front().unwrap_or_else(|| {
                let mut given = self.tokens_given.lock().unwrap();
                *given += 1;
                Ok((200, format!("{{\"access_token\":\"Qz7token{given}\",\"expires_in\":\"3599\"}}")))
            })
        } else {
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| panic!("one call too many"))
        };
        scripted.map(|(status, body)| http::Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

/// The shared token in memory.
#[derive(Default)]
struct Shelf(Mutex<Option<String>>);

#[async_trait]
impl TokenStore for Shelf {
    async fn current(&self, _: &str) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
    async fn renew(&self, _: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<String, TokenError> {
        let now = self.0.lock().unwrap().clone();
        if let Some(token) = now.filter(|t| Some(t.as_str()) != stale) {
            return Ok(token);
        }
        let (token, _) = fetch.fetch().await?;
        *self.0.lock().unwrap() = Some(token.clone());
        Ok(token)
    }
}

struct Bench {
    script: Arc<Script>,
    shelf: Arc<Shelf>,
    rail: Daraja,
}

fn bench(answers: impl IntoIterator<Item = Scripted>) -> Bench {
    let script = Arc::new(Script { answers: Mutex::new(answers.into_iter().collect()), ..Script::default() });
    let shelf = Arc::new(Shelf(Mutex::new(Some("Qz7shared".to_owned()))));
    let rail = Daraja::new(Arc::clone(&script) as Arc<dyn Transport>, Arc::clone(&shelf) as Arc<dyn TokenStore>);
    Bench { script, shelf, rail }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands in lists with errors")]
fn answer(status: u16, body: &str) -> Scripted {
    Ok((status, body.to_owned()))
}

fn account() -> RailAccount {
    RailAccount {
        base_url: "https://sandbox.example/".to_owned(),
        environment: "sandbox".to_owned(),
        shortcode: "600111".to_owned(),
        consumer_key: "app-key".to_owned(),
        consumer_secret: SecretString::from("app-hush"),
        initiator: "vaultapi".to_owned(),
        security_credential: SecretString::from("Q3JlZGVudGlhbA=="),
        rate: 5,
    }
}

fn order() -> PayoutOrder {
    PayoutOrder {
        rail_id: "pv-20260103-7f3c1e9a4b2d".to_owned(),
        msisdn: Msisdn::parse("0700000001").unwrap(),
        amount: Money::from_minor(150_000),
        remarks: "Loan 88121".to_owned(),
        result_url: "https://hooks.example.co.ke/h/9f2c/b2c/result".to_owned(),
        timeout_url: "https://hooks.example.co.ke/h/9f2c/b2c/timeout".to_owned(),
    }
}

const DEADLINE: Duration = Duration::from_secs(77);
const ACK: &str = r#"{"ConversationID":"AG_20260103_2010aa11bb22cc33dd44","OriginatorConversationID":"pv-20260103-7f3c1e9a4b2d","ResponseCode":"0","ResponseDescription":"Accept the service request successfully."}"#;
const BAD_TOKEN: &str = r#"{"requestId":"1","errorCode":"401.002.01","errorMessage":"Error Occurred - Invalid Access Token - Qz7shared"}"#;

async fn submit(answers: impl IntoIterator<Item = Scripted>) -> SubmissionAnswer {
    bench(answers).rail.submit(&account(), &order(), DEADLINE).await
}

fn envelope(code: &str, message: &str) -> String {
    serde_json::json!({ "requestId": "7a10", "errorCode": code, "errorMessage": message }).to_string()
}

fn not_accepted(after: Duration, why: NotAccepted) -> SubmissionMeaning {
    SubmissionMeaning::NotAccepted { after, why }
}

#[tokio::test]
async fn a_submission_is_the_contract_s_request_byte_for_byte() {
    let bench = bench([answer(200, ACK), answer(200, ACK)]);
    let one = bench.rail.submit(&account(), &order(), DEADLINE).await;
    let two = bench.rail.submit(&account(), &order(), DEADLINE).await;
    assert_eq!(one.meaning, SubmissionMeaning::Accepted { conversation_id: "AG_20260103_2010aa11bb22cc33dd44".to_owned() });
    assert_eq!(one, two);
    let calls = bench.script.calls.lock().unwrap();
    let bodies: Vec<&Bytes> = calls.iter().map(|c| c.request.body()).collect();
    assert_eq!(
        bodies.first().unwrap().as_ref(),
        br#"{"OriginatorConversationID":"pv-20260103-7f3c1e9a4b2d","InitiatorName":"vaultapi","SecurityCredential":"Q3JlZGVudGlhbA==","CommandID":"BusinessPayment","Amount":1500,"PartyA":600111,"PartyB":254700000001,"Remarks":"Loan 88121","QueueTimeOutURL":"https://hooks.example.co.ke/h/9f2c/b2c/timeout","ResultURL":"https://hooks.example.co.ke/h/9f2c/b2c/result","Occassion":"disbursement"}"#
    );
    assert_eq!(bodies.first(), bodies.last());
    let call = calls.first().unwrap();
    assert_eq!(call.request.uri(), "https://sandbox.example/mpesa/b2c/v3/paymentrequest");
    assert_eq!(call.request.headers().get("authorization").unwrap(), "Bearer Qz7shared");
    assert_eq!(call.request.headers().get("content-type").unwrap(), "application/json");
    assert_eq!(
        (call.lane.as_str(), call.rate, call.write_before, call.timeout),
        ("mpesa:sandbox.example:600111", Some(5), Some(DEADLINE), limits::SUBMIT_TIMEOUT)
    );
}

#[tokio::test]
async fn the_hash_of_the_body_sees_every_field_but_not_the_secret() {
    let rail = bench([]).rail;
    let base = rail.body_hash(&account(), &order());
    let renewed = RailAccount { security_credential: SecretString::from("another"), ..account() };
    assert_eq!(rail.body_hash(&renewed, &order()), base);
    for changed in [
        PayoutOrder { rail_id: "x".to_owned(), ..order() },
        PayoutOrder { msisdn: Msisdn::parse("0700000002").unwrap(), ..order() },
        PayoutOrder { amount: Money::from_minor(150_100), ..order() },
        PayoutOrder { remarks: "other".to_owned(), ..order() },
        PayoutOrder { result_url: "https://x".to_owned(), ..order() },
        PayoutOrder { timeout_url: "https://x".to_owned(), ..order() },
    ] {
        assert_ne!(rail.body_hash(&account(), &changed), base, "{changed:?}");
    }
    assert_ne!(rail.body_hash(&RailAccount { shortcode: "600112".to_owned(), ..account() }, &order()), base);
    assert_ne!(rail.body_hash(&RailAccount { initiator: "other".to_owned(), ..account() }, &order()), base);
}

#[tokio::test]
async fn every_gateway_answer_means_what_the_contract_says() {
    use SubmissionMeaning::{Ambiguous, Duplicate, Refused};
    let throttled = |after| not_accepted(after, NotAccepted::Throttled);
    for (status, body, meaning) in [
        (400, envelope("400.002.02", "Bad Request - Invalid Amount"), Refused),
        (400, envelope("400.002.05", "Invalid Request Payload"), Refused),
        (400, envelope("400.003.02", "Bad Request"), Refused),
        (404, envelope("404.001.04", "Invalid Authentication Header"), Refused),
        (404, envelope("404.001.01", "Resource not found"), Refused),
        (405, envelope("405.001", "GET Method Not Allowed"), Refused),
        (429, r#"{"fault":{"faultstring":"Spike arrest violation. Allowed rate : 5ps","detail":{"errorcode":"policies.ratelimit.SpikeArrestViolation"}}}"#.to_owned(), throttled(limits::AFTER_SPIKE)),
        (500, envelope("500.003.02", "Error Occurred: Spike Arrest Violation"), throttled(limits::AFTER_SPIKE)),
        (500, envelope("500.003.02", "System is busy. Please try again in few minutes."), throttled(limits::AFTER_BUSY)),
        (500, envelope("500.003.03", "Error Occurred: Quota Violation"), throttled(limits::AFTER_QUOTA)),
        (503, envelope("00.002.1001", "maintenance"), throttled(limits::AFTER_MAINTENANCE)),
        (500, envelope("500.002.1001", "Duplicate OriginatorConversationID."), Duplicate),
        (200, r#"{"ResponseCode":"1","ResponseDescription":"Duplicate OriginatorConversationID."}"#.to_owned(), Duplicate),
        (500, envelope("500.002.1001", "System internal error."), Ambiguous),
        (500, envelope("500.003.1001", "Internal Server Error"), Ambiguous),
        (500, envelope("500.001.1001", "Wrong credentials"), Ambiguous),
        (500, r#"{"errorMessage":"Service is temporarily unavailable. Please try again later"}"#.to_owned(), Ambiguous),
        (502, "<html>".to_owned(), Ambiguous),
        (503, String::new(), Ambiguous),
        (504, "{}".to_owned(), Ambiguous),
        (400, String::new(), Ambiguous),
        (404, "<html>not found</html>".to_owned(), Ambiguous),
        (429, String::new(), Ambiguous),
        (302, String::new(), Ambiguous),
        (200, r#"{"ResponseCode":"1","ResponseDescription":"Rejected"}"#.to_owned(), Refused),
        (200, r#"{"ResponseCode":1,"ResponseDescription":"Rejected"}"#.to_owned(), Refused),
        (200, String::new(), Ambiguous),
        (200, "<html>".to_owned(), Ambiguous),
        (200, "{}".to_owned(), Ambiguous),
        (200, "[".repeat(1_000_000), Ambiguous),
        (200, r#"{"ResponseCode":"0"}"#.to_owned(), Ambiguous),
        (200, ACK.replace("pv-20260103-7f3c1e9a4b2d", "somebody-else"), Ambiguous),
        (500, ACK.to_owned(), Ambiguous),
        (201, ACK.to_owned(), Ambiguous),
    ] {
        let got = submit([answer(status, &body)]).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!(got.meaning, meaning, "{status} {shown}");
        assert_eq!(got.trace.http_status, Some(status));
    }
    let number = ACK.replace("\"ResponseCode\":\"0\"", "\"ResponseCode\":0");
    assert!(matches!(submit([answer(200, &number)]).await.meaning, SubmissionMeaning::Accepted { .. }));
}

#[tokio::test]
async fn what_was_not_sent_and_what_got_no_answer_are_told_apart() {
    for (error, meaning) in [
        (CallError::NotSent(NotSent::NoConnection("refused".to_owned())), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (CallError::NotSent(NotSent::TooLate), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (CallError::NotSent(NotSent::CircuitOpen), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (CallError::NotSent(NotSent::Limited), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (CallError::NotSent(NotSent::Refused("private".to_owned())), not_accepted(limits::AFTER_MISCONFIGURED, NotAccepted::NotSent)),
        (CallError::NoAnswer("reset".to_owned()), SubmissionMeaning::Ambiguous),
        (CallError::Crashed, SubmissionMeaning::Crashed),
    ] {
        assert_eq!(submit([Err(error.clone())]).await.meaning, meaning, "{error:?}");
    }
}

#[tokio::test]
async fn a_refused_token_in_any_form_is_renewed_and_the_payment_goes_back_through_its_claim() {
    for (status, body) in [
        (404, envelope("404.001.03", "Invalid Access Token")),
        (401, BAD_TOKEN.to_owned()),
        (401, envelope("401.003.01", "Invalid Access Token")),
        (400, envelope("400.003.01", "Invalid Access Token")),
        (401, envelope("401.001", "Invalid Access Token")),
        (401, r#"{"fault":{"faultstring":"Invalid API call as no apiproduct match found","detail":{"errorcode":"keymanagement.service.InvalidAPICallAsNoApiProductMatchFound"}}}"#.to_owned()),
    ] {
        let bench = bench([answer(status, &body), answer(200, ACK)]);
        let got = bench.rail.submit(&account(), &order(), DEADLINE).await;
        assert_eq!(got.meaning, not_accepted(Duration::ZERO, NotAccepted::Renewed), "{status} {body}");
        assert_eq!(bench.script.calls.lock().unwrap().len(), 2, "one request and one new token: never a second send in one claim");
        // The next claim sends the same bytes with the new token.
        let got = bench.rail.submit(&account(), &order(), DEADLINE).await;
        assert!(matches!(got.meaning, SubmissionMeaning::Accepted { .. }), "{status} {body}");
        let calls = bench.script.calls.lock().unwrap();
        let [first, token, second] = calls.as_slice() else { panic!("{} calls", calls.len()) };
        assert_eq!(first.request.body(), second.request.body());
        assert_eq!(second.request.headers().get("authorization").unwrap(), "Bearer Qz7token1");
        assert_eq!(token.request.uri(), "https://sandbox.example/oauth/v1/generate?grant_type=client_credentials");
        assert_eq!((token.request.method(), token.request.headers().get("authorization").unwrap().to_str().unwrap()), (&http::Method::GET, "Basic YXBwLWtleTphcHAtaHVzaA=="));
    }
}

#[tokio::test]
async fn a_question_is_asked_once_more_with_a_new_token_and_never_a_third_time() {
    let question = StatusQuestion {
        rail_id: Some("pv-x".into()),
        receipt: None,
        result_url: "https://pv.example/h/aa/status/result".into(),
        timeout_url: "https://pv.example/h/aa/status/timeout".into(),
    };
    let bench = bench([answer(401, BAD_TOKEN), answer(401, BAD_TOKEN)]);
    let got = bench.rail.ask_status(&account(), &question).await;
    assert_eq!(got.meaning, QueryMeaning::NotTaken { halts: false });
    assert_eq!(bench.script.calls.lock().unwrap().len(), 3);
    assert!(got.trace.message.contains("API product"));
}

#[tokio::test]
async fn a_token_that_another_process_renewed_is_used_without_a_fetch() {
    /// Somebody else renews just before we do.
    struct Overtaken(Shelf);
    #[async_trait]
    impl TokenStore for Overtaken {
        async fn current(&self, key: &str) -> Option<String> {
            self.0.current(key).await
        }
        async fn renew(&self, key: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<String, TokenError> {
            *self.0.0.lock().unwrap() = Some("Qz7theirs".to_owned());
            self.0.renew(key, stale, fetch).await
        }
    }
    let script = Arc::new(Script { answers: Mutex::new([answer(401, BAD_TOKEN), answer(200, ACK)].into()), ..Script::default() });
    let shelf = Overtaken(Shelf(Mutex::new(Some("Qz7shared".to_owned()))));
    let rail = Daraja::new(Arc::clone(&script) as Arc<dyn Transport>, Arc::new(shelf));
    assert_eq!(rail.submit(&account(), &order(), DEADLINE).await.meaning, not_accepted(Duration::ZERO, NotAccepted::Renewed));
    assert!(matches!(rail.submit(&account(), &order(), DEADLINE).await.meaning, SubmissionMeaning::Accepted { .. }));
    let calls = script.calls.lock().unwrap();
    assert!(calls.iter().all(|c| c.purpose != "mpesa.token"));
    assert_eq!(calls.last().unwrap().request.headers().get("authorization").unwrap(), "Bearer Qz7theirs");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    for (token, meaning) in [
        (answer(400, &envelope("400.008.01", "Invalid Authentication passed")), not_accepted(limits::AFTER_TOKEN, NotAccepted::Token)),
        (answer(400, ""), not_accepted(limits::AFTER_TOKEN, NotAccepted::Token)),
        (answer(503, ""), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (Err(CallError::NoAnswer("timed out".to_owned())), not_accepted(limits::AFTER_NOT_SENT, NotAccepted::NotSent)),
        (Err(CallError::Crashed), SubmissionMeaning::Crashed),
    ] {
        let bench = bench([]);
        *bench.shelf.0.lock().unwrap() = None;
        bench.script.token_answers.lock().unwrap().push_back(token);
        let got = bench.rail.submit(&account(), &order(), DEADLINE).await;
        assert_eq!(got.meaning, meaning);
        assert_eq!(bench.script.calls.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_order_that_does_not_fit_the_rail_is_refused_and_not_sent() {
    for bad in [
        PayoutOrder { amount: Money::from_minor(150_050), ..order() },
        PayoutOrder { amount: Money::from_minor(900), ..order() },
        PayoutOrder { amount: Money::from_minor(25_000_100), ..order() },
        PayoutOrder { amount: Money::from_minor(-150_000), ..order() },
        PayoutOrder { rail_id: String::new(), ..order() },
        PayoutOrder { rail_id: "x".repeat(37), ..order() },
        PayoutOrder { rail_id: "a b".to_owned(), ..order() },
    ] {
        let bench = bench([]);
        assert_eq!(bench.rail.submit(&account(), &bad, DEADLINE).await.meaning, SubmissionMeaning::Refused, "{bad:?}");
        assert!(bench.script.calls.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn no_secret_is_left_in_a_trace() {
    let echo = |status: u16| {
        answer(
            status,
            r#"{"errorCode":"401.002.01","errorMessage":"Error Occurred - Invalid Access Token - Qz7shared","SecurityCredential":"Q3JlZGVudGlhbA==","note":"Qz7shared and Q3JlZGVudGlhbA=="}"#,
        )
    };
    for answers in [vec![echo(401), echo(401)], vec![echo(500)], vec![answer(200, ACK)]] {
        let bench = bench(answers);
        let got = bench.rail.submit(&account(), &order(), DEADLINE).await;
        let text = format!("{:?}", got.trace);
        for secret in ["Q3JlZGVudGlhbA==", "app-hush", "Qz7shared", "Qz7token1"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(got.trace.request.contains("\"Amount\":1500"));
    }
}

#[tokio::test]
async fn a_status_question_is_the_contract_s_request() {
    let bench = bench([answer(200, ACK), answer(200, ACK)]);
    let question = StatusQuestion {
        rail_id: Some("pv-20260103-7f3c1e9a4b2d".to_owned()),
        receipt: None,
        result_url: "https://hooks.example.co.ke/h/9f2c/status/result".to_owned(),
        timeout_url: "https://hooks.example.co.ke/h/9f2c/status/timeout".to_owned(),
    };
    let got = bench.rail.ask_status(&account(), &question).await;
    assert_eq!(got.meaning, QueryMeaning::Accepted { conversation_id: "AG_20260103_2010aa11bb22cc33dd44".to_owned() });
    bench.rail.ask_status(&account(), &StatusQuestion { rail_id: None, receipt: Some("UA31ABCDE9".to_owned()), ..question.clone() }).await;
    let nothing = bench.rail.ask_status(&account(), &StatusQuestion { rail_id: None, ..question }).await;
    assert_eq!(nothing.meaning, QueryMeaning::NotTaken { halts: false });
    let calls = bench.script.calls.lock().unwrap();
    let json = |i: usize| -> serde_json::Value { serde_json::from_slice(calls.get(i).unwrap().request.body()).unwrap() };
    assert_eq!(calls.len(), 2);
    assert_eq!(calls.first().unwrap().request.uri(), "https://sandbox.example/mpesa/transactionstatus/v1/query");
    assert_eq!(calls.first().unwrap().write_before, None);
    assert_eq!(
        json(0),
        serde_json::json!({
            "Initiator": "vaultapi", "SecurityCredential": "Q3JlZGVudGlhbA==", "CommandID": "TransactionStatusQuery",
            "OriginalConversationID": "pv-20260103-7f3c1e9a4b2d", "PartyA": "600111", "IdentifierType": "4",
            "ResultURL": "https://hooks.example.co.ke/h/9f2c/status/result", "QueueTimeOutURL": "https://hooks.example.co.ke/h/9f2c/status/timeout",
            "Remarks": "status", "Occasion": ""
        })
    );
    assert_eq!((json(1).get("TransactionID").unwrap().as_str(), json(1).get("OriginalConversationID")), (Some("UA31ABCDE9"), None));
}

#[tokio::test]
async fn a_balance_question_is_the_contract_s_request() {
    let bench = bench([answer(200, ACK)]);
    bench.rail.ask_balance(&account(), "https://r", "https://t").await;
    let calls = bench.script.calls.lock().unwrap();
    let call = calls.first().unwrap();
    assert_eq!(call.request.uri(), "https://sandbox.example/mpesa/accountbalance/v1/query");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(call.request.body()).unwrap(),
        serde_json::json!({
            "Initiator": "vaultapi", "SecurityCredential": "Q3JlZGVudGlhbA==", "CommandID": "AccountBalance", "PartyA": "600111",
            "IdentifierType": "4", "Remarks": "balance", "QueueTimeOutURL": "https://t", "ResultURL": "https://r"
        })
    );
}

#[tokio::test]
async fn what_an_answer_to_a_question_means() {
    for (scripted, meaning) in [
        (answer(400, &envelope("400.002.02", "Bad Request - Invalid TransactionID")), QueryMeaning::NotTaken { halts: false }),
        (
            answer(200, r#"{"ResponseCode":"2001","ResponseDescription":"The initiator information is invalid."}"#),
            QueryMeaning::NotTaken { halts: true },
        ),
        (answer(200, r#"{"ResponseCode":"8006","ResponseDescription":"locked"}"#), QueryMeaning::NotTaken { halts: true }),
        (answer(200, r#"{"ResponseCode":"2028","ResponseDescription":"lacks the product"}"#), QueryMeaning::NotTaken { halts: false }),
        (answer(500, &envelope("500.003.02", "System is busy. Please try again in few minutes.")), QueryMeaning::NotTaken { halts: false }),
        (answer(500, &envelope("500.002.1001", "System internal error.")), QueryMeaning::Lost),
        (answer(200, "<html>"), QueryMeaning::Lost),
        (Err(CallError::NotSent(NotSent::CircuitOpen)), QueryMeaning::NotTaken { halts: false }),
        (Err(CallError::NoAnswer("reset".to_owned())), QueryMeaning::Lost),
        (Err(CallError::Crashed), QueryMeaning::Crashed),
    ] {
        let got = bench([scripted.clone()]).rail.ask_balance(&account(), "https://r", "https://t").await;
        assert_eq!(got.meaning, meaning, "{scripted:?}");
    }
    let got = bench([answer(401, BAD_TOKEN), answer(401, BAD_TOKEN)]).rail.ask_balance(&account(), "https://r", "https://t").await;
    assert_eq!(got.meaning, QueryMeaning::NotTaken { halts: false });
}
