//! What M-Pesa and the gateways post.

use pv_hooks::{Counted, LARGEST_BODY, Rate};
use pv_vault::engine::Step;
use serde_json::json;

use crate::world::{MPESA, STRANGER, World};

#[tokio::test]
async fn a_callback_is_stored_answered_as_mpesa_expects_and_weighed() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let token = world.question(partner).await;
    let seen = world.post(&format!("/h/{token}/balance/result"), MPESA, r#"{"Result":{"ResultCode":0}}"#).await;
    assert_eq!((seen.status.as_u16(), seen.json), (200, json!({ "ResultCode": 0, "ResultDesc": "Accepted" })));
    let kept = world.kept().await;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].kind.as_str(), kept[0].state.as_str(), kept[0].trusted), ("balance_result", "stored", true));
    assert_eq!((kept[0].partner_id, kept[0].token.as_deref()), (Some(partner.uuid()), Some(token.as_str())));
    assert_eq!(world.woken(), vec![Step::Weigh]);
    assert_eq!(world.bodies().await, vec![r#"{"Result":{"ResultCode":0}}"#]);
}

#[tokio::test]
async fn one_that_comes_from_elsewhere_is_stored_and_answered_the_same_but_is_no_evidence() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let token = world.question(partner).await;
    let path = format!("/h/{token}/balance/result");
    let seen = world.send("POST", &path, STRANGER, &[("x-forwarded-for", "196.201.214.200")], "{}").await;
    assert_eq!((seen.status.as_u16(), seen.json), (200, json!({ "ResultCode": 0, "ResultDesc": "Accepted" })));
    let kept = world.kept().await;
    assert_eq!((kept[0].trusted, kept[0].peer.as_str()), (false, "41.90.1.1"));
    assert_eq!(world.woken(), vec![Step::Weigh], "it is a reason to ask");
}

#[tokio::test]
async fn what_belongs_to_nothing_is_kept_for_a_person_and_wakes_nobody() {
    let world = World::new().await;
    for path in [format!("/h/{}/b2c/result", "0".repeat(32)), "/h/not-hex/status/timeout".to_owned(), "/api/mpesa/callback".to_owned()] {
        let seen = world.post(&path, MPESA, "not even json").await;
        assert_eq!((seen.status.as_u16(), &seen.json["ResultCode"]), (200, &json!(0)), "{path}");
    }
    let kept = world.kept().await;
    assert_eq!(kept.iter().map(|k| (k.state.as_str(), k.token.clone())).collect::<Vec<_>>(), vec![("parked", None); 3]);
    assert_eq!(world.woken(), vec![]);
    assert_eq!((world.counts.get(Counted::Unmatched), world.counts.get(Counted::Known)), (3, 0));
    assert_eq!(world.bodies().await[0], "not even json");
}

#[tokio::test]
async fn the_path_says_what_a_message_is() {
    let world = World::new().await;
    for (path, _) in pv_hooks::callback::MPESA_PATHS {
        let seen = world.post(&format!("/h/ff/{path}"), MPESA, "{}").await;
        assert_eq!(seen.status.as_u16(), 200, "{path}");
    }
    let kinds: Vec<String> = world.kept().await.into_iter().map(|k| k.kind).collect();
    assert_eq!(kinds, ["b2c_result", "b2c_timeout", "status_result", "status_timeout", "balance_result", "balance_timeout"]);
    assert_eq!(world.post("/h/ff/b2c/other", MPESA, "{}").await.status.as_u16(), 404);
    assert_eq!(world.send("GET", "/h/ff/b2c/result", STRANGER, &[], "").await.status.as_u16(), 200);
    assert_eq!(world.kept().await.len(), 6, "a probe is no message");
}

#[tokio::test]
async fn every_url_that_is_given_out_is_a_door_here() {
    let world = World::new().await;
    for (path, _) in pv_hooks::callback::MPESA_PATHS {
        let url = world.engine.hook_url(&"a".repeat(32), path);
        let path = url.strip_prefix("https://vault.example.co.ke").unwrap();
        assert_eq!(world.post(path, MPESA, "{}").await.status.as_u16(), 200, "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_answered_with_500_so_that_it_may_come_again() {
    let world = World::new().await;
    world.engine.db.close().await;
    let seen = world.post("/h/ff/b2c/result", MPESA, "{}").await;
    assert_eq!(seen.status.as_u16(), 500);
    assert_ne!(seen.json["ResultCode"], json!(0));
    assert_eq!(world.counts.get(Counted::Failed), 1);
}

#[tokio::test]
async fn a_body_larger_than_any_message_is_not_taken_in() {
    let world = World::new().await;
    let fits = "x".repeat(LARGEST_BODY);
    assert_eq!(world.post("/h/ff/b2c/result", MPESA, &fits).await.status.as_u16(), 200);
    assert_eq!(world.post("/h/ff/b2c/result", MPESA, &format!("{fits}x")).await.status.as_u16(), 413);
    assert_eq!(world.kept().await.len(), 1);
}

#[tokio::test]
async fn strangers_have_a_small_share_that_comes_back_and_mpesa_is_not_counted_among_them() {
    let world = World::with(|state| state.limits.strangers = Rate::new(1, 2)).await;
    let mut statuses = Vec::new();
    for number in 0..4 {
        statuses.push(world.post(&format!("/h/0{number}/b2c/result"), STRANGER, "{}").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    for number in 0..4 {
        assert_eq!(world.post(&format!("/h/1{number}/b2c/result"), MPESA, "{}").await.status.as_u16(), 200);
    }
    world.clock.forward(1);
    assert_eq!(world.post("/h/20/b2c/result", STRANGER, "{}").await.status.as_u16(), 200);
    assert_eq!(world.counts.get(Counted::Limited), 2);
}

#[tokio::test]
async fn only_the_absurd_is_refused_to_mpesa() {
    let world = World::with(|state| state.limits.per_callback_token = Rate::new(1, 3)).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(world.post("/h/aa/b2c/result", MPESA, "{}").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(world.post("/h/bb/b2c/result", MPESA, "{}").await.status.as_u16(), 200, "another payout is not held up");
}

#[tokio::test]
async fn a_delivery_report_belongs_to_the_account_of_its_path_and_keeps_its_signature() {
    let world = World::new().await;
    let partner = world.partner("Umoja").await;
    let token = world.sms_account(partner).await;
    let path = format!("/h/{}/sms/damza/{token}", "a".repeat(32));
    let seen = world.send("POST", &path, STRANGER, &[("x-damza-signature", "00ff"), ("cookie", "secret")], r#"{"status":"DELIVERED"}"#).await;
    assert_eq!((seen.status.as_u16(), seen.json), (200, json!({ "ok": true })));
    let kept = world.kept().await;
    assert_eq!((kept[0].kind.as_str(), kept[0].state.as_str(), kept[0].partner_id), ("sms_report", "stored", Some(partner.uuid())));
    assert_eq!(kept[0].headers, json!({ "x-damza-signature": "00ff" }), "no other header is kept");
    assert_eq!(world.woken(), vec![Step::Weigh]);
}
