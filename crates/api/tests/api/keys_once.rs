//! One effect per key (rule D3), and one payment per reference (rule M5).

use serde_json::{Value, json};

use crate::support::{Call, House, Reply, house};

async fn pay(house: &House, key: Option<&str>, body: &Value) -> Reply {
    let mut call = Call::post("/api/mpesa/b2c/pay", body).key(&house.a.admin);
    if let Some(key) = key {
        call = call.header("idempotency-key", key);
    }
    call.send(house).await
}

fn order(reference: &str, amount: &str) -> Value {
    json!({ "reference": reference, "phone": "0712345678", "amount": amount })
}

#[tokio::test]
async fn the_same_key_and_body_pay_once_and_show_todays_state() {
    let house = house().await;
    let first = pay(&house, Some("k-1"), &order("r-1", "1500")).await.expect(202);
    assert_eq!(first.header("idempotency-replayed"), "");
    house.hold(&first.id(), "needs_approval").await;
    // Written differently, the same command.
    let again = pay(&house, Some("\"k-1\""), &json!({ "amount": 1500.00, "phone": "+254 712 345 678", "reference": "r-1" })).await.expect(202);
    assert_eq!((again.id(), again.header("idempotency-replayed")), (first.id(), "true"));
    assert_eq!(again.body["state"], "held", "a replay shows today's state");
    assert_eq!(house.count("select count(*) from disbursements").await, 1);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let house = house().await;
    pay(&house, Some("k-1"), &order("r-1", "1500")).await.expect(202);
    let other = pay(&house, Some("k-1"), &order("r-2", "1500")).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    assert_eq!(house.count("select count(*) from disbursements").await, 1);
    // A key belongs to its partner.
    Call::post("/api/mpesa/b2c/pay", &order("r-2", "1500")).key(&house.b.admin).header("idempotency-key", "k-1").send(&house).await.expect(202);
}

#[tokio::test]
async fn without_a_key_the_reference_is_the_identity() {
    let house = house().await;
    let first = pay(&house, None, &order("r-1", "1500")).await.expect(202);
    let again = pay(&house, None, &order("r-1", "1500.00")).await.expect(202);
    assert_eq!((again.id(), again.header("idempotency-replayed")), (first.id(), "true"));
    let other = pay(&house, None, &order("r-1", "1501")).await;
    assert_eq!((other.status, other.code()), (422, "reference_taken"));
    assert_eq!(other.body["related"], first.id());
    assert_eq!(house.count("select count(*) from disbursements").await, 1);
}

#[tokio::test]
async fn a_final_refusal_is_kept_and_a_wrong_member_is_not() {
    let house = house().await;
    pay(&house, None, &order("r-1", "1500")).await.expect(202);
    let refused = pay(&house, Some("k-2"), &order("r-1", "99")).await;
    assert_eq!((refused.status, refused.code(), refused.header("idempotency-replayed")), (422, "reference_taken", ""));
    let again = pay(&house, Some("k-2"), &order("r-1", "99")).await;
    assert_eq!((again.status, again.code(), again.header("idempotency-replayed")), (422, "reference_taken", "true"));
    assert_eq!((&again.body["detail"], &again.body["related"]), (&refused.body["detail"], &refused.body["related"]));

    let wrong = pay(&house, Some("k-3"), &order("r-3", "10.50")).await;
    assert_eq!((wrong.status, wrong.code(), wrong.pointer()), (422, "amount_has_cents", "/amount"));
    pay(&house, Some("k-3"), &order("r-3", "10")).await.expect(202);
}

#[tokio::test]
async fn twins_at_the_same_moment_have_one_effect() {
    let house = house().await;
    let body = order("r-1", "1500");
    let calls = (0..8).map(|_| pay(&house, Some("k-1"), &body));
    let mut ids = std::collections::BTreeSet::new();
    let mut fresh = 0;
    for reply in join_all(calls).await {
        let reply = reply.expect(202);
        fresh += i32::from(reply.header("idempotency-replayed").is_empty());
        ids.insert(reply.id());
    }
    assert_eq!((ids.len(), fresh), (1, 1));
    let calls = (0..8).map(|_| pay(&house, None, &body));
    for reply in join_all(calls).await {
        assert!(ids.contains(&reply.expect(202).id()));
    }
    assert_eq!(house.count("select count(*) from disbursements").await, 1);
}

async fn join_all<F: Future<Output = Reply>>(calls: impl Iterator<Item = F>) -> Vec<Reply> {
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    let mut replies: Vec<Option<Reply>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (call, reply) in calls.iter_mut().zip(&mut replies) {
            if reply.is_none()
                && let std::task::Poll::Ready(done) = call.as_mut().poll(context)
            {
                *reply = Some(done);
            }
        }
        if replies.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    replies.into_iter().flatten().collect()
}

#[tokio::test]
async fn what_has_no_identity_of_its_own_needs_a_key() {
    let house = house().await;
    let before = house.written().await;
    let partner = json!({ "name": "Jamii SACCO", "short_name": "Jamii" });
    let new_key = json!({ "label": "x", "environment": "sandbox", "role": "viewer" });
    let calls = [
        Call::post("/api/partners", &partner),
        Call::post(format!("/api/partners/{}/keys", house.a.id), &new_key),
        Call::post(format!("/api/shortcodes/{}/credentials", house.a.shortcode), &crate::tenancy::credentials()),
        Call::new("POST", format!("/api/mifos/partners/{}/webhook-token", house.a.core)),
    ];
    for call in calls {
        let reply = call.key(&house.platform).send(&house).await;
        assert_eq!((reply.status, reply.code()), (400, "idempotency_key_needed"));
    }
    assert_eq!(house.written().await, before);
    let made = Call::post("/api/partners", &partner).key(&house.platform).header("idempotency-key", "p-1").send(&house).await.expect(201);
    let again = Call::post("/api/partners", &partner).key(&house.platform).header("idempotency-key", "p-1").send(&house).await.expect(201);
    assert_eq!((made.id(), again.header("idempotency-replayed")), (again.id(), "true"));
    assert_eq!(house.count("select count(*) from partners").await, 3);
}

#[tokio::test]
async fn a_secret_is_shown_once() {
    let house = house().await;
    let path = format!("/api/partners/{}/keys", house.a.id);
    let body = json!({ "label": "branch", "environment": "sandbox", "role": "viewer" });
    let call = || Call::post(&path, &body).key(&house.a.admin).header("idempotency-key", "key-1");
    let made = call().send(&house).await.expect(201);
    let key = made.body["key"].as_str().unwrap().to_owned();
    Call::get("/api/me").key(&key).send(&house).await.expect(200);
    let again = call().send(&house).await.expect(201);
    assert_eq!((again.id(), &again.body["key"]), (made.id(), &Value::Null));

    let path = format!("/api/mifos/partners/{}/webhook-token", house.a.core);
    let call = || Call::new("POST", &path).key(&house.a.admin).header("idempotency-key", "token-1");
    let made = call().send(&house).await.expect(201);
    let token = made.body["token"].as_str().unwrap().to_owned();
    assert_eq!(token.len(), 32);
    assert!(made.body["hook_url"].as_str().unwrap().ends_with(&format!("/{token}/")));
    assert_eq!(call().send(&house).await.expect(201).body["token"], Value::Null);
    let connection = Call::get("/api/mifos/partners").key(&house.a.admin).send(&house).await.expect(200);
    assert!(!connection.body.to_string().contains(&token));
    assert_eq!(connection.body["items"][0]["webhook_previous_until"], Value::Null, "the replay did not rotate again");
}
