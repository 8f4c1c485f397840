//! Tokens, error bodies, field checks: what happens before a request is taken.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use pv_sandbox::daraja::{App, DarajaOptions, Product};
use pv_sandbox::wire::{Request, Simulator};
use serde_json::{Value, json};

use crate::world::{B2C, BALANCE, PHONE, STATUS, World, balance_query, order, status_query};

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

const GOOD: &str = "sandbox-consumer-key:sandbox-consumer-secret";

#[test]
fn a_token_comes_with_a_text_expiry_and_lives_3599_seconds() {
    let mut world = World::plain();
    let answer = world.oauth(Some(&basic(GOOD)), "grant_type=client_credentials").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json["expires_in"], "3599");
    answer.json["access_token"].as_str().unwrap().clone_into(&mut world.token);
    assert_eq!(world.token.len(), 28);
    world.wait(3598);
    assert_eq!(world.ask("pv-1").unwrap().status, 200);
    world.wait(1);
    assert_eq!(world.ask("pv-1").unwrap().json["errorCode"], "400.003.01");
}

#[test]
fn a_new_token_ends_the_old_one_unless_switched_off() {
    let mut world = World::plain();
    let old = world.token.clone();
    world.sign_in();
    assert_eq!(world.ask("pv-1").unwrap().status, 200);
    world.token.clone_from(&old);
    assert_eq!(world.ask("pv-1").unwrap().status, 400);

    world.sim.options_mut().new_token_ends_old = false;
    world.sign_in();
    let first = world.token.clone();
    world.sign_in();
    world.token = first;
    assert_eq!(world.ask("pv-1").unwrap().status, 200);
}

#[test]
fn the_token_endpoint_has_its_error_bodies_and_the_empty_400() {
    let options = DarajaOptions { other_environment_keys: vec!["production-key".to_owned()], loose_typing_per_mille: 0, ..DarajaOptions::default() };
    let mut world = World::new(1, options);
    let grant = "grant_type=client_credentials";
    let cases = [
        (None, grant, "400.008.01"),
        (Some("Bearer abc".to_owned()), grant, "400.008.01"),
        (Some("Basic !!!".to_owned()), grant, "400.008.01"),
        (Some(basic("no-colon")), grant, "400.008.01"),
        (Some(basic("sandbox-consumer-key:wrong")), grant, "400.008.01"),
        (Some(basic(GOOD)), "", "400.008.02"),
        (Some(basic(GOOD)), "grant_type=password", "400.008.02"),
    ];
    for (authorization, query, code) in cases {
        let answer = world.oauth(authorization.as_deref(), query).unwrap();
        assert_eq!((answer.status, answer.json["errorCode"].as_str()), (400, Some(code)));
        assert!(answer.json["requestId"].is_string());
    }
    let answer = world.oauth(Some(&basic("production-key:x")), grant).unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (400, ""));
    let request = world.request("/oauth/v1/generate?grant_type=client_credentials", &Value::Null);
    let reply = world.sim.handle(world.now, &request);
    assert_eq!(world.read(reply).unwrap().json["errorCode"], "404.001.04");
}

#[test]
fn an_invalid_token_is_told_differently_by_each_api() {
    let mut world = World::plain();
    world.token = "stale".to_owned();
    let b2c = world.pay("pv-1", PHONE, 100).unwrap();
    assert_eq!((b2c.status, b2c.json["errorCode"].as_str()), (401, Some("401.002.01")));
    assert_eq!(b2c.json["errorMessage"], "Error Occurred - Invalid Access Token - stale");
    let status = world.ask("pv-1").unwrap();
    assert_eq!((status.status, status.json["errorCode"].as_str()), (400, Some("400.003.01")));
    let balance = world.post(BALANCE, &balance_query()).unwrap();
    assert_eq!((balance.status, balance.json["errorCode"].as_str()), (401, Some("401.002.01")));

    let mut bare = world.request(B2C, &order("pv-1", PHONE, 100));
    bare.headers_mut().remove("authorization");
    let reply = world.sim.handle(world.now, &bare);
    let answer = world.read(reply).unwrap();
    assert_eq!((answer.status, answer.json["errorCode"].as_str()), (404, Some("404.001.04")));
}

#[test]
fn a_fresh_token_of_an_app_without_the_product_is_refused() {
    let mut app = App::new("sandbox-consumer-key", "sandbox-consumer-secret", &["600111"]);
    app.products = vec![Product::Status];
    let options = DarajaOptions { apps: vec![app], ..DarajaOptions::default() };
    let mut world = World::new(1, options);
    assert_eq!(world.ask("pv-1").unwrap().status, 200);
    assert_eq!(world.pay("pv-1", PHONE, 100).unwrap().status, 401);
}

#[test]
fn wrong_paths_and_methods_have_their_own_errors() {
    let mut world = World::plain();
    let answer = world.post("/mpesa/b2c/v2/paymentrequest", &json!({})).unwrap();
    assert_eq!((answer.status, answer.json["errorMessage"].as_str()), (404, Some("Resource not found")));
    let mut get = Request::new(bytes::Bytes::new());
    *get.uri_mut() = B2C.parse().unwrap();
    let reply = world.sim.handle(world.now, &get);
    let answer = world.read(reply).unwrap();
    assert_eq!((answer.status, answer.json["errorCode"].as_str()), (405, Some("405.001")));
}

