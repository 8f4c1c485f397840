//! A partner's account at the SMS gateway (table `partner_sms_settings`): one row per partner, secrets sealed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{Money, Msisdn, ids::PartnerId, problem::Problem, sms::SmsAccount};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    checked_phones, checked_secret, checked_text,
    host_url::{HostRules, checked_url},
    store,
};
use crate::{
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
    secret::{KeyRing, Place},
};

const API_KEY: &str = "partner_sms_settings.damza_api_key";
const PASSWORD: &str = "partner_sms_settings.damza_password";

/// The threshold below which the wallet is low, when none is given: KES 1,000 (requirement W6).
pub const DEFAULT_THRESHOLD: Money = Money::from_minor(100_000);

/// The settings as written; `None` leaves what is there. The first time, address, key, sender id, user and password are needed.
#[derive(Debug, Clone, Default)]
pub struct SmsPatch {
    /// Base URL of the gateway; it has no default. Another one needs key and password again.
    pub damza_base_url: Option<String>,
    /// The account's key.
    pub damza_api_key: Option<SecretString>,
    /// Registered sender id, 1 to 11 letters, digits, spaces or dashes.
    pub damza_sender_id: Option<String>,
    /// User name.
    pub damza_username: Option<String>,
    /// Password.
    pub damza_password: Option<SecretString>,
    /// Texts go out; OTP go out anyway.
    pub sms_enabled: Option<bool>,
    /// The wallet is low below this.
    pub low_balance_threshold: Option<Money>,
    /// Who is told.
    pub notification_phone_numbers: Option<Vec<Msisdn>>,
}

