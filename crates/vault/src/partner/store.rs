//! SQL of the table `partners`, and two small things that its neighbours share.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use pv_database::{DbError, PgConnection};
use pv_kernel::{Msisdn, ids::PartnerId, problem::Problem};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Partner, PartnerPolicy, PartnerStatus};
use crate::error::VaultError;

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    short_name: String,
    status: String,
    zone: String,
    policy: Json<PartnerPolicy>,
    notification_phones: Json<Vec<Msisdn>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Partner {
    type Error = VaultError;

    fn try_from(row: Row) -> Result<Self, VaultError> {
        Ok(Self {
            id: PartnerId(row.id),
            name: row.name,
            short_name: row.short_name,
            status: PartnerStatus::from_column(&row.status)?,
            zone: zone_of(&row.zone)?,
            policy: row.policy.0,
            notification_phones: row.notification_phones.0,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

pub(super) async fn insert(conn: &mut PgConnection, partner: &Partner) -> Result<(), VaultError> {
    sqlx::query(
        "insert into partners (id, name, short_name, status, zone, policy, notification_phones, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(partner.id.uuid())
    .bind(&partner.name)
    .bind(&partner.short_name)
    .bind(partner.status.as_str())
    .bind(partner.zone.name())
    .bind(Json(&partner.policy))
    .bind(Json(&partner.notification_phones))
    .bind(partner.created_at)
    .bind(partner.updated_at)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn save(conn: &mut PgConnection, partner: &Partner) -> Result<(), VaultError> {
    sqlx::query(
        "update partners set name = $2, short_name = $3, status = $4, zone = $5, policy = $6, notification_phones = $7, updated_at = $8
         where id = $1",
    )
    .bind(partner.id.uuid())
    .bind(&partner.name)
    .bind(&partner.short_name)
    .bind(partner.status.as_str())
    .bind(partner.zone.name())
    .bind(Json(&partner.policy))
    .bind(Json(&partner.notification_phones))
    .bind(partner.updated_at)
    .execute(conn)
    .await?;
    Ok(())
}

const NOT_THERE: &str = "partner";

pub(super) async fn get(conn: &mut PgConnection, id: PartnerId) -> Result<Partner, VaultError> {
    let row: Option<Row> =
        sqlx::query_as("select id, name, short_name, status, zone, policy, notification_phones, created_at, updated_at from partners where id = $1")
            .bind(id.uuid())
            .fetch_optional(conn)
            .await?;
    row.ok_or_else(|| Problem::not_found(NOT_THERE))?.try_into()
}

pub(super) async fn lock(conn: &mut PgConnection, id: PartnerId) -> Result<Partner, VaultError> {
    let row: Option<Row> = sqlx::query_as(
        "select id, name, short_name, status, zone, policy, notification_phones, created_at, updated_at from partners where id = $1
         for update",
    )
    .bind(id.uuid())
    .fetch_optional(conn)
    .await?;
    row.ok_or_else(|| Problem::not_found(NOT_THERE))?.try_into()
}

/// All that the scope sees, by name. There are hundreds of partners at most.
pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<Partner>, VaultError> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, name, short_name, status, zone, policy, notification_phones, created_at, updated_at from partners
         order by lower(name), id limit 10000",
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Partner::try_from).collect()
}

pub(super) async fn many(conn: &mut PgConnection, ids: &[PartnerId]) -> Result<Vec<Partner>, VaultError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "select id, name, short_name, status, zone, policy, notification_phones, created_at, updated_at from partners where id = any($1)",
    )
    .bind(ids)
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Partner::try_from).collect()
}

/// What still keeps a partner open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Unfinished {
    pub(super) disbursements: i64,
    pub(super) bookings: i64,
    pub(super) items: i64,
    pub(super) balances: i64,
}

pub(super) async fn unfinished(conn: &mut PgConnection, id: PartnerId) -> Result<Unfinished, VaultError> {
    // Indexes: disbursements_open, bookings_open, items_list; ledger_balances holds two rows per partner.
    let counts = sqlx::query_as(
        "select (select count(*) from disbursements where partner_id = $1 and state not in ('paid', 'not_paid', 'cancelled', 'refused')) as disbursements,
                (select count(*) from bookings where partner_id = $1 and state not in ('booked', 'adopted')) as bookings,
                (select count(*) from items where partner_id = $1 and closed_at is null) as items,
                (select count(*) from ledger_balances where partner_id = $1 and (posted_minor <> 0 or held_minor <> 0)) as balances",
    )
    .bind(id.uuid())
    .fetch_one(conn)
    .await?;
    Ok(counts)
}

/// The zone of a column.
pub(super) fn zone_of(text: &str) -> Result<Tz, VaultError> {
    text.parse().map_err(|_| VaultError::Broken(format!("the time zone {text:?}")))
}

/// A refusal of the named unique constraint becomes a problem; everything else stays what it is.
pub(super) fn taken(error: sqlx::Error, constraint: &str, problem: impl FnOnce() -> Problem) -> VaultError {
    let error = DbError::from(error);
    if error.unique_violation() == Some(constraint) { problem().into() } else { VaultError::Db(error) }
}
