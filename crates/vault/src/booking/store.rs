//! The SQL of bookings.

use chrono::{DateTime, NaiveDate, Utc};
use pv_database::PgConnection;
use pv_kernel::Money;
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::machine::{Booking, State};
use crate::{Engine, VaultError, disbursement::store::Row as DisbursementRow, payout::store::Row as PayoutRow};

/// A row of `bookings`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Serialize)]
pub struct Row {
    pub disbursement_id: Uuid,
    pub partner_id: Uuid,
    pub core_id: Uuid,
    pub loan_id: String,
    pub payout_id: Uuid,
    pub receipt: String,
    pub gross_minor: i64,
    pub msisdn: String,
    pub paid_at: DateTime<Utc>,
    pub state: String,
    pub outcome: Option<String>,
    pub external_id: String,
    pub idempotency_key: String,
    pub keys_used: i32,
    pub book_on: Option<NaiveDate>,
    pub transaction_id: Option<String>,
    pub command_id: Option<String>,
    pub tries: i32,
    pub last_error: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub fence: i64,
    pub booked_at: Option<DateTime<Utc>>,
    pub checked_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Row {
    /// A booking that is due now, for a disbursement that was just paid. Its ids follow from the payout, so that a database which lost its
    /// last minutes makes the same ones again.
    pub fn due(engine: &Engine, d: &DisbursementRow, payout: &PayoutRow, now: DateTime<Utc>) -> Result<Self, VaultError> {
        let broken = |what: &str| VaultError::Broken(format!("disbursement {} is paid and has no {what}", d.id));
        let external_id = payout.rail_id.clone();
        Ok(Self {
            disbursement_id: d.id,
            partner_id: d.partner_id,
            core_id: d.core_id.ok_or_else(|| broken("core"))?,
            loan_id: d.loan_id.clone().ok_or_else(|| broken("loan"))?,
            payout_id: payout.id,
            receipt: d.receipt.clone().ok_or_else(|| broken("receipt"))?,
            gross_minor: d.gross_minor.ok_or_else(|| broken("gross amount"))?,
            msisdn: payout.msisdn.clone(),
            paid_at: d.paid_at.unwrap_or(now),
            state: State::Due.as_str().to_owned(),
            outcome: None,
            idempotency_key: key(engine, &external_id, 1),
            external_id,
            keys_used: 1,
            book_on: None,
            transaction_id: None,
            command_id: None,
            tries: 0,
            last_error: None,
            due_at: Some(now),
            fence: 0,
            booked_at: None,
            checked_at: None,
            created_at: now,
            updated_at: now,
        })
    }

    /// As the machine sees it.
    pub fn machine(&self) -> Result<Booking, VaultError> {
        Ok(Booking {
            state: State::parse(&self.state)
                .ok_or_else(|| VaultError::Broken(format!("booking {} has state {}", self.disbursement_id, self.state)))?,
            gross: Money::from_minor(self.gross_minor),
            receipt: self.receipt.clone(),
            external_id: self.external_id.clone(),
            keys_used: self.keys_used,
            book_on: self.book_on,
            transaction_id: self.transaction_id.clone(),
            command_id: self.command_id.clone(),
            tries: self.tries,
            due_at: self.due_at,
            last_error: self.last_error.clone(),
            outcome: self.outcome.clone(),
        })
    }

    /// Takes over what the machine decided.
    pub fn take(&mut self, engine: &Engine, b: &Booking, now: DateTime<Utc>) {
        b.state.as_str().clone_into(&mut self.state);
        if b.keys_used != self.keys_used {
            self.idempotency_key = key(engine, &self.external_id, b.keys_used);
        }
        self.keys_used = b.keys_used;
        self.book_on = b.book_on;
        self.transaction_id.clone_from(&b.transaction_id);
        self.command_id.clone_from(&b.command_id);
        self.tries = b.tries;
        self.due_at = b.due_at;
        self.last_error = b.last_error.as_ref().map(|e| e.chars().filter(|c| *c != '\0').take(500).collect());
        self.outcome.clone_from(&b.outcome);
        if matches!(b.state, State::Booked | State::Adopted) && self.booked_at.is_none() {
            self.booked_at = Some(now);
        }
        self.updated_at = now;
    }
}

/// The idempotency key of an effect: 32 characters, derived, so that a restored database sends the same key again.
fn key(engine: &Engine, external_id: &str, number: i32) -> String {
    engine.id_key.token(&format!("booking|{external_id}|{number}"))
}

/// Writes new bookings.
pub async fn insert_in_tx(conn: &mut PgConnection, rows: &[Row]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query("insert into bookings select x.* from jsonb_populate_recordset(null::bookings, $1) x on conflict do nothing")
        .bind(Json(rows))
        .execute(conn)
        .await?;
    Ok(())
}

/// Claims due bookings. Index: `bookings_due`.
pub async fn claim_in_tx(
    conn: &mut PgConnection,
    partners: Option<&[Uuid]>,
    now: DateTime<Utc>,
    lease: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Row>, VaultError> {
    Ok(sqlx::query_as(
        "with due as (
             select disbursement_id from bookings where due_at <= $1 and ($4::uuid[] is null or partner_id = any($4))
             order by due_at, disbursement_id limit $3 for no key update skip locked)
         update bookings b set due_at = $2, fence = fence + 1 from due where b.disbursement_id = due.disbursement_id returning b.*",
    )
    .bind(now)
    .bind(lease)
    .bind(limit)
    .bind(partners)
    .fetch_all(conn)
    .await?)
}

/// Locks bookings that still carry the fences they were claimed with, in the order of their ids.
pub async fn lock_in_tx(conn: &mut PgConnection, claimed: &[(Uuid, i64)]) -> Result<Vec<Row>, VaultError> {
    let ids: Vec<Uuid> = claimed.iter().map(|(id, _)| *id).collect();
    let fences: Vec<i64> = claimed.iter().map(|(_, f)| *f).collect();
    Ok(sqlx::query_as(
        "select b.* from bookings b join unnest($1::uuid[], $2::bigint[]) as c(id, fence) on b.disbursement_id = c.id and b.fence = c.fence
         order by b.disbursement_id for no key update of b",
    )
    .bind(&ids)
    .bind(&fences)
    .fetch_all(conn)
    .await?)
}

/// Writes everything that may change of a booking. The caller holds its lock.
pub async fn update_in_tx(conn: &mut PgConnection, rows: &[Row]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update bookings b set state = x.state, outcome = x.outcome, idempotency_key = x.idempotency_key, keys_used = x.keys_used, book_on = x.book_on,
             transaction_id = x.transaction_id, command_id = x.command_id, tries = x.tries, last_error = x.last_error, due_at = x.due_at,
             booked_at = x.booked_at, updated_at = x.updated_at
         from jsonb_populate_recordset(null::bookings, $1) x where b.disbursement_id = x.disbursement_id",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}
