//! Shortcodes, credentials, connections to Mifos X, SMS settings.

use pv_kernel::{
    Msisdn,
    core_banking::CoreProfile,
    ids::{CredentialId, ShortcodeId},
};
use pv_vault::{
    audit::Environment,
    partner::{
        core_link::{self, CorePatch, NewCore},
        credential,
        host_url::HostRules,
        shortcode::{self, NewShortcode, ShortcodePatch},
        sms_settings::{self, SmsPatch},
    },
    secret::KeyRing,
    wallet::quote::TariffPayer,
};
use secrecy::ExposeSecret as _;

use crate::support::{House, admin_of, house, kes, refusal, secret};

pub fn sms_patch() -> SmsPatch {
    SmsPatch {
        damza_base_url: Some("https://sms.example.co.ke".into()),
        damza_api_key: Some(secret("damza-key")),
        damza_sender_id: Some("UMOJA".into()),
        damza_username: Some("umoja".into()),
        damza_password: Some(secret("damza-password")),
        ..SmsPatch::default()
    }
}

#[tokio::test]
async fn a_shortcode_is_once_on_the_platform_and_the_first_is_the_default() {
    let house = house().await;
    let (a, b) = (house.partner("Umoja").await, house.partner("Harambee").await);
    let first = house.shortcode(a.id, "600111").await;
    let second = house.shortcode(a.id, "600222").await;
    assert!(first.is_default && !second.is_default);
    assert_eq!(house.count("select count(*) from ledger_accounts where name like '%:600111'").await, 3);
    let new = |number: &str, environment| NewShortcode {
        shortcode: number.into(),
        environment,
        base_url: "https://api.safaricom.co.ke".into(),
        tariff_payer: TariffPayer::Rail,
        requests_per_second: 5,
        is_default: false,
    };
    let taken = shortcode::create(&house.engine, &house.root, Some(b.id), new("600111", Environment::Sandbox), HostRules::STRICT).await;
    assert_eq!(refusal(taken), "shortcode_taken");
    let twin = shortcode::create(&house.engine, &admin_of(a.id), None, new("600111", Environment::Production), HostRules::STRICT).await;
    assert_eq!(refusal(twin), "shortcode_taken");
    let patch = ShortcodePatch { is_default: Some(true), ..ShortcodePatch::default() };
    shortcode::update(&house.engine, &admin_of(a.id), second.id, patch, HostRules::STRICT).await.unwrap();
    let mut tx = house.engine.begin().await.unwrap();
    let defaults = shortcode::defaults_in_tx(tx.conn(), &[a.id, b.id]).await.unwrap();
    assert_eq!(defaults.iter().map(|(p, s)| (*p, s.id)).collect::<Vec<_>>(), [(a.id, second.id)]);
}

async fn state(house: &House, id: CredentialId) -> credential::CredentialState {
    let mut tx = house.engine.begin().await.unwrap();
    let mut accounts = credential::load_accounts_in_tx(tx.conn(), &house.engine.keys, &[id]).await.unwrap();
    accounts.remove(&id).unwrap().1
}

#[tokio::test]
async fn a_new_version_takes_over_and_the_old_one_still_resolves_what_it_sent() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    let first = CredentialId(house.credential(shortcode.id, "one", true).await.id);
    let second = house.credential(shortcode.id, "two", true).await;
    assert_eq!(second.version, 2);
    let second = CredentialId(second.id);
    let mut tx = house.engine.begin().await.unwrap();
    let active = credential::active_for_shortcodes_in_tx(tx.conn(), &[shortcode.id, ShortcodeId(partner.id.uuid())]).await.unwrap();
    assert_eq!(active.into_iter().collect::<Vec<_>>(), [(shortcode.id, second)]);
    let accounts = credential::load_accounts_in_tx(tx.conn(), &house.engine.keys, &[first, second]).await.unwrap();
    let (account, old) = &accounts[&first];
    assert_eq!(account.security_credential.expose_secret(), "PEM+password-one");
    assert_eq!((account.consumer_key.as_str(), account.consumer_secret.expose_secret()), ("key-one", "secret-one"));
    assert_eq!((account.shortcode.as_str(), account.environment.as_str(), account.rate), ("600111", "sandbox", 5));
    assert!(!old.active && accounts[&second].1.active);
    tx.rollback().await.unwrap();
    credential::retire(&house.engine, &admin_of(partner.id), first, "leaked").await.unwrap();
    assert!(state(&house, first).await.retired);
    assert_eq!(refusal(credential::activate(&house.engine, &house.root, first, "again").await), "credential_retired");
}

