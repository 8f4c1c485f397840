//! Weighs stored messages: what they are evidence for, and what follows. A batch at a time; a message that makes the batch fail is weighed alone,
//! and parked as an item after three failures (rule D6).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pv_database::{DbError, PgConnection};
use sqlx::types::Json;
use uuid::Uuid;

use super::Kind;
use crate::{
    Engine, VaultError,
    disbursement::sighting::{self, Sighting},
    engine::Worked,
    item, notification,
    payout::{
        apply::{self, News},
        balance,
        machine::{Event, Heard},
        ruling, store,
    },
    secret::Place,
};

/// A stored message.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Message {
    id: Uuid,
    partner_id: Option<Uuid>,
    kind: String,
    payout_id: Option<Uuid>,
    query_id: Option<Uuid>,
    token: Option<String>,
    trusted: bool,
    headers: Option<Json<BTreeMap<String, String>>>,
    body_enc: Option<Vec<u8>>,
    tries: i32,
    purpose: Option<String>,
}

/// How a message ends for now.
struct Verdict {
    id: Uuid,
    state: &'static str,
    outcome: String,
    due_at: Option<DateTime<Utc>>,
}

impl Verdict {
    fn weighed(id: Uuid, outcome: impl Into<String>) -> Self {
        Self { id, state: "weighed", outcome: outcome.into(), due_at: None }
    }
}

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let mut messages: Vec<Message> = sqlx::query_as(
        "with due as (
             select id from messages where due_at <= $1 and ($4::uuid[] is null or partner_id = any($4))
             order by due_at, id limit $3 for no key update skip locked)
         update messages m set due_at = $2 from due where m.id = due.id
         returning m.id, m.partner_id, m.kind, m.payout_id, m.query_id, m.token, m.trusted, m.headers, m.body_enc, m.tries, (select q.purpose from rail_queries q where q.id = m.query_id) as purpose",
    )
    .bind(engine.now())
    .bind(engine.in_(engine.limits.lease))
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    tx.commit_at("weigh.claim").await?;
    if messages.is_empty() {
        return Ok(Worked::default());
    }
    messages.sort_by_key(|m| m.id);
    let mut tries = 0;
    loop {
        match weigh(engine, &messages).await {
            Ok(()) => break,
            Err(error) if error.is_crash() => return Err(error),
            Err(error) if error.is_retryable() && tries < 3 => tries += 1,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a batch of messages failed; weighing them one by one");
                for message in &messages {
                    weigh_alone(engine, message).await?;
                }
                break;
            }
        }
    }
    Ok(Worked::of(messages.len(), engine.limits.batch))
}

async fn weigh_alone(engine: &Engine, message: &Message) -> Result<(), VaultError> {
    let error = match weigh(engine, std::slice::from_ref(message)).await {
        Ok(()) => return Ok(()),
        Err(error) if error.is_crash() => return Err(error),
        Err(VaultError::Db(DbError::Unavailable(e))) => return Err(VaultError::Db(DbError::Unavailable(e))),
        Err(error) => error,
    };
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let parked = message.tries >= 2;
    sqlx::query("update messages set tries = tries + 1, state = case when $2 then 'parked' else state end, outcome = $3, due_at = case when $2 then null else $4::timestamptz end where id = $1")
        .bind(message.id)
        .bind(parked)
        .bind(error.to_string().chars().take(300).collect::<String>())
        .bind(now + chrono::Duration::seconds(5))
        .execute(tx.conn())
        .await?;
    if parked {
        let detail = format!("A {} could not be weighed three times: {error}", message.kind);
        let item = item::about("row_parked", message.partner_id, message.id, format!("/api/messages/{}", message.id), detail, false);
        item::open_in_tx(tx.conn(), engine, now, &[item]).await?;
    }
    Ok(tx.commit_at("weigh.park").await?)
}

/// What one message asks for, before anything is written.
enum Meaning {
    Payout(News),
    Status { query: Uuid, news: Option<News>, body: Vec<u8>, trusted: bool },
    Balance { query: Uuid, body: Vec<u8>, trusted: bool },
    QueryLost(Uuid),
    Sighting(Sighting),
    Report { partner: Option<Uuid>, body: Vec<u8>, signature: Option<String> },
    Nothing(String),
    Unreadable(String),
}

