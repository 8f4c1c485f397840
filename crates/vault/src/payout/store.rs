//! The SQL of payouts, submissions, proofs and questions to the rail.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money, Msisdn,
    ids::{PartnerId, PayoutId, ProofId},
    verdict::{Grade, ProvenNotPaid},
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::machine::{Payout, State, Submission, SubmissionState, Veto};
use crate::error::VaultError;

/// A row of `payouts`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Serialize)]
pub struct Row {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub disbursement_id: Uuid,
    pub attempt: i32,
    pub prior_proof_id: Option<Uuid>,
    pub rail: String,
    pub rail_id: String,
    pub token: String,
    pub shortcode_id: Uuid,
    pub credential_id: Uuid,
    pub msisdn: String,
    pub amount_minor: i64,
    pub remarks: String,
    pub body_hash: Option<String>,
    pub state: String,
    pub conversation_id: Option<String>,
    pub receipt: Option<String>,
    pub party_name: Option<String>,
    pub result_code: Option<String>,
    pub result_detail: Option<String>,
    pub repeat_wanted: bool,
    pub veto: String,
    pub veto_tries: i32,
    pub confirm_wanted: bool,
    pub double_paid: bool,
    pub returned_at: Option<DateTime<Utc>>,
    pub prepared_at: DateTime<Utc>,
    pub first_sent_at: Option<DateTime<Utc>>,
    pub sent_until: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub asks: i32,
    pub due_at: Option<DateTime<Utc>>,
    pub fence: i64,
    pub updated_at: DateTime<Utc>,
}

impl Row {
    /// Typed id.
    pub const fn payout(&self) -> PayoutId {
        PayoutId(self.id)
    }

    /// Typed partner.
    pub const fn partner(&self) -> PartnerId {
        PartnerId(self.partner_id)
    }

    /// The amount.
    pub const fn amount(&self) -> Money {
        Money::from_minor(self.amount_minor)
    }

    /// The state.
    pub fn state(&self) -> Result<State, VaultError> {
        State::parse(&self.state).ok_or_else(|| self.broken("state"))
    }

    fn broken(&self, what: &str) -> VaultError {
        VaultError::Broken(format!("payout {} has a strange {what}", self.id))
    }

    /// The receiver.
    pub fn receiver(&self) -> Result<Msisdn, VaultError> {
        Msisdn::parse(&self.msisdn).map_err(|_| self.broken("receiver"))
    }

    /// As the machine sees it.
    pub fn machine(
        &self,
        shortcode: &str,
        submissions: &[SubmissionRow],
        sibling_paid: bool,
        confirm_above: Option<Money>,
    ) -> Result<Payout, VaultError> {
        Ok(Payout {
            state: self.state()?,
            attempt: self.attempt,
            rail_id: self.rail_id.clone(),
            shortcode: shortcode.to_owned(),
            msisdn: self.receiver()?,
            amount: self.amount(),
            conversation_id: self.conversation_id.clone(),
            receipt: self.receipt.clone(),
            party_name: self.party_name.clone(),
            result_code: self.result_code.clone(),
            result_detail: self.result_detail.clone(),
            repeat_wanted: self.repeat_wanted,
            veto: Veto::parse(&self.veto).ok_or_else(|| self.broken("veto"))?,
            veto_tries: self.veto_tries,
            confirm_wanted: self.confirm_wanted,
            double_paid: self.double_paid,
            first_sent_at: self.first_sent_at,
            sent_until: self.sent_until,
            asks: self.asks,
            due_at: self.due_at,
            ended_at: self.ended_at,
            submissions: submissions.iter().map(SubmissionRow::machine).collect::<Result<_, _>>()?,
            sibling_paid,
            confirm_above,
        })
    }

    /// Takes over what the machine decided (submissions apart).
    pub fn take(&mut self, p: &Payout, now: DateTime<Utc>) {
        p.state.as_str().clone_into(&mut self.state);
        self.conversation_id.clone_from(&p.conversation_id);
        self.receipt.clone_from(&p.receipt);
        self.party_name.clone_from(&p.party_name);
        self.result_code.clone_from(&p.result_code);
        self.result_detail.clone_from(&p.result_detail);
        self.repeat_wanted = p.repeat_wanted;
        p.veto.as_str().clone_into(&mut self.veto);
        self.veto_tries = p.veto_tries;
        self.confirm_wanted = p.confirm_wanted;
        self.double_paid = p.double_paid;
        self.first_sent_at = p.first_sent_at;
        self.sent_until = p.sent_until;
        self.asks = p.asks;
        self.due_at = p.due_at;
        self.ended_at = p.ended_at;
        self.updated_at = now;
    }
}