#[tokio::test]
async fn a_halted_credential_sends_nothing_and_goes_carefully_afterwards() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    let id = CredentialId(house.credential(shortcode.id, "one", true).await.id);
    assert!(state(&house, id).await.careful, "a new version goes carefully");
    let mut tx = house.engine.begin().await.unwrap();
    credential::proven_in_tx(tx.conn(), &[id]).await.unwrap();
    let now = house.engine.now();
    let halts = [(id, "2001".to_owned()), (id, "21".to_owned())];
    assert_eq!(credential::halt_in_tx(tx.conn(), &halts, now).await.unwrap(), [id]);
    assert_eq!(credential::halt_in_tx(tx.conn(), &halts, now).await.unwrap(), []);
    credential::proven_in_tx(tx.conn(), &[id]).await.unwrap();
    tx.commit().await.unwrap();
    let halted = state(&house, id).await;
    assert_eq!((halted.why_not(), halted.halt_code.as_deref(), halted.careful), (Some("credential_halted"), Some("2001"), true));
    credential::lift_halt(&house.engine, &admin_of(partner.id), id, "password was renewed").await.unwrap();
    let lifted = state(&house, id).await;
    assert_eq!((lifted.why_not(), lifted.careful), (None, true));
}

#[tokio::test]
async fn a_quarantined_shortcode_is_released_by_the_platform_only() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    let id = CredentialId(house.credential(shortcode.id, "one", true).await.id);
    let mut tx = house.engine.begin().await.unwrap();
    assert_eq!(shortcode::quarantine_all_in_tx(tx.conn(), house.engine.now()).await.unwrap(), 1);
    assert_eq!(shortcode::quarantine_all_in_tx(tx.conn(), house.engine.now()).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(state(&house, id).await.why_not(), Some("quarantined"));
    assert_eq!(refusal(shortcode::release(&house.engine, &admin_of(partner.id), shortcode.id, "please").await), "not_permitted");
    shortcode::release(&house.engine, &house.root, shortcode.id, "all ids were asked").await.unwrap();
    assert_eq!(state(&house, id).await.why_not(), None);
}

#[tokio::test]
async fn one_broken_secret_stops_nobody_else() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let shortcode = house.shortcode(partner.id, "600111").await;
    let good = CredentialId(house.credential(shortcode.id, "one", false).await.id);
    let bad = CredentialId(house.credential(shortcode.id, "two", false).await.id);
    // A ciphertext copied from another row cannot be opened.
    sqlx::query("update mpesa_credentials set consumer_secret_enc = (select consumer_secret_enc from mpesa_credentials where id = $1) where id = $2")
        .bind(good.uuid())
        .bind(bad.uuid())
        .execute(house.engine.db.worker())
        .await
        .unwrap();
    let mut tx = house.engine.begin().await.unwrap();
    let accounts = credential::load_accounts_in_tx(tx.conn(), &house.engine.keys, &[good, bad]).await.unwrap();
    assert_eq!(accounts.keys().copied().collect::<Vec<_>>(), [good]);
    let others = KeyRing::new([(1, zeroize::Zeroizing::new([8; 32]))]).unwrap();
    assert!(credential::load_accounts_in_tx(tx.conn(), &others, &[good, bad]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_is_loaded_whole_and_shown_without_its_password() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let new = NewCore {
        mifos_max_disbursement_amount: Some(kes(70_000)),
        sms_phone_numbers: vec![Msisdn::parse("0712345678").unwrap()],
        ..NewCore::new("https://mifos.umoja.co.ke/fineract-provider/api/v1/", "umoja", "payvault", secret("mifos-password"))
    };
    let view = core_link::create(&house.engine, &admin_of(partner.id), None, new, HostRules::STRICT).await.unwrap();
    assert_eq!(view.mifos_host_url, "https://mifos.umoja.co.ke");
    assert!(view.is_default && view.auto_since.is_none());
    let mut tx = house.engine.begin().await.unwrap();
    let profile = CoreProfile { line: "1.9+".into(), idempotency: true };
    core_link::store_profile_in_tx(tx.conn(), view.id, &profile, Some(true), house.engine.now()).await.unwrap();
    let links = core_link::load_links_in_tx(tx.conn(), &house.engine.keys, &[view.id]).await.unwrap();
    tx.commit().await.unwrap();
    let settings = &links[&view.id];
    assert_eq!(settings.link.base_url, "https://mifos.umoja.co.ke/fineract-provider/api/v1");
    assert_eq!(settings.link.password.expose_secret(), "mifos-password");
    assert_eq!((settings.max, settings.min), (Some(kes(70_000)), None));
    assert_eq!(settings.link.profile, Some(profile));
    assert!(settings.business_date);
    let json = serde_json::to_string(&core_link::get(&house.engine, &house.root, view.id).await.unwrap()).unwrap();
    assert!(!json.contains("password") && json.contains("\"is_mifos_configured\":true"), "{json}");
    let fields = core_link::mifos_fields(&house.engine, &house.root, partner.id).await.unwrap();
    assert_eq!(fields.mifos_tenant_id.as_deref(), Some("umoja"));
}

#[tokio::test]
async fn a_kept_password_is_never_sent_to_another_host() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    let moved = || CorePatch { mifos_host_url: Some("https://evil.example".into()), ..CorePatch::default() };
    let without = core_link::update(&house.engine, &admin_of(partner.id), core.id, moved(), HostRules::STRICT).await;
    assert_eq!(refusal(without), "invalid_request");
    let with = CorePatch { mifos_password: Some(secret("another")), ..moved() };
    let after = core_link::update(&house.engine, &admin_of(partner.id), core.id, with, HostRules::STRICT).await.unwrap();
    assert_eq!((after.id, after.mifos_host_url.as_str()), (core.id, "https://evil.example"));
}

