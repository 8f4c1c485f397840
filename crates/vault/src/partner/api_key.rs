//! API keys: made once, shown once, kept as SHA-256, scoped by role, address list and limits, rotated and revoked.
//!
//! A key is `pv_test_` or `pv_live_`, 32 random characters of base58, and 6 that check the rest: a mistyped key, or a random
//! string, never reaches the database.

mod network;
mod text;

use std::{collections::BTreeSet, net::IpAddr};

use chrono::{DateTime, Duration, Utc};
pub use network::Network;
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    crypto::sha256,
    ids::{ApiKeyId, PartnerId},
    problem::Problem,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use text::SHOWN;
pub use text::{new_key, well_written};
use uuid::Uuid;

use super::{PartnerStatus, checked_text, store};
use crate::{
    audit::{Actor, ActorKind, AuditEntry, Environment, Permission, record_in_tx},
    engine::Engine,
    error::VaultError,
};

/// What a key may do at most, besides its role (requirement M1). Unknown members are refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyLimits {
    /// Most of one payment. Default: as the partner's policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_payment: Option<Money>,
    /// Most of all payments of a Nairobi day. Default: as the partner's policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<Money>,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// For people.
    pub label: String,
    /// Test money or real money.
    pub environment: Environment,
    /// One of the table `roles`.
    pub role: String,
    /// From where it may be used; empty: from everywhere.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// What it may do at most.
    #[serde(default)]
    pub limits: KeyLimits,
    /// When it ends; `None`: when it is revoked.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as shown: enough to recognise it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose; `None`: the platform's.
    pub partner_id: Option<PartnerId>,
    /// For people.
    pub label: String,
    /// Test money or real money.
    pub environment: Environment,
    /// How it begins.
    pub prefix: String,
    /// What it may do.
    pub role: String,
    /// From where.
    pub addresses: Vec<String>,
    /// At most.
    pub limits: KeyLimits,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was ended.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// A key just made: the only time that it is shown.
#[derive(Debug, Clone)]
pub struct MadeKey {
    /// The key.
    pub key: SecretString,
    /// What is kept of it.
    pub view: KeyView,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    partner_id: Option<Uuid>,
    label: String,
    environment: String,
    prefix: String,
    role: String,
    addresses: Json<Vec<String>>,
    limits: Json<KeyLimits>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    created_by: String,
}

impl TryFrom<Row> for KeyView {
    type Error = VaultError;

    fn try_from(row: Row) -> Result<Self, VaultError> {
        Ok(Self {
            id: ApiKeyId(row.id),
            partner_id: row.partner_id.map(PartnerId),
            label: row.label,
            environment: row.environment.parse()?,
            prefix: row.prefix,
            role: row.role,
            addresses: row.addresses.0,
            limits: row.limits.0,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            created_at: row.created_at,
            created_by: row.created_by,
        })
    }
}

/// Makes a key. A partner's actor makes keys of its own partner and environment; nobody gives more than he has.
pub async fn create(engine: &Engine, actor: &Actor, partner: Option<PartnerId>, new: NewKey) -> Result<MadeKey, VaultError> {
    actor.require(Permission::KeysWrite)?;
    // The platform may make keys of its own: then nobody is named.
    let partner = if actor.is_platform() { partner } else { Some(actor.partner_for(partner)?) };
    if actor.kind == ActorKind::ApiKey && !actor.is_platform() && actor.environment != new.environment {
        return Err(Problem::invalid("/environment", "A key makes keys of its own environment only.").into());
    }
    checked(&new, engine.now())?;
    let mut tx = actor.begin(engine).await?;
    if let Some(partner) = partner {
        let owner = store::lock(tx.conn(), partner).await?;
        super::shortcode::still_open(owner.status)?;
    }
    may_give(tx.conn(), actor, partner, &new.role).await?;
    let made = insert(tx.conn(), engine, partner, &new, &actor.label()).await?;
    let entry = AuditEntry::of(partner, "key.create", made.view.id).change(None::<&KeyView>, Some(&made.view));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(made)
}

