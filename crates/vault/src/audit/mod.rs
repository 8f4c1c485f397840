//! Who did what, when and why: the actor of a request, his permissions, and the audit trail.
//!
//! Rows of the trail are written by the step that has the effect, in the same transaction, and never changed. No secret and no
//! clear phone number list goes into `before` and `after`: use the views.

mod actor;
mod permission;

pub use actor::{Actor, ActorKind, Environment, label_is_platform};
use chrono::{DateTime, Utc};
pub use permission::{NoSuchPermission, Permission};
use pv_database::PgConnection;
use pv_kernel::ids::PartnerId;
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{engine::Engine, error::VaultError};

/// One thing that was done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditEntry {
    /// Whose rows it touched; `None`: the platform's own.
    pub partner: Option<PartnerId>,
    /// What was done: `partner.create`, `stop.set`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub subject: Option<String>,
    /// Why, in the person's words.
    pub reason: Option<String>,
    /// As it was.
    pub before: Option<Value>,
    /// As it is now.
    pub after: Option<Value>,
}

impl AuditEntry {
    /// Something done to a row of a partner, or of the platform.
    pub fn of(partner: Option<PartnerId>, action: &'static str, subject: impl std::fmt::Display) -> Self {
        Self { partner, action, subject: Some(subject.to_string()), ..Self::default() }
    }

    /// With the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With what changed. A value that is no JSON is left out: the entry itself is what must not be lost.
    #[must_use]
    pub fn change(mut self, before: Option<&impl Serialize>, after: Option<&impl Serialize>) -> Self {
        self.before = before.and_then(|value| serde_json::to_value(value).ok());
        self.after = after.and_then(|value| serde_json::to_value(value).ok());
        self
    }
}

/// Writes one entry inside the caller's transaction.
pub async fn record_in_tx(conn: &mut PgConnection, engine: &Engine, actor: &Actor, entry: AuditEntry) -> Result<(), VaultError> {
    record_all_in_tx(conn, engine, actor, &[entry]).await
}

/// Writes many entries inside the caller's transaction, in one statement.
pub async fn record_all_in_tx(conn: &mut PgConnection, engine: &Engine, actor: &Actor, entries: &[AuditEntry]) -> Result<(), VaultError> {
    if entries.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = entries.iter().map(|_| engine.id()).collect();
    let partners: Vec<Option<Uuid>> = entries.iter().map(|e| e.partner.map(PartnerId::uuid)).collect();
    let actions: Vec<&str> = entries.iter().map(|e| e.action).collect();
    let subjects: Vec<Option<&str>> = entries.iter().map(|e| e.subject.as_deref()).collect();
    let reasons: Vec<Option<&str>> = entries.iter().map(|e| e.reason.as_deref()).collect();
    let before: Vec<Option<Json<&Value>>> = entries.iter().map(|e| e.before.as_ref().map(Json)).collect();
    let after: Vec<Option<Json<&Value>>> = entries.iter().map(|e| e.after.as_ref().map(Json)).collect();
    sqlx::query(
        "insert into audit_log (id, partner_id, at, actor, action, subject, reason, before, after, request_id, address)
         select e.id, e.partner_id, $8, $9, e.action, e.subject, e.reason, e.before, e.after, $10, $11
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[])
              as e(id, partner_id, action, subject, reason, before, after)",
    )
    .bind(ids)
    .bind(partners)
    .bind(actions)
    .bind(subjects)
    .bind(reasons)
    .bind(before)
    .bind(after)
    .bind(engine.now())
    .bind(actor.label())
    .bind(&actor.request_id)
    .bind(&actor.address)
    .execute(conn)
    .await?;
    Ok(())
}

/// One row of the trail, as shown.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct AuditRow {
    /// Its id; also the cursor.
    pub id: Uuid,
    /// Whose rows it touched.
    pub partner_id: Option<Uuid>,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// As it was.
    pub before: Option<Value>,
    /// As it became.
    pub after: Option<Value>,
    /// The request.
    pub request_id: Option<String>,
    /// From where.
    pub address: Option<String>,
}

/// The trail, newest first, before the cursor. A partner's actor sees its partner's rows (row-level security).
pub async fn list(engine: &Engine, actor: &Actor, before: Option<Uuid>, limit: i64) -> Result<Vec<AuditRow>, VaultError> {
    actor.require(Permission::AuditRead)?;
    let mut tx = actor.begin(engine).await?;
    let rows = sqlx::query_as(
        "select id, partner_id, at, actor, action, subject, reason, before, after, request_id, address
         from audit_log where $1::uuid is null or id < $1 order by id desc limit $2",
    )
    .bind(before)
    .bind(limit.clamp(1, 500))
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(rows)
}