/// Sends an order with one field replaced (or removed, with null) and gives the field that is blamed.
fn blamed(world: &mut World, path: &str, mut body: Value, field: &str, value: Value) -> Option<String> {
    match value {
        Value::Null => {
            body.as_object_mut().unwrap().remove(field);
        }
        value => body[field] = value,
    }
    let answer = world.post(path, &body).unwrap();
    if answer.status == 200 {
        return None;
    }
    assert_eq!((answer.status, answer.json["errorCode"].as_str()), (400, Some("400.002.02")));
    let message = answer.json["errorMessage"].as_str().unwrap();
    Some(message.strip_prefix("Bad Request - Invalid ").unwrap().to_owned())
}

#[test]
fn each_bad_field_of_a_payment_is_named_and_nothing_is_taken() {
    let mut world = World::plain();
    let bad = [
        ("OriginatorConversationID", json!("")),
        ("OriginatorConversationID", json!("with space")),
        ("OriginatorConversationID", json!("x".repeat(37))),
        ("InitiatorName", json!("")),
        ("SecurityCredential", json!("")),
        ("CommandID", json!("Pay")),
        ("Amount", json!(0)),
        ("Amount", json!(-5)),
        ("Amount", json!("10.5")),
        ("Amount", json!("ten")),
        ("PartyA", json!("12")),
        ("PartyA", json!("999999")),
        ("PartyB", json!("0700000001")),
        ("PartyB", json!("+254700000001")),
        ("PartyB", json!("254800000001")),
        ("Remarks", json!("")),
        ("Remarks", json!("x".repeat(101))),
        ("QueueTimeOutURL", json!("https://mpesa.example/x")),
        ("ResultURL", json!("not a url")),
        ("ResultURL", json!("https://hooks.example.co.ke/status/Query")),
        ("Occassion", json!("x".repeat(101))),
    ];
    for (field, value) in bad {
        let shown = value.to_string();
        let named = blamed(&mut world, B2C, order("pv-1", PHONE, 100), field, value);
        assert_eq!(named.as_deref(), Some(field), "{field} = {shown}");
    }
    for field in [
        "OriginatorConversationID",
        "InitiatorName",
        "SecurityCredential",
        "CommandID",
        "Amount",
        "PartyA",
        "PartyB",
        "Remarks",
        "QueueTimeOutURL",
        "ResultURL",
    ] {
        let named = blamed(&mut world, B2C, order("pv-1", PHONE, 100), field, Value::Null);
        assert_eq!(named.as_deref(), Some(field));
    }
    assert_eq!(world.sim.payments().count(), 0);
    assert_eq!(blamed(&mut world, B2C, order("pv-1", PHONE, 100), "Occassion", Value::Null), None);
    assert_eq!(blamed(&mut world, B2C, order("pv-2", PHONE, 100), "Amount", json!("100.00")), None);
}

#[test]
fn each_bad_field_of_a_query_is_named() {
    let mut world = World::plain();
    let bad = [
        ("Initiator", Value::Null),
        ("CommandID", json!("Command")),
        ("PartyA", json!("777777")),
        ("IdentifierType", json!("1")),
        ("Remarks", Value::Null),
        ("ResultURL", json!("https://hooks.example.co.ke/cmd")),
        ("QueueTimeOutURL", Value::Null),
    ];
    for (field, value) in bad {
        let named = blamed(&mut world, STATUS, status_query("pv-1", ""), field, value.clone());
        assert_eq!(named.as_deref(), Some(field));
        assert_eq!(blamed(&mut world, BALANCE, balance_query(), field, value).as_deref(), Some(field));
    }
    let named = blamed(&mut world, STATUS, status_query("", ""), "Occasion", Value::Null);
    assert_eq!(named.as_deref(), Some("TransactionID"));
}

#[test]
fn a_wrong_content_type_blames_an_innocent_field_and_bad_json_the_payload() {
    let mut world = World::plain();
    for (kind, fine) in [("text/plain", false), ("application/json; charset=utf-8", true)] {
        let mut request = world.request(B2C, &order("pv-1", PHONE, 100));
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let reply = world.sim.handle(world.now, &request);
        let answer = world.read(reply).unwrap();
        assert_eq!(answer.status == 200, fine);
        if !fine {
            assert_eq!(answer.json["errorMessage"], "Bad Request - Invalid OriginatorConversationID");
        }
    }
    let mut request = world.request(B2C, &Value::Null);
    *request.body_mut() = bytes::Bytes::from_static(b"{\"Amount\":");
    let reply = world.sim.handle(world.now, &request);
    assert_eq!(world.read(reply).unwrap().json["errorCode"], "400.002.05");
}

#[test]
fn production_takes_https_callbacks_only() {
    let options = DarajaOptions { production: true, ..DarajaOptions::default() };
    let mut world = World::new(1, options);
    let plain = json!("http://hooks.example.co.ke/h/9f2c/b2c/result");
    let body = order("pv-1", PHONE, 100);
    assert_eq!(blamed(&mut world, B2C, body.clone(), "ResultURL", plain.clone()).as_deref(), Some("ResultURL"));
    world.sim.options_mut().production = false;
    assert_eq!(blamed(&mut world, B2C, body, "ResultURL", plain), None);
}
