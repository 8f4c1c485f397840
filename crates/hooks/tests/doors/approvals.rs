//! What Mifos X tells us.

use pv_hooks::Rate;
use pv_kernel::crypto::hmac_sha256_raw;
use pv_vault::engine::Step;
use serde_json::{Value, json};

use crate::world::{STRANGER, World};

const WEBHOOK: &str = "/api/mifos/webhook/loan-approval";

/// The documented payload (requirement L3).
fn payload(partner: &str, token: &str) -> Value {
    json!({
        "eventType": "loan_approved", "partnerId": partner, "loanId": "734", "clientId": "118", "clientPhone": "254712000111", "clientName": "Achieng Otieno",
        "loanAmount": 15000.00, "productId": "4", "productName": "Biashara Loan", "approvedAt": "2026-11-19T08:14:22Z", "webhookToken": token, "somethingNew": 1,
    })
}

#[tokio::test]
async fn the_hook_of_a_stock_host_is_stored_with_the_headers_that_tell_what_it_is() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (core, token) = world.connection(partner).await;
    let headers =
        [("x-fineract-entity", "LOAN"), ("x-fineract-action", "APPROVE"), ("fineract-platform-tenantid", "default"), ("authorization", "Basic eA==")];
    for slash in ["/", ""] {
        let seen = world.send("POST", &format!("{WEBHOOK}/{token}{slash}"), STRANGER, &headers, r#"{"response":{"loanId":734}}"#).await;
        assert_eq!((seen.status.as_u16(), &seen.json["status"]), (200, &json!("accepted")));
    }
    let kept = world.kept().await;
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].kind.as_str(), kept[0].state.as_str(), kept[0].partner_id), ("loan_hook", "stored", Some(partner.uuid())));
    assert_eq!(kept[0].token.as_deref(), Some(core.to_string().as_str()));
    assert_eq!(kept[0].headers, json!({ "x-fineract-entity": "LOAN", "x-fineract-action": "APPROVE", "fineract-platform-tenantid": "default" }));
    assert_eq!(world.woken(), vec![Step::Weigh, Step::Weigh]);
}

#[tokio::test]
async fn a_probe_is_answered_and_tells_nothing_about_the_token() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (_, token) = world.connection(partner).await;
    let (good, bad) = (format!("{WEBHOOK}/{token}/"), format!("{WEBHOOK}/{}/", "0".repeat(32)));
    let (good, bad) = (world.send("GET", &good, STRANGER, &[], "").await, world.send("GET", &bad, STRANGER, &[], "").await);
    assert_eq!((good.status.as_u16(), bad.status.as_u16()), (200, 200));
    assert_eq!(good.json, bad.json);
    assert_eq!(world.send("GET", "/api/mifos/webhook/test", STRANGER, &[], "").await.status.as_u16(), 200);
    assert!(world.kept().await.is_empty());
}

#[tokio::test]
async fn an_unknown_token_is_refused_kept_and_wakes_nobody() {
    let world = World::new().await;
    let seen = world.post(&format!("{WEBHOOK}/{}/", "0".repeat(32)), STRANGER, "{}").await;
    assert_eq!((seen.status.as_u16(), &seen.json["code"]), (404, &json!("not_found")));
    let kept = world.kept().await;
    assert_eq!((kept[0].state.as_str(), kept[0].trusted, kept[0].token.as_deref()), ("parked", false, None));
    assert!(world.woken().is_empty());
}

#[tokio::test]
async fn the_documented_webhook_is_taken_and_its_token_is_not_kept() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (core, token) = world.connection(partner).await;
    let seen = world.post(WEBHOOK, STRANGER, &payload(&partner.to_string(), &token).to_string()).await;
    assert_eq!((seen.status.as_u16(), &seen.json["status"]), (200, &json!("accepted")));
    let kept = world.kept().await;
    assert_eq!(
        (kept[0].kind.as_str(), kept[0].state.as_str(), kept[0].token.as_deref()),
        ("loan_webhook", "stored", Some(core.to_string().as_str()))
    );
    let body = &world.bodies().await[0];
    assert!(!body.contains(&token) && body.contains("734"), "{body}");
    let mut unnamed = payload("", &token);
    unnamed.as_object_mut().unwrap().remove("partnerId");
    assert_eq!(world.post(WEBHOOK, STRANGER, &unnamed.to_string()).await.status.as_u16(), 200, "the token names the partner");
}

