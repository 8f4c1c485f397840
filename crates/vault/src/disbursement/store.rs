//! The SQL of disbursements. All writes are set-based: a batch of rows goes as one JSON parameter.

use chrono::{DateTime, NaiveDate, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money, Msisdn,
    ids::{CoreId, DisbursementId, PartnerId},
    verdict::Status,
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::machine::{Charges, Standing, State};
use crate::{error::VaultError, payout::rail_id::Subject, wallet::quote::Quote};

/// A row of `disbursements`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Serialize)]
pub struct Row {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub core_id: Option<Uuid>,
    pub loan_id: Option<String>,
    pub tranche: i32,
    pub generation: i32,
    pub origin: String,
    pub reference: Option<String>,
    pub client_id: Option<String>,
    pub client_name: Option<String>,
    pub msisdn: Option<String>,
    pub product_id: Option<String>,
    pub product_name: Option<String>,
    pub amount_minor: Option<i64>,
    pub gross_minor: Option<i64>,
    pub floored_minor: i64,
    pub currency: String,
    pub approved_on: Option<NaiveDate>,
    pub expected_on: Option<NaiveDate>,
    pub approval: Option<String>,
    pub shortcode_id: Option<Uuid>,
    pub state: String,
    pub status: String,
    pub reason: Option<String>,
    pub reason_detail: Option<String>,
    pub quote: Option<Json<Quote>>,
    pub charges: String,
    pub charges_generation: i32,
    pub charges_split: bool,
    pub attempts: i32,
    pub retry_at: Option<DateTime<Utc>>,
    pub receipt: Option<String>,
    pub paid_at: Option<DateTime<Utc>>,
    pub name_check: bool,
    pub overrides: Vec<String>,
    pub note: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub fence: i64,
    pub tries: i32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_by: String,
}

impl Row {
    /// Typed id.
    pub const fn disbursement(&self) -> DisbursementId {
        DisbursementId(self.id)
    }

    /// Typed partner.
    pub const fn partner(&self) -> PartnerId {
        PartnerId(self.partner_id)
    }

    /// What is paid out.
    pub fn amount(&self) -> Option<Money> {
        self.amount_minor.map(Money::from_minor)
    }

    /// The state; a text that the code would not have written is a broken row.
    pub fn state(&self) -> Result<State, VaultError> {
        State::parse(&self.state).ok_or_else(|| VaultError::Broken(format!("disbursement {} has state {}", self.id, self.state)))
    }

    /// What the deterministic rail id is made from (rule A3).
    pub fn subject(&self) -> Subject<'_> {
        match (self.core_id, self.loan_id.as_deref()) {
            (Some(core), Some(loan)) => Subject::Loan { core: CoreId(core), loan, tranche: self.tranche, generation: self.generation },
            _ => Subject::Reference { partner: self.partner(), reference: self.reference.as_deref().unwrap_or_default() },
        }
    }

    /// As the machine sees it.
    pub fn standing(&self) -> Result<Standing, VaultError> {
        let broken = |what: &str| VaultError::Broken(format!("disbursement {} has a strange {what}", self.id));
        Ok(Standing {
            state: self.state()?,
            status: parse_status(&self.status).ok_or_else(|| broken("status"))?,
            reason: self.reason.clone(),
            reason_detail: self.reason_detail.clone(),
            charges: Charges::parse(&self.charges).ok_or_else(|| broken("state of charges"))?,
            attempts: self.attempts,
            retry_at: self.retry_at,
            due_at: self.due_at,
            receipt: self.receipt.clone(),
            paid_at: self.paid_at,
            has_core: self.core_id.is_some(),
            created_at: self.created_at,
        })
    }

    /// Takes over what the machine decided.
    pub fn take(&mut self, s: Standing) {
        s.state.as_str().clone_into(&mut self.state);
        s.status.as_str().clone_into(&mut self.status);
        self.reason = s.reason;
        self.reason_detail = s.reason_detail;
        s.charges.as_str().clone_into(&mut self.charges);
        self.attempts = s.attempts;
        self.retry_at = s.retry_at;
        self.due_at = s.due_at;
        self.receipt = s.receipt;
        self.paid_at = s.paid_at;
    }

    /// Moves to a state with a reason; when to look again is the caller's.
    pub fn rest(&mut self, state: State, reason: Option<&str>, detail: Option<String>) {
        state.as_str().clone_into(&mut self.state);
        let status = match state {
            State::Received | State::Waiting | State::Held => Status::ToDo,
            State::Refused | State::NotPaid | State::Cancelled => Status::NotPaid,
            State::Paying => Status::OnItsWay,
            State::Paid | State::Returned => Status::Paid,
        };
        status.as_str().clone_into(&mut self.status);
        self.reason = reason.map(str::to_owned);
        self.reason_detail = detail;
    }

    /// The receiver.
    pub fn receiver(&self) -> Option<Msisdn> {
        self.msisdn.as_deref().and_then(|m| Msisdn::parse(m).ok())
    }

    /// The first name of the client, for texts.
    pub fn first_name(&self) -> &str {
        self.client_name.as_deref().and_then(|n| n.split_whitespace().next()).unwrap_or("customer")
    }
}

