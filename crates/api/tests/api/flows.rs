//! What people and programs do, from one end of a noun to the other. Every answer is held against the document on the way.

use pv_vault::engine::Step;
use serde_json::{Value, json};

use crate::support::{Call, house, key_of};

#[tokio::test]
async fn a_payment_is_ordered_found_listed_and_cancelled() {
    let house = house().await;
    let body = json!({ "reference": "REFUND-1", "phone": "0712 345 678", "amount": "1500.00", "name": "Jane Wanjiku", "note": "Refund" });
    let paid = Call::post("/api/mpesa/b2c/pay", &body).key(&house.a.maker).send(&house).await.expect(202);
    assert_eq!((&paid.body["status"], &paid.body["amount"], &paid.body["phone"]), (&json!("to_do"), &json!("1500.00"), &json!("254712345678")));
    assert_eq!(*house.woken.lock().unwrap(), [Step::Pay]);
    let id = paid.id();
    let asked = Call::get(format!("/api/mpesa/query/{id}")).key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(asked.id(), id);
    assert!(asked.body["timeline"][0]["what"].as_str().unwrap().starts_with("ordered"));
    for query in ["?reference=REFUND-1", "?status=to_do&limit=1", "?phone=%2B254712345678", "?from=2026-11-20&to=2026-11-20"] {
        let list = Call::get(format!("/api/loans/disbursements{query}")).key(&house.a.viewer).send(&house).await.expect(200);
        assert_eq!(list.body["items"][0]["id"], json!(id), "{query}");
    }
    assert_eq!(Call::get("/api/loans/disbursements?status=paid").key(&house.a.viewer).send(&house).await.body["items"], json!([]));
    house.clock.forward(std::time::Duration::from_secs(1));
    let cancelled = Call::post(format!("/api/loans/disbursements/{id}/cancel"), &json!({ "reason": "not needed any more" }))
        .key(&house.a.maker)
        .send(&house)
        .await
        .expect(200);
    assert_eq!(cancelled.body["state"], "cancelled");
    let again = Call::post(format!("/api/loans/disbursements/{id}/cancel"), &json!({ "reason": "not needed any more" }))
        .key(&house.a.maker)
        .send(&house)
        .await
        .expect(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let retried =
        Call::post(format!("/api/loans/disbursements/{id}/retry"), &json!({ "reason": "do it again" })).key(&house.a.maker).send(&house).await;
    assert_eq!((retried.status, retried.code(), &retried.body["related"]), (409, "wrong_state", &json!(id)));
    let trail = Call::get("/api/audit?limit=2").key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!((trail.body["has_more"].as_bool(), trail.body["items"][0]["action"].as_str()), (Some(true), Some("disbursement.cancelled")));
    let older =
        Call::get(format!("/api/audit?cursor={}", trail.body["next_cursor"].as_str().unwrap())).key(&house.a.admin).send(&house).await.expect(200);
    assert!(!older.body["items"].as_array().unwrap().iter().any(|r| r["id"] == trail.body["items"][1]["id"]));
}

#[tokio::test]
async fn a_list_is_read_page_by_page_without_a_gap() {
    let house = house().await;
    let mut made = Vec::new();
    for n in 0..5 {
        house.clock.forward(std::time::Duration::from_secs(1));
        made.push(house.payment(&format!("r-{n}")).await);
    }
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = Call::get(format!("/api/loans/disbursements?limit=2{cursor}")).key(&house.a.viewer).send(&house).await.expect(200);
        seen.extend(page.body["items"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        assert_eq!(page.body["has_more"], true);
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_payment_is_found_by_rail_id_conversation_and_receipt() {
    let house = house().await;
    let id = house.payment("r-1").await;
    let credential = Call::post(format!("/api/shortcodes/{}/credentials", house.a.shortcode), &crate::tenancy::credentials())
        .key(&house.a.admin)
        .once()
        .send(&house)
        .await
        .expect(201)
        .id();
    let payout: uuid::Uuid = sqlx::query_scalar(
        "insert into payouts (id, partner_id, disbursement_id, attempt, rail, rail_id, token, shortcode_id, credential_id, msisdn, amount_minor, remarks, state, conversation_id, receipt, prepared_at, updated_at)
         select gen_random_uuid(), partner_id, id, 1, 'mpesa', 'pv-4n7xq2k9', repeat('a', 32), $2, $3, msisdn, amount_minor, 'x', 'paid', 'AG_20261120_abc', 'SKJ3ZX19AB', created_at, created_at
         from disbursements where id = $1 returning id",
    )
    .bind(id.parse::<uuid::Uuid>().unwrap())
    .bind(house.a.shortcode)
    .bind(credential.parse::<uuid::Uuid>().unwrap())
    .fetch_one(house.engine.db.worker())
    .await
    .unwrap();
    for name in [payout.to_string().as_str(), "pv-4n7xq2k9", "AG_20261120_abc", "SKJ3ZX19AB", "skj3zx19ab"] {
        assert_eq!(Call::get(format!("/api/mpesa/query/{name}")).key(&house.a.viewer).send(&house).await.expect(200).id(), id, "{name}");
        assert_eq!(Call::get(format!("/api/mpesa/query/{name}")).key(&house.b.viewer).send(&house).await.status, 404);
    }
}

#[tokio::test]
async fn a_partner_is_made_equipped_and_closed() {
    let house = house().await;
    let body = json!({ "name": "Jamii SACCO Society", "short_name": "Jamii", "policy": { "daily_cap": "1000000", "working_hours": { "from": "08:00", "to": "17:00", "days": ["mon", "fri"] } }, "notification_phones": ["0712345678"] });
    let made = Call::post("/api/partners", &body).key(&house.platform).once().send(&house).await.expect(201);
    assert_eq!((&made.body["is_mifos_configured"], &made.body["policy"]["daily_cap"]), (&json!(false), &json!("1000000.00")));
    let id = made.id();
    let patched = Call::new("PATCH", format!("/api/partners/{id}"))
        .json(&json!({ "short_name": "Jamii S" }))
        .key(&house.platform)
        .send(&house)
        .await
        .expect(200);
    assert_eq!((&patched.body["short_name"], &patched.body["policy"]["daily_cap"]), (&json!("Jamii S"), &json!("1000000.00")));

    let new = json!({ "shortcode": "600555", "environment": "sandbox", "base_url": "https://sandbox.safaricom.co.ke/", "tariff_payer": "platform" });
    let shortcode = Call::post(format!("/api/partners/{id}/shortcodes"), &new).key(&house.platform).send(&house).await.expect(201);
    assert_eq!((&shortcode.body["is_default"], &shortcode.body["tariff_payer"]), (&json!(true), &json!("platform")));
    let short = shortcode.id();
    Call::new("PATCH", format!("/api/shortcodes/{short}"))
        .json(&json!({ "requests_per_second": 20 }))
        .key(&house.platform)
        .send(&house)
        .await
        .expect(200);
    Call::post(format!("/api/shortcodes/{short}/release"), &json!({ "reason": "restore was checked" }))
        .key(&house.platform)
        .send(&house)
        .await
        .expect(200);
    let funded = Call::post(format!("/api/shortcodes/{short}/funding"), &json!({ "amount": 500_000, "reference": "FT1", "reason": "bank transfer" }))
        .key(&house.platform)
        .send(&house)
        .await
        .expect(201);
    assert_eq!(funded.body["unexplained"], "0.00");
    let again = Call::post(format!("/api/shortcodes/{short}/funding"), &json!({ "amount": 500_000, "reference": "FT1", "reason": "bank transfer" }))
        .key(&house.platform)
        .send(&house)
        .await
        .expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.body["transfer"]), ("true", &funded.body["transfer"]));

    let credential = Call::post(format!("/api/shortcodes/{short}/credentials"), &crate::tenancy::credentials())
        .key(&house.platform)
        .once()
        .send(&house)
        .await
        .expect(201);
    assert!(!credential.body.to_string().contains("secret"));
    for action in ["activate", "lift-halt", "retire"] {
        Call::post(format!("/api/credentials/{}/{action}", credential.id()), &json!({ "reason": "as planned" }))
            .key(&house.platform)
            .send(&house)
            .await
            .expect(200);
    }
    let list = Call::get(format!("/api/shortcodes/{short}/credentials")).key(&house.platform).send(&house).await.expect(200);
    assert!(list.body["items"][0]["retired_at"].is_string());

    for status in ["closing", "closed"] {
        Call::post(format!("/api/partners/{id}/status"), &json!({ "status": status, "reason": "end of contract" }))
            .key(&house.platform)
            .send(&house)
            .await;
    }
    let end = Call::get(format!("/api/partners/{id}")).key(&house.platform).send(&house).await.expect(200);
    assert!(["closing", "closed"].contains(&end.body["status"].as_str().unwrap()));
}

#[tokio::test]
async fn a_connection_is_made_tested_changed_and_retired() {
    let house = house().await;
    let new = json!({ "mifos_host_url": "https://new.example.co.ke/fineract-provider/api/v1", "mifos_username": "payvault", "mifos_password": "pw-secret", "mifos_tenant_id": "default", "mifos_max_disbursement_amount": "70000" });
    let made = Call::post("/api/mifos/partners", &new).key(&house.a.admin).send(&house).await.expect(201);
    assert_eq!(
        (&made.body["mifos_host_url"], &made.body["mifos_max_disbursement_amount"]),
        (&json!("https://new.example.co.ke"), &json!("70000.00"))
    );
    assert!(!made.body.to_string().contains("secret\""));
    let core = made.id();
    let twice = Call::post("/api/mifos/partners", &new).key(&house.a.admin).send(&house).await;
    assert_eq!((twice.status, twice.code()), (409, "core_exists"));
    let saved = Call::post("/api/mifos/partners", &json!({ "id": core, "label": "Head office", "mifos_max_disbursement_amount": null }))
        .key(&house.a.admin)
        .send(&house)
        .await
        .expect(200);
    assert_eq!((&saved.body["label"], &saved.body["mifos_max_disbursement_amount"]), (&json!("Head office"), &Value::Null));
    let patched = Call::new("PATCH", format!("/api/mifos/partners/{core}"))
        .json(&json!({ "is_default": true, "payment_type_id": "1" }))
        .key(&house.a.admin)
        .send(&house)
        .await
        .expect(200);
    assert_eq!(patched.body["is_default"], true);
    let partner = Call::get(format!("/api/partners/{}", house.a.id)).key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(partner.body["mifos_host_url"], "https://new.example.co.ke");

    let tested = Call::post("/api/mifos/test-connection", &json!({ "id": core })).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!((&tested.body["ok"], &tested.body["payment_types"][0]["name"]), (&json!(true), &json!("M-Pesa")));
    let kept = Call::get("/api/mifos/partners").key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!(kept.body["items"][0]["profile"]["line"], "1.9+");
    let inline = json!({ "mifos_host_url": "https://try.example.co.ke", "mifos_username": "u", "mifos_password": "p", "mifos_tenant_id": "other" });
    let tested = Call::post("/api/mifos/test-connection", &inline).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!(tested.body["ok"], false);
    assert_eq!(tested.body["checks"][0]["detail"], "https://try.example.co.ke/fineract-provider/api/v1");

    let products = Call::new("POST", format!("/api/mifos/partners/{core}/products/fetch")).key(&house.a.admin).send(&house).await.expect(200);
    let product = products.body["items"][0]["id"].as_str().unwrap().to_owned();
    let patch = json!({ "is_auto_disbursement_enabled": true, "max_disbursement_amount": 50000, "disbursement_rules": { "daily_count": 10, "person_above": "20000" } });
    let changed = Call::new("PATCH", format!("/api/mifos/products/{product}")).json(&patch).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!(
        (&changed.body["max_disbursement_amount"], &changed.body["disbursement_rules"]["person_above"]),
        (&json!("50000.00"), &json!("20000.00"))
    );
    let list = Call::get(format!("/api/mifos/partners/{core}/products")).key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);

    let retired = Call::post(format!("/api/mifos/partners/{core}/retire"), &json!({ "reason": "moved to another host" }))
        .key(&house.a.admin)
        .send(&house)
        .await
        .expect(200);
    assert!(retired.body["retired_at"].is_string());
    let late = Call::new("PATCH", format!("/api/mifos/partners/{core}")).json(&json!({ "label": "x" })).key(&house.a.admin).send(&house).await;
    assert_eq!((late.status, late.code()), (409, "core_retired"));
}

#[tokio::test]
async fn loans_are_fetched_and_one_is_started_by_name() {
    let house = house().await;
    let fetched = Call::post("/api/mifos/loans/fetch", &json!({})).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!((&fetched.body["approved"], &fetched.body["core_id"]), (&json!(1), &json!(house.a.core)));
    let started = Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "4712" })).key(&house.a.admin).send(&house).await.expect(202);
    assert_eq!(started.body["loanId"], "4712");
    Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "4712" })).key(&house.a.admin).send(&house).await.expect(202);
    assert_eq!(house.count("select count(*) from loan_sightings").await, 2);
    assert!(house.woken.lock().unwrap().contains(&Step::Intake));
}

