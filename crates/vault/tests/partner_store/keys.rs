//! The life of an API key.

use chrono::Duration;
use pv_vault::{
    audit::{Environment, Permission},
    partner::{
        self, PartnerStatus,
        api_key::{self, KeyLimits, NewKey},
    },
};
use secrecy::ExposeSecret as _;

use crate::support::{admin_of, house, kes, refusal};

pub fn new_key(role: &str) -> NewKey {
    NewKey {
        label: "branch".into(),
        environment: Environment::Sandbox,
        role: role.into(),
        addresses: Vec::new(),
        limits: KeyLimits { per_payment: Some(kes(10_000)), per_day: None },
        expires_at: None,
    }
}

#[tokio::test]
async fn a_key_says_who_it_is_until_it_is_revoked() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let made = api_key::create(&house.engine, &admin_of(partner.id), None, new_key("maker")).await.unwrap();
    let actor = api_key::authenticate(&house.engine, made.key.expose_secret(), "41.90.1.2".parse().ok()).await.unwrap();
    assert_eq!((actor.partner, actor.role.as_str(), actor.environment), (Some(partner.id), "maker", Environment::Sandbox));
    assert!(actor.may(Permission::DisbursementsCreate) && !actor.may(Permission::DisbursementsApprove));
    let mut tx = house.engine.begin().await.unwrap();
    assert_eq!(api_key::limits_in_tx(tx.conn(), made.view.id).await.unwrap().per_payment, Some(kes(10_000)));
    tx.commit().await.unwrap();
    api_key::revoke(&house.engine, &admin_of(partner.id), made.view.id, "lost").await.unwrap();
    assert_eq!(refusal(api_key::authenticate(&house.engine, made.key.expose_secret(), None).await), "not_authenticated");
}

#[tokio::test]
async fn a_wrong_key_and_an_unknown_one_get_the_same_answer() {
    let house = house().await;
    let unknown = api_key::new_key(house.engine.ids.as_ref(), Environment::Sandbox);
    for text in ["", "pv_test_x", unknown.expose_secret()] {
        assert_eq!(refusal(api_key::authenticate(&house.engine, text, None).await), "not_authenticated", "{text}");
    }
}

#[tokio::test]
async fn a_key_ends_at_its_hour_and_is_refused_from_elsewhere() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let new = NewKey { expires_at: Some(house.engine.now() + Duration::hours(1)), addresses: vec!["41.90.0.0/16".into()], ..new_key("viewer") };
    let made = api_key::create(&house.engine, &house.root, Some(partner.id), new).await.unwrap();
    let try_from = async |address: &str| api_key::authenticate(&house.engine, made.key.expose_secret(), address.parse().ok()).await;
    assert!(try_from("41.90.7.7").await.is_ok());
    assert_eq!(refusal(try_from("1.2.3.4").await), "address_not_allowed");
    assert_eq!(refusal(try_from("unknown").await), "address_not_allowed");
    house.clock.forward(Duration::hours(1));
    assert_eq!(refusal(try_from("41.90.7.7").await), "not_authenticated");
}

#[tokio::test]
async fn a_rotated_key_works_until_the_overlap_ends() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let old = api_key::create(&house.engine, &house.root, Some(partner.id), new_key("maker")).await.unwrap();
    let new = api_key::rotate(&house.engine, &admin_of(partner.id), old.view.id, Duration::hours(24)).await.unwrap();
    assert_eq!((new.view.role.as_str(), &new.view.limits), ("maker", &old.view.limits));
    house.clock.forward(Duration::hours(24) - Duration::seconds(1));
    assert!(api_key::authenticate(&house.engine, old.key.expose_secret(), None).await.is_ok());
    house.clock.forward(Duration::seconds(1));
    assert_eq!(refusal(api_key::authenticate(&house.engine, old.key.expose_secret(), None).await), "not_authenticated");
    assert!(api_key::authenticate(&house.engine, new.key.expose_secret(), None).await.is_ok());
    assert_eq!(refusal(api_key::rotate(&house.engine, &house.root, old.view.id, Duration::zero()).await), "key_over");
}

#[tokio::test]
async fn nobody_gives_more_than_he_has() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let mut admin = admin_of(partner.id);
    assert_eq!(refusal(api_key::create(&house.engine, &admin, None, new_key("platform_admin")).await), "invalid_request");
    assert_eq!(refusal(api_key::create(&house.engine, &admin, None, new_key("nobody")).await), "invalid_request");
    admin.permissions.remove(&Permission::DisbursementsApprove);
    assert_eq!(refusal(api_key::create(&house.engine, &admin, None, new_key("checker")).await), "not_permitted");
    assert!(api_key::create(&house.engine, &admin, None, new_key("maker")).await.is_ok());
    // A sandbox key does not make a key to real money.
    let made = api_key::create(&house.engine, &admin_of(partner.id), None, new_key("partner_admin")).await.unwrap();
    let as_key = api_key::authenticate(&house.engine, made.key.expose_secret(), None).await.unwrap();
    let live = NewKey { environment: Environment::Production, ..new_key("maker") };
    assert_eq!(refusal(api_key::create(&house.engine, &as_key, None, live).await), "invalid_request");
}

#[tokio::test]
async fn the_status_of_the_partner_narrows_its_keys() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let made = api_key::create(&house.engine, &house.root, Some(partner.id), new_key("maker")).await.unwrap();
    let set = async |status| partner::set_status(&house.engine, &house.root, partner.id, status, "a test").await.unwrap();
    set(PartnerStatus::Suspended).await;
    let actor = api_key::authenticate(&house.engine, made.key.expose_secret(), None).await.unwrap();
    assert!(actor.may(Permission::DisbursementsRead) && !actor.may(Permission::DisbursementsCreate));
    set(PartnerStatus::Closing).await;
    set(PartnerStatus::Closed).await;
    assert_eq!(refusal(api_key::authenticate(&house.engine, made.key.expose_secret(), None).await), "not_authenticated");
}

#[tokio::test]
async fn last_use_is_written_at_most_once_a_minute() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let made = api_key::create(&house.engine, &house.root, Some(partner.id), new_key("maker")).await.unwrap();
    let last = async || api_key::list(&house.engine, &house.root, None).await.unwrap()[0].last_used_at;
    let first = house.engine.now();
    for (after, expected) in [(0, first), (59, first), (1, first + Duration::seconds(60))] {
        house.clock.forward(Duration::seconds(after));
        api_key::authenticate(&house.engine, made.key.expose_secret(), None).await.unwrap();
        assert_eq!(last().await, Some(expected));
    }
}

#[tokio::test]
async fn the_platforms_first_key_is_made_once_even_by_many_processes() {
    let house = house().await;
    let starts = (0..6).map(|_| {
        let engine = house.engine.clone();
        tokio::spawn(async move { api_key::ensure_platform_key(&engine, Environment::Sandbox).await.unwrap() })
    });
    let mut made = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        made.extend(start.await.unwrap());
    }
    assert_eq!(made.len(), 1);
    let actor = api_key::authenticate(&house.engine, made[0].expose_secret(), None).await.unwrap();
    assert!(actor.is_platform() && Permission::ALL.iter().all(|p| actor.may(*p)));
}
