//! Reads sighted loans from their core and makes disbursements: one for ever per identity (rule A1), whatever the number and order of the hints.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    core_banking::{CoreError, CoreLoan, LoanStatus},
    ids::CoreId,
};
use uuid::Uuid;

use super::{machine::State, store};
use crate::{
    Engine, VaultError,
    engine::Worked,
    item,
    outbox::{self, Line},
    partner::core_link::{self, CoreSettings},
};

/// A claimed hint.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Hint {
    id: Uuid,
    partner_id: Uuid,
    core_id: Uuid,
    loan_id: String,
    ways: Vec<String>,
    first_seen_at: DateTime<Utc>,
    asked_by: Option<String>,
    fence: i64,
    tries: i32,
    disbursement_id: Option<Uuid>,
}

/// A loan that does not read as approved yet is looked at again this often: a 1.8 host posts its hook before it commits (Mifos X contract 7.3).
const EARLY_LOOKS: i32 = 6;

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let mut tx = engine.begin().await?;
    let hints: Vec<Hint> = sqlx::query_as(
        "with due as (
             select id from loan_sightings where due_at <= $1 and ($4::uuid[] is null or partner_id = any($4))
             order by due_at, id limit $3 for no key update skip locked)
         update loan_sightings s set due_at = $2, fence = fence + 1, tries = tries + 1 from due where s.id = due.id
         returning s.id, s.partner_id, s.core_id, s.loan_id, s.ways, s.first_seen_at, s.asked_by, s.fence, s.tries, s.disbursement_id",
    )
    .bind(engine.now())
    .bind(engine.in_(engine.limits.lease))
    .bind(engine.limits.batch)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    let cores: Vec<CoreId> = hints.iter().map(|h| CoreId(h.core_id)).collect();
    let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &cores).await?;
    tx.commit_at("intake.claim").await?;
    let taken = hints.len();
    let mut hints = hints;
    hints.sort_by_key(|h| h.id);
    let mut calls: Vec<BoxFuture<'_, (Result<CoreLoan, CoreError>, Hint)>> = Vec::with_capacity(taken);
    for hint in hints {
        let settings = links.get(&CoreId(hint.core_id));
        calls.push(Box::pin(async move { (read(engine, &hint, settings).await, hint) }));
    }
    let mut reads = stream::iter(calls).buffer_unordered(32).ready_chunks(128);
    while let Some(chunk) = reads.next().await {
        write(engine, chunk, &links).await?;
    }
    Ok(Worked::of(taken, engine.limits.batch))
}

async fn read(engine: &Engine, hint: &Hint, settings: Option<&CoreSettings>) -> Result<CoreLoan, CoreError> {
    match settings {
        Some(s) if s.active && !s.retired => engine.core.loan(&s.link, &hint.loan_id, false).await,
        Some(_) => Err(CoreError::Access("the connection is switched off".to_owned())),
        None => Err(CoreError::Access("the connection cannot be opened".to_owned())),
    }
}