/// The settings as shown: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SmsView {
    /// Whose.
    pub partner_id: PartnerId,
    /// Base URL of the gateway.
    pub damza_base_url: String,
    /// Sender id.
    pub damza_sender_id: String,
    /// User name.
    pub damza_username: String,
    /// Where the gateway sends its delivery reports for this account.
    pub report_url: String,
    /// Texts go out.
    pub sms_enabled: bool,
    /// The wallet is low below this.
    pub low_balance_threshold: Money,
    /// Who is told.
    pub notification_phone_numbers: Vec<Msisdn>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Uuid,
    damza_base_url: String,
    damza_api_key: String,
    damza_sender_id: String,
    damza_username: String,
    damza_password: String,
    sms_enabled: bool,
    threshold_minor: i64,
    notification_phone_numbers: Json<Vec<Msisdn>>,
    report_token: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn view(&self, engine: &Engine) -> SmsView {
        SmsView {
            partner_id: PartnerId(self.partner_id),
            damza_base_url: self.damza_base_url.clone(),
            damza_sender_id: self.damza_sender_id.clone(),
            damza_username: self.damza_username.clone(),
            report_url: engine.hook_url(&self.report_token, &format!("sms/damza/{}", self.report_token)),
            sms_enabled: self.sms_enabled,
            low_balance_threshold: Money::from_minor(self.threshold_minor),
            notification_phone_numbers: self.notification_phone_numbers.0.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

macro_rules! select_sms {
    ($condition:literal) => {
        concat!(
            "select id, partner_id, damza_base_url, damza_api_key, damza_sender_id, damza_username, damza_password, sms_enabled,
                    (low_balance_threshold * 100)::bigint as threshold_minor, notification_phone_numbers, report_token, created_at, updated_at
             from partner_sms_settings ",
            $condition
        )
    };
}

/// Writes the settings of a partner.
pub async fn upsert(engine: &Engine, actor: &Actor, partner: Option<PartnerId>, patch: SmsPatch, rules: HostRules) -> Result<SmsView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let partner = actor.partner_for(partner)?;
    let mut tx = actor.begin(engine).await?;
    // The partner's row is the lock: two first writings at once make one row.
    store::lock(tx.conn(), partner).await?;
    let old: Option<Row> = sqlx::query_as(select_sms!("where partner_id = $1 for update")).bind(partner.uuid()).fetch_optional(tx.conn()).await?;
    let before = old.as_ref().map(|r| r.view(engine));
    let row = written(engine, partner, old, patch, rules)?;
    sqlx::query(
        "insert into partner_sms_settings (id, partner_id, damza_base_url, damza_api_key, damza_sender_id, damza_username, damza_password,
                sms_enabled, low_balance_threshold, notification_phone_numbers, report_token, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9::bigint::numeric / 100, $10, $11, $12, $13)
         on conflict (partner_id) do update set
                damza_base_url = excluded.damza_base_url, damza_api_key = excluded.damza_api_key, damza_sender_id = excluded.damza_sender_id,
                damza_username = excluded.damza_username, damza_password = excluded.damza_password, sms_enabled = excluded.sms_enabled,
                low_balance_threshold = excluded.low_balance_threshold,
                notification_phone_numbers = excluded.notification_phone_numbers, updated_at = excluded.updated_at",
    )
    .bind(row.id)
    .bind(row.partner_id)
    .bind(&row.damza_base_url)
    .bind(&row.damza_api_key)
    .bind(&row.damza_sender_id)
    .bind(&row.damza_username)
    .bind(&row.damza_password)
    .bind(row.sms_enabled)
    .bind(row.threshold_minor)
    .bind(&row.notification_phone_numbers)
    .bind(&row.report_token)
    .bind(row.created_at)
    .bind(row.updated_at)
    .execute(tx.conn())
    .await?;
    let after = row.view(engine);
    let entry = AuditEntry::of(Some(partner), "sms_settings.update", partner).change(before.as_ref(), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

fn written(engine: &Engine, partner: PartnerId, old: Option<Row>, patch: SmsPatch, rules: HostRules) -> Result<Row, VaultError> {
    let now = engine.now();
    let missing = |pointer: &'static str| Box::new(Problem::invalid(pointer, "Needed the first time."));
    let first = old.is_none();
    let mut row = old.unwrap_or_else(|| Row {
        id: engine.id(),
        partner_id: partner.uuid(),
        damza_base_url: String::new(),
        damza_api_key: String::new(),
        damza_sender_id: String::new(),
        damza_username: String::new(),
        damza_password: String::new(),
        sms_enabled: true,
        threshold_minor: DEFAULT_THRESHOLD.minor(),
        notification_phone_numbers: Json(Vec::new()),
        report_token: engine.ids.hex_token(),
        created_at: now,
        updated_at: now,
    });
    row.updated_at = now;
    let mut moved = false;
    match patch.damza_base_url {
        Some(url) => {
            let url = checked_url("/damza_base_url", &url, 300, rules)?;
            moved = !first && url != row.damza_base_url;
            row.damza_base_url = url;
        }
        None if first => return Err(missing("/damza_base_url").into()),
        None => {}
    }
    if moved && (patch.damza_api_key.is_none() || patch.damza_password.is_none()) {
        return Err(Problem::invalid("/damza_api_key", "Another gateway address needs the key and the password again.").into());
    }
    match patch.damza_sender_id {
        Some(sender) => row.damza_sender_id = checked_sender(&sender)?,
        None if first => return Err(missing("/damza_sender_id").into()),
        None => {}
    }
    match patch.damza_username {
        Some(user) => row.damza_username = checked_text("/damza_username", &user, 255)?,
        None if first => return Err(missing("/damza_username").into()),
        None => {}
    }
    for (pointer, column, given, kept) in [
        ("/damza_api_key", API_KEY, patch.damza_api_key, &mut row.damza_api_key),
        ("/damza_password", PASSWORD, patch.damza_password, &mut row.damza_password),
    ] {
        match given {
            Some(secret) => {
                checked_secret(pointer, &secret)?;
                *kept = engine.keys.seal(Place { column, row: row.id }, secret.expose_secret())?;
            }
            None if first => return Err(missing(pointer).into()),
            None => {}
        }
    }
    row.sms_enabled = patch.sms_enabled.unwrap_or(row.sms_enabled);
    if let Some(threshold) = patch.low_balance_threshold {
        if threshold.minor() < 0 {
            return Err(Problem::invalid("/low_balance_threshold", "A threshold is not negative.").into());
        }
        row.threshold_minor = threshold.minor();
    }
    if let Some(phones) = patch.notification_phone_numbers {
        row.notification_phone_numbers = Json(checked_phones("/notification_phone_numbers", phones)?);
    }
    Ok(row)
}

fn checked_sender(text: &str) -> Result<String, Box<Problem>> {
    let text = text.trim();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_'));
    if text.is_empty() || text.len() > 11 || !plain {
        return Err(Box::new(Problem::invalid("/damza_sender_id", "A sender id has 1 to 11 letters, digits, spaces or dashes.")));
    }
    Ok(text.to_owned())
}

/// The settings of a partner; `None`: it has none.
pub async fn get(engine: &Engine, actor: &Actor, partner: Option<PartnerId>) -> Result<Option<SmsView>, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let partner = actor.partner_for(partner)?;
    let mut tx = actor.begin(engine).await?;
    let row: Option<Row> = sqlx::query_as(select_sms!("where partner_id = $1")).bind(partner.uuid()).fetch_optional(tx.conn()).await?;
    tx.commit().await?;
    Ok(row.as_ref().map(|r| r.view(engine)))
}

/// What the steps need of it.
#[derive(Debug, Clone)]
pub struct SmsSettings {
    /// Whose.
    pub partner_id: PartnerId,
    /// The account, with its secrets.
    pub account: SmsAccount,
    /// Texts go out; OTP go out anyway.
    pub enabled: bool,
    /// Who is told.
    pub phones: Vec<Msisdn>,
    /// The wallet is low below this.
    pub threshold: Money,
    /// The path token of delivery reports for this account (rule D2).
    pub report_token: String,
}

/// The gateway accounts of these partners. One whose secrets cannot be opened is left out and logged, so that it stops nobody
/// else (rule D6).
pub async fn load_accounts_in_tx(
    conn: &mut PgConnection,
    keys: &KeyRing,
    partners: &[PartnerId],
) -> Result<BTreeMap<PartnerId, SmsSettings>, VaultError> {
    let partners: Vec<Uuid> = partners.iter().map(|p| p.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(select_sms!("where partner_id = any($1)")).bind(partners).fetch_all(conn).await?;
    let mut accounts = BTreeMap::new();
    for row in rows {
        let partner = PartnerId(row.partner_id);
        match opened(keys, row) {
            Ok(settings) => {
                accounts.insert(partner, settings);
            }
            Err(error) => tracing::error!(%partner, %error, "an SMS account cannot be used"),
        }
    }
    Ok(accounts)
}

/// The account whose delivery reports come in under this path token (rule D2), in a transaction of the worker role.
pub async fn find_by_report_token(conn: &mut PgConnection, keys: &KeyRing, token: &str) -> Result<Option<SmsSettings>, VaultError> {
    if token.len() != 32 {
        return Ok(None);
    }
    let row: Option<Row> = sqlx::query_as(select_sms!("where report_token = $1")).bind(token).fetch_optional(conn).await?;
    row.map(|row| opened(keys, row)).transpose()
}

fn opened(keys: &KeyRing, row: Row) -> Result<SmsSettings, VaultError> {
    let place = |column| Place { column, row: row.id };
    Ok(SmsSettings {
        partner_id: PartnerId(row.partner_id),
        account: SmsAccount {
            api_key: keys.open(place(API_KEY), &row.damza_api_key)?,
            password: keys.open(place(PASSWORD), &row.damza_password)?,
            base_url: row.damza_base_url,
            username: row.damza_username,
            sender_id: row.damza_sender_id,
        },
        enabled: row.sms_enabled,
        phones: row.notification_phone_numbers.0,
        threshold: Money::from_minor(row.threshold_minor),
        report_token: row.report_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_id_has_at_most_eleven_plain_characters() {
        assert_eq!(checked_sender(" UMOJA "), Ok("UMOJA".into()));
        for bad in ["", "TWELVE CHARS", "ÜMOJA", "a\nb"] {
            assert!(checked_sender(bad).is_err(), "{bad:?}");
        }
    }
}
