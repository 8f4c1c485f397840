//! Business events, and the lines of a disbursement's timeline. Written in the transaction of what happened; numbered later by one
//! sequencer, below the oldest running transaction, so that a reader's cursor never skips a late commit.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Engine, VaultError, disbursement::store::Row as DisbursementRow, engine::Worked};

/// An event to be published.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvent {
    /// The partner whose it is.
    pub partner_id: Option<Uuid>,
    /// `disbursement.paid`, …
    pub kind: String,
    /// What it is about.
    pub subject: Uuid,
    /// Its contents.
    pub payload: serde_json::Value,
}

impl NewEvent {
    /// An event about a disbursement.
    pub(crate) fn about(d: &DisbursementRow, kind: &str, extra: serde_json::Value) -> Self {
        let mut payload = serde_json::json!({
            "disbursement_id": d.id, "core_id": d.core_id, "loan_id": d.loan_id, "reference": d.reference, "status": d.status, "state": d.state,
            "reason": d.reason, "reason_detail": d.reason_detail, "amount": d.amount().map(pv_kernel::Money::to_decimal), "currency": d.currency,
            "receipt": d.receipt, "attempts": d.attempts,
        });
        if let (Some(map), serde_json::Value::Object(extra)) = (payload.as_object_mut(), extra) {
            map.extend(extra);
        }
        Self { partner_id: Some(d.partner_id), kind: kind.to_owned(), subject: d.id, payload }
    }
}

/// A line of the timeline of a disbursement.
#[derive(Debug, Clone)]
pub struct Line {
    /// The partner.
    pub partner: Uuid,
    /// The disbursement.
    pub disbursement: Uuid,
    /// Who: `us`, `M-Pesa`, `Mifos X`, `SMS`, `person`.
    pub lane: &'static str,
    /// What happened.
    pub what: String,
    /// More.
    pub detail: Option<String>,
    /// The message behind it.
    pub message: Option<Uuid>,
}

/// Publishes events inside the caller's transaction.
pub async fn emit_in_tx(conn: &mut PgConnection, engine: &Engine, now: DateTime<Utc>, events: &[NewEvent]) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        #[serde(flatten)]
        event: &'a NewEvent,
        at: DateTime<Utc>,
    }
    if events.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row<'_>> = events.iter().map(|event| Row { id: engine.ids.uuid(now), event, at: now }).collect();
    sqlx::query(
        "insert into outbox (id, partner_id, kind, subject, payload, at)
         select id, partner_id, kind, subject, payload, at from jsonb_populate_recordset(null::outbox, $1)",
    )
    .bind(Json(&rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes lines of timelines inside the caller's transaction.
pub async fn lines_in_tx(conn: &mut PgConnection, engine: &Engine, now: DateTime<Utc>, lines: &[Line]) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        partner_id: Uuid,
        disbursement_id: Uuid,
        at: DateTime<Utc>,
        lane: &'a str,
        what: &'a str,
        detail: Option<&'a str>,
        message_id: Option<Uuid>,
    }
    if lines.is_empty() {
        return Ok(());
    }
    let rows: Vec<Row<'_>> = lines
        .iter()
        .map(|l| Row {
            id: engine.ids.uuid(now),
            partner_id: l.partner,
            disbursement_id: l.disbursement,
            at: now,
            lane: l.lane,
            what: &l.what,
            detail: l.detail.as_deref(),
            message_id: l.message,
        })
        .collect();
    sqlx::query(
        "insert into disbursement_events select x.* from jsonb_populate_recordset(null::disbursement_events, $1) x order by x.disbursement_id, x.id",
    )
    .bind(Json(&rows))
    .execute(conn)
    .await?;
    Ok(())
}

/// Numbers events in the order of their transactions, below the oldest one still running. One process at a time: the cursor row is
/// locked, and who does not get it has nothing to do. Index: `outbox_order`.
pub async fn sequence(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let cursor: Option<(i64, String, Uuid)> =
        sqlx::query_as("select seq, xid::text, event_id from outbox_cursors where consumer = 'sequencer' for update skip locked")
            .fetch_optional(tx.conn())
            .await?;
    let Some((seq, xid, event)) = cursor else {
        return Ok(Worked::default());
    };
    // The cursor comes as parameters, so that the scan of outbox_order begins there and not at the first event ever.
    let taken: Vec<(i64,)> = sqlx::query_as(
        "with next as (
             select id, partner_id, xid, $1 + row_number() over (order by xid, id) as seq
             from outbox where (xid, id) > ($3::text::xid8, $4) and xid < pg_snapshot_xmin(pg_current_snapshot())
             order by xid, id limit $2),
         numbered as (insert into outbox_sequence (seq, event_id, partner_id) select seq, id, partner_id from next returning seq),
         last as (select xid, id, seq from next order by seq desc limit 1),
         moved as (update outbox_cursors k set xid = last.xid, event_id = last.id, seq = last.seq from last where k.consumer = 'sequencer')
         select seq from numbered",
    )
    .bind(seq)
    .bind(engine.limits.batch * 5)
    .bind(xid)
    .bind(event)
    .fetch_all(tx.conn())
    .await?;
    if taken.is_empty() {
        return Ok(Worked::default());
    }
    tx.commit_at("outbox.sequence").await?;
    Ok(Worked::of(taken.len(), engine.limits.batch * 5))
}
