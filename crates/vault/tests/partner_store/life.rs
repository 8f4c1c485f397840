//! A partner is made, changed, suspended, closed.

use pv_vault::{
    audit::{self, Permission},
    partner::{self, PartnerPatch, PartnerPolicy, PartnerStatus},
};

use crate::support::{admin_of, house, kes, new_id, refusal};

#[tokio::test]
async fn a_new_partner_has_its_ledger_accounts_and_an_audit_row() {
    let house = house().await;
    partner::open_platform_accounts(&house.engine).await.unwrap();
    partner::open_platform_accounts(&house.engine).await.unwrap();
    let made = house.partner("Umoja").await;
    assert_eq!(house.count("select count(*) from ledger_accounts where partner_id is null and book = 'P'").await, 14);
    assert_eq!(house.count("select count(*) from ledger_accounts where partner_id is not null").await, 14);
    assert_eq!(house.count("select count(*) from ledger_balances").await, 2);
    let trail = audit::list(&house.engine, &house.root, None, 10).await.unwrap();
    assert_eq!(trail[0].action, "partner.create");
    assert_eq!(trail[0].actor, "platform/operator:root");
    assert_eq!(trail[0].partner_id, Some(made.id.uuid()));
    assert_eq!(trail[0].after.as_ref().unwrap()["name"], "Umoja");
}

#[tokio::test]
async fn what_is_changed_is_read_back_and_the_rest_stays() {
    let house = house().await;
    let made = house.partner("Umoja").await;
    let policy = PartnerPolicy { daily_cap: Some(kes(1_000_000)), ..PartnerPolicy::default() };
    let patch = PartnerPatch { policy: Some(policy.clone()), ..PartnerPatch::default() };
    partner::update(&house.engine, &house.root, made.id, patch).await.unwrap();
    let read = partner::get(&house.engine, &house.root, made.id).await.unwrap();
    assert_eq!((read.name.as_str(), &read.policy), ("Umoja", &policy));
}

#[tokio::test]
async fn a_partners_own_people_do_not_change_its_limits() {
    let house = house().await;
    let made = house.partner("Umoja").await;
    let admin = admin_of(made.id);
    assert!(!admin.may(Permission::PartnersWrite));
    assert_eq!(refusal(partner::update(&house.engine, &admin, made.id, PartnerPatch::default()).await), "not_permitted");
    assert_eq!(refusal(partner::set_status(&house.engine, &admin, made.id, PartnerStatus::Suspended, "why not").await), "not_permitted");
}

#[tokio::test]
async fn a_partner_is_closed_only_when_nothing_is_open() {
    let house = house().await;
    let made = house.partner("Umoja").await;
    let set = async |status| partner::set_status(&house.engine, &house.root, made.id, status, "contract ended").await;
    assert_eq!(refusal(set(PartnerStatus::Closed).await), "wrong_status");
    set(PartnerStatus::Closing).await.unwrap();
    let item = new_id();
    sqlx::query(
        "insert into items (id, partner_id, kind, subject, title, detail, suggested_action, link, opened_at)
         values ($1, $2, 'x', $1, 't', 'd', 's', '/', '2026-11-20T08:00:00Z')",
    )
    .bind(item)
    .bind(made.id.uuid())
    .execute(house.engine.db.worker())
    .await
    .unwrap();
    assert_eq!(refusal(set(PartnerStatus::Closed).await), "partner_not_settled");
    sqlx::query("update items set closed_at = opened_at").execute(house.engine.db.worker()).await.unwrap();
    assert_eq!(set(PartnerStatus::Closed).await.unwrap().status, PartnerStatus::Closed);
    assert_eq!(refusal(set(PartnerStatus::Active).await), "wrong_status");
    assert_eq!(refusal(partner::update(&house.engine, &house.root, made.id, PartnerPatch::default()).await), "partner_closed");
}

#[tokio::test]
async fn money_in_the_wallet_keeps_a_partner_open() {
    let house = house().await;
    let made = house.partner("Umoja").await;
    partner::set_status(&house.engine, &house.root, made.id, PartnerStatus::Closing, "contract ended").await.unwrap();
    sqlx::query("update ledger_balances set posted_minor = 1 where partner_id = $1")
        .bind(made.id.uuid())
        .execute(house.engine.db.worker())
        .await
        .unwrap();
    let closed = partner::set_status(&house.engine, &house.root, made.id, PartnerStatus::Closed, "contract ended").await;
    assert_eq!(refusal(closed), "partner_not_settled");
}