async fn weigh(engine: &Engine, messages: &[Message]) -> Result<(), VaultError> {
    let now = engine.now();
    let meanings = messages.iter().map(|m| Ok((m, read(engine, m)?))).collect::<Result<Vec<_>, VaultError>>()?;
    let mut tx = engine.begin().await?;
    let conn = tx.conn();
    let mut verdicts = Vec::with_capacity(messages.len());

    // Payouts first: their locks lead the canonical order.
    let news: Vec<News> = meanings
        .iter()
        .filter_map(|(_, m)| match m {
            Meaning::Payout(n) | Meaning::Status { news: Some(n), .. } => Some(n.clone()),
            _ => None,
        })
        .collect();
    let mut heard = apply::apply_in_tx(conn, engine, &news).await?.into_iter();
    let mut sightings = Vec::new();
    for (message, meaning) in &meanings {
        let verdict = match meaning {
            Meaning::Payout(_) => heard.next().map_or_else(|| Verdict::weighed(message.id, "nothing"), |o| outcome(message.id, o.heard, now)),
            Meaning::Status { query, news, body, trusted } => {
                let said = news.as_ref().and_then(|_| heard.next()).map(|o| o.heard);
                answered_in_tx(conn, engine, *query, body, *trusted, message.id).await?;
                Verdict::weighed(message.id, format!("{said:?}"))
            }
            Meaning::Balance { query, body, trusted } => Verdict::weighed(message.id, balance_in_tx(conn, engine, *query, body, *trusted).await?),
            Meaning::QueryLost(query) => {
                sqlx::query("update rail_queries set state = 'lost' where id = $1 and state in ('asking', 'taken')")
                    .bind(query)
                    .execute(&mut *conn)
                    .await?;
                Verdict::weighed(message.id, "the rail gave up the question")
            }
            Meaning::Sighting(s) => {
                sightings.push(s.clone());
                Verdict::weighed(message.id, format!("loan {} sighted", s.loan_id))
            }
            Meaning::Report { partner, body, signature } => {
                Verdict::weighed(message.id, notification::report::take_in_tx(conn, engine, *partner, body, signature.as_deref()).await?)
            }
            Meaning::Nothing(why) => Verdict::weighed(message.id, why.clone()),
            Meaning::Unreadable(why) => {
                let detail = format!("A {} cannot be read: {why}. It is stored; nothing was done because of it.", message.kind);
                let subject = message.payout_id.or(message.query_id).unwrap_or(message.id);
                let item = item::about("message_parked", message.partner_id, subject, format!("/api/messages/{}", message.id), detail, false);
                item::open_in_tx(conn, engine, now, &[item]).await?;
                // What we cannot read may still mean something: the payout is asked about at once.
                sqlx::query("update payouts set due_at = $2 where id = $1 and state in ('accepted', 'unknown')")
                    .bind(message.payout_id)
                    .bind(now)
                    .execute(&mut *conn)
                    .await?;
                Verdict { id: message.id, state: "parked", outcome: why.clone(), due_at: None }
            }
        };
        verdicts.push(verdict);
    }
    sighting::upsert_in_tx(conn, engine, &sightings).await?;
    write_in_tx(conn, &verdicts, now).await?;
    Ok(tx.commit_at("weigh.write").await?)
}

fn outcome(id: Uuid, heard: Heard, now: DateTime<Utc>) -> Verdict {
    match heard {
        Heard::Changed => Verdict::weighed(id, "changed the payout"),
        Heard::NothingNew => Verdict::weighed(id, "nothing new"),
        Heard::NotEvidence => Verdict::weighed(id, "not evidence; the rail is asked"),
        // Waits for the acknowledgement, which wakes it; and looks again by itself.
        Heard::TooEarly => {
            Verdict { id, state: "unmatched", outcome: "came before its acknowledgement".into(), due_at: Some(now + chrono::Duration::seconds(10)) }
        }
    }
}

