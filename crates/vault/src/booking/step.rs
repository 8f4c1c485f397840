//! Books what is due: reads back where it is not clear, sends where nothing of ours is there, reads back again.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    Money,
    core_banking::{BookingMeaning, BookingOrder, BookingRefusal, CoreError},
    ids::CoreId,
};
use uuid::Uuid;

use super::{
    machine::{self, Effect, Event, Pace, State},
    movements::booked,
    store::{self, Row},
};
use crate::{
    Engine, VaultError,
    disbursement::store as disbursement_store,
    engine::Worked,
    item,
    message::{self, Outgoing},
    outbox::{self, Line, NewEvent},
    partner::core_link::{self, CoreSettings},
};

/// What was done outside for one booking.
#[derive(Clone)]
struct Done {
    id: Uuid,
    fence: i64,
    events: Vec<Event>,
    sent: Option<Outgoing>,
}

/// Runs once: reads every due loan back, marks what is to be sent, sends it, reads it back again.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let (rows, links) = claim(engine).await?;
    let taken = rows.len();
    let mut reads: Vec<BoxFuture<'_, Result<Visit<'_>, VaultError>>> = Vec::with_capacity(taken);
    for row in rows {
        let link = links.get(&CoreId(row.core_id));
        reads.push(Box::pin(look(engine, row, link)));
    }
    let visits = stream::iter(reads).buffer_unordered(32).collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<Visit<'_>>, VaultError>>()?;
    let mut calls: Vec<BoxFuture<'_, Result<Done, VaultError>>> = Vec::new();
    let mut settled = Vec::new();
    let marked = mark_sending(engine, &visits).await?;
    for visit in visits {
        match visit.order {
            // Somebody else's by now: not ours to send.
            Some(_) if !marked.contains(&visit.row.disbursement_id) => {}
            Some((settings, order)) => calls.push(Box::pin(book(engine, visit.row, visit.done, settings, order))),
            None => settled.push(visit.done),
        }
    }
    if !settled.is_empty() {
        write(engine, settled).await?;
    }
    let mut done = stream::iter(calls).buffer_unordered(32).ready_chunks(64);
    while let Some(chunk) = done.next().await {
        let chunk = chunk.into_iter().collect::<Result<Vec<Done>, VaultError>>()?;
        write(engine, chunk).await?;
    }
    Ok(Worked::of(taken, engine.limits.batch))
}

async fn claim(engine: &Engine) -> Result<(Vec<Row>, BTreeMap<CoreId, CoreSettings>), VaultError> {
    let mut tx = engine.begin().await?;
    let mut rows =
        store::claim_in_tx(tx.conn(), engine.only_partners.as_deref(), engine.now(), engine.in_(engine.limits.lease), engine.limits.batch).await?;
    if rows.is_empty() {
        return Ok((rows, BTreeMap::new()));
    }
    rows.sort_by_key(|r| r.disbursement_id);
    let cores: Vec<CoreId> = rows.iter().map(|r| CoreId(r.core_id)).collect();
    let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &cores).await?;
    // What is to be sent is written down as being sent: a crash after this is found as `sending` and read back first.
    tx.commit_at("book.claim").await?;
    Ok((rows, links))
}

/// A booking that was read back, and what is to be sent for it, if anything.
struct Visit<'a> {
    row: Row,
    done: Done,
    order: Option<(&'a CoreSettings, BookingOrder)>,
}

/// Reads back first, always: an earlier request may have been lost with the process that sent it (rule A22).
async fn look<'a>(engine: &Engine, row: Row, link: Option<&'a CoreSettings>) -> Result<Visit<'a>, VaultError> {
    let mut done = Done { id: row.disbursement_id, fence: row.fence, events: Vec::new(), sent: None };
    let Some(settings) = link else {
        done.events.push(Event::Unreadable("the connection to the core is not there any more".to_owned()));
        return Ok(Visit { row, done, order: None });
    };
    match engine.core.loan(&settings.link, &row.loan_id, true).await {
        Ok(loan) => {
            let (after, _) = machine::decide(&row.machine()?, &Event::ReadBack(Box::new(loan.clone())), &pace(engine), engine.now());
            let approved_on = loan.approved_on;
            done.events.push(Event::ReadBack(Box::new(loan)));
            if after.state != State::Due || row.state == State::Parked.as_str() {
                return Ok(Visit { row, done, order: None });
            }
            let order = order(engine, &row, settings, approved_on).await?;
            done.events.push(Event::Claimed { book_on: order.date });
            Ok(Visit { row, done, order: Some((settings, order)) })
        }
        Err(CoreError::Crashed) => Err(VaultError::Crashed),
        Err(error) => {
            done.events.push(Event::Unreadable(error.to_string()));
            Ok(Visit { row, done, order: None })
        }
    }
}

