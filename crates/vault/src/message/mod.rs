//! Messages from and to the outside: stored before they are understood (rule D1). The body is stored encrypted with its secret fields cut out; a
//! hash of the whole is kept.

pub mod weigh;

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{core_banking::BookingAnswer, crypto};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Engine, VaultError, booking::store::Row as BookingRow, item, secret::Place};

/// What a message is, as told by the path it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Result of a payout.
    B2cResult,
    /// The rail gave up queueing a payout.
    B2cTimeout,
    /// Answer to a status question.
    StatusResult,
    /// The rail gave up queueing a question.
    StatusTimeout,
    /// Answer to a balance question.
    BalanceResult,
    /// The rail gave up queueing a question.
    BalanceTimeout,
    /// What a stock Mifos X host posts.
    LoanHook,
    /// The documented webhook of a loan approval.
    LoanWebhook,
    /// Delivery report of a text.
    SmsReport,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::B2cResult,
        Self::B2cTimeout,
        Self::StatusResult,
        Self::StatusTimeout,
        Self::BalanceResult,
        Self::BalanceTimeout,
        Self::LoanHook,
        Self::LoanWebhook,
        Self::SmsReport,
    ];

    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::B2cResult => "b2c_result",
            Self::B2cTimeout => "b2c_timeout",
            Self::StatusResult => "status_result",
            Self::StatusTimeout => "status_timeout",
            Self::BalanceResult => "balance_result",
            Self::BalanceTimeout => "balance_timeout",
            Self::LoanHook => "loan_hook",
            Self::LoanWebhook => "loan_webhook",
            Self::SmsReport => "sms_report",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == text)
    }

    /// Who sends it.
    pub const fn party(self) -> &'static str {
        match self {
            Self::LoanHook | Self::LoanWebhook => "mifos",
            Self::SmsReport => "sms",
            _ => "mpesa",
        }
    }
}

/// A message as it came in.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// What its path says it is.
    pub kind: Kind,
    /// The token of its path, for callbacks; the connection's id in hex for hooks that were authenticated by the door.
    pub token: String,
    /// The address it came from.
    pub peer: String,
    /// That address is allowed for this party (rule A6).
    pub trusted: bool,
    /// The headers that matter, lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The message.
    pub id: Uuid,
    /// The path token belongs to something we know.
    pub known: bool,
}