/// A row of `submissions`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Serialize)]
pub struct SubmissionRow {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub payout_id: Uuid,
    pub number: i32,
    pub fence: i64,
    pub state: String,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
    pub answered_at: Option<DateTime<Utc>>,
    pub http_status: Option<i32>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub conversation_id: Option<String>,
    pub request_body: Option<String>,
    pub response_body: Option<String>,
    pub renewed: bool,
}

impl SubmissionRow {
    fn machine(&self) -> Result<Submission, VaultError> {
        let state =
            SubmissionState::parse(&self.state).ok_or_else(|| VaultError::Broken(format!("submission {} has state {}", self.id, self.state)))?;
        Ok(Submission { number: self.number, fence: self.fence, state, lease_until: self.lease_until, renewed: self.renewed })
    }
}

/// A row of `payout_proofs`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, Serialize)]
pub struct ProofRow {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub disbursement_id: Uuid,
    pub attempt: i32,
    pub payout_id: Uuid,
    pub grade: String,
    pub source: String,
    pub message_id: Uuid,
    pub detail: String,
    pub at: DateTime<Utc>,
}

/// A row of `rail_queries`.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow, Serialize)]
pub struct QueryRow {
    pub id: Uuid,
    pub partner_id: Uuid,
    pub shortcode_id: Uuid,
    pub credential_id: Option<Uuid>,
    pub kind: String,
    pub payout_id: Option<Uuid>,
    pub receipt: Option<String>,
    pub purpose: String,
    pub token: String,
    pub state: String,
    pub conversation_id: Option<String>,
    pub asked_at: DateTime<Utc>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub answered_at: Option<DateTime<Utc>>,
    pub code: Option<String>,
    pub answer: Option<String>,
    pub message: Option<String>,
    pub ledger_minor: Option<i64>,
}

/// All payouts of these disbursements, locked in the canonical order (after the disbursements).
pub async fn lock_of_disbursements_in_tx(conn: &mut PgConnection, disbursements: &[Uuid]) -> Result<Vec<Row>, VaultError> {
    Ok(sqlx::query_as("select * from payouts where disbursement_id = any($1) order by id for no key update")
        .bind(disbursements)
        .fetch_all(conn)
        .await?)
}

/// The disbursements of these payouts.
pub async fn disbursements_of_in_tx(conn: &mut PgConnection, payouts: &[Uuid]) -> Result<Vec<Uuid>, VaultError> {
    Ok(sqlx::query_scalar("select distinct disbursement_id from payouts where id = any($1)").bind(payouts).fetch_all(conn).await?)
}

/// Submissions of payouts, oldest first. Index: `submissions_payout_id_number_key`.
pub async fn submissions_in_tx(conn: &mut PgConnection, payouts: &[Uuid]) -> Result<Vec<SubmissionRow>, VaultError> {
    Ok(sqlx::query_as("select * from submissions where payout_id = any($1) order by payout_id, number").bind(payouts).fetch_all(conn).await?)
}

/// The proofs of these payouts, each as the value that a new attempt needs (rule A7).
pub async fn proofs_in_tx(conn: &mut PgConnection, payouts: &[Uuid]) -> Result<Vec<ProvenNotPaid>, VaultError> {
    let rows: Vec<ProofRow> = sqlx::query_as("select * from payout_proofs where payout_id = any($1)").bind(payouts).fetch_all(conn).await?;
    rows.into_iter()
        .map(|r| {
            let grade = [Grade::Rail, Grade::Statement, Grade::Attested].into_iter().find(|g| g.as_str() == r.grade);
            let grade = grade.ok_or_else(|| VaultError::Broken(format!("proof {} has grade {}", r.id, r.grade)))?;
            Ok(ProvenNotPaid::from_row(ProofId(r.id), PayoutId(r.payout_id), grade))
        })
        .collect()
}