/// What becomes of a hint.
struct Settled {
    id: Uuid,
    fence: i64,
    due_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

async fn write(engine: &Engine, chunk: Vec<(Result<CoreLoan, CoreError>, Hint)>, links: &BTreeMap<CoreId, CoreSettings>) -> Result<(), VaultError> {
    if chunk.iter().any(|(r, _)| matches!(r, Err(CoreError::Crashed))) {
        return Err(VaultError::Crashed);
    }
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let known: Vec<Uuid> = chunk.iter().filter_map(|(_, h)| h.disbursement_id).collect();
    let mut existing: BTreeMap<Uuid, store::Row> = store::lock_in_tx(tx.conn(), &known).await?.into_iter().map(|r| (r.id, r)).collect();
    let (mut new, mut changed, mut settled, mut items) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (read, hint) in chunk {
        let rest = |due_at, error| Settled { id: hint.id, fence: hint.fence, due_at, error };
        match read {
            Ok(loan) => match (hint.disbursement_id.and_then(|id| existing.remove(&id)), loan.status) {
                (Some(mut row), _) => {
                    if look_again(&mut row, &hint, &loan, now) {
                        changed.push(row);
                    }
                    settled.push(rest(None, None));
                }
                (None, LoanStatus::Approved) => {
                    new.push((row(engine, &hint, &loan, now), hint.id));
                    settled.push(rest(None, None));
                }
                (None, LoanStatus::PendingApproval) if hint.tries < EARLY_LOOKS && hint.ways.iter().any(|w| w != "poll") => {
                    settled.push(rest(Some(now + early(hint.tries)), Some("not approved yet".to_owned())));
                }
                (None, status) => settled.push(rest(None, Some(format!("nothing to pay: the core says {status:?}")))),
            },
            Err(error) => {
                let again = match &error {
                    CoreError::NotFound if hint.tries >= 3 => None,
                    _ => Some(now + growing(engine, hint.tries)),
                };
                if !matches!(error, CoreError::Down(_)) && hint.tries >= 3 {
                    let detail = format!("Loan {} was reported as approved and cannot be read: {error}", hint.loan_id);
                    items.push(item::about(
                        "sighting_failed",
                        Some(hint.partner_id),
                        hint.id,
                        format!("/api/mifos/partners/{}", hint.core_id),
                        detail,
                        false,
                    ));
                }
                settled.push(rest(again, Some(error.to_string())));
            }
        }
    }
    let rows: Vec<store::Row> = new.iter().map(|(r, _)| r.clone()).collect();
    let written = store::insert_in_tx(tx.conn(), &rows).await?;
    // The identity may exist already without the hint knowing it: the row that is there wins.
    let pairs: Vec<(Uuid, Option<Uuid>)> = new.iter().map(|(r, hint)| (*hint, written.contains(&r.id).then_some(r.id))).collect();
    link_in_tx(tx.conn(), &pairs).await?;
    let changed: Vec<&store::Row> = changed.iter().collect();
    store::update_in_tx(tx.conn(), &changed).await?;
    settle_in_tx(tx.conn(), &settled).await?;
    item::open_in_tx(tx.conn(), engine, now, &items).await?;
    let lines: Vec<Line> = new
        .iter()
        .filter(|(r, _)| written.contains(&r.id))
        .map(|(r, _)| Line {
            partner: r.partner_id,
            disbursement: r.id,
            lane: "Mifos X",
            what: format!("loan {} read as approved", r.loan_id.as_deref().unwrap_or_default()),
            detail: r.core_id.and_then(|c| links.get(&CoreId(c))).map(|s| s.label.clone()),
            message: None,
        })
        .collect();
    outbox::lines_in_tx(tx.conn(), engine, now, &lines).await?;
    Ok(tx.commit_at("intake.write").await?)
}

/// A known disbursement is looked at again when the hint gives a reason; returns whether it changed.
fn look_again(row: &mut store::Row, hint: &Hint, loan: &CoreLoan, now: DateTime<Utc>) -> bool {
    let Some(state) = State::parse(&row.state) else { return false };
    let undone = row.reason.as_deref() == Some("approval_undone");
    let listed = matches!(row.reason.as_deref(), Some("auto_off" | "old_approval"));
    let again = match state {
        // Undone and approved again, with nothing ever tried: the same decision starts anew. With attempts behind it, it is a new
        // generation, and that needs four eyes (rule A1).
        State::Cancelled => undone && row.attempts == 0 && loan.status == LoanStatus::Approved,
        State::Held => listed && hint.asked_by.is_some(),
        State::Received | State::Waiting => true,
        State::Refused | State::Paying | State::Paid | State::NotPaid | State::Returned => false,
    };
    if again {
        if matches!(state, State::Cancelled | State::Held) {
            row.rest(State::Received, None, None);
        }
        // A wait for the rail's answer about an old attempt is not cut short by a hint.
        if row.attempts == 0 || state != State::Waiting {
            row.due_at = Some(now);
        }
        row.updated_at = now;
    }
    again
}

fn row(engine: &Engine, hint: &Hint, loan: &CoreLoan, now: DateTime<Utc>) -> store::Row {
    let way = hint.ways.first().map_or("poll", String::as_str);
    let origin = match way {
        "webhook" => "mifos_webhook",
        "hook" => "mifos_hook",
        "api" => "api",
        _ => "mifos_poll",
    };
    let (pay, floored) = loan.net.split_cents();
    let mut row = store::Row {
        id: engine.ids.uuid(now),
        partner_id: hint.partner_id,
        core_id: Some(hint.core_id),
        loan_id: Some(hint.loan_id.clone()),
        tranche: 0,
        generation: 1,
        origin: origin.to_owned(),
        reference: None,
        client_id: loan.client_id.clone(),
        client_name: loan.client_name.clone(),
        msisdn: None,
        product_id: Some(loan.product_id.clone()),
        product_name: Some(loan.product_name.clone()),
        amount_minor: pay.is_positive().then_some(pay.minor()),
        gross_minor: loan.principal.is_positive().then_some(loan.principal.minor()),
        floored_minor: floored.minor(),
        currency: "KES".to_owned(),
        approved_on: loan.approved_on,
        expected_on: loan.expected_on,
        approval: Some(loan.approval_fingerprint()),
        shortcode_id: None,
        state: String::new(),
        status: String::new(),
        reason: None,
        reason_detail: None,
        quote: None,
        charges: "none".to_owned(),
        charges_generation: 0,
        charges_split: false,
        attempts: 0,
        retry_at: None,
        receipt: None,
        paid_at: None,
        name_check: true,
        overrides: Vec::new(),
        note: None,
        due_at: Some(now),
        fence: 0,
        tries: 0,
        created_at: now,
        updated_at: now,
        created_by: hint.asked_by.clone().unwrap_or_else(|| format!("{way}, first seen {}", hint.first_seen_at.to_rfc3339())),
    };
    row.rest(State::Received, None, None);
    row
}

async fn link_in_tx(conn: &mut pv_database::PgConnection, pairs: &[(Uuid, Option<Uuid>)]) -> Result<(), VaultError> {
    let hints: Vec<Uuid> = pairs.iter().map(|(h, _)| *h).collect();
    let disbursements: Vec<Option<Uuid>> = pairs.iter().map(|(_, d)| *d).collect();
    sqlx::query(
        "update loan_sightings s set disbursement_id = coalesce(x.disbursement,
             (select d.id from disbursements d where d.core_id = s.core_id and d.loan_id = s.loan_id and d.tranche = 0 order by d.generation desc limit 1))
         from unnest($1::uuid[], $2::uuid[]) as x(hint, disbursement) where s.id = x.hint",
    )
    .bind(&hints)
    .bind(&disbursements)
    .execute(conn)
    .await?;
    Ok(())
}

