//! One effect per key, whatever is repeated, lost or late.

use pv_vault::{
    audit::{Actor, Environment},
    idempotency::{Claim, Guard, KeyScope, begin_in_tx, claim, fingerprint, finish_in_tx, release},
};
use serde_json::json;

use crate::support::{House, admin_of, house, new_id, refusal};

fn scope(actor: &Actor, key: &str) -> KeyScope {
    KeyScope::of(actor, None, "POST /api/mpesa/b2c/pay", key).unwrap()
}

fn command(amount: &str) -> [u8; 32] {
    fingerprint(&json!({ "amount": amount })).unwrap()
}

fn guard(claim: Claim) -> Guard {
    match claim {
        Claim::New(guard) => guard,
        other => panic!("not new: {other:?}"),
    }
}

async fn finish(house: &House, guard: &Guard, status: u16) -> Result<(), pv_vault::VaultError> {
    let mut tx = house.engine.begin().await?;
    finish_in_tx(tx.conn(), guard, status, None, None).await?;
    tx.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_command_is_refused() {
    let house = house().await;
    let scope = scope(&house.root, "k1");
    let mine = guard(claim(&house.engine, &scope, &command("1")).await.unwrap());
    assert_eq!(claim(&house.engine, &scope, &command("1")).await.unwrap(), Claim::InFlight);
    assert_eq!(claim(&house.engine, &scope, &command("2")).await.unwrap(), Claim::Mismatch);
    let id = new_id();
    let mut tx = house.engine.begin().await.unwrap();
    finish_in_tx(tx.conn(), &mine, 202, Some(id), Some(&json!({"a": 1}))).await.unwrap();
    tx.commit().await.unwrap();
    let replay = Claim::Replay { status: 202, resource_id: Some(id), response: Some(json!({"a": 1})) };
    assert_eq!(claim(&house.engine, &scope, &command("1")).await.unwrap(), replay);
    let mismatch = claim(&house.engine, &scope, &command("2")).await.unwrap();
    assert_eq!(mismatch.refusal().unwrap().status, 422);
    house.clock.forward(chrono::Duration::days(30));
    assert_eq!(claim(&house.engine, &scope, &command("1")).await.unwrap(), replay);
}

#[tokio::test]
async fn an_effect_that_is_rolled_back_leaves_the_key_unfinished() {
    let house = house().await;
    let scope = scope(&house.root, "k1");
    let mine = guard(claim(&house.engine, &scope, &command("1")).await.unwrap());
    let mut tx = house.engine.begin().await.unwrap();
    finish_in_tx(tx.conn(), &mine, 202, None, None).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(claim(&house.engine, &scope, &command("1")).await.unwrap(), Claim::InFlight);
}

#[tokio::test]
async fn a_dead_holder_is_taken_over_and_cannot_finish_any_more() {
    let house = house().await;
    let scope = scope(&house.root, "k1");
    let late = guard(claim(&house.engine, &scope, &command("1")).await.unwrap());
    house.clock.forward(chrono::Duration::seconds(60));
    assert_eq!(claim(&house.engine, &scope, &command("1")).await.unwrap(), Claim::InFlight, "the lease is not over");
    house.clock.forward(chrono::Duration::seconds(1));
    assert_eq!(claim(&house.engine, &scope, &command("2")).await.unwrap(), Claim::Mismatch);
    let next = guard(claim(&house.engine, &scope, &command("1")).await.unwrap());
    assert_eq!(refusal(finish(&house, &late, 201).await), "unavailable");
    finish(&house, &next, 202).await.unwrap();
    assert_eq!(refusal(finish(&house, &next, 202).await), "unavailable", "once");
}

#[tokio::test]
async fn a_released_key_may_carry_a_corrected_command() {
    let house = house().await;
    let scope = scope(&house.root, "k1");
    let wrong = guard(claim(&house.engine, &scope, &command("wrong")).await.unwrap());
    release(&house.engine, wrong).await.unwrap();
    let right = guard(claim(&house.engine, &scope, &command("right")).await.unwrap());
    finish(&house, &right, 202).await.unwrap();
    // A release that comes late does not free a finished key.
    release(&house.engine, right).await.unwrap();
    assert!(matches!(claim(&house.engine, &scope, &command("right")).await.unwrap(), Claim::Replay { status: 202, .. }));
}

#[tokio::test]
async fn keys_of_other_partners_environments_and_routes_are_other_keys() {
    let house = house().await;
    let (a, b) = (house.partner("Umoja").await.id, house.partner("Harambee").await.id);
    let mut live = admin_of(a);
    live.environment = Environment::Production;
    let elsewhere = KeyScope { route: "POST /api/other", ..scope(&admin_of(a), "k1") };
    for scope in [scope(&house.root, "k1"), scope(&admin_of(a), "k1"), scope(&admin_of(b), "k1"), scope(&live, "k1"), elsewhere] {
        assert!(matches!(claim(&house.engine, &scope, &command("1")).await.unwrap(), Claim::New(_)), "{scope:?}");
    }
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_key() {
    let house = house().await;
    let tries = (0..8).map(|_| {
        let (engine, scope) = (house.engine.clone(), scope(&house.root, "k1"));
        tokio::spawn(async move { claim(&engine, &scope, &command("1")).await.unwrap() })
    });
    let mut new = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Claim::New(_) => new += 1,
            other => assert_eq!(other, Claim::InFlight),
        }
    }
    assert_eq!(new, 1);
}

#[tokio::test]
async fn a_claim_inside_the_effect_makes_the_twin_wait_for_its_end() {
    let house = house().await;
    let scope = scope(&house.root, "k1");
    let mut tx = house.engine.begin().await.unwrap();
    let mine = guard(begin_in_tx(tx.conn(), &scope, &command("1"), house.engine.now()).await.unwrap());
    let twin = {
        let (engine, scope) = (house.engine.clone(), scope.clone());
        tokio::spawn(async move { claim(&engine, &scope, &command("1")).await.unwrap() })
    };
    finish_in_tx(tx.conn(), &mine, 201, None, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(twin.await.unwrap(), Claim::Replay { status: 201, resource_id: None, response: None });
}