fn checked(new: &NewKey, now: DateTime<Utc>) -> Result<(), Box<Problem>> {
    checked_text("/label", &new.label, 100)?;
    if new.addresses.len() > 50 {
        return Err(Box::new(Problem::invalid("/addresses", "At most 50 addresses.")));
    }
    for address in &new.addresses {
        address.parse::<Network>()?;
    }
    for (pointer, amount) in [("/limits/per_payment", new.limits.per_payment), ("/limits/per_day", new.limits.per_day)] {
        if amount.is_some_and(|a| a.minor() < 0) {
            return Err(Box::new(Problem::invalid(pointer, "A limit is not negative.")));
        }
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(Box::new(Problem::invalid("/expires_at", "This moment is past.")));
    }
    Ok(())
}

/// The role exists, is one of the right side, and holds nothing that the actor does not hold.
async fn may_give(conn: &mut PgConnection, actor: &Actor, partner: Option<PartnerId>, role: &str) -> Result<(), VaultError> {
    let found: Option<(String, Vec<String>)> = sqlx::query_as(
        "select r.scope, coalesce(array_agg(p.permission) filter (where p.permission is not null), '{}')
         from roles r left join role_permissions p on p.role = r.name where r.name = $1 group by r.scope",
    )
    .bind(role)
    .fetch_optional(conn)
    .await?;
    let side = if partner.is_some() { "partner" } else { "platform" };
    let Some((_, permissions)) = found.filter(|(scope, _)| scope == side) else {
        return Err(Problem::invalid("/role", format!("There is no such role of a {side}.")).into());
    };
    let more = Permission::known(permissions.iter().map(String::as_str)).into_iter().find(|p| !actor.may(*p));
    if let Some(more) = more {
        let detail = format!("The role {role} may do {more}, which you may not: nobody gives more than he has.");
        return Err(Problem::refused("not_permitted", 403, detail, "Choose a smaller role, or ask an administrator.").into());
    }
    Ok(())
}

async fn insert(conn: &mut PgConnection, engine: &Engine, partner: Option<PartnerId>, new: &NewKey, by: &str) -> Result<MadeKey, VaultError> {
    let key = new_key(engine.ids.as_ref(), new.environment);
    let shown: String = key.expose_secret().chars().take(SHOWN).collect();
    let row: Row = sqlx::query_as(
        "insert into api_keys (id, partner_id, label, environment, prefix, key_hash, role, addresses, limits, expires_at, created_at, created_by)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         returning id, partner_id, label, environment, prefix, role, addresses, limits, expires_at, revoked_at, last_used_at, created_at, created_by",
    )
    .bind(engine.id())
    .bind(partner.map(PartnerId::uuid))
    .bind(new.label.trim())
    .bind(new.environment.as_str())
    .bind(shown)
    .bind(sha256(key.expose_secret().as_bytes()).as_slice())
    .bind(&new.role)
    .bind(Json(&new.addresses))
    .bind(Json(&new.limits))
    .bind(new.expires_at)
    .bind(engine.now())
    .bind(by)
    .fetch_one(conn)
    .await?;
    Ok(MadeKey { key, view: row.try_into()? })
}

/// The keys that the actor sees, newest first; the platform may name one partner.
pub async fn list(engine: &Engine, actor: &Actor, partner: Option<PartnerId>) -> Result<Vec<KeyView>, VaultError> {
    actor.require(Permission::KeysWrite)?;
    let mut tx = actor.begin(engine).await?;
    let rows: Vec<Row> = sqlx::query_as(
        "select id, partner_id, label, environment, prefix, role, addresses, limits, expires_at, revoked_at, last_used_at, created_at, created_by
         from api_keys where $1::uuid is null or partner_id = $1 order by id desc limit 1000",
    )
    .bind(partner.map(PartnerId::uuid))
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    rows.into_iter().map(KeyView::try_from).collect()
}

async fn lock(conn: &mut PgConnection, id: ApiKeyId) -> Result<KeyView, VaultError> {
    let row: Option<Row> = sqlx::query_as(
        "select id, partner_id, label, environment, prefix, role, addresses, limits, expires_at, revoked_at, last_used_at, created_at, created_by
         from api_keys where id = $1 for update",
    )
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.ok_or_else(|| Problem::not_found("API key"))?.try_into()
}