/// Written and committed before any request leaves: a crash after this is found, and read back rightly as our own booking.
async fn mark_sending(engine: &Engine, visits: &[Visit<'_>]) -> Result<BTreeSet<Uuid>, VaultError> {
    let sending = || visits.iter().filter_map(|v| v.order.as_ref().map(|(_, o)| (v.row.disbursement_id, v.row.fence, o.date)));
    let ids: Vec<Uuid> = sending().map(|s| s.0).collect();
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let fences: Vec<i64> = sending().map(|s| s.1).collect();
    let days: Vec<NaiveDate> = sending().map(|s| s.2).collect();
    let mut tx = engine.begin().await?;
    let marked: Vec<Uuid> = sqlx::query_scalar(
        "update bookings b set state = 'sending', book_on = x.day, updated_at = $4
         from unnest($1::uuid[], $2::bigint[], $3::date[]) as x(id, fence, day) where b.disbursement_id = x.id and b.fence = x.fence
         returning b.disbursement_id",
    )
    .bind(&ids)
    .bind(&fences)
    .bind(&days)
    .bind(engine.now())
    .fetch_all(tx.conn())
    .await?;
    tx.commit_at("book.sending").await?;
    Ok(marked.into_iter().collect())
}

/// Sends one booking, and reads it back where the answer says that it is worth a look.
async fn book(engine: &Engine, row: Row, mut done: Done, settings: &CoreSettings, order: BookingOrder) -> Result<Done, VaultError> {
    let answer = engine.core.disburse(&settings.link, &order).await;
    if answer.meaning == BookingMeaning::Crashed {
        return Err(VaultError::Crashed);
    }
    let look_again = matches!(
        answer.meaning,
        BookingMeaning::Done { .. }
            | BookingMeaning::Unclear
            | BookingMeaning::Refused { kind: BookingRefusal::NotInState | BookingRefusal::Duplicate, .. }
    );
    done.sent = Some(Outgoing::booking(&row, &answer));
    done.events.push(Event::Answered(answer.meaning));
    if look_again {
        match engine.core.loan(&settings.link, &row.loan_id, true).await {
            Ok(loan) => done.events.push(Event::ReadBack(Box::new(loan))),
            Err(CoreError::Crashed) => return Err(VaultError::Crashed),
            Err(error) => done.events.push(Event::Unreadable(error.to_string())),
        }
    }
    Ok(done)
}

async fn order(engine: &Engine, row: &Row, settings: &CoreSettings, approved_on: Option<NaiveDate>) -> Result<BookingOrder, VaultError> {
    let day = tenant_day(engine, settings).await?;
    let paid_on = row.paid_at.with_timezone(&settings.zone).date_naive();
    let wanted = row.book_on.unwrap_or(paid_on).max(approved_on.unwrap_or(paid_on));
    Ok(BookingOrder {
        loan_id: row.loan_id.clone(),
        gross: Money::from_minor(row.gross_minor),
        date: wanted.min(day),
        receipt: row.receipt.clone(),
        account_number: row.msisdn.clone(),
        external_id: row.external_id.clone(),
        key: row.idempotency_key.clone(),
        payment_type_id: settings.payment_type_id.clone().unwrap_or_default(),
        note: "M-Pesa B2C via Payment Vault".to_owned(),
    })
}

/// The tenant's day (Mifos X contract 1.10): its business date where it keeps one, else the calendar in its zone.
pub(crate) async fn tenant_day(engine: &Engine, settings: &CoreSettings) -> Result<NaiveDate, VaultError> {
    let calendar = engine.now().with_timezone(&settings.zone).date_naive();
    if !settings.business_date {
        return Ok(calendar);
    }
    match engine.core.business_date(&settings.link).await {
        Ok(Some(day)) => Ok(day),
        Err(CoreError::Crashed) => Err(VaultError::Crashed),
        // None is kept, or it cannot be read now.
        Ok(None) | Err(_) => Ok(calendar),
    }
}

fn pace(engine: &Engine) -> Pace {
    Pace { first: engine.limits.first_booking_retry, longest: engine.limits.longest_booking_retry }
}

async fn write(engine: &Engine, done: Vec<Done>) -> Result<(), VaultError> {
    let mut tries = 0;
    loop {
        match write_once(engine, done.clone()).await {
            Err(error) if error.is_retryable() && tries < 3 => tries += 1,
            other => return other,
        }
    }
}

async fn write_once(engine: &Engine, done: Vec<Done>) -> Result<(), VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    // Canonical order: disbursements before their bookings.
    let ids: Vec<Uuid> = done.iter().map(|d| d.id).collect();
    let disbursements: BTreeMap<Uuid, disbursement_store::Row> =
        disbursement_store::lock_in_tx(tx.conn(), &ids).await?.into_iter().map(|d| (d.id, d)).collect();
    let claimed: Vec<(Uuid, i64)> = done.iter().map(|d| (d.id, d.fence)).collect();
    let mut rows = store::lock_in_tx(tx.conn(), &claimed).await?;
    let mut by_id: BTreeMap<Uuid, Done> = done.into_iter().map(|d| (d.id, d)).collect();
    let mut batch = Batch::default();
    for row in &mut rows {
        if let (Some(done), Some(d)) = (by_id.remove(&row.disbursement_id), disbursements.get(&row.disbursement_id)) {
            hear(engine, row, d, done, now, &mut batch)?;
        }
    }
    let answers = pv_ledger::post_in_tx(tx.conn(), &*engine.ids, now, &batch.ledger).await?;
    if let Some((c, a)) = batch.ledger.iter().zip(&answers).find(|(_, a)| a.transfer().is_none()) {
        return Err(VaultError::Broken(format!("the ledger answered {a:?} to {:?}", c.key())));
    }
    store::update_in_tx(tx.conn(), &rows).await?;
    message::store_outgoing_in_tx(tx.conn(), engine, now, &batch.sent).await?;
    outbox::emit_in_tx(tx.conn(), engine, now, &batch.events).await?;
    outbox::lines_in_tx(tx.conn(), engine, now, &batch.lines).await?;
    // Settled first: a loan that is booked with another amount settles "not booked" and opens an item of its own.
    item::settle_in_tx(tx.conn(), now, &batch.settled).await?;
    item::open_in_tx(tx.conn(), engine, now, &batch.items).await?;
    Ok(tx.commit_at("book.write").await?)
}