async fn settle_in_tx(conn: &mut pv_database::PgConnection, settled: &[Settled]) -> Result<(), VaultError> {
    let ids: Vec<Uuid> = settled.iter().map(|s| s.id).collect();
    let fences: Vec<i64> = settled.iter().map(|s| s.fence).collect();
    let due: Vec<Option<DateTime<Utc>>> = settled.iter().map(|s| s.due_at).collect();
    let errors: Vec<Option<String>> = settled.iter().map(|s| s.error.as_ref().map(|e| e.chars().take(300).collect())).collect();
    // A hint that came in meanwhile moved due_at to an earlier moment than our lease: it stays due.
    sqlx::query(
        "update loan_sightings s set due_at = x.due_at, last_error = x.error
         from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::text[]) as x(id, fence, due_at, error)
         where s.id = x.id and s.fence = x.fence",
    )
    .bind(&ids)
    .bind(&fences)
    .bind(&due)
    .bind(&errors)
    .execute(conn)
    .await?;
    Ok(())
}

fn early(tries: i32) -> chrono::Duration {
    chrono::Duration::seconds(i64::from(tries.clamp(1, 10)).pow(2))
}

fn growing(engine: &Engine, tries: i32) -> chrono::Duration {
    let base = chrono::Duration::from_std(engine.limits.first_booking_retry).unwrap_or(chrono::Duration::seconds(5));
    (base * 2_i32.pow(u32::try_from(tries.clamp(0, 8)).unwrap_or(0))).min(chrono::Duration::minutes(15))
}