#[tokio::test]
async fn automatic_payment_counts_from_the_moment_it_is_switched_on() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    let update = async |patch| core_link::update(&house.engine, &house.root, core.id, patch, HostRules::STRICT).await.unwrap();
    let switch = |on| CorePatch { mifos_auto_disbursement_enabled: Some(on), ..CorePatch::default() };
    let first = house.engine.now();
    assert_eq!(update(switch(true)).await.auto_since, Some(first));
    house.clock.forward(chrono::Duration::hours(1));
    assert_eq!(update(switch(true)).await.auto_since, Some(first), "it was on already");
    let tenant = CorePatch { mifos_tenant_id: Some("other".into()), mifos_password: Some(secret("x")), ..CorePatch::default() };
    let second = house.engine.now();
    assert_eq!(update(tenant).await.auto_since, Some(second), "another tenant has other approvals");
    assert_eq!(update(switch(false)).await.auto_since, None);
    house.clock.forward(chrono::Duration::hours(1));
    assert_eq!(update(switch(true)).await.auto_since, Some(house.engine.now()));
}

#[tokio::test]
async fn a_retired_connection_makes_room_and_keeps_its_id() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    let again = NewCore::new("https://mifos.umoja.co.ke", "default", "payvault", secret("x"));
    let twin = core_link::create(&house.engine, &house.root, Some(partner.id), again.clone(), HostRules::STRICT).await;
    assert_eq!(refusal(twin), "core_exists");
    core_link::retire(&house.engine, &house.root, core.id, "moved away").await.unwrap();
    let next = core_link::create(&house.engine, &house.root, Some(partner.id), again, HostRules::STRICT).await.unwrap();
    assert!(next.is_default && next.id != core.id);
    assert_eq!(refusal(core_link::update(&house.engine, &house.root, core.id, CorePatch::default(), HostRules::STRICT).await), "core_retired");
    let mut tx = house.engine.begin().await.unwrap();
    let links = core_link::load_links_in_tx(tx.conn(), &house.engine.keys, &[core.id, next.id]).await.unwrap();
    assert!(links[&core.id].retired && !links[&next.id].retired);
}

#[tokio::test]
async fn a_connection_with_a_loan_under_way_is_not_retired() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let core = house.core(partner.id, "https://mifos.umoja.co.ke").await;
    sqlx::query(
        "insert into disbursements (id, partner_id, core_id, loan_id, origin, state, status, created_at, updated_at, created_by)
         values ($1, $2, $3, '7', 'mifos_poll', 'received', 'to_do', '2026-11-20', '2026-11-20', 'test')",
    )
    .bind(house.engine.id())
    .bind(partner.id.uuid())
    .bind(core.id.uuid())
    .execute(house.engine.db.worker())
    .await
    .unwrap();
    assert_eq!(refusal(core_link::retire(&house.engine, &house.root, core.id, "moved away").await), "core_in_use");
}

#[tokio::test]
async fn sms_settings_are_written_in_parts_and_keep_their_secrets() {
    let house = house().await;
    let partner = house.partner("Umoja").await;
    let admin = admin_of(partner.id);
    let part = SmsPatch { sms_enabled: Some(false), ..SmsPatch::default() };
    let write = async |patch| sms_settings::upsert(&house.engine, &admin, None, patch, HostRules::STRICT).await;
    assert_eq!(refusal(write(part.clone()).await), "invalid_request");
    write(sms_patch()).await.unwrap();
    let view = write(part).await.unwrap();
    assert!(!view.sms_enabled);
    assert_eq!(view.low_balance_threshold, kes(1_000));
    let moved = SmsPatch { damza_base_url: Some("https://evil.example".into()), ..SmsPatch::default() };
    assert_eq!(refusal(write(moved).await), "invalid_request");
    let mut tx = house.engine.begin().await.unwrap();
    let accounts = sms_settings::load_accounts_in_tx(tx.conn(), &house.engine.keys, &[partner.id]).await.unwrap();
    let settings = &accounts[&partner.id];
    assert_eq!(settings.account.api_key.expose_secret(), "damza-key");
    assert_eq!(settings.account.password.expose_secret(), "damza-password");
    let by_token = sms_settings::find_by_report_token(tx.conn(), &house.engine.keys, &settings.report_token).await.unwrap();
    assert_eq!(by_token.unwrap().partner_id, partner.id);
    assert!(sms_settings::find_by_report_token(tx.conn(), &house.engine.keys, &"0".repeat(32)).await.unwrap().is_none());
}
