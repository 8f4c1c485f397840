//! Another partner's rows do not exist.

use serde_json::json;

use crate::support::{Call, house};

#[tokio::test]
async fn a_partner_sees_and_touches_nothing_of_another_one() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    let item = open_item(&house, &payment).await;
    let stop = Call::post("/api/stop", &json!({ "scope": "partner", "reason": "looks odd" })).key(&house.a.admin).send(&house).await.expect(200).id();
    let key = Call::get(format!("/api/partners/{}/keys", house.a.id)).key(&house.a.admin).send(&house).await.body["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let credential = Call::post(format!("/api/shortcodes/{}/credentials", house.a.shortcode), &credentials())
        .key(&house.a.admin)
        .once()
        .send(&house)
        .await
        .expect(201)
        .id();
    let products =
        Call::new("POST", format!("/api/mifos/partners/{}/products/fetch", house.a.core)).key(&house.a.admin).send(&house).await.expect(200);
    let product = products.body["items"][0]["id"].as_str().unwrap().to_owned();
    let before = house.written().await;

    let (a, core, shortcode) = (house.a.id, house.a.core, house.a.shortcode);
    let why = json!({ "reason": "because" });
    let strangers = [
        Call::get(format!("/api/loans/disbursements/{payment}")),
        Call::get(format!("/api/mpesa/query/{payment}")),
        Call::post(format!("/api/loans/disbursements/{payment}/retry"), &why),
        Call::post(format!("/api/loans/disbursements/{payment}/cancel"), &why),
        Call::post(format!("/api/loans/disbursements/{payment}/approve"), &why),
        Call::post(format!("/api/items/{item}/close"), &why),
        Call::post(format!("/api/stop/{stop}/lift"), &why),
        Call::post("/api/stop", &json!({ "scope": "shortcode", "target": shortcode, "reason": "because" })),
        Call::post("/api/stop", &json!({ "scope": "partner", "target": a, "reason": "because" })),
        Call::post("/api/stop", &json!({ "scope": "product", "target": product, "reason": "because" })),
        Call::get(format!("/api/partners/{a}")),
        Call::get(format!("/api/partners/{a}/keys")),
        Call::get(format!("/api/partners/{a}/shortcodes")),
        Call::post(format!("/api/partners/{a}/keys"), &json!({ "label": "x", "environment": "sandbox", "role": "viewer" })).once(),
        Call::post(
            format!("/api/partners/{a}/shortcodes"),
            &json!({ "shortcode": "600999", "environment": "sandbox", "base_url": "https://sandbox.safaricom.co.ke" }),
        ),
        Call::new("DELETE", format!("/api/keys/{key}?reason=because")),
        Call::post(format!("/api/keys/{key}/rotate"), &json!({ "overlap_hours": 1 })).once(),
        Call::new("PATCH", format!("/api/shortcodes/{shortcode}")).json(&json!({ "is_active": false })),
        Call::get(format!("/api/shortcodes/{shortcode}/credentials")),
        Call::post(format!("/api/shortcodes/{shortcode}/credentials"), &credentials()).once(),
        Call::post(format!("/api/shortcodes/{shortcode}/funding"), &json!({ "amount": 100, "reference": "x", "reason": "because" })),
        Call::post(format!("/api/credentials/{credential}/activate"), &why),
        Call::post(format!("/api/credentials/{credential}/lift-halt"), &why),
        Call::post(format!("/api/credentials/{credential}/retire"), &why),
        Call::new("PATCH", format!("/api/mifos/partners/{core}")).json(&json!({ "label": "mine now" })),
        Call::post("/api/mifos/partners", &json!({ "id": core, "label": "mine now" })),
        Call::post(format!("/api/mifos/partners/{core}/retire"), &why),
        Call::new("POST", format!("/api/mifos/partners/{core}/webhook-token")).once(),
        Call::get(format!("/api/mifos/partners/{core}/products")),
        Call::new("POST", format!("/api/mifos/partners/{core}/products/fetch")),
        Call::new("PATCH", format!("/api/mifos/products/{product}")).json(&json!({ "sms_notifications_enabled": false })),
        Call::post("/api/mifos/test-connection", &json!({ "id": core })),
        Call::post("/api/mifos/loans/fetch", &json!({ "core_id": core })),
        Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "4711", "coreId": core })),
        Call::post("/api/mifos/loans/fetch", &json!({ "partner_id": a })),
        Call::post("/api/mpesa/b2c/pay", &json!({ "reference": "x", "phone": "0712345678", "amount": 100, "partner_id": a })),
        Call::get(format!("/api/wallet/balance?partner_id={a}")),
        Call::get(format!("/api/sms/settings?partner_id={a}")),
        Call::post("/api/sms/settings", &json!({ "partner_id": a, "sms_enabled": false })),
        Call::get(format!("/api/sentence?partner_id={a}")),
        Call::post(format!("/api/requests/{payment}/decide"), &json!({ "approve": true, "reason": "because" })),
    ];
    for (n, call) in strangers.into_iter().enumerate() {
        let reply = call.key(&house.b.admin).send(&house).await;
        assert_eq!((reply.status, reply.code()), (404, "not_found"), "call {n}: {}", reply.body);
    }
    assert_eq!(house.written().await, before, "nothing was written");
}

