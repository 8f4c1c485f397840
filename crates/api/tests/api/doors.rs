//! Who gets in.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use pv_api::{Access, route_table};
use pv_vault::{audit::Environment, partner::PartnerStatus};
use serde_json::json;

use crate::support::{Call, House, house, house_with, key_for, key_of};

fn filled(path: &str) -> String {
    path.replace("{id}", "019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10")
}

#[tokio::test]
async fn no_route_but_the_public_ones_answers_without_a_key() {
    let house = house().await;
    let before = house.written().await;
    for route in route_table() {
        // The body is right for none of them: the door comes first.
        let reply = Call::new(route.method, filled(&route.path)).json(&json!({})).send(&house).await;
        if route.access == Access::Public {
            assert_ne!(reply.status, 401, "{} {}", route.method, route.path);
        } else {
            assert_eq!((reply.status, reply.code()), (401, "not_authenticated"), "{} {}", route.method, route.path);
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn every_route_refuses_a_role_that_lacks_its_permission() {
    let house = house().await;
    let before = house.written().await;
    let roles = [("viewer", &house.a.viewer), ("maker", &house.a.maker)];
    for (role, key) in roles {
        let me = Call::get("/api/me").key(key).send(&house).await.expect(200);
        let has: Vec<&str> = me.body["permissions"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
        for route in route_table() {
            let Access::Needs(permission) = route.access else { continue };
            if has.contains(&permission.as_str()) {
                continue;
            }
            let reply = Call::new(route.method, filled(&route.path)).json(&json!({})).key(key).send(&house).await;
            assert_eq!((reply.status, reply.code()), (403, "not_permitted"), "{role}: {} {}", route.method, route.path);
        }
    }
    assert_eq!(house.written().await, before);
}

#[tokio::test]
async fn a_bad_key_is_one_and_the_same_401() {
    let house = house().await;
    let mut mistyped = house.a.admin.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'x' { 'y' } else { 'x' });
    let revoked = key_of(&house.engine, Some(house.a.id), "maker").await;
    let listed = Call::get(format!("/api/partners/{}/keys", house.a.id)).key(&house.a.admin).send(&house).await.expect(200);
    let newest = listed.body["items"].as_array().unwrap().iter().find(|k| revoked.starts_with(k["prefix"].as_str().unwrap())).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    Call::new("DELETE", format!("/api/keys/{newest}?reason=lost%20laptop")).key(&house.a.admin).send(&house).await.expect(200);
    let long = "x".repeat(5_000);
    for bad in ["", "x", "pv_test_", mistyped.as_str(), revoked.as_str(), long.as_str(), "pv_test_é"] {
        let reply = Call::get("/api/me").key(bad).send(&house).await;
        assert_eq!((reply.status, reply.code()), (401, "not_authenticated"), "{bad:?}");
    }
    for (name, value) in [("authorization", "Basic dXNlcjpwYXNz"), ("authorization", "Bearer"), ("x-api-key", " "), ("authorization", "\u{ff}")] {
        assert_eq!(Call::get("/api/me").header(name, value).send(&house).await.status, 401, "{value:?}");
    }
    let two = Call::get("/api/me").key(&house.a.admin).header("x-api-key", &house.b.admin).send(&house).await;
    assert_eq!(two.status, 401, "two different keys are no key");
    Call::get("/api/me").header("x-api-key", &house.a.admin).send(&house).await.expect(200);
}

#[tokio::test]
async fn a_key_of_the_other_environment_is_refused() {
    let house = house().await;
    let live = key_for(&house.engine, Some(house.a.id), "partner_admin", Environment::Production).await;
    let reply = Call::get("/api/me").key(&live).send(&house).await;
    assert_eq!((reply.status, reply.code()), (403, "wrong_environment"));
}

#[tokio::test]
async fn a_suspended_partners_key_reads_and_starts_nothing() {
    let house = house().await;
    let body = json!({ "status": PartnerStatus::Suspended, "reason": "asked for by the board" });
    Call::post(format!("/api/partners/{}/status", house.a.id), &body).key(&house.platform).send(&house).await.expect(200);
    Call::get("/api/wallet/balance").key(&house.a.admin).send(&house).await.expect(200);
    let pay = json!({ "reference": "r", "phone": "0712345678", "amount": 100 });
    let reply = Call::post("/api/mpesa/b2c/pay", &pay).key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (403, "not_permitted"));
    let reply = Call::post("/api/mpesa/b2c/pay", &json!({ "reference": "r", "phone": "0712345678", "amount": 100, "partner_id": house.a.id }))
        .key(&house.platform)
        .send(&house)
        .await;
    assert_eq!((reply.status, reply.code()), (409, "partner_not_active"));
}

async fn from(house: &House, peer: &str, forwarded: Option<&str>, key: &str) -> u16 {
    use tower::ServiceExt as _;
    let mut request = http::Request::builder().uri("/api/me").header("authorization", format!("Bearer {key}"));
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    let mut request = request.body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    house.app.clone().oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_address_list_looks_at_the_peer_and_believes_only_trusted_proxies() {
    let house = house_with(|state| state.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()]).await;
    let body = json!({ "label": "listed", "environment": "sandbox", "role": "viewer", "addresses": ["41.90.0.0/16"] });
    let made = Call::post(format!("/api/partners/{}/keys", house.a.id), &body).key(&house.a.admin).once().send(&house).await.expect(201);
    let key = made.body["key"].as_str().unwrap().to_owned();
    assert_eq!(from(&house, "41.90.7.7:1", None, &key).await, 200);
    assert_eq!(from(&house, "1.2.3.4:1", None, &key).await, 403);
    assert_eq!(from(&house, "1.2.3.4:1", Some("41.90.7.7"), &key).await, 403, "a stranger's header is not believed");
    assert_eq!(from(&house, "10.1.1.1:1", Some("41.90.7.7"), &key).await, 200);
    assert_eq!(from(&house, "10.1.1.1:1", Some("41.90.7.7, 1.2.3.4"), &key).await, 403, "the last hop counts, not the first");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let house = house().await;
    let reply = Call::get("/api/nothing/here").send(&house).await;
    assert_eq!((reply.status, reply.code()), (404, "no_such_path"));
    let reply = Call::new("PUT", "/api/mpesa/b2c/pay").key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (405, "method_not_allowed"));
    assert!(reply.header("allow").contains("POST"), "{:?}", reply.headers);
    for path in ["/api/loans/disbursements/not-a-uuid", "/api/loans/disbursements/1"] {
        let reply = Call::get(path).key(&house.a.admin).send(&house).await;
        assert_eq!((reply.status, reply.code()), (404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn a_request_keeps_its_id_when_it_is_a_good_one() {
    let house = house().await;
    let good = Call::get("/healthz").header("x-request-id", "my-request:1.2_3").send(&house).await.expect(200);
    assert_eq!(good.header("x-request-id"), "my-request:1.2_3");
    for bad in ["", "with space", "ü", &"x".repeat(101)] {
        let reply = Call::get("/healthz").header("x-request-id", bad).send(&house).await.expect(200);
        assert_ne!(reply.header("x-request-id"), bad);
    }
    let id = house.payment("with-an-id").await;
    assert!(!id.is_empty());
    Call::post("/api/mpesa/b2c/pay", &json!({ "reference": "traced", "phone": "0712345678", "amount": 50 }))
        .key(&house.a.admin)
        .header("x-request-id", "trace-me")
        .send(&house)
        .await
        .expect(202);
    assert_eq!(house.count("select count(*) from audit_log where request_id = 'trace-me' and action = 'disbursement.ordered'").await, 1);
}
