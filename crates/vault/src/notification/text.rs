//! Hands texts to the gateway. A hand-over whose answer is lost is repeated under the same reference: the gateway sends one text per reference (SMS contract 2.2).

use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    Msisdn,
    ids::PartnerId,
    sms::{OutboundSms, SendError, SendReceipt},
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{
    Engine, VaultError,
    engine::Worked,
    outbox::{self, Line},
    partner::sms_settings::{self, SmsSettings},
};

#[derive(Debug, Clone, sqlx::FromRow)]
struct Text {
    id: Uuid,
    partner_id: Uuid,
    recipient_phone: String,
    message_type: String,
    message_content: String,
    disbursement_id: Option<Uuid>,
    handovers: i32,
    fence: i64,
}

#[derive(Serialize)]
struct Outcome {
    id: Uuid,
    fence: i64,
    status: &'static str,
    state: &'static str,
    reference: Option<String>,
    sender: String,
    segments: Option<u32>,
    cost: Option<i64>,
    error: Option<String>,
    due_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Tries before a text that no gateway takes is given up.
const MAX_HANDOVERS: i32 = 12;

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let texts: Vec<Text> = sqlx::query_as(
        "with due as (
             select id from sms_notifications where due_at <= $1 and ($4::uuid[] is null or partner_id = any($4))
             order by due_at, id limit $3 for no key update skip locked)
         update sms_notifications n set due_at = $2, fence = fence + 1, handovers = handovers + 1 from due where n.id = due.id
         returning n.id, n.partner_id, n.recipient_phone, n.message_type, n.message_content, n.disbursement_id, n.handovers, n.fence",
    )
    .bind(engine.now())
    .bind(engine.in_(engine.limits.lease))
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    let partners: Vec<PartnerId> = texts.iter().map(|t| PartnerId(t.partner_id)).collect();
    let settings = sms_settings::load_accounts_in_tx(tx.conn(), &engine.keys, &partners).await?;
    tx.commit_at("text.claim").await?;
    let taken = texts.len();
    let mut texts = texts;
    texts.sort_by_key(|t| t.id);
    let mut sends: Vec<BoxFuture<'_, (Result<SendReceipt, SendError>, Text)>> = Vec::with_capacity(taken);
    for text in texts {
        let settings = settings.get(&PartnerId(text.partner_id));
        sends.push(Box::pin(async move { (hand_over(engine, &text, settings).await, text) }));
    }
    let mut answers = stream::iter(sends).buffer_unordered(64).ready_chunks(64);
    while let Some(chunk) = answers.next().await {
        if chunk.iter().any(|(r, _)| matches!(r, Err(SendError::Crashed))) {
            return Err(VaultError::Crashed);
        }
        let outcomes: Vec<Outcome> = chunk.iter().map(|(r, t)| outcome(engine, r, t, settings.get(&PartnerId(t.partner_id)))).collect();
        write(engine, &chunk, &outcomes).await?;
    }
    Ok(Worked::of(taken, engine.limits.batch))
}

async fn hand_over(engine: &Engine, text: &Text, settings: Option<&SmsSettings>) -> Result<SendReceipt, SendError> {
    let settings = settings.filter(|s| s.enabled).ok_or_else(|| SendError::Provider("the partner has no SMS settings".to_owned()))?;
    let to = Msisdn::parse(&text.recipient_phone).map_err(|_| SendError::Permanent("not a Kenyan mobile number".to_owned()))?;
    engine.sms.send(&settings.account, &OutboundSms { to, text: text.message_content.clone(), reference: text.id.to_string() }).await
}

fn outcome(engine: &Engine, result: &Result<SendReceipt, SendError>, text: &Text, settings: Option<&SmsSettings>) -> Outcome {
    let sender = settings.map(|s| s.account.sender_id.clone()).unwrap_or_default();
    let base = Outcome {
        id: text.id,
        fence: text.fence,
        status: "pending",
        state: "queued",
        reference: None,
        sender,
        segments: None,
        cost: None,
        error: None,
        due_at: None,
    };
    let later = engine.now() + chrono::Duration::seconds(i64::from(text.handovers.clamp(1, 10)).pow(2) * 3);
    match result {
        Ok(receipt) => Outcome {
            status: "sent",
            state: "accepted",
            reference: Some(receipt.message_id.clone()),
            segments: receipt.segments,
            cost: receipt.cost_e4,
            ..base
        },
        Err(SendError::Permanent(why)) => Outcome { status: "failed", state: "rejected", error: Some(why.clone()), ..base },
        Err(error) if text.handovers >= MAX_HANDOVERS => {
            Outcome { status: "failed", state: "rejected", error: Some(format!("given up: {error}")), ..base }
        }
        Err(error) => Outcome { error: Some(error.to_string()), due_at: Some(later), ..base },
    }
}

async fn write(engine: &Engine, chunk: &[(Result<SendReceipt, SendError>, Text)], outcomes: &[Outcome]) -> Result<(), VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    // A report may have come before this answer: a later state is never taken back (SMS contract 1.1).
    sqlx::query(
        "update sms_notifications n set
             status = case when n.state = 'queued' then x.status else n.status end, state = case when n.state = 'queued' then x.state else n.state end,
             damza_reference = coalesce(n.damza_reference, x.reference), damza_sender_id = x.sender, gateway_segments = x.segments, cost_e4 = x.cost,
             last_error = x.error, due_at = x.due_at, handed_over_at = case when x.status = 'sent' then $2 else n.handed_over_at end, updated_at = $2
         from jsonb_to_recordset($1) as x(id uuid, fence bigint, status text, state text, reference text, sender text, segments int, cost bigint, error text, due_at timestamptz)
         where n.id = x.id and n.fence = x.fence",
    )
    .bind(Json(outcomes))
    .bind(now)
    .execute(tx.conn())
    .await?;
    let lines: Vec<Line> = chunk
        .iter()
        .zip(outcomes)
        .filter(|(_, o)| o.status != "pending")
        .filter_map(|((_, t), o)| {
            let to = Msisdn::parse(&t.recipient_phone).map(Msisdn::masked).unwrap_or_default();
            Some(Line {
                partner: t.partner_id,
                disbursement: t.disbursement_id?,
                lane: "SMS",
                what: format!("{} to {to}: {}", t.message_type.replace('_', " "), o.status),
                detail: o.error.clone(),
                message: None,
            })
        })
        .collect();
    outbox::lines_in_tx(tx.conn(), engine, now, &lines).await?;
    Ok(tx.commit_at("text.write").await?)
}