#[tokio::test]
async fn the_lists_of_a_partner_hold_its_own_rows_only() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    open_item(&house, &payment).await;
    Call::post("/api/stop", &json!({ "scope": "partner", "reason": "looks odd" })).key(&house.a.admin).send(&house).await.expect(200);
    for path in [
        "/api/loans/disbursements".to_owned(),
        format!("/api/loans/disbursements?partner_id={}", house.a.id),
        format!("/api/items?partner_id={}", house.a.id),
        "/api/items".to_owned(),
        "/api/stop".to_owned(),
        format!("/api/explain?q={payment}"),
        "/api/explain?q=0712345678".to_owned(),
        format!("/api/mifos/partners?partner_id={}", house.a.id),
    ] {
        let stranger = Call::get(&path).key(&house.b.admin).send(&house).await.expect(200);
        assert_eq!(stranger.body["items"], json!([]), "{path}");
    }
    for path in ["/api/partners", "/api/mifos/partners", "/api/audit"] {
        let reply = Call::get(path).key(&house.b.admin).send(&house).await.expect(200);
        assert!(!reply.body.to_string().contains(&house.a.id.to_string()), "{path}");
    }
    for path in ["/api/loans/disbursements", "/api/items", "/api/stop", "/api/explain?q=0712345678"] {
        let own = Call::get(path).key(&house.a.admin).send(&house).await.expect(200);
        assert_eq!(own.body["items"].as_array().unwrap().len(), 1, "{path}: {}", own.body);
    }
    let all = Call::get("/api/partners").key(&house.platform).send(&house).await.expect(200);
    assert_eq!(all.body["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_phone_is_whole_for_those_who_pay_and_masked_for_those_who_look() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    let path = format!("/api/loans/disbursements/{payment}");
    assert_eq!(Call::get(&path).key(&house.a.maker).send(&house).await.body["phone"], "254712345678");
    assert_eq!(Call::get(&path).key(&house.a.viewer).send(&house).await.body["phone"], "2547****5678");
    let explained = Call::get(format!("/api/explain?q={payment}")).key(&house.a.admin).send(&house).await.expect(200);
    assert!(!explained.body.to_string().contains("254712345678"));
}

pub fn credentials() -> serde_json::Value {
    json!({ "consumer_key": "k-secret", "consumer_secret": "s-secret", "initiator": "vaultapi", "initiator_password": "pw-secret", "certificate": "PEM", "activate": true })
}

async fn open_item(house: &crate::support::House, payment: &str) -> String {
    let id: uuid::Uuid = sqlx::query_scalar(
        "insert into items (id, partner_id, kind, subject, title, detail, suggested_action, link, urgency, opened_at)
         select gen_random_uuid(), partner_id, 'held', id, 'A payment waits', 'why', 'do', '/x', 'watch', created_at from disbursements where id = $1 returning id",
    )
    .bind(payment.parse::<uuid::Uuid>().unwrap())
    .fetch_one(house.engine.db.worker())
    .await
    .unwrap();
    id.to_string()
}