#[derive(Default)]
struct Batch {
    ledger: Vec<pv_ledger::Command>,
    sent: Vec<Outgoing>,
    events: Vec<NewEvent>,
    lines: Vec<Line>,
    items: Vec<item::NewItem>,
    settled: Vec<(&'static str, Uuid)>,
}

fn hear(engine: &Engine, row: &mut Row, d: &disbursement_store::Row, done: Done, now: DateTime<Utc>, batch: &mut Batch) -> Result<(), VaultError> {
    let line = |what: String, detail: Option<String>| Line {
        partner: row.partner_id,
        disbursement: row.disbursement_id,
        lane: "Mifos X",
        what,
        detail,
        message: None,
    };
    let mut lines = Vec::new();
    let mut booking = row.machine()?;
    for event in &done.events {
        let before = booking.state;
        let (after, effects) = machine::decide(&booking, event, &pace(engine), now);
        if let Event::Answered(meaning) = event {
            lines.push(line(format!("booking sent: {}", spoken(meaning)), after.last_error.clone()));
        }
        if before != after.state && after.state.is_final() {
            lines.push(line(
                format!("booking {}, transaction {}", after.state.as_str(), after.transaction_id.as_deref().unwrap_or("none")),
                after.outcome.clone(),
            ));
        }
        booking = after;
        for effect in effects {
            match effect {
                Effect::Post => {
                    let cents = Money::from_minor(d.floored_minor);
                    let paid = d.amount().ok_or_else(|| VaultError::Broken(format!("disbursement {} is paid and has no amount", d.id)))?;
                    batch.ledger.extend(booked::commands(d.disbursement(), d.partner(), "p5_booked", paid, cents, now));
                    batch.events.push(NewEvent::about(d, "disbursement.booked", serde_json::json!({ "transaction_id": booking.transaction_id })));
                }
                Effect::Person { detail } => batch.items.push(item::about_disbursement("booking_person", d, detail)),
                Effect::Settled => {
                    batch.settled.push(("booking_person", d.id));
                    batch.settled.push(("booking_late", d.id));
                }
            }
        }
    }
    row.take(engine, &booking, now);
    batch.lines.extend(lines);
    batch.sent.extend(done.sent);
    Ok(())
}

fn spoken(meaning: &BookingMeaning) -> &'static str {
    match meaning {
        BookingMeaning::Done { .. } => "the core says done",
        BookingMeaning::Parked { .. } => "parked for the core's checker",
        BookingMeaning::Refused { .. } => "refused",
        BookingMeaning::Unclear => "no usable answer",
        BookingMeaning::NotSent => "not sent",
        BookingMeaning::Crashed => "",
    }
}
