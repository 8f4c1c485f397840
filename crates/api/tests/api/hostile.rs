//! Hostile input: each gets its status and its stable code, and nothing is paid or written because of it.

use serde_json::json;

use crate::support::{Call, house, key_of};

const PAY: &str = "/api/mpesa/b2c/pay";

/// A body for the pay route, with its expected status, code and pointer.
const BODIES: &[(&str, u16, &str, &str)] = &[
    // Amounts.
    (r#"{"reference":"r","phone":"0712345678","amount":10.50}"#, 422, "amount_has_cents", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":"10.01"}"#, 422, "amount_has_cents", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":0}"#, 422, "amount_out_of_range", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":-1500}"#, 422, "amount_out_of_range", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":9}"#, 422, "amount_out_of_range", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":250001}"#, 422, "amount_out_of_range", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":1e3}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":"1e3"}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":100.001}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":"1,500"}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":"KES 100"}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":""}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":null}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":true}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":[100]}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":{"value":100}}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":99999999999999999999999999999999999}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":"\u0661\u0660\u0660"}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678"}"#, 422, "invalid_request", "/amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"amount":200}"#, 422, "invalid_request", "/amount"),
    // Phones.
    (r#"{"reference":"r","phone":"+255712345678","amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","phone":"+1 202 555 0100","amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","phone":"","amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","phone":"0812345678","amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","phone":254712345678,"amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","phone":"0712345678; drop table partners","amount":100}"#, 422, "invalid_request", "/phone"),
    (r#"{"reference":"r","amount":100}"#, 422, "invalid_request", "/phone"),
    // References and texts.
    (r#"{"reference":"","phone":"0712345678","amount":100}"#, 422, "invalid_request", "/reference"),
    (r#"{"reference":"   ","phone":"0712345678","amount":100}"#, 422, "invalid_request", "/reference"),
    (r#"{"reference":5,"phone":"0712345678","amount":100}"#, 422, "invalid_request", "/reference"),
    (r#"{"reference":"a\u0000b","phone":"0712345678","amount":100}"#, 422, "invalid_request", "/reference"),
    (r#"{"reference":"a\nb","phone":"0712345678","amount":100}"#, 422, "invalid_request", "/reference"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"name":"\u0000"}"#, 422, "invalid_request", "/name"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"name":"a\u001bb"}"#, 422, "invalid_request", "/name"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"note":""}"#, 422, "invalid_request", "/note"),
    // Members.
    (r#"{"reference":"r","phone":"0712345678","amount":100,"status":"paid"}"#, 422, "invalid_request", "/status"),
    (r#"{"reference":"r","phone":"0712345678","Amount":100}"#, 422, "invalid_request", "/Amount"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"partner_id":"x"}"#, 422, "invalid_request", "/partner_id"),
    (r#"{"reference":"r","phone":"0712345678","amount":100,"partner_id":"019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10"}"#, 404, "not_found", ""),
    // Not even an object.
    ("", 400, "invalid_json", ""),
    ("{", 400, "invalid_json", ""),
    ("amount=100", 400, "invalid_json", ""),
    (r#"{"reference":"r","phone":"0712345678","amount":100} trailing"#, 400, "invalid_json", ""),
    (r#"{"reference":"r","phone":"0712345678","amount":+100}"#, 400, "invalid_json", ""),
    (r#"{"reference":"r","phone":"0712345678","amount":NaN}"#, 400, "invalid_json", ""),
    ("[]", 422, "invalid_request", ""),
    ("null", 422, "invalid_request", ""),
    ("\"text\"", 422, "invalid_request", ""),
];

#[tokio::test]
async fn every_hostile_order_is_refused_by_name_and_leaves_nothing() {
    let house = house().await;
    let before = house.written().await;
    for (body, status, code, pointer) in BODIES {
        let reply = Call::new("POST", PAY).raw(*body).header("content-type", "application/json").key(&house.a.admin).send(&house).await;
        assert_eq!((reply.status, reply.code()), (*status, *code), "{body}: {}", reply.body);
        if !pointer.is_empty() {
            assert_eq!(reply.pointer(), *pointer, "{body}: {}", reply.body);
        }
        assert_eq!(reply.body["money_moved"], "no");
    }
    assert_eq!(house.written().await, before, "nothing was written");
    assert_eq!(house.count("select count(*) from disbursements").await + house.count("select count(*) from payouts").await, 0);
    assert!(house.woken.lock().unwrap().is_empty(), "no step was poked");
}

#[tokio::test]
async fn bodies_that_are_too_large_too_deep_or_of_another_kind_are_refused() {
    let house = house().await;
    let before = house.written().await;
    let order = r#"{"reference":"r","phone":"0712345678","amount":100}"#;
    let giant = format!(r#"{{"reference":"{}","phone":"0712345678","amount":100}}"#, "x".repeat(70_000));
    let long_reference = format!(r#"{{"reference":"{}","phone":"0712345678","amount":100}}"#, "x".repeat(101));
    let deep = format!(r#"{{"reference":{}{},"phone":"0712345678","amount":100}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let deep_amount = format!(r#"{{"reference":"r","phone":"0712345678","amount":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let not_utf8 = b"{\"reference\":\"\xff\xfe\",\"phone\":\"0712345678\",\"amount\":100}".to_vec();
    let cases: [(&[u8], &str, u16, &str); 11] = [
        (giant.as_bytes(), "application/json", 413, "body_too_large"),
        (long_reference.as_bytes(), "application/json", 422, "invalid_request"),
        (deep.as_bytes(), "application/json", 422, "invalid_request"),
        (deep_amount.as_bytes(), "application/json", 422, "invalid_request"),
        (&not_utf8, "application/json", 400, "invalid_json"),
        (order.as_bytes(), "text/plain", 415, "unsupported_media_type"),
        (order.as_bytes(), "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (order.as_bytes(), "application/jsonx", 415, "unsupported_media_type"),
        (order.as_bytes(), "text/json", 415, "unsupported_media_type"),
        (order.as_bytes(), "", 415, "unsupported_media_type"),
        (b"\x00\x00\x00", "application/json", 400, "invalid_json"),
    ];
    for (body, kind, status, code) in cases {
        let mut call = Call::new("POST", PAY).raw(body).key(&house.a.admin);
        if !kind.is_empty() {
            call = call.header("content-type", kind);
        }
        let reply = call.send(&house).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{kind}: {}", reply.body);
    }
    assert_eq!(house.written().await, before);
    Call::new("POST", PAY).raw(order).header("content-type", "application/json; charset=utf-8").key(&house.a.admin).send(&house).await.expect(202);
}

#[tokio::test]
async fn hostile_queries_and_paths_are_refused() {
    let house = house().await;
    house.payment("r").await;
    let before = house.written().await;
    for (path, status, code) in [
        ("/api/loans/disbursements?cursor=nonsense", 422, "invalid_request"),
        ("/api/loans/disbursements?cursor=0-", 422, "invalid_request"),
        ("/api/loans/disbursements?cursor=ffffffffffffffff-019aa0c49d1c7a53b6cf2f2a3a0f6f10", 422, "invalid_request"),
        ("/api/loans/disbursements?cursor=7fffffffffffffff-019aa0c49d1c7a53b6cf2f2a3a0f6f10", 422, "invalid_request"),
        ("/api/loans/disbursements?limit=0", 422, "invalid_request"),
        ("/api/loans/disbursements?limit=201", 422, "invalid_request"),
        ("/api/loans/disbursements?limit=-1", 422, "invalid_request"),
        ("/api/loans/disbursements?limit=99999999999999999999", 422, "invalid_request"),
        ("/api/loans/disbursements?limit=ten", 422, "invalid_request"),
        ("/api/loans/disbursements?status=PAID", 422, "invalid_request"),
        ("/api/loans/disbursements?status=paid&status=to_do", 422, "invalid_request"),
        ("/api/loans/disbursements?unknown=1", 422, "invalid_request"),
        ("/api/loans/disbursements?from=2026-02-30", 422, "invalid_request"),
        ("/api/loans/disbursements?phone=911", 422, "invalid_request"),
        ("/api/loans/disbursements?partner_id=1", 422, "invalid_request"),
        ("/api/loans/disbursements?reference=%00", 400, "bad_request"),
        ("/api/audit?cursor=1", 422, "invalid_request"),
        ("/api/audit?limit=0", 422, "invalid_request"),
        ("/api/items?limit=501", 422, "invalid_request"),
        ("/api/explain", 422, "invalid_request"),
        ("/api/explain?q=", 422, "invalid_request"),
        ("/api/explain?q=%0a", 422, "invalid_request"),
        ("/api/wallet/balance?partner_id=019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10", 404, "not_found"),
        ("/api/mpesa/query/%00", 400, "bad_request"),
        ("/api/mpesa/query/%0A", 404, "not_found"),
        ("/api/mpesa/query/%ff", 404, "not_found"),
        ("/api/mpesa/query/NOSUCHRECEIPT", 404, "not_found"),
        ("/api/mpesa/query/0712345678", 404, "not_found"),
        ("/api/mpesa/query/r", 404, "not_found"),
        ("/api/loans/disbursements/019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10", 404, "not_found"),
        ("/api/loans/disbursements/..%2f..%2fpartners", 404, "not_found"),
        ("/api/partners/019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10", 404, "not_found"),
    ] {
        let reply = Call::get(path).key(&house.a.admin).send(&house).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{path}: {}", reply.body);
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn hostile_idempotency_keys_are_refused() {
    let house = house().await;
    let before = house.written().await;
    let body = json!({ "reference": "r", "phone": "0712345678", "amount": 100 });
    let long = "x".repeat(256);
    for bad in ["", " ", "\"\"", long.as_str(), "ü", "a\tb"] {
        let reply = Call::post(PAY, &body).key(&house.a.admin).header("idempotency-key", bad).send(&house).await;
        assert_eq!((reply.status, reply.code()), (400, "bad_idempotency_key"), "{bad:?}");
    }
    let two = Call::post(PAY, &body).key(&house.a.admin).header("idempotency-key", "a").header("idempotency-key", "b").send(&house).await;
    assert_eq!((two.status, two.code()), (400, "bad_idempotency_key"));
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn hostile_commands_on_other_routes_are_refused_and_leave_nothing() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    let before = house.written().await;
    let (a, core, shortcode) = (house.a.id, house.a.core, house.a.shortcode);
    let at = |tail: &str| format!("/api/loans/disbursements/{payment}/{tail}");
    let long = "x".repeat(501);
    let cases = [
        (Call::post(at("cancel"), &json!({})), 422, "invalid_request", "/reason"),
        (Call::post(at("cancel"), &json!({ "reason": "no" })), 422, "invalid_request", "/reason"),
        (Call::post(at("cancel"), &json!({ "reason": long })), 422, "invalid_request", "/reason"),
        (Call::post(at("cancel"), &json!({ "reason": "   " })), 422, "invalid_request", "/reason"),
        (Call::post(at("approve"), &json!({ "reason": "looks fine" })), 409, "wrong_state", ""),
        (Call::post(at("resolve"), &json!({ "verdict": "receipt", "reason": "seen" })), 422, "invalid_request", "/receipt"),
        (Call::post(at("resolve"), &json!({ "verdict": "not_paid", "reason": "seen" })), 422, "invalid_request", "/evidence"),
        (
            Call::post(at("resolve"), &json!({ "verdict": "not_paid", "receipt": "SKJ3ZX19AB", "evidence": "portal", "reason": "seen" })),
            422,
            "invalid_request",
            "/receipt",
        ),
        (Call::post(at("resolve"), &json!({ "verdict": "paid", "reason": "seen" })), 422, "invalid_request", "/verdict"),
        (Call::post(at("resolve"), &json!({ "verdict": "receipt", "receipt": "SKJ3ZX19AB", "reason": "seen" })), 409, "nothing_to_rule", ""),
        (Call::post(at("new-generation"), &json!({ "reason": "again please" })), 409, "wrong_state", ""),
        (Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "../clients", "coreId": core })), 422, "invalid_request", "/loanId"),
        (Call::post("/api/mifos/loans/disburse", &json!({ "loanId": 4711 })), 422, "invalid_request", "/loanId"),
        (Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "", "coreId": core })), 422, "invalid_request", "/loanId"),
        (Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "4711", "amount": 100 })), 422, "invalid_request", "/amount"),
        (
            Call::post("/api/mifos/loans/disburse", &json!({ "loanId": "4711", "coreId": "019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10" })),
            404,
            "not_found",
            "",
        ),
        (
            Call::post("/api/wallet/adjustments", &json!({ "partner_id": a, "amount": 0, "reference": "x", "reason": "because" })),
            422,
            "invalid_request",
            "/amount",
        ),
        (
            Call::post("/api/wallet/adjustments", &json!({ "partner_id": a, "amount": -1, "reference": "x", "reason": "because" })),
            409,
            "insufficient_funds",
            "",
        ),
        (
            Call::post("/api/wallet/adjustments", &json!({ "partner_id": a, "amount": "1.234", "reference": "x", "reason": "because" })),
            422,
            "invalid_request",
            "/amount",
        ),
        (
            Call::post("/api/wallet/adjustments", &json!({ "amount": 1, "reference": "x", "reason": "because" })),
            422,
            "invalid_request",
            "/partner_id",
        ),
        (
            Call::post("/api/wallet/adjustments", &json!({ "partner_id": core, "amount": 1, "reference": "x", "reason": "because" })),
            404,
            "not_found",
            "",
        ),
        (Call::post("/api/stop", &json!({ "scope": "universe", "reason": "because" })), 422, "invalid_request", "/scope"),
        (Call::post("/api/stop", &json!({ "scope": "shortcode", "reason": "because" })), 422, "invalid_request", "/target"),
        (Call::post("/api/stop", &json!({ "scope": "rail", "target": "M-PESA!", "reason": "because" })), 422, "invalid_request", "/target"),
        (Call::post("/api/stop", &json!({ "scope": "all", "target": "x", "reason": "because" })), 422, "invalid_request", "/target"),
        (Call::post("/api/partners", &json!({ "name": "x", "short_name": "Jamii" })).once(), 422, "invalid_request", "/name"),
        (
            Call::post("/api/partners", &json!({ "name": "Jamii", "short_name": "Jamii", "zone": "Mars/Olympus" })).once(),
            422,
            "invalid_request",
            "/zone",
        ),
        (
            Call::post("/api/partners", &json!({ "name": "Jamii", "short_name": "Jamii", "policy": { "dayly_cap": 5 } })).once(),
            422,
            "invalid_request",
            "/policy/dayly_cap",
        ),
        (
            Call::post("/api/partners", &json!({ "name": "Jamii", "short_name": "Jamii", "policy": { "daily_cap": -5 } })).once(),
            422,
            "invalid_request",
            "/policy/daily_cap",
        ),
        (
            Call::post("/api/partners", &json!({ "name": "Jamii", "short_name": "Jamii", "notification_phones": ["0712345678", "911"] })).once(),
            422,
            "invalid_request",
            "/notification_phones/1",
        ),
        (Call::post(format!("/api/partners/{a}/status"), &json!({ "status": "gone", "reason": "because" })), 422, "invalid_request", "/status"),
        (Call::post(format!("/api/partners/{a}/status"), &json!({ "status": "closed", "reason": "because" })), 409, "wrong_status", ""),
        (
            Call::post(format!("/api/partners/{a}/keys"), &json!({ "label": "x", "environment": "sandbox", "role": "platform_admin" })).once(),
            422,
            "invalid_request",
            "/role",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/keys"),
                &json!({ "label": "x", "environment": "sandbox", "role": "viewer", "addresses": ["nowhere"] }),
            )
            .once(),
            422,
            "invalid_request",
            "/addresses",
        ),
        (Call::post(format!("/api/partners/{a}/keys"), &json!({ "label": "x", "role": "viewer" })).once(), 422, "invalid_request", "/environment"),
        (
            Call::post(
                format!("/api/partners/{a}/keys"),
                &json!({ "label": "x", "environment": "sandbox", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z" }),
            )
            .once(),
            422,
            "invalid_request",
            "/expires_at",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/shortcodes"),
                &json!({ "shortcode": "12ab5", "environment": "sandbox", "base_url": "https://sandbox.safaricom.co.ke" }),
            ),
            422,
            "invalid_request",
            "/shortcode",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/shortcodes"),
                &json!({ "shortcode": "600111", "environment": "sandbox", "base_url": "https://sandbox.safaricom.co.ke" }),
            ),
            409,
            "shortcode_taken",
            "",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/shortcodes"),
                &json!({ "shortcode": "600333", "environment": "production", "base_url": "https://api.safaricom.co.ke" }),
            ),
            422,
            "invalid_request",
            "/environment",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/shortcodes"),
                &json!({ "shortcode": "600333", "environment": "sandbox", "base_url": "http://169.254.169.254/latest" }),
            ),
            422,
            "invalid_request",
            "/base_url",
        ),
        (
            Call::post(
                format!("/api/partners/{a}/shortcodes"),
                &json!({ "shortcode": "600333", "environment": "sandbox", "base_url": "file:///etc/passwd" }),
            ),
            422,
            "invalid_request",
            "/base_url",
        ),
        (
            Call::new("PATCH", format!("/api/shortcodes/{shortcode}")).json(&json!({ "requests_per_second": 0 })),
            422,
            "invalid_request",
            "/requests_per_second",
        ),
        (Call::new("PATCH", format!("/api/shortcodes/{shortcode}")).json(&json!({ "shortcode": "600444" })), 422, "invalid_request", "/shortcode"),
        (
            Call::post(format!("/api/shortcodes/{shortcode}/credentials"), &json!({ "consumer_key": "k", "consumer_secret": "s", "initiator": "i" }))
                .once(),
            422,
            "invalid_request",
            "/initiator_password",
        ),
        (
            Call::post(
                format!("/api/shortcodes/{shortcode}/credentials"),
                &json!({ "consumer_key": "", "consumer_secret": "s", "initiator": "i", "security_credential": "YQ==" }),
            )
            .once(),
            422,
            "invalid_request",
            "/consumer_key",
        ),
        (
            Call::post(
                format!("/api/shortcodes/{shortcode}/credentials"),
                &json!({ "consumer_key": "k", "consumer_secret": "s", "initiator": "i", "security_credential": "not base64!" }),
            )
            .once(),
            422,
            "invalid_request",
            "/security_credential",
        ),
        (
            Call::post(format!("/api/shortcodes/{shortcode}/funding"), &json!({ "amount": 0, "reference": "x", "reason": "because" })),
            422,
            "invalid_request",
            "/amount",
        ),
        (
            Call::post(
                "/api/mifos/partners",
                &json!({ "partner_id": a, "mifos_host_url": "https://127.0.0.1", "mifos_username": "u", "mifos_password": "p", "mifos_tenant_id": "default" }),
            ),
            422,
            "invalid_request",
            "/mifos_host_url",
        ),
        (
            Call::post(
                "/api/mifos/partners",
                &json!({ "partner_id": a, "mifos_host_url": "https://user:pw@mifos.example.co.ke", "mifos_username": "u", "mifos_password": "p", "mifos_tenant_id": "default" }),
            ),
            422,
            "invalid_request",
            "/mifos_host_url",
        ),
        (
            Call::post(
                "/api/mifos/partners",
                &json!({ "partner_id": a, "mifos_host_url": "https://mifos.example.co.ke", "mifos_username": "u", "mifos_tenant_id": "default" }),
            ),
            422,
            "invalid_request",
            "/mifos_password",
        ),
        (
            Call::new("PATCH", format!("/api/mifos/partners/{core}")).json(&json!({ "mifos_host_url": "https://other.example.co.ke" })),
            422,
            "invalid_request",
            "/mifos_password",
        ),
        (Call::new("PATCH", format!("/api/mifos/partners/{core}")).json(&json!({ "poll_seconds": 0 })), 422, "invalid_request", "/poll_seconds"),
        (Call::post("/api/mifos/test-connection", &json!({})), 422, "invalid_request", "/mifos_host_url"),
        (
            Call::post("/api/mifos/test-connection", &json!({ "id": core, "mifos_host_url": "https://other.example.co.ke" })),
            422,
            "invalid_request",
            "/id",
        ),
        (
            Call::post(
                "/api/mifos/test-connection",
                &json!({ "mifos_host_url": "http://localhost:8080", "mifos_username": "u", "mifos_password": "p", "mifos_tenant_id": "default" }),
            ),
            422,
            "invalid_request",
            "/mifos_host_url",
        ),
        (Call::post("/api/sms/settings", &json!({ "partner_id": a, "sms_enabled": true })), 422, "invalid_request", "/damza_base_url"),
        (Call::post("/api/sms/settings", &json!({ "partner_id": a, "damza_sender_id": "TWELVE CHARS" })), 422, "invalid_request", "/damza_sender_id"),
        (Call::new("DELETE", format!("/api/keys/{core}?reason=because")), 404, "not_found", ""),
        (Call::new("DELETE", format!("/api/keys/{core}")), 422, "invalid_request", "/reason"),
    ];
    for (n, (call, status, code, pointer)) in cases.into_iter().enumerate() {
        let reply = call.key(&house.platform).send(&house).await;
        assert_eq!((reply.status, reply.code()), (status, code), "case {n}: {}", reply.body);
        if !pointer.is_empty() {
            assert_eq!(reply.pointer(), pointer, "case {n}: {}", reply.body);
        }
        assert_eq!(reply.body["money_moved"], "no", "case {n}: {}", reply.body);
    }
    assert_eq!(house.written().await, before, "nothing was written");
}

#[tokio::test]
async fn nobody_gives_more_than_he_has_and_nobody_approves_his_own() {
    let house = house().await;
    let payment = house.payment("r-1").await;
    house.hold(&payment, "needs_approval").await;
    let own = Call::post(format!("/api/loans/disbursements/{payment}/approve"), &json!({ "reason": "mine is fine" }))
        .key(&house.a.admin)
        .send(&house)
        .await;
    assert_eq!((own.status, own.code()), (403, "four_eyes"));
    let operations = key_of(&house.engine, None, "operations").await;
    let keys = Call::post(format!("/api/partners/{}/keys", house.a.id), &json!({ "label": "x", "environment": "sandbox", "role": "partner_admin" }))
        .key(&operations)
        .once()
        .send(&house)
        .await;
    assert_eq!((keys.status, keys.code()), (403, "not_permitted"));
    let checker = key_of(&house.engine, Some(house.a.id), "checker").await;
    let approved = Call::post(format!("/api/loans/disbursements/{payment}/approve"), &json!({ "reason": "seen and agreed" }))
        .key(&checker)
        .send(&house)
        .await
        .expect(202);
    assert_eq!(approved.body["state"], "received");
}