fn read(engine: &Engine, m: &Message) -> Result<Meaning, VaultError> {
    let Some(kind) = Kind::parse(&m.kind) else {
        return Ok(Meaning::Nothing(format!("kind {} is not weighed", m.kind)));
    };
    let body = match &m.body_enc {
        Some(sealed) => {
            let envelope = std::str::from_utf8(sealed).map_err(|_| VaultError::Broken(format!("message {} has no envelope", m.id)))?;
            engine.keys.open_bytes(Place { column: "messages.body_enc", row: m.id }, envelope)?.to_vec()
        }
        None => Vec::new(),
    };
    let news = |event| m.payout_id.map(|payout| News { payout, event, evidence: m.id, trace: None });
    Ok(match kind {
        Kind::B2cResult => match engine.rail.read_result(&body) {
            Ok(mut notice) => {
                for text in
                    [Some(&mut notice.description), Some(&mut notice.code), notice.party_name.as_mut(), notice.receipt.as_mut()].into_iter().flatten()
                {
                    storable(text);
                }
                let class = engine.rail.classify(&notice.code);
                // A result that the rail could not classify is never a success or a failure by itself.
                let class = if notice.code.is_empty() { pv_kernel::rail::CodeClass::Ambiguous } else { class };
                news(Event::Result { notice, trusted: m.trusted, class }).map_or_else(|| Meaning::Nothing("no payout".into()), Meaning::Payout)
            }
            Err(error) => Meaning::Unreadable(error.0),
        },
        Kind::B2cTimeout => news(Event::TimeoutNotice).map_or_else(|| Meaning::Nothing("no payout".into()), Meaning::Payout),
        Kind::StatusResult => match (engine.rail.read_status(&body), m.query_id) {
            // An answer about a typed receipt may be about another payment: the ruling that asked decides what it is worth.
            (Ok(_), Some(query)) if m.purpose.as_deref() == Some("receipt") => Meaning::Status { query, news: None, body, trusted: m.trusted },
            (Ok(notice), Some(query)) => {
                Meaning::Status { query, news: news(Event::Status { notice, trusted: m.trusted }), body, trusted: m.trusted }
            }
            (Ok(_), None) => Meaning::Nothing("no question".into()),
            (Err(error), _) => Meaning::Unreadable(error.0),
        },
        Kind::BalanceResult => {
            m.query_id.map_or_else(|| Meaning::Nothing("no question".into()), |query| Meaning::Balance { query, body, trusted: m.trusted })
        }
        Kind::StatusTimeout | Kind::BalanceTimeout => m.query_id.map_or_else(|| Meaning::Nothing("no question".into()), Meaning::QueryLost),
        Kind::LoanHook => read_hook(m, &body),
        Kind::LoanWebhook => read_webhook(m, &body),
        Kind::SmsReport => {
            let signature = m.headers.as_ref().and_then(|h| h.0.get("x-damza-signature").cloned());
            Meaning::Report { partner: m.partner_id, body, signature }
        }
    })
}

/// PostgreSQL keeps no NUL in a text, and nobody needs more than a page of a rail's words.
fn storable(text: &mut String) {
    if text.contains('\0') || text.len() > 1000 {
        *text = text.chars().filter(|c| *c != '\0').take(1000).collect();
    }
}

