//! Tokens of the webhook: shown once, rotated with an overlap.

use chrono::Duration;
use pv_kernel::ids::CoreId;
use pv_vault::partner::{
    core_link,
    webhook::{self, WebhookOwner},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::support::{House, house, secret};

async fn find(house: &House, token: &SecretString) -> Option<WebhookOwner> {
    let mut tx = house.engine.begin().await.unwrap();
    webhook::find_core_by_token(tx.conn(), &house.engine.keys, token.expose_secret(), house.engine.now()).await.unwrap()
}

#[tokio::test]
async fn a_rotated_token_is_good_for_a_day_and_an_older_one_ends_at_once() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core: CoreId = house.core(partner.id, "https://mifos.umoja.co.ke").await.id;
    let make = async || webhook::make_token(&house.engine, &house.root, core).await.unwrap();
    let first = make().await;
    assert_eq!(first.previous_until, None);
    assert_eq!(
        first.hook_url.as_ref().unwrap().expose_secret(),
        format!("https://vault.example.co.ke/api/mifos/webhook/loan-approval/{}/", first.token.expose_secret())
    );
    let second = make().await;
    assert_eq!(second.previous_until, Some(house.engine.now() + Duration::hours(24)));
    let owner = find(&house, &first.token).await.unwrap();
    assert!(owner.previous && owner.core_id == core && owner.partner_id == partner.id);
    assert!(!find(&house, &second.token).await.unwrap().previous);
    house.clock.forward(Duration::hours(24) - Duration::seconds(1));
    assert!(find(&house, &first.token).await.is_some());
    house.clock.forward(Duration::seconds(1));
    assert!(find(&house, &first.token).await.is_none());
    let third = make().await;
    let fourth = make().await;
    assert!(find(&house, &second.token).await.is_none(), "two rotations end the one before the last");
    assert!(find(&house, &third.token).await.is_some() && find(&house, &fourth.token).await.is_some());
    webhook::end_previous_token(&house.engine, &house.root, core, "it was in a mail").await.unwrap();
    assert!(find(&house, &third.token).await.is_none() && find(&house, &fourth.token).await.is_some());
}

#[tokio::test]
async fn strange_tokens_find_nothing() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await.id;
    let made = webhook::make_token(&house.engine, &house.root, core).await.unwrap();
    let stored: String = sqlx::query_scalar("select webhook_secret_token from mifos_partners").fetch_one(house.engine.db.worker()).await.unwrap();
    let upper = made.token.expose_secret().to_uppercase();
    for text in ["", "x", &stored, &stored[..32], &"0".repeat(32), &"ü".repeat(16), "' or true --"] {
        assert!(find(&house, &secret(text)).await.is_none(), "{text}");
    }
    assert!(upper == *made.token.expose_secret() || find(&house, &secret(&upper)).await.is_none());
}

#[tokio::test]
async fn the_key_of_the_header_comes_with_the_owner_and_a_retired_connection_has_no_way_in() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await.id;
    let made = webhook::make_token(&house.engine, &house.root, core).await.unwrap();
    let key = webhook::make_hmac_key(&house.engine, &house.root, core).await.unwrap();
    let owner = find(&house, &made.token).await.unwrap();
    assert_eq!(owner.hmac_key.unwrap().expose_secret(), key.expose_secret());
    core_link::retire(&house.engine, &house.root, core, "moved away").await.unwrap();
    assert!(find(&house, &made.token).await.is_none());
}
