//! M-Pesa shortcodes of a partner: what it pays from, and who pays Safaricom's tariff there. Credentials stand in
//! [`super::credential`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    ids::{PartnerId, ShortcodeId},
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    accounts,
    host_url::{HostRules, checked_url},
    store,
};
use crate::{
    audit::{Actor, AuditEntry, Environment, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
    wallet::quote::TariffPayer,
};

/// A shortcode to be added.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewShortcode {
    /// 5 to 7 digits.
    pub shortcode: String,
    /// Test money or real money; never guessed.
    pub environment: Environment,
    /// Base URL of that environment's API.
    pub base_url: String,
    /// Who pays the tariff (rule B4). Default: the rail takes it from the partner's account there.
    #[serde(default = "rail_pays")]
    pub tariff_payer: TariffPayer,
    /// Requests per second that the shortcode may make, 1 to 500 (M-Pesa contract 8.2). Default: 5.
    #[serde(default = "five")]
    pub requests_per_second: i32,
    /// Becomes the one that pays when none is named. The first active one always does.
    #[serde(default)]
    pub is_default: bool,
}

const fn rail_pays() -> TariffPayer {
    TariffPayer::Rail
}

const fn five() -> i32 {
    5
}

/// What is to be changed of a shortcode; `None` leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShortcodePatch {
    /// Base URL.
    pub base_url: Option<String>,
    /// Who pays the tariff.
    pub tariff_payer: Option<TariffPayer>,
    /// Requests per second.
    pub requests_per_second: Option<i32>,
    /// In use.
    pub is_active: Option<bool>,
    /// `true` makes it the default; the default cannot be switched off, only moved.
    pub is_default: Option<bool>,
}

