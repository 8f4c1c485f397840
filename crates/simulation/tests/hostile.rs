//! Hostile and broken callbacks against a payment that is under way: each is stored, none is believed, nothing is lost, and the payment ends as it would have.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use pv_database::temp::{Template, TestDatabase};
use pv_sandbox::{
    daraja::{PaymentState, ResultParts, result_body},
    wire::Delivery,
};
use pv_simulation::house::{self, Town};
use pv_vault::{
    engine::Step,
    message::{self, Inbound, Kind},
    reconciliation::verify,
};
use serde_json::{Value, json};

async fn run(town: &Town, steps: &[Step]) {
    for step in steps {
        town.processes[0].quick.run(*step).await.unwrap_or_else(|e| panic!("{}: {e}", step.name()));
    }
}

async fn store(town: &Town, kind: Kind, token: &str, trusted: bool, body: Vec<u8>) {
    let inbound = Inbound { kind, token: token.into(), peer: "203.0.113.7".into(), trusted, headers: Vec::new(), body };
    message::store_inbound(&town.processes[0].quick, &inbound).await.unwrap();
}

/// Sets one member of a result, by path.
fn with(body: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    change(&mut value["Result"]);
    value.to_string().into_bytes()
}

fn parameter<'a>(result: &'a mut Value, key: &str) -> &'a mut Value {
    let list = result["ResultParameters"]["ResultParameter"].as_array_mut().unwrap();
    &mut list.iter_mut().find(|p| p["Key"] == key).unwrap()["Value"]
}

async fn payout(database: &TestDatabase) -> (String, String, String, Option<String>, i64) {
    sqlx::query_as("select token, rail_id, state, conversation_id, amount_minor from payouts").fetch_one(database.db().worker()).await.unwrap()
}

