//! Books what is due: reads back where it is not clear, sends where nothing of ours is there, reads back again.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt as _, future::BoxFuture, stream};
use pv_kernel::{
    Money,
    core_banking::{BookingMeaning, BookingOrder, CoreError},
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
struct Done {
    id: Uuid,
    fence: i64,
    events: Vec<Event>,
    sent: Option<Outgoing>,
}

/// Runs once.
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let (rows, links) = claim(engine).await?;
    let taken = rows.len();
    let mut work: Vec<BoxFuture<'_, Result<Done, VaultError>>> = Vec::with_capacity(taken);
    for row in rows {
        let link = links.get(&CoreId(row.core_id));
        work.push(Box::pin(visit(engine, row, link)));
    }
    let mut done = stream::iter(work).buffer_unordered(32).ready_chunks(64);
    while let Some(chunk) = done.next().await {
        let chunk = chunk.into_iter().collect::<Result<Vec<Done>, VaultError>>()?;
        write(engine, chunk).await?;
    }
    Ok(Worked::of(taken, engine.limits.batch))
}

async fn claim(engine: &Engine) -> Result<(Vec<Row>, BTreeMap<CoreId, CoreSettings>), VaultError> {
    let mut tx = engine.begin().await?;
    let mut rows = store::claim_in_tx(tx.conn(), engine.only_partners.as_deref(), engine.now(), engine.in_(engine.limits.lease), engine.limits.batch).await?;
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

/// Reads back, and sends when nothing of ours is there.
async fn visit(engine: &Engine, row: Row, link: Option<&CoreSettings>) -> Result<Done, VaultError> {
    let mut done = Done { id: row.disbursement_id, fence: row.fence, events: Vec::new(), sent: None };
    let Some(settings) = link else {
        done.events.push(Event::Unreadable("the connection to the core is not there any more".to_owned()));
        return Ok(done);
    };
    // Always a read-back first: a first request may have been lost with the process that sent it (rule A22).
    match engine.core.loan(&settings.link, &row.loan_id, true).await {
        Ok(loan) => {
            let (after, _) = machine::decide(&row.machine()?, &Event::ReadBack(loan.clone()), &pace(engine), engine.now());
            done.events.push(Event::ReadBack(loan.clone()));
            if after.state != State::Due || row.state == State::Parked.as_str() {
                return Ok(done);
            }
            let order = order(engine, &row, settings, loan.approved_on).await?;
            mark_sending(engine, &row, order.date).await?;
            done.events.push(Event::Claimed { book_on: order.date });
            let answer = engine.core.disburse(&settings.link, &order).await;
            if answer.meaning == BookingMeaning::Crashed {
                return Err(VaultError::Crashed);
            }
            let finished = matches!(answer.meaning, BookingMeaning::Done { .. } | BookingMeaning::Unclear)
                || matches!(answer.meaning, BookingMeaning::Refused { kind: pv_kernel::core_banking::BookingRefusal::NotInState | pv_kernel::core_banking::BookingRefusal::Duplicate, .. });
            done.sent = Some(Outgoing::booking(&row, &answer));
            done.events.push(Event::Answered(answer.meaning));
            if finished {
                match engine.core.loan(&settings.link, &row.loan_id, true).await {
                    Ok(loan) => done.events.push(Event::ReadBack(loan)),
                    Err(CoreError::Crashed) => return Err(VaultError::Crashed),
                    Err(error) => done.events.push(Event::Unreadable(error.to_string())),
                }
            }
        }
        Err(CoreError::Crashed) => return Err(VaultError::Crashed),
        Err(error) => done.events.push(Event::Unreadable(error.to_string())),
    }
    Ok(done)
}

/// Written and committed before the request leaves: a crash after this is found, and adopted rightly as our own booking.
async fn mark_sending(engine: &Engine, row: &Row, book_on: NaiveDate) -> Result<(), VaultError> {
    let mut tx = engine.begin().await?;
    sqlx::query("update bookings set state = 'sending', book_on = $3, updated_at = $4 where disbursement_id = $1 and fence = $2")
        .bind(row.disbursement_id)
        .bind(row.fence)
        .bind(book_on)
        .bind(engine.now())
        .execute(tx.conn())
        .await?;
    Ok(tx.commit_at("book.sending").await?)
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
        Ok(None) => Ok(calendar),
        Err(CoreError::Crashed) => Err(VaultError::Crashed),
        Err(_) => Ok(calendar),
    }
}

fn pace(engine: &Engine) -> Pace {
    Pace { first: engine.limits.first_booking_retry, longest: engine.limits.longest_booking_retry }
}

async fn write(engine: &Engine, done: Vec<Done>) -> Result<(), VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    // Canonical order: disbursements before their bookings.
    let ids: Vec<Uuid> = done.iter().map(|d| d.id).collect();
    let disbursements: BTreeMap<Uuid, disbursement_store::Row> = disbursement_store::lock_in_tx(tx.conn(), &ids).await?.into_iter().map(|d| (d.id, d)).collect();
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
    item::open_in_tx(tx.conn(), engine, now, &batch.items).await?;
    item::settle_in_tx(tx.conn(), now, &batch.settled).await?;
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
    let line = |what: String, detail: Option<String>| Line { partner: row.partner_id, disbursement: row.disbursement_id, lane: "Mifos X", what, detail, message: None };
    let mut lines = Vec::new();
    let mut booking = row.machine()?;
    for event in &done.events {
        let before = booking.state;
        let (after, effects) = machine::decide(&booking, event, &pace(engine), now);
        if let Event::Answered(meaning) = event {
            lines.push(line(format!("booking sent: {}", spoken(meaning)), after.last_error.clone()));
        }
        if before != after.state && after.state.is_final() {
            lines.push(line(format!("booking {}, transaction {}", after.state.as_str(), after.transaction_id.as_deref().unwrap_or("none")), after.outcome.clone()));
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
