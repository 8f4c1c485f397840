//! A person's ruling about a payout (rule A13). A typed receipt is checked with the rail before it counts. What nobody can check is attested by
//! two persons, and never before every request of the payout is certainly dead (rule A7).

use pv_database::PgConnection;
use pv_kernel::{
    ids::{DisbursementId, PartnerId},
    problem::{MoneyMoved, Problem},
    rail::{PaymentFate, StatusNotice},
    verdict::Grade,
};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    apply::{self, News, Work},
    machine::{Event, Heard, State},
    movements, store,
};
use crate::{
    Engine, VaultError,
    audit::{self, Actor, AuditEntry, Permission},
    disbursement::{commands, machine::State as DisbursementState, store as disbursement_store},
    item,
    outbox::Line,
    partner::checked_reason,
};

/// What a person says about a payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ruling {
    /// It was paid; this is the receipt. The rail is asked, and only its answer counts.
    Receipt {
        /// The receipt.
        receipt: String,
    },
    /// It was not paid, says the portal. A second person must agree.
    NotPaid {
        /// What was looked at.
        evidence: String,
    },
    /// It was sent back, under this receipt (rule A14). A second person must agree.
    Returned {
        /// Receipt of the return.
        receipt: String,
        /// What was looked at.
        evidence: String,
    },
}

/// What became of a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Ruled {
    /// The rail is being asked about the receipt.
    Asked {
        /// The question.
        query: Uuid,
    },
    /// A second person must decide this request.
    NeedsSecondPerson {
        /// The request.
        request: Uuid,
    },
    /// It was carried out.
    Done,
}

/// Rules about the disbursement's open payout.
pub async fn resolve(engine: &Engine, actor: &Actor, id: DisbursementId, ruling: &Ruling, reason: &str) -> Result<Ruled, VaultError> {
    actor.require(Permission::DisbursementsResolve)?;
    let why = checked_reason(reason)?;
    let mut tx = engine.begin().await?;
    let work = Work::load_in_tx(tx.conn(), &[id.uuid()]).await?;
    let d = work
        .disbursements
        .get(&id.uuid())
        .filter(|d| actor.partner.is_none_or(|p| p == d.partner()))
        .ok_or_else(|| Problem::not_found("disbursement"))?;
    let payout = subject(&work, d, ruling)?;
    let done = match ruling {
        Ruling::Receipt { receipt } => {
            let receipt = checked_receipt(receipt)?;
            let query = receipt_question(engine, payout, &receipt);
            store::want_queries_in_tx(tx.conn(), std::slice::from_ref(&query)).await?;
            Ruled::Asked { query: query.id }
        }
        Ruling::NotPaid { .. } | Ruling::Returned { .. } => {
            if let (Ruling::NotPaid { .. }, Some(until)) = (ruling, payout.sent_until.filter(|t| engine.now() < *t)) {
                let detail = format!(
                    "A request of this payout may still enter M-Pesa until {}. Absence proves nothing before.",
                    until.format("%Y-%m-%d %H:%M UTC")
                );
                return Err(Problem::refused("too_early", 409, detail, "Rule again after that moment, or give the receipt if there is one.")
                    .money(MoneyMoved::NotYetKnown)
                    .into());
            }
            let payload = serde_json::json!({ "ruling": ruling, "reason": why, "payout": payout.id });
            Ruled::NeedsSecondPerson { request: request_in_tx(tx.conn(), engine, actor, d.partner(), "ruling", payout.id, &payload).await? }
        }
    };
    audit::record_in_tx(
        tx.conn(),
        engine,
        actor,
        AuditEntry::of(Some(d.partner()), "payout.ruled", payout.id).because(why).change(None::<&Ruling>, Some(ruling)),
    )
    .await?;
    tx.commit_at("ruling.resolve").await?;
    Ok(done)
}

fn subject<'a>(work: &'a Work, d: &disbursement_store::Row, ruling: &Ruling) -> Result<&'a store::Row, VaultError> {
    let found = match ruling {
        Ruling::Receipt { .. } => work.latest_of(d.id),
        Ruling::NotPaid { .. } => work.live_of(d.id).filter(|p| p.state == "unknown" || p.state == "accepted"),
        Ruling::Returned { .. } => work.payouts.values().find(|p| p.disbursement_id == d.id && p.state == "paid" && p.returned_at.is_none()),
    };
    found.ok_or_else(|| {
        let detail = "There is no payout of this disbursement that such a ruling could be about.";
        Problem::refused(
            "nothing_to_rule",
            409,
            detail,
            "Look at the disbursement's payouts: only an open one can be ruled, only a paid one can be returned.",
        )
        .about(d.id.to_string())
        .into()
    })
}

fn checked_receipt(text: &str) -> Result<String, Box<Problem>> {
    let receipt = text.trim().to_ascii_uppercase();
    if receipt.len() < 6 || receipt.len() > 20 || !receipt.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Box::new(Problem::invalid("/receipt", "An M-Pesa receipt has ten letters and digits.")));
    }
    Ok(receipt)
}