/// A shortcode as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShortcodeView {
    /// Its id.
    pub id: ShortcodeId,
    /// Whose.
    pub partner_id: PartnerId,
    /// The number.
    pub shortcode: String,
    /// Test money or real money.
    pub environment: Environment,
    /// Base URL of the API.
    pub base_url: String,
    /// Who pays the tariff.
    pub tariff_payer: TariffPayer,
    /// Requests per second.
    pub requests_per_second: i32,
    /// In use.
    pub is_active: bool,
    /// Pays when none is named.
    pub is_default: bool,
    /// Sending is off since then, until a person releases it (rule A21).
    pub quarantined_at: Option<DateTime<Utc>>,
    /// Last balances that the rail reported; `None`: never.
    pub utility: Option<Money>,
    /// The working account.
    pub working: Option<Money>,
    /// The charges account.
    pub charges: Option<Money>,
    /// When they were reported.
    pub balances_at: Option<DateTime<Utc>>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Uuid,
    shortcode: String,
    environment: String,
    base_url: String,
    tariff_payer: String,
    requests_per_second: i32,
    is_active: bool,
    is_default: bool,
    quarantined_at: Option<DateTime<Utc>>,
    utility_minor: Option<i64>,
    working_minor: Option<i64>,
    charges_minor: Option<i64>,
    balances_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for ShortcodeView {
    type Error = VaultError;

    fn try_from(row: Row) -> Result<Self, VaultError> {
        Ok(Self {
            id: ShortcodeId(row.id),
            partner_id: PartnerId(row.partner_id),
            shortcode: row.shortcode,
            environment: row.environment.parse()?,
            base_url: row.base_url,
            tariff_payer: TariffPayer::from_column(&row.tariff_payer)?,
            requests_per_second: row.requests_per_second,
            is_active: row.is_active,
            is_default: row.is_default,
            quarantined_at: row.quarantined_at,
            utility: row.utility_minor.map(Money::from_minor),
            working: row.working_minor.map(Money::from_minor),
            charges: row.charges_minor.map(Money::from_minor),
            balances_at: row.balances_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Adds a shortcode with its ledger accounts. In the worker's pool, because accounts are opened; the partner is the actor's own.
pub async fn create(
    engine: &Engine,
    actor: &Actor,
    partner: Option<PartnerId>,
    new: NewShortcode,
    rules: HostRules,
) -> Result<ShortcodeView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let partner = actor.partner_for(partner)?;
    let shortcode = checked_number(&new.shortcode)?;
    let base_url = checked_url("/base_url", &new.base_url, 300, rules)?;
    let rate = checked_rate(new.requests_per_second)?;
    let now = engine.now();
    let id = ShortcodeId(engine.id());
    let mut tx = engine.begin().await?;
    let owner = store::lock(tx.conn(), partner).await?;
    still_open(owner.status)?;
    let mine: Vec<(String, bool)> = sqlx::query_as("select shortcode, is_default and is_active from mpesa_shortcodes where partner_id = $1")
        .bind(partner.uuid())
        .fetch_all(tx.conn())
        .await?;
    // The accounts of the mirror are named by the number alone.
    if mine.iter().any(|(number, _)| *number == shortcode) {
        return Err(shortcode_taken().into());
    }
    let is_default = new.is_default || !mine.iter().any(|(_, default)| *default);
    if is_default {
        clear_default(tx.conn(), partner, now).await?;
    }
    sqlx::query(
        "insert into mpesa_shortcodes
             (id, partner_id, shortcode, environment, base_url, tariff_payer, requests_per_second, is_active, is_default, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, true, $8, $9, $9)",
    )
    .bind(id.uuid())
    .bind(partner.uuid())
    .bind(&shortcode)
    .bind(new.environment.as_str())
    .bind(&base_url)
    .bind(new.tariff_payer.as_str())
    .bind(rate)
    .bind(is_default)
    .bind(now)
    .execute(tx.conn())
    .await
    .map_err(|error| store::taken(error, "mpesa_shortcodes_environment_shortcode_key", shortcode_taken))?;
    accounts::open_accounts_in_tx(tx.conn(), engine, &accounts::shortcode_accounts(partner, &shortcode)).await?;
    let view = fetch(tx.conn(), partner, id).await?;
    let entry = AuditEntry::of(Some(partner), "shortcode.create", id).change(None::<&ShortcodeView>, Some(&view));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(view)
}

fn shortcode_taken() -> Problem {
    Problem::refused(
        "shortcode_taken",
        409,
        "This shortcode is on the platform already.",
        "Check the number; if it is yours, ask the operator of the platform.",
    )
}

pub(super) fn still_open(status: super::PartnerStatus) -> Result<(), Box<Problem>> {
    if matches!(status, super::PartnerStatus::Closed | super::PartnerStatus::Closing) {
        let detail = format!("This partner is {}: nothing new is connected.", status.as_str());
        return Err(Box::new(Problem::refused("partner_closed", 409, detail, "Ask the operator of the platform.")));
    }
    Ok(())
}

async fn clear_default(conn: &mut PgConnection, partner: PartnerId, now: DateTime<Utc>) -> Result<(), VaultError> {
    sqlx::query("update mpesa_shortcodes set is_default = false, updated_at = $2 where partner_id = $1 and is_default")
        .bind(partner.uuid())
        .bind(now)
        .execute(conn)
        .await?;
    Ok(())
}

async fn fetch(conn: &mut PgConnection, partner: PartnerId, id: ShortcodeId) -> Result<ShortcodeView, VaultError> {
    let row: Option<Row> = sqlx::query_as(
        "select id, partner_id, shortcode, environment, base_url, tariff_payer, requests_per_second, is_active, is_default, quarantined_at,
                utility_minor, working_minor, charges_minor, balances_at, created_at, updated_at
         from mpesa_shortcodes where partner_id = $1 and id = $2",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.ok_or_else(|| Problem::not_found("shortcode"))?.try_into()
}

/// Whose shortcode it is, as far as the scope of the transaction sees it.
pub(super) async fn owner(conn: &mut PgConnection, id: ShortcodeId) -> Result<PartnerId, VaultError> {
    let partner: Option<Uuid> =
        sqlx::query_scalar("select partner_id from mpesa_shortcodes where id = $1").bind(id.uuid()).fetch_optional(conn).await?;
    partner.map(PartnerId).ok_or_else(|| Problem::not_found("shortcode").into())
}

/// The same, with the row locked.
pub(super) async fn lock_owner(conn: &mut PgConnection, id: ShortcodeId) -> Result<PartnerId, VaultError> {
    let partner: Option<Uuid> =
        sqlx::query_scalar("select partner_id from mpesa_shortcodes where id = $1 for update").bind(id.uuid()).fetch_optional(conn).await?;
    partner.map(PartnerId).ok_or_else(|| Problem::not_found("shortcode").into())
}

/// The shortcodes that the actor sees; the platform may name one partner.
pub async fn list(engine: &Engine, actor: &Actor, partner: Option<PartnerId>) -> Result<Vec<ShortcodeView>, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    let rows: Vec<Row> = sqlx::query_as(
        "select id, partner_id, shortcode, environment, base_url, tariff_payer, requests_per_second, is_active, is_default, quarantined_at,
                utility_minor, working_minor, charges_minor, balances_at, created_at, updated_at
         from mpesa_shortcodes where $1::uuid is null or partner_id = $1 order by partner_id, is_default desc, created_at, id",
    )
    .bind(partner.map(PartnerId::uuid))
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    rows.into_iter().map(ShortcodeView::try_from).collect()
}

/// One shortcode.
pub async fn get(engine: &Engine, actor: &Actor, id: ShortcodeId) -> Result<ShortcodeView, VaultError> {
    actor.require(Permission::ConnectionsRead)?;
    let mut tx = actor.begin(engine).await?;
    let partner = owner(tx.conn(), id).await?;
    let view = fetch(tx.conn(), partner, id).await?;
    tx.commit().await?;
    Ok(view)
}

/// Changes a shortcode.
pub async fn update(engine: &Engine, actor: &Actor, id: ShortcodeId, patch: ShortcodePatch, rules: HostRules) -> Result<ShortcodeView, VaultError> {
    actor.require(Permission::ConnectionsWrite)?;
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let partner = lock_owner(tx.conn(), id).await?;
    let before = fetch(tx.conn(), partner, id).await?;
    if patch.is_default == Some(false) && before.is_default {
        let detail = "The default shortcode is moved by making another one the default.";
        return Err(Problem::invalid("/is_default", detail).into());
    }
    let is_active = patch.is_active.unwrap_or(before.is_active);
    if patch.is_default == Some(true) {
        if !is_active {
            return Err(Problem::invalid("/is_default", "A shortcode that is not in use cannot be the default.").into());
        }
        clear_default(tx.conn(), partner, now).await?;
    }
    let base_url = match patch.base_url {
        Some(url) => checked_url("/base_url", &url, 300, rules)?,
        None => before.base_url.clone(),
    };
    sqlx::query(
        "update mpesa_shortcodes set base_url = $3, tariff_payer = $4, requests_per_second = $5, is_active = $6,
                is_default = (is_default or $7) and $6, updated_at = $8
         where partner_id = $1 and id = $2",
    )
    .bind(partner.uuid())
    .bind(id.uuid())
    .bind(base_url)
    .bind(patch.tariff_payer.unwrap_or(before.tariff_payer).as_str())
    .bind(checked_rate(patch.requests_per_second.unwrap_or(before.requests_per_second))?)
    .bind(is_active)
    .bind(patch.is_default == Some(true))
    .bind(now)
    .execute(tx.conn())
    .await?;
    let after = fetch(tx.conn(), partner, id).await?;
    let entry = AuditEntry::of(Some(partner), "shortcode.update", id).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

/// Releases a shortcode from quarantine (rule A21): a person says that sending may go on.
pub async fn release(engine: &Engine, actor: &Actor, id: ShortcodeId, reason: &str) -> Result<ShortcodeView, VaultError> {
    actor.require_platform(Permission::QuarantineRelease)?;
    let reason = super::checked_reason(reason)?;
    let mut tx = actor.begin(engine).await?;
    let partner = lock_owner(tx.conn(), id).await?;
    sqlx::query("update mpesa_shortcodes set quarantined_at = null, updated_at = $3 where partner_id = $1 and id = $2")
        .bind(partner.uuid())
        .bind(id.uuid())
        .bind(engine.now())
        .execute(tx.conn())
        .await?;
    record_in_tx(tx.conn(), engine, actor, AuditEntry::of(Some(partner), "quarantine.release", id).because(reason)).await?;
    let view = fetch(tx.conn(), partner, id).await?;
    tx.commit().await?;
    Ok(view)
}

/// Puts every shortcode that is not there yet into quarantine (rule A21); how many were put there.
pub async fn quarantine_all_in_tx(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<u64, VaultError> {
    let done =
        sqlx::query("update mpesa_shortcodes set quarantined_at = $1, updated_at = $1 where quarantined_at is null").bind(now).execute(conn).await?;
    Ok(done.rows_affected())
}

/// The shortcode that pays for a partner when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayingShortcode {
    /// Which.
    pub id: ShortcodeId,
    /// Who pays the tariff there.
    pub tariff_payer: TariffPayer,
    /// Test money or real money.
    pub environment: Environment,
    /// Sending is off until a person releases it.
    pub quarantined: bool,
    /// Available in the utility account as last reported.
    pub utility: Option<Money>,
    /// When it was reported.
    pub balances_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct PayingRow {
    id: Uuid,
    partner_id: Uuid,
    tariff_payer: String,
    environment: String,
    quarantined: bool,
    utility_minor: Option<i64>,
    balances_at: Option<DateTime<Utc>>,
}

impl TryFrom<&PayingRow> for PayingShortcode {
    type Error = VaultError;

    fn try_from(row: &PayingRow) -> Result<Self, VaultError> {
        Ok(Self {
            id: ShortcodeId(row.id),
            tariff_payer: TariffPayer::from_column(&row.tariff_payer)?,
            environment: row.environment.parse()?,
            quarantined: row.quarantined,
            utility: row.utility_minor.map(Money::from_minor),
            balances_at: row.balances_at,
        })
    }
}

/// The default shortcode of each partner that has one.
pub async fn defaults_in_tx(conn: &mut PgConnection, partners: &[PartnerId]) -> Result<BTreeMap<PartnerId, PayingShortcode>, VaultError> {
    let partners: Vec<Uuid> = partners.iter().map(|p| p.uuid()).collect();
    // Index: mpesa_shortcodes_default.
    let rows: Vec<PayingRow> = sqlx::query_as(
        "select id, partner_id, tariff_payer, environment, quarantined_at is not null as quarantined, utility_minor, balances_at
         from mpesa_shortcodes where partner_id = any($1) and is_default and is_active",
    )
    .bind(partners)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok((PartnerId(row.partner_id), PayingShortcode::try_from(row)?))).collect()
}

/// Shortcodes by id, whether in use or not.
pub async fn load_in_tx(conn: &mut PgConnection, ids: &[ShortcodeId]) -> Result<BTreeMap<ShortcodeId, PayingShortcode>, VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<PayingRow> = sqlx::query_as(
        "select id, partner_id, tariff_payer, environment, quarantined_at is not null as quarantined, utility_minor, balances_at
         from mpesa_shortcodes where id = any($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.iter().map(|row| Ok((ShortcodeId(row.id), PayingShortcode::try_from(row)?))).collect()
}

fn checked_number(text: &str) -> Result<String, Box<Problem>> {
    let text = text.trim();
    if (5..=7).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(Box::new(Problem::invalid("/shortcode", "A shortcode has 5 to 7 digits.")))
}

fn checked_rate(rate: i32) -> Result<i32, Box<Problem>> {
    if (1..=500).contains(&rate) {
        return Ok(rate);
    }
    Err(Box::new(Problem::invalid("/requests_per_second", "Between 1 and 500 requests per second.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortcode_is_five_to_seven_digits() {
        assert_eq!(checked_number(" 600111 "), Ok("600111".into()));
        for bad in ["", "1234", "12345678", "60011a", "６００１１１"] {
            assert!(checked_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_environment_is_never_guessed() {
        let json = r#"{"shortcode":"600111","base_url":"https://sandbox.safaricom.co.ke"}"#;
        assert!(serde_json::from_str::<NewShortcode>(json).is_err());
    }
}