#[tokio::test]
async fn sending_is_stopped_and_goes_on() {
    let house = house().await;
    let stop = |key: &str, body: Value| Call::post("/api/stop", &body).key(key);
    let own =
        stop(&house.a.admin, json!({ "scope": "shortcode", "target": house.a.shortcode, "reason": "odd payments" })).send(&house).await.expect(200);
    assert_eq!((&own.body["scope"], &own.body["target"]), (&json!("shortcode"), &json!(house.a.shortcode)));
    let all = stop(&house.a.admin, json!({ "scope": "all", "reason": "odd payments" })).send(&house).await;
    assert_eq!((all.status, all.code()), (403, "not_permitted"));
    let all = stop(&house.platform, json!({ "scope": "all", "reason": "odd payments" })).send(&house).await.expect(200);
    let seen = Call::get("/api/stop").key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(seen.body["items"].as_array().unwrap().len(), 2);
    let theirs = Call::post(format!("/api/stop/{}/lift", all.id()), &json!({ "reason": "all is well" })).key(&house.a.admin).send(&house).await;
    assert_eq!((theirs.status, theirs.code()), (403, "not_permitted"));
    for (key, id) in [(&house.a.admin, own.id()), (&house.platform, all.id())] {
        let lifted = Call::post(format!("/api/stop/{id}/lift"), &json!({ "reason": "all is well" })).key(key).send(&house).await.expect(200);
        assert!(lifted.body["lifted_at"].is_string());
    }
}