fn receipt_question(engine: &Engine, payout: &store::Row, receipt: &str) -> store::QueryRow {
    let now = engine.now();
    store::QueryRow {
        id: engine.ids.uuid(now),
        partner_id: payout.partner_id,
        shortcode_id: payout.shortcode_id,
        credential_id: None,
        kind: "status".to_owned(),
        payout_id: Some(payout.id),
        receipt: Some(receipt.to_owned()),
        purpose: "receipt".to_owned(),
        token: engine.ids.hex_token(),
        state: "wanted".to_owned(),
        conversation_id: None,
        asked_at: now,
        acknowledged_at: None,
        answered_at: None,
        code: None,
        answer: None,
        message: None,
        ledger_minor: None,
    }
}

/// The rail answered about a typed receipt: it counts only when it is this very payout.
pub(crate) async fn receipt_answered_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    query: &store::QueryRow,
    notice: &StatusNotice,
    message: Uuid,
) -> Result<(), VaultError> {
    let Some(payout_id) = query.payout_id else { return Ok(()) };
    let row: Option<store::Row> = sqlx::query_as("select * from payouts where id = $1").bind(payout_id).fetch_optional(&mut *conn).await?;
    let Some(payout) = row else { return Ok(()) };
    let same_id = notice.rail_id.as_deref() == Some(&payout.rail_id);
    if notice.fate == PaymentFate::Completed && same_id {
        let news = News { payout: payout.id, event: Event::Status { notice: notice.clone(), trusted: true }, evidence: message, trace: None };
        apply::apply_in_tx(conn, engine, &[news]).await?;
        return Ok(());
    }
    let typed = query.receipt.as_deref().unwrap_or_default();
    let detail = if same_id {
        format!("The typed receipt {typed} is this payment, and M-Pesa says it is {:?}.", notice.fate).to_lowercase()
    } else {
        format!("The typed receipt {typed} is not this payment: M-Pesa knows it under another id, or not at all.")
    };
    item::open_in_tx(conn, engine, engine.now(), &[item::about_payout("contradiction", &payout, detail, false)]).await
}

/// Writes a request that a second person decides.
pub(crate) async fn request_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    actor: &Actor,
    partner: PartnerId,
    action: &str,
    subject: Uuid,
    payload: &serde_json::Value,
) -> Result<Uuid, VaultError> {
    let id = engine.id();
    let written = sqlx::query(
        "insert into approval_requests (id, partner_id, action, subject, payload, rule, requested_by, requested_at) values ($1, $2, $3, $4, $5, $6, $7, $8)
         on conflict (action, subject) where decision is null do nothing",
    )
    .bind(id)
    .bind(partner.uuid())
    .bind(action)
    .bind(subject)
    .bind(Json(payload))
    .bind(Json(serde_json::json!({ "rule": "A13", "persons": 2 })))
    .bind(actor.label())
    .bind(engine.now())
    .execute(conn)
    .await?;
    if written.rows_affected() == 0 {
        return Err(Problem::refused(
            "already_requested",
            409,
            "The same is already asked for and waits for a second person.",
            "Ask somebody else to decide it.",
        )
        .into());
    }
    Ok(id)
}

#[derive(sqlx::FromRow)]
struct Request {
    partner_id: Option<Uuid>,
    action: String,
    subject: Uuid,
    payload: Json<serde_json::Value>,
    requested_by: String,
}

/// Decides a request. Who asked cannot decide.
pub async fn decide(engine: &Engine, actor: &Actor, request: Uuid, approve: bool, reason: &str) -> Result<Ruled, VaultError> {
    actor.require(Permission::DisbursementsApprove)?;
    let why = checked_reason(reason)?;
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let row: Option<Request> = sqlx::query_as(
        "select partner_id, action, subject, payload, requested_by from approval_requests where id = $1 and decision is null for update",
    )
    .bind(request)
    .fetch_optional(tx.conn())
    .await?;
    let row = row.filter(|r| actor.partner.is_none_or(|p| Some(p.uuid()) == r.partner_id)).ok_or_else(|| Problem::not_found("open request"))?;
    if row.requested_by == actor.label() {
        return Err(Problem::refused("four_eyes", 403, "Who asked for it cannot decide it.", "Ask somebody else with the right to approve.").into());
    }
    sqlx::query("update approval_requests set decision = $2, decided_by = $3, decided_at = $4 where id = $1")
        .bind(request)
        .bind(if approve { "approved" } else { "rejected" })
        .bind(actor.label())
        .bind(now)
        .execute(tx.conn())
        .await?;
    if approve {
        carry_out_in_tx(tx.conn(), engine, actor, &row, request).await?;
    }
    let action = if approve { "request.approved" } else { "request.rejected" };
    audit::record_in_tx(tx.conn(), engine, actor, AuditEntry::of(row.partner_id.map(PartnerId), action, request).because(why)).await?;
    tx.commit_at("ruling.decide").await?;
    Ok(Ruled::Done)
}