/// Claims due payouts (silence, growing questions, vetoes). Index: `payouts_due`.
pub async fn claim_in_tx(conn: &mut PgConnection, partners: Option<&[Uuid]>, now: DateTime<Utc>, limit: i64) -> Result<Vec<Uuid>, VaultError> {
    Ok(sqlx::query_scalar(
        "select id from payouts where due_at <= $1 and ($3::uuid[] is null or partner_id = any($3))
         order by due_at, id limit $2",
    )
    .bind(now)
    .bind(limit)
    .bind(partners)
    .fetch_all(conn)
    .await?)
}

/// Writes new payouts.
pub async fn insert_in_tx(conn: &mut PgConnection, rows: &[&Row]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into payouts (id, partner_id, disbursement_id, attempt, prior_proof_id, rail, rail_id, token, shortcode_id, credential_id, msisdn,
             amount_minor, remarks, body_hash, state, conversation_id, receipt, party_name, result_code, result_detail, repeat_wanted, veto, veto_tries,
             confirm_wanted, double_paid, returned_at, prepared_at, first_sent_at, sent_until, ended_at, asks, due_at, fence, updated_at)
         select id, partner_id, disbursement_id, attempt, prior_proof_id, rail, rail_id, token, shortcode_id, credential_id, msisdn,
             amount_minor, remarks, body_hash, state, conversation_id, receipt, party_name, result_code, result_detail, repeat_wanted, veto, veto_tries,
             confirm_wanted, double_paid, returned_at, prepared_at, first_sent_at, sent_until, ended_at, asks, due_at, fence, updated_at
         from jsonb_populate_recordset(null::payouts, $1)",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes everything that may change of a payout. The caller holds its lock.
pub async fn update_in_tx(conn: &mut PgConnection, rows: &[&Row]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update payouts p set
             state = x.state, conversation_id = x.conversation_id, receipt = x.receipt, party_name = x.party_name, result_code = x.result_code,
             result_detail = x.result_detail, repeat_wanted = x.repeat_wanted, veto = x.veto, veto_tries = x.veto_tries, confirm_wanted = x.confirm_wanted,
             double_paid = x.double_paid, returned_at = x.returned_at, first_sent_at = x.first_sent_at, sent_until = x.sent_until, ended_at = x.ended_at,
             asks = x.asks, due_at = x.due_at, fence = x.fence, updated_at = x.updated_at
         from jsonb_populate_recordset(null::payouts, $1) x where p.id = x.id",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes new submissions and what changed of known ones.
pub async fn upsert_submissions_in_tx(conn: &mut PgConnection, rows: &[&SubmissionRow]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into submissions select x.* from jsonb_populate_recordset(null::submissions, $1) x
         on conflict (payout_id, number) do update set state = excluded.state, answered_at = excluded.answered_at, http_status = excluded.http_status,
             renewed = excluded.renewed, code = excluded.code, message = excluded.message, conversation_id = excluded.conversation_id,
             request_body = coalesce(excluded.request_body, submissions.request_body), response_body = excluded.response_body",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes proofs.
pub async fn insert_proofs_in_tx(conn: &mut PgConnection, rows: &[ProofRow]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query("insert into payout_proofs select x.* from jsonb_populate_recordset(null::payout_proofs, $1) x")
        .bind(Json(rows))
        .execute(conn)
        .await?;
    Ok(())
}

/// Wants questions asked; one that already waits to be asked for the same payout is enough.
pub async fn want_queries_in_tx(conn: &mut PgConnection, rows: &[QueryRow]) -> Result<(), VaultError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into rail_queries select x.* from jsonb_populate_recordset(null::rail_queries, $1) x
         where x.payout_id is null or not exists (select from rail_queries q where q.payout_id = x.payout_id and q.state = 'wanted')",
    )
    .bind(Json(rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether the last question about each payout was answered.
pub async fn last_answered_in_tx(conn: &mut PgConnection, payouts: &[Uuid]) -> Result<Vec<(Uuid, bool)>, VaultError> {
    Ok(sqlx::query_as(
        "select distinct on (payout_id) payout_id, state = 'answered' from rail_queries where payout_id = any($1) order by payout_id, asked_at desc, id desc",
    )
    .bind(payouts)
    .fetch_all(conn)
    .await?)
}