/// The five words from their stored names.
pub fn parse_status(text: &str) -> Option<Status> {
    [Status::ToDo, Status::OnItsWay, Status::Paid, Status::NotPaid, Status::NotYetKnown].into_iter().find(|s| s.as_str() == text)
}

/// Locks disbursements in the canonical order (by id) and reads them. No key of theirs ever changes: rows that refer to them can be written
/// meanwhile, so that a callback is stored while its payment is being worked on.
pub async fn lock_in_tx(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, VaultError> {
    Ok(sqlx::query_as("select * from disbursements where id = any($1) order by id for no key update").bind(ids).fetch_all(conn).await?)
}

/// Reads without locking.
pub async fn read_in_tx(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, VaultError> {
    Ok(sqlx::query_as("select * from disbursements where id = any($1) order by id").bind(ids).fetch_all(conn).await?)
}

/// Claims due disbursements: moves `due_at` to the end of the lease and raises the fence.
/// Index: `disbursements_due`.
pub async fn claim_in_tx(
    conn: &mut PgConnection,
    partners: Option<&[Uuid]>,
    now: DateTime<Utc>,
    lease: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Row>, VaultError> {
    Ok(sqlx::query_as(
        "with due as (
             select id from disbursements
             where due_at <= $1 and ($4::uuid[] is null or partner_id = any($4))
             order by due_at, id limit $3 for no key update skip locked)
         update disbursements d set due_at = $2, fence = fence + 1, tries = tries + 1
         from due where d.id = due.id returning d.*",
    )
    .bind(now)
    .bind(lease)
    .bind(limit)
    .bind(partners)
    .fetch_all(conn)
    .await?)
}

/// Writes new disbursements; a row whose identity exists already is left out. Returns the ids that were written.
pub async fn insert_in_tx(conn: &mut PgConnection, rows: &[Row]) -> Result<Vec<Uuid>, VaultError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(
        "insert into disbursements
         select x.* from jsonb_populate_recordset(null::disbursements, $1) x
         on conflict do nothing returning id",
    )
    .bind(Json(rows))
    .fetch_all(conn)
    .await?)
}

/// Writes everything that may change of a disbursement. The caller holds its lock.
pub async fn update_in_tx(conn: &mut PgConnection, rows: &[&Row]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query(
        "update disbursements d set
             client_id = x.client_id, client_name = x.client_name, msisdn = x.msisdn, product_id = x.product_id, product_name = x.product_name,
             amount_minor = x.amount_minor, gross_minor = x.gross_minor, floored_minor = x.floored_minor, approved_on = x.approved_on,
             expected_on = x.expected_on, approval = x.approval, shortcode_id = x.shortcode_id, state = x.state, status = x.status,
             reason = x.reason, reason_detail = x.reason_detail, quote = x.quote, charges = x.charges, charges_generation = x.charges_generation,
             attempts = x.attempts, retry_at = x.retry_at, receipt = x.receipt, paid_at = x.paid_at, name_check = x.name_check, overrides = x.overrides, note = x.note,
             due_at = x.due_at, tries = x.tries, updated_at = x.updated_at
         from jsonb_populate_recordset(null::disbursements, $1) x where d.id = x.id",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    if done.rows_affected() != rows.len() as u64 {
        return Err(VaultError::Broken("a disbursement vanished while it was locked".into()));
    }
    Ok(())
}