async fn carry_out_in_tx(conn: &mut PgConnection, engine: &Engine, actor: &Actor, row: &Request, request: Uuid) -> Result<(), VaultError> {
    match row.action.as_str() {
        "new_generation" => {
            commands::make_generation_in_tx(conn, engine, actor, row.subject).await?;
            Ok(())
        }
        "ruling" => {
            let ruling: Ruling = serde_json::from_value(row.payload.0.get("ruling").cloned().unwrap_or_default())
                .map_err(|e| VaultError::Broken(format!("request {request}: {e}")))?;
            match ruling {
                Ruling::NotPaid { .. } => {
                    let event = Event::Ruled { paid: false, receipt: None, grade: Grade::Attested };
                    let heard = apply::apply_in_tx(conn, engine, &[News { payout: row.subject, event, evidence: request, trace: None }]).await?;
                    if heard.first().is_some_and(|h| h.heard != Heard::Changed) {
                        return Err(Problem::refused("overtaken", 409, "The payout has changed since the request was made.", "Look at it again.")
                            .money(MoneyMoved::NotYetKnown)
                            .into());
                    }
                    Ok(())
                }
                Ruling::Returned { receipt, .. } => returned_in_tx(conn, engine, row.subject, &receipt, request).await,
                Ruling::Receipt { .. } => Err(VaultError::Broken(format!("request {request} carries a receipt"))),
            }
        }
        other => Err(VaultError::Broken(format!("request {request} asks for {other}"))),
    }
}

/// p10: the money came back (rule A14).
async fn returned_in_tx(conn: &mut PgConnection, engine: &Engine, payout: Uuid, receipt: &str, evidence: Uuid) -> Result<(), VaultError> {
    let now = engine.now();
    let disbursements = store::disbursements_of_in_tx(conn, &[payout]).await?;
    let mut work = Work::load_in_tx(conn, &disbursements).await?;
    let Some(row) = work.payouts.get_mut(&payout).filter(|p| p.state == State::Paid.as_str() && p.returned_at.is_none()) else {
        return Err(Problem::refused("overtaken", 409, "The payout is not paid, or was returned already.", "Look at it again.").into());
    };
    row.returned_at = Some(now);
    let row = row.clone();
    let shortcode: String =
        sqlx::query_scalar("select shortcode from mpesa_shortcodes where id = $1").bind(row.shortcode_id).fetch_one(&mut *conn).await?;
    let booked: bool = sqlx::query_scalar("select exists (select from bookings where disbursement_id = $1 and state in ('booked', 'adopted'))")
        .bind(row.disbursement_id)
        .fetch_one(&mut *conn)
        .await?;
    work.ledger.push(movements::returned::command(row.payout(), row.partner(), &shortcode, row.amount(), booked, evidence, now));
    work.touch_payout(row.id);
    if let Some(d) = work.disbursements.get_mut(&row.disbursement_id) {
        d.rest(DisbursementState::Returned, Some("returned"), Some(format!("sent back under receipt {receipt}")));
        d.due_at = None;
        d.updated_at = now;
    }
    work.touch(row.disbursement_id);
    work.items.push(item::about_payout("returned", &row, format!("The payment of {} was sent back under receipt {receipt}.", row.amount()), false));
    work.lines.push(Line {
        partner: row.partner_id,
        disbursement: row.disbursement_id,
        lane: "M-Pesa",
        what: format!("sent back, receipt {receipt}"),
        detail: None,
        message: Some(evidence),
    });
    work.flush_in_tx(conn, engine).await?;
    if !booked {
        // Nothing is booked for money that came back.
        sqlx::query("update bookings set state = 'person', due_at = null, outcome = 'the money came back before it was booked', updated_at = $2 where disbursement_id = $1")
            .bind(row.disbursement_id)
            .bind(now)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// An open request for a second person.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct OpenRequest {
    /// The request.
    pub id: Uuid,
    /// The partner.
    pub partner_id: Option<Uuid>,
    /// `ruling` or `new_generation`.
    pub action: String,
    /// The payout or disbursement.
    pub subject: Uuid,
    /// What is asked for.
    #[sqlx(json)]
    pub payload: serde_json::Value,
    /// Who asked: somebody else decides.
    pub requested_by: String,
    /// Since when.
    pub requested_at: chrono::DateTime<chrono::Utc>,
}

/// Open requests that an actor may see, oldest first.
pub async fn open_requests(engine: &Engine, actor: &Actor, limit: i64) -> Result<Vec<OpenRequest>, VaultError> {
    actor.require(Permission::DisbursementsRead)?;
    let mut tx = actor.begin(engine).await?;
    Ok(sqlx::query_as(
        "select id, partner_id, action, subject, payload, requested_by, requested_at from approval_requests where decision is null order by requested_at, id limit $1",
    )
    .bind(limit.clamp(1, 200))
    .fetch_all(tx.conn())
    .await?)
}