#[tokio::test]
async fn a_wallet_is_filled_once_per_reference() {
    let house = house().await;
    let body = json!({ "partner_id": house.a.id, "amount": "25000.50", "reference": "FT26324", "reason": "bank transfer" });
    let made = Call::post("/api/wallet/adjustments", &body).key(&house.platform).send(&house).await.expect(201);
    assert_eq!(made.body["available"], "25000.50");
    let again = Call::post("/api/wallet/adjustments", &body).key(&house.platform).send(&house).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), again.id()), ("true", made.id()));
    let finance = key_of(&house.engine, None, "finance").await;
    let third = Call::post("/api/wallet/adjustments", &body).key(&finance).header("idempotency-key", "k").send(&house).await.expect(201);
    assert_eq!((third.id(), &third.body["available"]), (made.id(), &json!("25000.50")));
    let other =
        Call::post("/api/wallet/adjustments", &json!({ "partner_id": house.a.id, "amount": 1, "reference": "FT26324", "reason": "bank transfer" }))
            .key(&house.platform)
            .send(&house)
            .await;
    assert_eq!((other.status, other.code()), (422, "reference_taken"));
    let seen = Call::get("/api/wallet/balance").key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(seen.body, json!({ "balance": "25000.50", "held": "0.00", "available": "25000.50" }));
    let nobody = Call::get("/api/wallet/balance").key(&house.platform).send(&house).await;
    assert_eq!((nobody.status, nobody.pointer()), (422, "/partner_id"));
}