fn read_hook(m: &Message, body: &[u8]) -> Meaning {
    let mut headers = http::HeaderMap::new();
    for (name, value) in m.headers.iter().flat_map(|h| h.0.iter()) {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    let hook = match pv_fineract::hooks::read_hook(&headers, body) {
        Ok(hook) => hook,
        Err(error) => return Meaning::Unreadable(error.0),
    };
    let (Some(loan_id), Some(core_id), Some(partner)) = (hook.loan_id.clone(), m.token.as_deref().and_then(|t| t.parse().ok()), m.partner_id) else {
        return Meaning::Nothing(format!("{} {} names no loan", hook.entity, hook.action));
    };
    // Failed commands fire hooks too (Mifos X contract 7.2): only a success that names a loan is a hint to read it.
    if !hook.succeeded || !matches!(hook.entity.as_str(), "LOAN" | "GLIMLOAN") {
        return Meaning::Nothing(format!("{} {} is no reason to look at a loan", hook.entity, hook.action));
    }
    match hook.action.as_str() {
        "APPROVE" => Meaning::Sighting(Sighting { partner, core_id, loan_id, way: "hook", claimed: None, asked_by: None, create: true }),
        "APPROVALUNDO" | "DISBURSE" | "DISBURSALUNDO" | "REJECT" | "WITHDRAW" | "UPDATE" => {
            Meaning::Sighting(Sighting { partner, core_id, loan_id, way: "hook", claimed: None, asked_by: None, create: false })
        }
        other => Meaning::Nothing(format!("LOAN {other} changes nothing here")),
    }
}

fn read_webhook(m: &Message, body: &[u8]) -> Meaning {
    let payload = match sighting::Approval::read(body) {
        Ok(payload) => payload,
        Err(why) => return Meaning::Unreadable(why),
    };
    let (Some(core_id), Some(partner)) = (m.token.as_deref().and_then(|t| t.parse().ok()), m.partner_id) else {
        return Meaning::Nothing("no connection".into());
    };
    Meaning::Sighting(Sighting {
        partner,
        core_id,
        loan_id: payload.loan_id.clone(),
        way: "webhook",
        claimed: Some(payload.claimed()),
        asked_by: None,
        create: true,
    })
}

/// Marks a question as answered, and hands answers about typed receipts to the ruling that asked.
async fn answered_in_tx(conn: &mut PgConnection, engine: &Engine, query: Uuid, body: &[u8], trusted: bool, message: Uuid) -> Result<(), VaultError> {
    let Ok(notice) = engine.rail.read_status(body) else { return Ok(()) };
    let row: Option<store::QueryRow> = sqlx::query_as(
        "update rail_queries set state = 'answered', answered_at = $2, code = $3, answer = $4 where id = $1 and state <> 'answered' returning *",
    )
    .bind(query)
    .bind(engine.now())
    .bind(&notice.code)
    .bind(format!("{:?}", notice.fate).to_lowercase())
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(row) = row.filter(|r| r.purpose == "receipt" && trusted) {
        ruling::receipt_answered_in_tx(conn, engine, &row, &notice, message).await?;
    }
    Ok(())
}

async fn balance_in_tx(conn: &mut PgConnection, engine: &Engine, query: Uuid, body: &[u8], trusted: bool) -> Result<String, VaultError> {
    if !trusted {
        return Ok("balances from an address that is not M-Pesa's: not believed".to_owned());
    }
    let notice = match engine.rail.read_balance(body) {
        Ok(notice) => notice,
        Err(error) => return Ok(format!("unreadable balances: {}", error.0)),
    };
    let row: Option<store::QueryRow> = sqlx::query_as(
        "update rail_queries set state = 'answered', answered_at = $2, code = $3, answer = $4 where id = $1 and state <> 'answered' returning *",
    )
    .bind(query)
    .bind(engine.now())
    .bind(&notice.code)
    .bind(serde_json::to_string(&notice.available).unwrap_or_default())
    .fetch_optional(&mut *conn)
    .await?;
    match row {
        Some(row) => balance::take_in_tx(conn, engine, &row, &notice).await,
        None => Ok("answered already".to_owned()),
    }
}

async fn write_in_tx(conn: &mut PgConnection, verdicts: &[Verdict], now: DateTime<Utc>) -> Result<(), VaultError> {
    let ids: Vec<Uuid> = verdicts.iter().map(|v| v.id).collect();
    let states: Vec<&str> = verdicts.iter().map(|v| v.state).collect();
    let outcomes: Vec<&str> = verdicts.iter().map(|v| v.outcome.as_str()).collect();
    let due: Vec<Option<DateTime<Utc>>> = verdicts.iter().map(|v| v.due_at).collect();
    sqlx::query(
        "update messages m set state = x.state, outcome = x.outcome, due_at = x.due_at, weighed_at = $5
         from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) as x(id, state, outcome, due_at) where m.id = x.id",
    )
    .bind(&ids)
    .bind(&states)
    .bind(&outcomes)
    .bind(&due)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}