#[tokio::test]
async fn a_wrong_token_and_another_partner_get_the_same_refusal() {
    let world = World::new().await;
    let (own, other) = (world.partner("Umoja").await, world.partner("Neema").await);
    let (_, token) = world.connection(own).await;
    let mut refusals = Vec::new();
    for body in
        [payload(&own.to_string(), &"0".repeat(32)), payload(&own.to_string(), ""), payload(&other.to_string(), &token), payload("MFI-7", &token)]
    {
        let seen = world.post(WEBHOOK, STRANGER, &body.to_string()).await;
        assert_eq!(seen.status.as_u16(), 401);
        assert_eq!(seen.headers["content-type"], "application/problem+json");
        refusals.push(seen.json);
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "who guesses learns nothing");
    let kept = world.kept().await;
    assert!(kept.len() == 4 && kept.iter().all(|k| k.state == "parked" && k.partner_id.is_none()), "{kept:?}");
    assert!(world.bodies().await.iter().all(|body| !body.contains(&token)));
}

#[tokio::test]
async fn where_a_key_is_set_only_its_signature_opens() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (core, token) = world.connection(partner).await;
    let key = world.hmac_key(core).await;
    let body = payload(&partner.to_string(), &token).to_string();
    let right = hex::encode(hmac_sha256_raw(key.as_bytes(), body.as_bytes()));
    let wrong = hex::encode(hmac_sha256_raw(b"another key", body.as_bytes()));
    let send = async |signature: Option<&str>| {
        let headers: Vec<(&str, &str)> = signature.map(|s| ("X-Webhook-Signature", s)).into_iter().collect();
        world.send("POST", WEBHOOK, STRANGER, &headers, body.clone()).await.status.as_u16()
    };
    assert_eq!((send(None).await, send(Some(&wrong)).await, send(Some("")).await), (401, 401, 401));
    assert_eq!((send(Some(&right)).await, send(Some(&format!("sha256={right}"))).await), (200, 200));
}

#[tokio::test]
async fn the_token_before_is_good_for_a_day() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (core, old) = world.connection(partner).await;
    let new = world.token(core).await;
    let status = async |token: &str| world.post(&format!("{WEBHOOK}/{token}/"), STRANGER, "{}").await.status.as_u16();
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    world.clock.forward(24 * 3600 + 1);
    assert_eq!((status(&old).await, status(&new).await), (404, 200));
}

#[tokio::test]
async fn what_is_not_the_documented_payload_is_kept_and_the_sender_is_told_why() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let (_, token) = world.connection(partner).await;
    for (body, stored) in [
        ("not json".to_owned(), "parked"),
        ("[]".to_owned(), "parked"),
        (json!({ "webhookToken": token }).to_string(), "parked"),
        (json!({ "webhookToken": token, "loanId": "7; drop table" }).to_string(), "stored"),
        (json!({ "webhookToken": token, "loanId": 7, "eventType": "client_created" }).to_string(), "stored"),
    ] {
        let seen = world.post(WEBHOOK, STRANGER, &body).await;
        assert_eq!((seen.status.as_u16(), &seen.json["code"], &seen.json["money_moved"]), (422, &json!("invalid_request"), &json!("no")), "{body}");
        assert_eq!(world.kept().await.last().unwrap().state, stored, "{body}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_stop_is_told_to_wait() {
    let world = World::with(|state| state.limits.per_webhook_token = Rate::new(1, 2)).await;
    let partner = world.partner("Umoja").await;
    let (_, token) = world.connection(partner).await;
    let path = format!("{WEBHOOK}/{token}/");
    let mut last = None;
    for _ in 0..3 {
        last = Some(world.post(&path, STRANGER, "{}").await);
    }
    let last = last.unwrap();
    assert_eq!((last.status.as_u16(), &last.json["code"]), (429, &json!("too_many_requests")));
    assert!(last.headers.contains_key("retry-after"));
    assert_eq!(world.kept().await.len(), 2);
}