#[tokio::test]
async fn sms_settings_are_written_and_shown_without_their_secrets() {
    let house = house().await;
    assert_eq!(Call::get("/api/sms/settings").key(&house.a.viewer).send(&house).await.status, 404);
    let body = json!({ "damza_base_url": "https://sms.example.co.ke", "damza_api_key": "api-secret", "damza_sender_id": "UMOJA", "damza_username": "umoja", "damza_password": "pw-secret", "low_balance_threshold": 2000, "notification_phone_numbers": ["0712345678"] });
    let made = Call::post("/api/sms/settings", &body).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!(made.body["low_balance_threshold"], "2000.00");
    let changed = Call::post("/api/sms/settings", &json!({ "sms_enabled": false })).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!((&changed.body["sms_enabled"], &changed.body["damza_sender_id"]), (&json!(false), &json!("UMOJA")));
    let shown = Call::get("/api/sms/settings").key(&house.a.viewer).send(&house).await.expect(200);
    assert!(!shown.body.to_string().contains("secret"));
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_ended() {
    let house = house().await;
    let path = format!("/api/partners/{}/keys", house.a.id);
    let body = json!({ "label": "branch", "environment": "sandbox", "role": "maker", "limits": { "per_payment": "50000" } });
    let made = Call::post(&path, &body).key(&house.a.admin).once().send(&house).await.expect(201);
    assert_eq!(made.body["limits"]["per_payment"], "50000.00");
    let old = made.body["key"].as_str().unwrap().to_owned();
    let rotated = Call::post(format!("/api/keys/{}/rotate", made.id()), &json!({ "overlap_hours": 1 }))
        .key(&house.a.admin)
        .once()
        .send(&house)
        .await
        .expect(201);
    let new = rotated.body["key"].as_str().unwrap().to_owned();
    for key in [&old, &new] {
        Call::get("/api/me").key(key).send(&house).await.expect(200);
    }
    house.clock.forward(std::time::Duration::from_secs(3_601));
    assert_eq!(Call::get("/api/me").key(&old).send(&house).await.status, 401);
    Call::new("DELETE", format!("/api/keys/{}?reason=branch%20closed", rotated.id())).key(&house.a.admin).send(&house).await.expect(200);
    assert_eq!(Call::get("/api/me").key(&new).send(&house).await.status, 401);
    let list = Call::get(&path).key(&house.a.admin).send(&house).await.expect(200);
    assert!(!list.body.to_string().contains(&new));
}

#[tokio::test]
async fn the_sentence_and_the_path_are_told() {
    let house = house().await;
    let calm = Call::get("/api/sentence").key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(calm.body["all_explained"], true, "{}", calm.body);
    Call::get("/api/sentence").key(&house.platform).send(&house).await.expect(200);
    let payment = house.payment("r-1").await;
    let path = Call::get("/api/explain?q=r-1").key(&house.a.viewer).send(&house).await.expect(200);
    assert_eq!(
        (&path.body["items"][0]["intent"]["disbursement_id"], &path.body["items"][0]["intent"]["amount"]),
        (&json!(payment), &json!("1500.00"))
    );
}

#[tokio::test]
async fn an_item_is_closed_by_a_word_or_only_by_a_fact() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    for kind in ["held", "unknown_payout"] {
        sqlx::query("insert into items (id, partner_id, kind, subject, title, detail, suggested_action, link, urgency, opened_at) select gen_random_uuid(), partner_id, $2, id, 't', 'd', 's', '/', 'watch', created_at from disbursements where id = $1")
            .bind(payment.parse::<uuid::Uuid>().unwrap())
            .bind(kind)
            .execute(house.engine.db.worker())
            .await
            .unwrap();
    }
    let id_of = async |kind: &str| {
        Call::get(format!("/api/items?kind={kind}")).key(&house.a.admin).send(&house).await.expect(200).body["items"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (held, unknown) = (id_of("held").await, id_of("unknown_payout").await);
    Call::post(format!("/api/items/{held}/close"), &json!({ "reason": "settled by phone" })).key(&house.a.admin).send(&house).await.expect(200);
    let refused = Call::post(format!("/api/items/{unknown}/close"), &json!({ "reason": "settled by phone" })).key(&house.a.admin).send(&house).await;
    assert_eq!((refused.status, refused.code()), (409, "closed_by_facts"));
    let gone = Call::post(format!("/api/items/{held}/close"), &json!({ "reason": "settled by phone" })).key(&house.a.admin).send(&house).await;
    assert_eq!(gone.status, 404);
}