/// Stores a message and commits. Only then may it be answered.
pub async fn store_inbound(engine: &Engine, inbound: &Inbound) -> Result<Stored, VaultError> {
    let now = engine.now();
    let id = engine.ids.uuid(now);
    let mut tx = engine.begin().await?;
    let owner = owner_in_tx(tx.conn(), inbound).await?;
    let kept = if inbound.kind.party() == "mpesa" { engine.rail.redact(&inbound.body) } else { redact_webhook(&inbound.body) };
    let sealed = engine.keys.seal_bytes(Place { column: "messages.body_enc", row: id }, &kept)?;
    let known = owner.is_some();
    let owner = owner.unwrap_or_default();
    sqlx::query(
        "insert into messages (id, partner_id, direction, party, kind, disbursement_id, payout_id, query_id, token, peer, trusted, headers, body_enc, body_hash, at, state, outcome, due_at)
         values ($1, $2, 'in', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(id)
    .bind(owner.partner)
    .bind(inbound.kind.party())
    .bind(inbound.kind.as_str())
    .bind(owner.disbursement)
    .bind(owner.payout)
    .bind(owner.query)
    .bind(if known { Some(inbound.token.as_str()) } else { None })
    .bind(inbound.peer.chars().take(60).collect::<String>())
    .bind(inbound.trusted)
    .bind(Json(inbound.headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()))
    .bind(sealed.into_bytes())
    .bind(crypto::sha256(&inbound.body).as_slice())
    .bind(now)
    .bind(if known { "stored" } else { "parked" })
    .bind(if known { None } else { Some("nothing of ours has this path") })
    .bind(known.then_some(now))
    .execute(tx.conn())
    .await?;
    if !known {
        // One item for all of them: a stranger must not be able to flood the list.
        let subject = Uuid::from_bytes(*crypto::sha256(inbound.kind.as_str().as_bytes()).first_chunk::<16>().unwrap_or(&[0; 16]));
        let detail = format!(
            "A {} came from {} to a path that is not ours. It is stored; nothing was done because of it.",
            inbound.kind.as_str(),
            inbound.peer
        );
        let item = item::about("message_parked", None, subject, format!("/api/messages/{id}"), detail, false);
        item::open_in_tx(tx.conn(), engine, now, &[item]).await?;
    }
    tx.commit_at("message.store").await?;
    Ok(Stored { id, known })
}

#[derive(Debug, Default, sqlx::FromRow)]
struct Owner {
    partner: Option<Uuid>,
    disbursement: Option<Uuid>,
    payout: Option<Uuid>,
    query: Option<Uuid>,
}

/// Whose path is it? Indexes: the unique ones on the tokens.
async fn owner_in_tx(conn: &mut PgConnection, inbound: &Inbound) -> Result<Option<Owner>, VaultError> {
    let sql = match inbound.kind {
        Kind::B2cResult | Kind::B2cTimeout => {
            "select partner_id as partner, disbursement_id as disbursement, id as payout, null::uuid as query from payouts where token = $1"
        }
        Kind::StatusResult | Kind::StatusTimeout => {
            "select q.partner_id as partner, p.disbursement_id as disbursement, q.payout_id as payout, q.id as query
             from rail_queries q left join payouts p on p.id = q.payout_id where q.token = $1 and q.kind = 'status'"
        }
        Kind::BalanceResult | Kind::BalanceTimeout => {
            "select partner_id as partner, null::uuid as disbursement, null::uuid as payout, id as query from rail_queries where token = $1 and kind = 'balance'"
        }
        Kind::LoanHook | Kind::LoanWebhook => {
            "select partner_id as partner, null::uuid as disbursement, null::uuid as payout, null::uuid as query from mifos_partners where id = (case when $1 ~ '^[0-9a-f-]{36}$' then $1::uuid end)"
        }
        Kind::SmsReport => {
            "select partner_id as partner, null::uuid as disbursement, null::uuid as payout, null::uuid as query from partner_sms_settings where report_token = $1"
        }
    };
    Ok(sqlx::query_as(sql).bind(&inbound.token).fetch_optional(conn).await?)
}

/// The webhook carries its token in the body: it is cut out before the body is stored.
fn redact_webhook(body: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body) else {
        return body.to_vec();
    };
    if let Some(token) = value.get_mut("webhookToken") {
        *token = serde_json::Value::String("(cut)".to_owned());
        return serde_json::to_vec(&value).unwrap_or_default();
    }
    body.to_vec()
}

/// A message that went out, for the timeline. What went to the rail stands in the submissions.
#[derive(Debug, Clone)]
pub struct Outgoing {
    partner: Uuid,
    disbursement: Uuid,
    party: &'static str,
    kind: &'static str,
    http_status: Option<u16>,
    body: String,
    outcome: String,
}

impl Outgoing {
    /// A booking and its answer.
    pub(crate) fn booking(row: &BookingRow, answer: &BookingAnswer) -> Self {
        Self {
            partner: row.partner_id,
            disbursement: row.disbursement_id,
            party: "mifos",
            kind: "booking",
            http_status: answer.http_status,
            body: format!("{}\n\n{}", answer.request, answer.response),
            outcome: format!("{:?}", answer.meaning).chars().take(200).collect(),
        }
    }
}

/// Stores messages that went out.
pub async fn store_outgoing_in_tx(conn: &mut PgConnection, engine: &Engine, now: DateTime<Utc>, messages: &[Outgoing]) -> Result<(), VaultError> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: Uuid,
        partner_id: Uuid,
        party: &'a str,
        kind: &'a str,
        disbursement_id: Uuid,
        http_status: Option<u16>,
        body: String,
        outcome: &'a str,
    }
    if messages.is_empty() {
        return Ok(());
    }
    let rows = messages
        .iter()
        .map(|m| {
            let id = engine.ids.uuid(now);
            let body = engine.keys.seal(Place { column: "messages.body_enc", row: id }, &m.body)?;
            Ok(Row {
                id,
                partner_id: m.partner,
                party: m.party,
                kind: m.kind,
                disbursement_id: m.disbursement,
                http_status: m.http_status,
                body,
                outcome: &m.outcome,
            })
        })
        .collect::<Result<Vec<_>, VaultError>>()?;
    sqlx::query(
        "insert into messages (id, partner_id, direction, party, kind, disbursement_id, http_status, body_enc, at, state, outcome)
         select id, partner_id, 'out', party, kind, disbursement_id, http_status, convert_to(body, 'UTF8'), $2, 'weighed', outcome
         from jsonb_to_recordset($1) as x(id uuid, partner_id uuid, party text, kind text, disbursement_id uuid, http_status int, body text, outcome text)",
    )
    .bind(Json(&rows))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
