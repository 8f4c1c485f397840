//! Asks the rail: about payouts without a result, once more before a new id, and whatever else wants to be asked. Each question has its own
//! callback path, stored before it is sent (rule D2).

use std::collections::BTreeMap;

use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    ids::CredentialId,
    rail::{QueryAnswer, QueryMeaning, RailAccount, StatusQuestion},
};
use uuid::Uuid;

use super::{apply, machine::Event, store};
use crate::{Engine, VaultError, engine::Worked, partner::credential, reconciliation::rail};

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let due = store::claim_in_tx(tx.conn(), engine.only_partners.as_deref(), now, engine.limits.batch).await?;
    if !due.is_empty() {
        look_in_tx(tx.conn(), engine, &due).await?;
    }
    let asking = claim_wanted_in_tx(tx.conn(), engine).await?;
    tx.commit_at("ask.claim").await?;
    let taken = due.len().max(asking.len());
    send(engine, asking).await?;
    Ok(Worked::of(taken, engine.limits.batch))
}

/// Looks at due payouts under their locks; one that is not due any more is left alone.
async fn look_in_tx(conn: &mut pv_database::PgConnection, engine: &Engine, due: &[Uuid]) -> Result<(), VaultError> {
    let now = engine.now();
    let answered: BTreeMap<Uuid, bool> = store::last_answered_in_tx(conn, due).await?.into_iter().collect();
    let disbursements = store::disbursements_of_in_tx(conn, due).await?;
    let mut work = apply::Work::load_in_tx(conn, &disbursements).await?;
    for id in due {
        let still_due = work.payouts.get(id).is_some_and(|p| p.due_at.is_some_and(|t| t <= now));
        if still_due {
            let event = Event::Due { answered: answered.get(id).copied().unwrap_or(false) };
            work.hear(engine, &apply::News { payout: *id, event, evidence: *id, trace: None })?;
        }
    }
    work.flush_in_tx(conn, engine).await
}

/// One question, ready to be sent.
struct Question {
    row: store::QueryRow,
    account: RailAccount,
    rail_id: Option<String>,
}

/// Takes wanted questions whose shortcode has a credential that may be used.
async fn claim_wanted_in_tx(conn: &mut pv_database::PgConnection, engine: &Engine) -> Result<Vec<Question>, VaultError> {
    let rows: Vec<store::QueryRow> = sqlx::query_as(
        "with w as (
             select q.id, c.id as credential from rail_queries q
             join mpesa_credentials c on c.shortcode_id = q.shortcode_id and c.is_active and c.halted_at is null
             where q.state = 'wanted' and ($2::uuid[] is null or q.partner_id = any($2))
             order by q.asked_at, q.id limit $1 for no key update of q skip locked)
         update rail_queries q set state = 'asking', asked_at = $3, credential_id = w.credential from w where q.id = w.id returning q.*",
    )
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .bind(engine.now())
    .fetch_all(&mut *conn)
    .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    rail::note_ledger_in_tx(conn, &rows).await?;
    let credentials: Vec<CredentialId> = rows.iter().filter_map(|r| r.credential_id).map(CredentialId).collect();
    let accounts = credential::load_accounts_in_tx(conn, &engine.keys, &credentials).await?;
    let payouts: Vec<Uuid> = rows.iter().filter_map(|r| r.payout_id).collect();
    let rail_ids: BTreeMap<Uuid, String> = sqlx::query_as::<_, (Uuid, String)>("select id, rail_id from payouts where id = any($1)")
        .bind(&payouts)
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .collect();
    let mut questions: Vec<Question> = rows
        .into_iter()
        .filter_map(|row| {
            let account = accounts.get(&CredentialId(row.credential_id?))?.0.clone();
            let rail_id = row.payout_id.and_then(|p| rail_ids.get(&p).cloned());
            Some(Question { row, account, rail_id })
        })
        .collect();
    questions.sort_by_key(|q| q.row.id);
    Ok(questions)
}

async fn send(engine: &Engine, questions: Vec<Question>) -> Result<(), VaultError> {
    let mut calls: Vec<BoxFuture<'_, (QueryAnswer, store::QueryRow)>> = Vec::with_capacity(questions.len());
    for q in questions {
        calls.push(Box::pin(async move { (put(engine, &q).await, q.row) }));
    }
    let mut answers = stream::iter(calls).buffer_unordered(32).ready_chunks(64);
    while let Some(chunk) = answers.next().await {
        let mut rows = Vec::with_capacity(chunk.len());
        for (answer, mut row) in chunk {
            match answer.meaning {
                QueryMeaning::Crashed => return Err(VaultError::Crashed),
                QueryMeaning::Accepted { conversation_id } => {
                    "taken".clone_into(&mut row.state);
                    row.conversation_id = Some(conversation_id);
                }
                QueryMeaning::NotTaken { .. } => "not_taken".clone_into(&mut row.state),
                QueryMeaning::Lost => "lost".clone_into(&mut row.state),
            }
            row.acknowledged_at = Some(engine.now());
            row.code = answer.trace.code;
            row.message = Some(answer.trace.message.chars().filter(|c| *c != '\0').take(500).collect());
            rows.push(row);
        }
        let mut tx = engine.begin().await?;
        // An answer may have come before its acknowledgement: then the question stays answered.
        sqlx::query(
            "update rail_queries q set state = case when q.state = 'answered' then q.state else x.state end,
                 conversation_id = coalesce(q.conversation_id, x.conversation_id), acknowledged_at = x.acknowledged_at,
                 code = coalesce(q.code, x.code), message = coalesce(q.message, x.message)
             from jsonb_populate_recordset(null::rail_queries, $1) x where q.id = x.id",
        )
        .bind(sqlx::types::Json(&rows))
        .execute(tx.conn())
        .await?;
        tx.commit_at("ask.acknowledged").await?;
    }
    Ok(())
}

async fn put(engine: &Engine, q: &Question) -> QueryAnswer {
    if q.row.kind == "balance" {
        let (result, timeout) = (engine.hook_url(&q.row.token, "balance/result"), engine.hook_url(&q.row.token, "balance/timeout"));
        return engine.rail.ask_balance(&q.account, &result, &timeout).await;
    }
    let question = StatusQuestion {
        rail_id: q.rail_id.clone(),
        receipt: q.row.receipt.clone(),
        result_url: engine.hook_url(&q.row.token, "status/result"),
        timeout_url: engine.hook_url(&q.row.token, "status/timeout"),
    };
    engine.rail.ask_status(&q.account, &question).await
}