#[tokio::test]
async fn no_hostile_or_broken_callback_is_believed_and_each_is_kept() {
    let database = TestDatabase::create(&Template::payvault()).await;
    let mut town = house::build(&database.db(), 900_002, 1).await.unwrap();
    let loan = house::make_loan(&mut town, 0, 1, 1_500).unwrap();
    let (host, number) = (town.houses[0].host.clone(), town.houses[0].number.clone());
    let now = town.time.now();
    town.world.lock().mifos.get_mut(&host).unwrap().bank_mut().approve(loan, now).unwrap();
    run(&town, &[Step::Poll, Step::Intake, Step::Pay]).await;
    let (token, rail_id, state, conversation, amount) = payout(&database).await;
    assert_eq!(state, "accepted");
    let conversation = conversation.unwrap();
    let balances = town.world.lock().daraja.balances(&number).unwrap();
    let party: String = sqlx::query_scalar("select msisdn from payouts").fetch_one(database.db().worker()).await.unwrap();
    let forged = |cents: i64, party: &str, conversation: &str, rail_id: &str| {
        result_body(&ResultParts::b2c_success((rail_id, conversation, "UKFORGED01"), cents, &format!("{party} - TEST BORROWER"), now, balances))
            .to_vec()
    };
    let success = forged(amount, &party, &conversation, &rail_id);
    let deep = format!("{}1{}", "[".repeat(3_000), "]".repeat(3_000));
    let hostile: Vec<(&str, bool, Vec<u8>)> = vec![
        ("a success from an address that is not M-Pesa's", false, success.clone()),
        ("another amount", true, forged(amount + 100, &party, &conversation, &rail_id)),
        ("a huge amount", true, with(&success, |r| *parameter(r, "TransactionAmount") = json!("99999999999999999999"))),
        ("a negative amount", true, forged(-amount, &party, &conversation, &rail_id)),
        ("an amount that is no number", true, with(&success, |r| *parameter(r, "TransactionAmount") = json!({ "value": 1500 }))),
        ("an amount as a float with an exponent", true, with(&success, |r| *parameter(r, "TransactionAmount") = json!("1.5e3"))),
        ("another receiver", true, forged(amount, "254799999999", &conversation, &rail_id)),
        ("a receiver of another country", true, forged(amount, "255712345678", &conversation, &rail_id)),
        ("another conversation", true, forged(amount, &party, "AG_20261120_ffffffffffffffffffff", &rail_id)),
        ("another id", true, forged(amount, &party, &conversation, "pv-somebodyelse")),
        ("not completed", true, with(&success, |r| r["ResultType"] = json!(1))),
        (
            "no receipt",
            true,
            with(&success, |r| {
                *parameter(r, "TransactionReceipt") = json!("");
                r["TransactionID"] = json!("");
            }),
        ),
        ("a code nobody has listed", true, with(&success, |r| r["ResultCode"] = json!("XYZ_9"))),
        ("a code of a wrong type", true, with(&success, |r| r["ResultCode"] = json!([0]))),
        ("no code at all", true, with(&success, |r| r["ResultCode"] = Value::Null)),
        ("an ambiguous code", true, with(&success, |r| r["ResultCode"] = json!(17))),
        ("parameters of a wrong type", true, with(&success, |r| r["ResultParameters"] = json!("none"))),
        ("an empty body", true, Vec::new()),
        ("no JSON", true, b"<html>502 Bad Gateway</html>".to_vec()),
        ("half a JSON", true, success[..success.len() / 2].to_vec()),
        ("no UTF-8", true, vec![0xff, 0xfe, 0x00, 0x80]),
        ("a NUL in a text", true, with(&forged(amount + 100, &party, &conversation, &rail_id), |r| r["ResultDesc"] = json!("a\u{0}b"))),
        ("nested far too deep", true, deep.into_bytes()),
        ("a list", true, b"[]".to_vec()),
        ("an empty object", true, b"{}".to_vec()),
        ("a kilobyte of nines", true, vec![b'9'; 1024]),
    ];
    let count = i64::try_from(hostile.len()).unwrap();
    for (what, trusted, body) in hostile {
        store(&town, Kind::B2cResult, &token, trusted, body).await;
        run(&town, &[Step::Weigh]).await;
        let state = payout(&database).await.2;
        assert!(matches!(state.as_str(), "accepted" | "unknown"), "{what}: {state}");
    }
    store(&town, Kind::B2cResult, "0123456789abcdef0123456789abcdef", true, success.clone()).await;
    store(&town, Kind::B2cTimeout, &token, true, b"nonsense".to_vec()).await;
    store(&town, Kind::StatusResult, &token, true, success.clone()).await;
    run(&town, &[Step::Weigh]).await;
    let kept: i64 = sqlx::query_scalar("select count(*) from messages where direction = 'in' and kind = 'b2c_result'")
        .fetch_one(database.db().worker())
        .await
        .unwrap();
    assert_eq!(kept, count + 1, "every one of them is stored");
    let listed: i64 = sqlx::query_scalar("select count(*) from items where closed_at is null").fetch_one(database.db().worker()).await.unwrap();
    assert!(listed >= 3, "what is strange is on somebody's list");
    assert!(matches!(payout(&database).await.2.as_str(), "accepted" | "unknown"));

    // The truth comes: by its own callback, or by the questions that the lies caused.
    for _ in 0..12 {
        town.time.advance(std::time::Duration::from_secs(15));
        let due: Vec<Delivery> = town.world.lock().take_due(town.time.now()).into_iter().map(|p| p.delivery).collect();
        for d in due {
            let path = d.request.uri().path().to_owned();
            let Some((token, tail)) = path.strip_prefix("/h/").and_then(|r| r.split_once('/')) else { continue };
            let kind = if tail.starts_with("b2c") { Kind::B2cResult } else { Kind::StatusResult };
            store(&town, kind, token, true, d.request.body().to_vec()).await;
        }
        run(&town, &[Step::Weigh, Step::Ask, Step::Book]).await;
    }
    let paid = payout(&database).await;
    assert_eq!(paid.2, "paid");
    // A replayed callback with another amount or receipt changes nothing any more.
    let receipt: String = sqlx::query_scalar("select receipt from payouts").fetch_one(database.db().worker()).await.unwrap();
    assert_ne!(receipt, "UKFORGED01");
    for body in [forged(amount + 100, &party, &conversation, &rail_id), success.clone(), with(&success, |r| r["ResultCode"] = json!(1))] {
        store(&town, Kind::B2cResult, &token, true, body).await;
    }
    run(&town, &[Step::Weigh, Step::Fold, Step::Sequence]).await;
    let after: (String, String) = sqlx::query_as("select state, receipt from payouts").fetch_one(database.db().worker()).await.unwrap();
    assert_eq!(after, ("paid".to_owned(), receipt));
    let moved = town.world.lock().daraja.payments().filter(|p| p.state == PaymentState::Paid).count();
    assert_eq!(moved, 1, "nothing was paid but the loan, once");
    let report = verify::verify(&town.processes[0].quick).await.unwrap();
    assert!(report.is_clean(), "{}", report.render());
}
