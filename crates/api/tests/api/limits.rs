//! How much may come in, and how fast; and whether the process is ready.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use pv_api::ReadyCheck;
use pv_kernel::SystemClock;
use serde_json::json;

use crate::support::{Call, house, house_with};

#[tokio::test]
async fn too_many_requests_of_one_key_wait_and_another_key_does_not() {
    let house = house_with(|state| state.limits.per_key = NonZeroU32::new(3).unwrap()).await;
    for left in ["2", "1", "0"] {
        let reply = Call::get("/api/me").key(&house.a.admin).send(&house).await.expect(200);
        assert_eq!(reply.header("ratelimit-policy"), "\"key\";q=3;w=60");
        assert_eq!(reply.header("ratelimit"), format!("\"key\";r={left};t=0"));
    }
    let reply = Call::get("/api/me").key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (429, "too_many_requests"));
    assert_eq!((reply.header("retry-after"), reply.header("ratelimit")), ("20", "\"key\";r=0;t=20"));
    Call::get("/api/me").key(&house.b.admin).send(&house).await.expect(200);
    house.clock.forward(Duration::from_secs(20));
    Call::get("/api/me").key(&house.a.admin).send(&house).await.expect(200);
}

#[tokio::test]
async fn an_address_is_limited_before_any_key_is_looked_at() {
    let house = house_with(|state| state.limits.per_address = NonZeroU32::new(2).unwrap()).await;
    for _ in 0..2 {
        assert_eq!(Call::get("/api/me").key("pv_test_wrong").send(&house).await.status, 401);
    }
    let reply = Call::get("/api/me").key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (429, "too_many_requests"));
    assert!(reply.header("ratelimit-policy").starts_with("\"address\""));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_and_says_that_its_effect_is_open() {
    let house = house_with(|state| state.limits.timeout = Duration::from_millis(1)).await;
    let body = json!({ "reference": "slow", "phone": "0712345678", "amount": 100 });
    let reply = Call::post("/api/mpesa/b2c/pay", &body).key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (503, "timeout"));
    assert_eq!(reply.body["money_moved"], "not_yet_known");
    assert_eq!(reply.header("retry-after"), "5");
}

#[tokio::test]
async fn readiness_looks_at_database_clock_and_what_the_operator_added() {
    let house = house().await;
    let reply = Call::get("/readyz").send(&house).await.expect(503);
    assert_eq!(reply.body["ready"], false, "the hand clock of the tests is not the database's");
    assert_eq!(reply.body["checks"][0], json!({ "name": "database", "ok": true, "detail": null }));
    assert_eq!(reply.body["checks"][1]["name"], "clock");
    assert!(reply.body["checks"][1]["detail"].as_str().unwrap().contains("differ by"));

    let mut checks = Vec::new();
    for result in [Ok(()), Err("version 7 is missing".to_owned())] {
        checks.push(ReadyCheck { name: "migrations", run: Arc::new(move || Box::pin(std::future::ready(result.clone()))) });
    }
    let engine = pv_vault::Engine {
        clock: Arc::new(SystemClock::new()),
        db: house.engine.db.clone(),
        ids: house.engine.ids.clone(),
        rail: house.engine.rail.clone(),
        core: house.engine.core.clone(),
        sms: house.engine.sms.clone(),
        keys: pv_vault::secret::KeyRing::new([(1, zeroize::Zeroizing::new([7; 32]))]).unwrap(),
        id_key: pv_vault::payout::rail_id::IdKey::new([9; 32]),
        public_url: String::new(),
        limits: pv_vault::EngineLimits::default(),
        only_partners: None,
    };
    let mut state = pv_api::ApiState::new(Arc::new(engine), pv_vault::audit::Environment::Sandbox, Arc::new(|_: &[_]| ()));
    let app = pv_api::router(state.clone());
    assert_eq!(Call::get("/readyz").send_to(&app).await.expect(200).body["ready"], true);
    state.ready_checks = checks;
    let reply = Call::get("/readyz").send_to(&pv_api::router(state)).await.expect(503);
    assert_eq!(reply.body["checks"][3], json!({ "name": "migrations", "ok": false, "detail": "version 7 is missing" }));
}

#[tokio::test]
async fn without_a_database_the_process_lives_and_is_not_ready() {
    let house = house().await;
    house.engine.db.close().await;
    Call::get("/healthz").send(&house).await.expect(200);
    let reply = Call::get("/readyz").send(&house).await.expect(503);
    assert_eq!(reply.body["checks"][0]["ok"], false);
    let reply = Call::get("/api/me").key(&house.a.admin).send(&house).await;
    assert_eq!((reply.status, reply.code()), (503, "unavailable"));
    assert_eq!(reply.header("retry-after"), "5");
}