/// Ends a key at once. Ending it again changes nothing.
pub async fn revoke(engine: &Engine, actor: &Actor, id: ApiKeyId, reason: &str) -> Result<KeyView, VaultError> {
    actor.require(Permission::KeysWrite)?;
    let reason = super::checked_reason(reason)?;
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let before = lock(tx.conn(), id).await?;
    if before.revoked_at.is_some() {
        tx.rollback().await?;
        return Ok(before);
    }
    sqlx::query("update api_keys set revoked_at = $2 where id = $1").bind(id.uuid()).bind(now).execute(tx.conn()).await?;
    let after = KeyView { revoked_at: Some(now), ..before.clone() };
    let entry = AuditEntry::of(before.partner_id, "key.revoke", id).because(reason).change(Some(&before), Some(&after));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(after)
}

/// Makes a new key with the same role, addresses and limits; the old one ends after `overlap` (at most 30 days), or when it would
/// have ended anyway.
pub async fn rotate(engine: &Engine, actor: &Actor, id: ApiKeyId, overlap: Duration) -> Result<MadeKey, VaultError> {
    actor.require(Permission::KeysWrite)?;
    if overlap < Duration::zero() || overlap > Duration::days(30) {
        return Err(Problem::invalid("/overlap", "Between 0 and 30 days.").into());
    }
    let now = engine.now();
    let mut tx = actor.begin(engine).await?;
    let old = lock(tx.conn(), id).await?;
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::refused("key_over", 409, "This key has ended.", "Make a new key.").into());
    }
    may_give(tx.conn(), actor, old.partner_id, &old.role).await?;
    let ends = old.expires_at.map_or(now + overlap, |at| at.min(now + overlap));
    sqlx::query("update api_keys set expires_at = $2 where id = $1").bind(id.uuid()).bind(ends).execute(tx.conn()).await?;
    let new = NewKey {
        label: old.label.clone(),
        environment: old.environment,
        role: old.role.clone(),
        addresses: old.addresses.clone(),
        limits: old.limits.clone(),
        expires_at: old.expires_at,
    };
    let made = insert(tx.conn(), engine, old.partner_id, &new, &actor.label()).await?;
    let entry = AuditEntry::of(old.partner_id, "key.rotate", id).change(Some(&old), Some(&made.view));
    record_in_tx(tx.conn(), engine, actor, entry).await?;
    tx.commit().await?;
    Ok(made)
}

#[derive(sqlx::FromRow)]
struct Presented {
    id: Uuid,
    partner_id: Option<Uuid>,
    partner_status: Option<String>,
    label: String,
    environment: String,
    role: String,
    addresses: Json<Vec<String>>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    permissions: Vec<String>,
}

/// Who presents this key. All refusals of the key itself are one and the same 401: nobody learns whether it once was one.
pub async fn authenticate(engine: &Engine, presented: &str, address: Option<IpAddr>) -> Result<Actor, VaultError> {
    let environment = well_written(presented).ok_or_else(not_a_key)?;
    let now = engine.now();
    // Nobody's tenant is known yet, so the worker's role looks. Index: the unique key_hash.
    let found: Option<Presented> = sqlx::query_as(
        "select k.id, k.partner_id, p.status as partner_status, k.label, k.environment, k.role, k.addresses, k.expires_at, k.revoked_at,
                k.last_used_at, array(select rp.permission from role_permissions rp where rp.role = k.role) as permissions
         from api_keys k left join partners p on p.id = k.partner_id where k.key_hash = $1",
    )
    .bind(sha256(presented.as_bytes()).as_slice())
    .fetch_optional(engine.db.worker())
    .await?;
    let key = found.ok_or_else(not_a_key)?;
    if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now) || key.environment != environment.as_str() {
        return Err(not_a_key().into());
    }
    address_allowed(&key.addresses.0, address)?;
    let permissions = Permission::known(key.permissions.iter().map(String::as_str));
    let permissions = match key.partner_status.as_deref().map(PartnerStatus::from_column).transpose()? {
        Some(PartnerStatus::Closed) => return Err(not_a_key().into()),
        Some(status) => left_of(status, permissions),
        None => permissions,
    };
    if key.last_used_at.is_none_or(|at| now - at >= Duration::minutes(1)) {
        note_use(engine, key.id, now).await?;
    }
    Ok(Actor {
        kind: ActorKind::ApiKey,
        id: key.id,
        partner: key.partner_id.map(PartnerId),
        role: key.role,
        permissions,
        name: key.label,
        environment,
        request_id: None,
        address: address.map(|a| a.to_string()),
    })
}

