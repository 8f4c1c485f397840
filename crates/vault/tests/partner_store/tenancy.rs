//! One partner sees and touches nothing of another, whichever door it tries.

use pv_kernel::ids::CredentialId;
use pv_vault::{
    audit,
    partner::{
        self, api_key,
        core_link::{self, CorePatch},
        credential,
        host_url::HostRules,
        product,
        shortcode::{self, ShortcodePatch},
        sms_settings, webhook,
    },
    stop::{self, StopTarget},
};
use secrecy::ExposeSecret as _;

use crate::{
    keys::new_key,
    products::core_product,
    support::{admin_of, house, refusal, secret},
};

#[tokio::test]
async fn another_partners_rows_do_not_exist() {
    let house = house().await;
    let engine = &house.engine;
    let (ours, theirs) = (house.partner("Umoja").await, house.partner("Harambee").await);
    let shortcode = house.shortcode(theirs.id, "600111").await;
    let credential = CredentialId(house.credential(shortcode.id, "a", true).await.id);
    let core = house.core(theirs.id, "https://mifos.harambee.co.ke").await;
    let products = product::store_fetched(engine, &house.root, core.id, &[core_product("1")]).await.unwrap();
    let key = api_key::create(engine, &house.root, Some(theirs.id), new_key("maker")).await.unwrap();
    let stop = stop::set(engine, &house.root, StopTarget::Shortcode(shortcode.id), "a test").await.unwrap();
    sms_settings::upsert(engine, &house.root, Some(theirs.id), crate::connections::sms_patch(), HostRules::STRICT).await.unwrap();
    let us = admin_of(ours.id);

    // Lists are empty, not refused.
    assert_eq!(partner::list(engine, &us).await.unwrap(), std::slice::from_ref(&ours));
    assert_eq!(shortcode::list(engine, &us, None).await.unwrap(), []);
    assert_eq!(shortcode::list(engine, &us, Some(theirs.id)).await.unwrap(), []);
    assert_eq!(core_link::list(engine, &us, Some(theirs.id)).await.unwrap(), []);
    assert_eq!(product::list(engine, &us, core.id).await.unwrap(), []);
    assert_eq!(api_key::list(engine, &us, Some(theirs.id)).await.unwrap(), []);
    assert_eq!(stop::list(engine, &us).await.unwrap(), []);
    assert!(audit::list(engine, &us, None, 100).await.unwrap().iter().all(|row| row.partner_id == Some(ours.id.uuid())));

    // Single rows are not there: 404, as for an id that nobody has.
    let found = [
        refusal(partner::get(engine, &us, theirs.id).await),
        refusal(shortcode::get(engine, &us, shortcode.id).await),
        refusal(shortcode::update(engine, &us, shortcode.id, ShortcodePatch::default(), HostRules::STRICT).await),
        refusal(credential::list(engine, &us, shortcode.id).await),
        refusal(credential::retire(engine, &us, credential, "a test").await),
        refusal(core_link::get(engine, &us, core.id).await),
        refusal(core_link::update(engine, &us, core.id, CorePatch::default(), HostRules::STRICT).await),
        refusal(core_link::retire(engine, &us, core.id, "a test").await),
        refusal(core_link::load_for(engine, &us, core.id).await),
        refusal(core_link::mifos_fields(engine, &us, theirs.id).await),
        refusal(webhook::make_token(engine, &us, core.id).await),
        refusal(webhook::set_hmac_key(engine, &us, core.id, None).await),
        refusal(product::store_fetched(engine, &us, core.id, &[]).await),
        refusal(product::update(engine, &us, products[0].id, product::ProductPatch::default()).await),
        refusal(api_key::revoke(engine, &us, key.view.id, "a test").await),
        refusal(api_key::rotate(engine, &us, key.view.id, chrono::Duration::zero()).await),
        refusal(api_key::create(engine, &us, Some(theirs.id), new_key("maker")).await),
        refusal(sms_settings::get(engine, &us, Some(theirs.id)).await),
        refusal(stop::set(engine, &us, StopTarget::Partner(theirs.id), "a test").await),
        refusal(stop::set(engine, &us, StopTarget::Shortcode(shortcode.id), "a test").await),
        refusal(stop::set(engine, &us, StopTarget::Product(products[0].id), "a test").await),
        refusal(stop::lift(engine, &us, stop.id, "a test").await),
    ];
    for (number, code) in found.into_iter().enumerate() {
        assert_eq!(code, "not_found", "door {number}");
    }
    // And nothing was changed on the way.
    assert_eq!(house.count("select count(*) from mifos_partners where webhook_secret_token is not null or retired_at is not null").await, 0);
    assert_eq!(house.count("select count(*) from mpesa_credentials where retired_at is not null").await, 0);
}

#[tokio::test]
async fn the_database_refuses_a_row_of_another_partner_even_when_the_code_would_not() {
    let house = house().await;
    let (ours, theirs) = (house.partner("Umoja").await, house.partner("Harambee").await);
    let mut tx = house.engine.begin_for(ours.id).await.unwrap();
    let seen: i64 = sqlx::query_scalar("select count(*) from partners").fetch_one(tx.conn()).await.unwrap();
    assert_eq!(seen, 1);
    let moved = sqlx::query("insert into audit_log (id, partner_id, at, actor, action) values ($1, $2, '2026-01-01', 'x', 'x')")
        .bind(house.engine.id())
        .bind(theirs.id.uuid())
        .execute(tx.conn())
        .await;
    assert!(moved.is_err());
}

#[tokio::test]
async fn no_secret_stands_in_a_row_or_in_the_audit_trail() {
    let house = house().await;
    let engine = &house.engine;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    house.credential(shortcode.id, "hush", true).await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    webhook::set_hmac_key(engine, &house.root, core.id, Some(&secret("hush-hmac-key-0123456789"))).await.unwrap();
    let token = webhook::make_token(engine, &house.root, core.id).await.unwrap().token;
    let key = api_key::create(engine, &house.root, Some(partner.id), new_key("maker")).await.unwrap().key;
    sms_settings::upsert(engine, &house.root, Some(partner.id), crate::connections::sms_patch(), HostRules::STRICT).await.unwrap();
    for table in ["mpesa_credentials", "mifos_partners", "partner_sms_settings", "api_keys", "audit_log"] {
        let rows = house.whole_table(table).await;
        assert!(!rows.is_empty(), "{table} has rows");
        for word in ["hush", "mifos-password", "damza-key", "damza-password", token.expose_secret(), key.expose_secret()] {
            assert!(!rows.contains(word), "{word} stands in {table}");
        }
    }
}