/// What a key's limits are: asked where a payment is started with it.
pub async fn limits_in_tx(conn: &mut PgConnection, id: ApiKeyId) -> Result<KeyLimits, VaultError> {
    let limits: Option<Json<KeyLimits>> =
        sqlx::query_scalar("select limits from api_keys where id = $1").bind(id.uuid()).fetch_optional(conn).await?;
    Ok(limits.ok_or_else(|| Problem::not_found("API key"))?.0)
}

fn not_a_key() -> Problem {
    Problem::refused("not_authenticated", 401, "The API key is missing, wrong or has ended.", "Send a valid key as Authorization: Bearer …")
}

fn address_allowed(list: &[String], address: Option<IpAddr>) -> Result<(), Box<Problem>> {
    let allowed =
        list.is_empty() || address.is_some_and(|address| list.iter().filter_map(|n| n.parse::<Network>().ok()).any(|n| n.contains(address)));
    if allowed {
        return Ok(());
    }
    let detail = "This API key may not be used from this address.";
    Err(Box::new(Problem::refused("address_not_allowed", 403, detail, "Call from an address on the key's list, or have the list changed.")))
}

/// A suspended partner reads and starts nothing; one that is closing settles what is open and starts nothing new.
fn left_of(status: PartnerStatus, permissions: BTreeSet<Permission>) -> BTreeSet<Permission> {
    let keeps = |permission: &Permission| match status {
        PartnerStatus::Active => true,
        PartnerStatus::Suspended => permission.only_reads() || *permission == Permission::StopSet,
        PartnerStatus::Closing => *permission != Permission::DisbursementsCreate,
        PartnerStatus::Closed => false,
    };
    permissions.into_iter().filter(keeps).collect()
}

/// At most once a minute per key, also when many requests come at once: the row says so itself.
async fn note_use(engine: &Engine, key: Uuid, now: DateTime<Utc>) -> Result<(), VaultError> {
    let mut tx = engine.begin().await?;
    sqlx::query("update api_keys set last_used_at = $2 where id = $1 and (last_used_at is null or last_used_at <= $2 - interval '1 minute')")
        .bind(key)
        .bind(now)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(())
}

/// The platform's first key, made at the first start: `Some` only in the process that made it, which shows it once.
pub async fn ensure_platform_key(engine: &Engine, environment: Environment) -> Result<Option<SecretString>, VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    // The row is the lock: of several processes that start at once, one makes the key, in the same transaction.
    let first = sqlx::query("insert into settings (name, value, updated_at) values ($1, $2, $3) on conflict (name) do nothing")
        .bind(format!("platform_key.{environment}"))
        .bind(Json(serde_json::json!({ "made_at": now })))
        .bind(now)
        .execute(tx.conn())
        .await?
        .rows_affected();
    if first == 0 {
        tx.rollback().await?;
        return Ok(None);
    }
    let actor = Actor::system("first start", environment);
    let new = NewKey {
        label: "Platform, first key".into(),
        environment,
        role: "platform_admin".into(),
        addresses: Vec::new(),
        limits: KeyLimits::default(),
        expires_at: None,
    };
    let made = insert(tx.conn(), engine, None, &new, &actor.label()).await?;
    let entry = AuditEntry::of(None, "key.create", made.view.id).change(None::<&KeyView>, Some(&made.view));
    record_in_tx(tx.conn(), engine, &actor, entry).await?;
    tx.commit().await?;
    Ok(Some(made.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_list_needs_an_address_on_it() {
        let list = ["41.90.0.0/16".to_owned()];
        assert!(address_allowed(&[], None).is_ok());
        assert!(address_allowed(&list, "41.90.3.4".parse().ok()).is_ok());
        assert_eq!(address_allowed(&list, "1.2.3.4".parse().ok()).unwrap_err().status, 403);
        assert_eq!(address_allowed(&list, None).unwrap_err().code, "address_not_allowed");
    }

    #[test]
    fn a_suspended_partner_starts_nothing() {
        let all: BTreeSet<_> = Permission::ALL.iter().copied().collect();
        let left = left_of(PartnerStatus::Suspended, all.clone());
        assert!(left.contains(&Permission::WalletRead) && left.contains(&Permission::StopSet));
        assert!(!left.contains(&Permission::DisbursementsCreate) && !left.contains(&Permission::ConnectionsWrite));
        assert!(!left_of(PartnerStatus::Closing, all.clone()).contains(&Permission::DisbursementsCreate));
        assert_eq!(left_of(PartnerStatus::Active, all.clone()), all);
    }
}
