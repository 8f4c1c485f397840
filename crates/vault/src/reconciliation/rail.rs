//! The band of a shortcode: what M-Pesa may have, as far as the ledger knows (money rules, section E).
//!
//! Every payout that M-Pesa has paid is posted here sooner or later, and none is posted that it has not paid. So the balance that the
//! rail reports lies between two figures of the utility account:
//!
//! - at most what was **posted when the question was put** (some of what is on its way may be paid already, never less);
//! - at least what is **posted minus in flight when the answer comes** (everything on its way may be paid already, never more).
//!
//! What came in between is uncertain both ways and widens the band. Outside it once may be a matter of moments; outside it twice in
//! a row on the same side is a difference: it is posted (f2) and somebody gets an item. The band is always weighed without the
//! differences that were posted, so that an explanation (a late success, a funding) brings the balance back inside: then the
//! difference is reversed and the item closes.
//!
//! **Opening.** The first balance opens the account: f1 over what makes the posted figure at the moment of the question equal to
//! the balance. So *posted − in flight ≤ balance ≤ posted* holds from the first moment on, whatever was on its way: if some of that
//! was paid already, the balance was higher before, and the opening is too small by that part. This part (at most what was on
//! its way) is kept as slack; the first balance in a quiet moment, with nothing on its way, settles it (`f1_opening_settled`).
//!
//! The state between two readings stands in `settings` under `rail_reading:{shortcode id}`. Of the charges account only the opening is
//! posted; it has no band, because its tariffs are posted with each payout and it is topped up by hand.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    crypto::sha256,
    ids::{PartnerId, ShortcodeId, TransferId},
    problem::Problem,
};
use pv_ledger::{Answer, Command, Key};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use super::{
    books::{self, Standing, Utility},
    movements::{funding, unexplained},
};
use crate::{
    Engine, VaultError,
    audit::{Actor, AuditEntry, Permission, record_in_tx},
    item::{self, NewItem},
    payout::{
        movements::{charges, utility},
        store::QueryRow,
    },
};

/// Kind of the item about a difference; its subject is the shortcode.
pub const DRIFT: &str = "rail_drift";

/// What was seen at the last balance of a shortcode. Amounts in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    /// The question.
    pub query: Uuid,
    /// When it was put.
    pub asked_at: DateTime<Utc>,
    /// When its answer was weighed.
    pub weighed_at: DateTime<Utc>,
    /// Available in the utility account.
    pub utility: i64,
    /// The least that the ledger could explain, differences left out.
    pub lower: i64,
    /// The most.
    pub upper: i64,
    /// How far above (positive) or below (negative) the band; 0: inside.
    pub outside: i64,
    /// What the opening may be too small by, until a quiet moment.
    pub slack: i64,
    /// The charges account was opened.
    pub charges_opened: bool,
}

/// The name of the row in `settings`.
pub(super) fn reading_name(shortcode: Uuid) -> String {
    format!("rail_reading:{shortcode}")
}

/// How far a figure lies outside a band.
fn outside(figure: i64, lower: i64, upper: i64) -> i64 {
    if figure > upper {
        figure.saturating_sub(upper)
    } else if figure < lower {
        figure.saturating_sub(lower)
    } else {
        0
    }
}

/// Keeps with each balance question what the ledger has posted at this moment: the upper bound of its answer. Called in the
/// transaction that claims the questions; others than balance questions are left alone.
pub(crate) async fn note_ledger_in_tx(conn: &mut PgConnection, queries: &[QueryRow]) -> Result<(), VaultError> {
    let ids: Vec<Uuid> = queries.iter().filter(|q| q.kind == "balance").map(|q| q.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with asked as (
             select q.id, a.id as account_id from rail_queries q
             join mpesa_shortcodes s on s.id = q.shortcode_id
             join ledger_accounts a on a.book = 'M:' || s.partner_id and a.name = 'utility:' || s.shortcode
             where q.id = any($1)
         ), tail as (
             select t.debit, t.credit, t.amount from ledger_transfers t
             where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c) and t.kind in ('posted', 'post')
         ), moved as (
             select m.account_id, sum(m.delta) as delta
             from tail t cross join lateral (values (t.debit, t.amount), (t.credit, -t.amount)) as m (account_id, delta)
             where m.account_id in (select account_id from asked) group by m.account_id
         )
         update rail_queries q set ledger_minor = -coalesce(f.balance_minor, 0) + coalesce(m.delta, 0)
         from asked a left join ledger_folds f on f.account_id = a.account_id left join moved m on m.account_id = a.account_id
         where q.id = a.id",
    )
    .bind(&ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// A shortcode, locked: one balance and one statement of a person at a time.
struct Locked {
    id: Uuid,
    partner: PartnerId,
    shortcode: String,
}

async fn lock_in_tx(conn: &mut PgConnection, id: Uuid) -> Result<Option<Locked>, VaultError> {
    let row: Option<(Uuid, String)> =
        sqlx::query_as("select partner_id, shortcode from mpesa_shortcodes where id = $1 for update").bind(id).fetch_optional(conn).await?;
    Ok(row.map(|(partner, shortcode)| Locked { id, partner: PartnerId(partner), shortcode }))
}

pub(super) async fn reading_in_tx(conn: &mut PgConnection, shortcode: Uuid) -> Result<Option<Reading>, VaultError> {
    let value: Option<Json<Reading>> =
        sqlx::query_scalar("select value from settings where name = $1").bind(reading_name(shortcode)).fetch_optional(conn).await?;
    Ok(value.map(|v| v.0))
}

/// Whether the account was opened, although nothing is kept about its last balance (the row in `settings` was lost).
async fn was_opened_in_tx(conn: &mut PgConnection, shortcode: Uuid) -> Result<bool, VaultError> {
    Ok(sqlx::query_scalar("select exists (select from ledger_transfers where subject = $1 and movement = $2)")
        .bind(shortcode)
        .bind(funding::OPENING)
        .fetch_one(conn)
        .await?)
}

async fn keep_in_tx(conn: &mut PgConnection, shortcode: Uuid, reading: &Reading, now: DateTime<Utc>) -> Result<(), VaultError> {
    sqlx::query(
        "insert into settings (name, value, updated_at) values ($1, $2, $3)
         on conflict (name) do update set value = excluded.value, updated_at = excluded.updated_at",
    )
    .bind(reading_name(shortcode))
    .bind(Json(reading))
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

async fn post_in_tx(conn: &mut PgConnection, engine: &Engine, commands: &[Command]) -> Result<Vec<Answer>, VaultError> {
    let answers = pv_ledger::post_in_tx(conn, &*engine.ids, engine.now(), commands).await?;
    match commands.iter().zip(&answers).find(|(_, a)| a.transfer().is_none()) {
        Some((command, answer)) => Err(VaultError::Broken(format!("the ledger answered {answer:?} to {:?}", command.key()))),
        None => Ok(answers),
    }
}

/// Weighs a balance that the rail reported against the ledger. The first one opens the accounts. Says in words what it found;
/// the transaction is the caller's, and it holds no lock on ledger accounts.
pub(crate) async fn weigh_reading_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    query: &QueryRow,
    utility_available: Money,
    charges_available: Option<Money>,
) -> Result<String, VaultError> {
    let now = engine.now();
    let Some(place) = lock_in_tx(conn, query.shortcode_id).await? else {
        return Ok("a balance of a shortcode that is not there".to_owned());
    };
    let before = match reading_in_tx(conn, place.id).await? {
        None if was_opened_in_tx(conn, place.id).await? => Some(Reading { charges_opened: true, ..Reading::default() }),
        kept => kept,
    };
    if before.as_ref().is_some_and(|b| b.asked_at > query.asked_at || b.query == query.id) {
        return Ok("older than the last balance".to_owned());
    }
    let figures = books::utility_in_tx(conn, place.partner, &place.shortcode, query.asked_at).await?;
    let figure = utility_available.minor();
    let Some(before) = before else {
        return opening_in_tx(conn, engine, &place, query, figure, charges_available, &figures).await;
    };
    let (standing, generations) = books::difference_in_tx(conn, place.partner, place.id, &place.shortcode).await?;
    let mut band = Band::of(query, &figures, standing.map_or(0, |s| s.amount), before.slack);
    let mut words = Vec::new();
    if before.slack > 0 && figures.in_flight == 0 && figures.went_out == 0 && figures.came_in == 0 {
        // A quiet moment: what the opening was too small by shows now, and only now.
        let missing = figure.saturating_sub(band.upper.saturating_sub(band.slack));
        let settled = if (0..=before.slack).contains(&missing) { missing } else { 0 };
        let key = Key::new(place.id, funding::OPENING_SETTLED);
        let account = utility(place.partner, &place.shortcode);
        if let Some(command) = funding::opening(key, place.partner, account, Money::from_minor(settled), query.id, now) {
            post_in_tx(conn, engine, &[command]).await?;
            words.push(format!("opening settled by {}", Money::from_minor(settled)));
        }
        band.lower = band.lower.saturating_add(settled);
        band.upper = band.upper.saturating_sub(band.slack).saturating_add(settled);
        band.slack = 0;
    }
    let charges_opened = before.charges_opened || open_charges_in_tx(conn, engine, &place, query, charges_available).await?;
    let reading = Reading {
        query: query.id,
        asked_at: query.asked_at,
        weighed_at: now,
        utility: figure,
        lower: band.lower,
        upper: band.upper,
        outside: outside(figure, band.lower, band.upper),
        slack: band.slack,
        charges_opened,
    };
    keep_in_tx(conn, place.id, &reading, now).await?;
    let drift = Drift { place: &place, standing, generations, evidence: Some(query.id) };
    words.push(drift.judge_in_tx(conn, engine, &before, &reading).await?);
    Ok(words.join("; "))
}

/// The two figures between which a balance lies, differences left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Band {
    lower: i64,
    upper: i64,
    slack: i64,
}

impl Band {
    fn of(query: &QueryRow, f: &Utility, standing: i64, slack: i64) -> Self {
        let posted = f.posted.saturating_sub(standing);
        // What was posted when the question was put: as noted then, or worked out back from now.
        let then = match query.ledger_minor {
            Some(noted) => noted.saturating_sub(standing.saturating_sub(f.differences)).saturating_add(f.opened),
            None => posted.saturating_sub(f.came_in).saturating_add(f.went_out),
        };
        Self {
            lower: posted.saturating_sub(f.in_flight).saturating_sub(f.came_in),
            upper: then.saturating_add(f.came_in).saturating_add(slack),
            slack,
        }
    }
}

/// Opens the accounts of a shortcode at its first balance (see the head of this file).
async fn opening_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    place: &Locked,
    query: &QueryRow,
    figure: i64,
    charges_available: Option<Money>,
    figures: &Utility,
) -> Result<String, VaultError> {
    let now = engine.now();
    let band = Band::of(query, figures, 0, 0);
    let then = band.upper.saturating_sub(figures.came_in);
    let amount = figure.saturating_sub(then);
    let key = Key::new(place.id, funding::OPENING);
    let account = utility(place.partner, &place.shortcode);
    let commands: Vec<Command> = funding::opening(key, place.partner, account, Money::from_minor(amount), query.id, now).into_iter().collect();
    post_in_tx(conn, engine, &commands).await?;
    let charges_opened = open_charges_in_tx(conn, engine, place, query, charges_available).await?;
    let slack = figures.in_flight.saturating_add(figures.went_out);
    let reading = Reading {
        query: query.id,
        asked_at: query.asked_at,
        weighed_at: now,
        utility: figure,
        lower: band.lower.saturating_add(amount),
        upper: band.upper.saturating_add(amount).saturating_add(slack),
        outside: 0,
        slack,
        charges_opened,
    };
    keep_in_tx(conn, place.id, &reading, now).await?;
    Ok(format!("opened with {}", Money::from_minor(figure)))
}

/// Opens the charges account at its first balance; true once it is open.
async fn open_charges_in_tx(
    conn: &mut PgConnection,
    engine: &Engine,
    place: &Locked,
    query: &QueryRow,
    available: Option<Money>,
) -> Result<bool, VaultError> {
    let Some(available) = available else {
        return Ok(false);
    };
    let account = charges(place.partner, &place.shortcode);
    let amount = available.minor().saturating_sub(books::posted_asset_in_tx(conn, &account).await?);
    let key = Key::new(place.id, funding::OPENING_CHARGES);
    let commands: Vec<Command> =
        funding::opening(key, place.partner, account, Money::from_minor(amount), query.id, engine.now()).into_iter().collect();
    post_in_tx(conn, engine, &commands).await?;
    Ok(true)
}

/// The difference of one shortcode, and what becomes of it.
struct Drift<'a> {
    place: &'a Locked,
    standing: Option<Standing>,
    generations: i32,
    evidence: Option<Uuid>,
}

impl Drift<'_> {
    /// A balance was weighed: posts, keeps or takes back the difference.
    async fn judge_in_tx(&self, conn: &mut PgConnection, engine: &Engine, before: &Reading, reading: &Reading) -> Result<String, VaultError> {
        let figure = Money::from_minor(reading.utility);
        if reading.outside == 0 {
            if self.standing.is_some() {
                self.set_in_tx(conn, engine, 0).await?;
                return Ok(format!("utility {figure}: explained again, the difference is taken back"));
            }
            return Ok(format!("utility {figure}: inside the band"));
        }
        let amount = Money::from_minor(reading.outside);
        if let Some(s) = self.standing
            && outside(reading.utility, reading.lower.saturating_add(s.amount), reading.upper.saturating_add(s.amount)) == 0
        {
            return Ok(format!("utility {figure}: {} still not explained", Money::from_minor(s.amount)));
        }
        if before.outside.signum() != reading.outside.signum() {
            return Ok(format!("utility {figure}: outside the band by {amount}, for the first time"));
        }
        self.set_in_tx(conn, engine, reading.outside).await?;
        Ok(format!("utility {figure}: outside the band by {amount} twice in a row"))
    }

    /// Makes the difference `amount` stand (0: none), by reversal and the right transfer (x1), and keeps its item in step.
    async fn set_in_tx(&self, conn: &mut PgConnection, engine: &Engine, amount: i64) -> Result<(), VaultError> {
        let now = engine.now();
        let at = |generation| unexplained::Place { id: self.place.id, shortcode: &self.place.shortcode, partner: self.place.partner, generation };
        let mut commands = Vec::new();
        if let Some(s) = self.standing {
            commands.push(unexplained::reverse(&at(s.generation), Money::from_minor(s.amount), TransferId(s.id), self.evidence, now));
        }
        if amount != 0 {
            commands.push(unexplained::command(&at(self.generations.saturating_add(1)), Money::from_minor(amount), self.evidence, now));
        }
        post_in_tx(conn, engine, &commands).await?;
        if amount == 0 {
            return item::settle_in_tx(conn, now, &[(DRIFT, self.place.id)]).await;
        }
        let new = drift_item(self.place, amount);
        item::open_in_tx(conn, engine, now, std::slice::from_ref(&new)).await?;
        // One that is open keeps its age and learns the new amount.
        sqlx::query("update items set amount_minor = $3, title = $4 where kind = $1 and subject = $2 and closed_at is null")
            .bind(DRIFT)
            .bind(self.place.id)
            .bind(new.amount_minor)
            .bind(&new.title)
            .execute(conn)
            .await?;
        Ok(())
    }
}

fn drift_item(place: &Locked, amount: i64) -> NewItem {
    let size = Money::from_minor(amount.saturating_abs());
    let (title, detail) = if amount > 0 {
        (
            "M-Pesa shows money that we cannot explain",
            format!("The utility account of {} holds {size} more than the ledger can explain, in two balances in a row.", place.shortcode),
        )
    } else {
        (
            "Money is missing at M-Pesa that we cannot explain",
            format!("The utility account of {} holds {size} less than the ledger can explain, in two balances in a row.", place.shortcode),
        )
    };
    NewItem {
        partner_id: Some(place.partner.uuid()),
        kind: DRIFT.to_owned(),
        subject: place.id,
        title: title.to_owned(),
        detail,
        suggested_action: "Look at the organisation statement on the M-Pesa portal. If float was added or taken out there, record it as funding; a payment that we do not know is an incident.".to_owned(),
        link: format!("/api/partners/{}/shortcodes", place.partner),
        amount_minor: Some(size.minor()),
        urgency: if amount > 0 { "watch" } else { "page" }.to_owned(),
    }
}

/// What a person states about float that was added or taken out outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFunding {
    /// The shortcode.
    pub shortcode: ShortcodeId,
    /// How much was added; negative: taken out. Never zero.
    pub amount: Money,
    /// The bank's or M-Pesa's reference, unique per shortcode: the same statement twice is one. 1 to 100 characters.
    pub reference: String,
    /// Why, in the person's words, 3 to 500 characters.
    pub reason: String,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Funding {
    /// The transfer.
    pub transfer: TransferId,
    /// False: it was recorded before, and nothing changed.
    pub recorded: bool,
    /// What M-Pesa still shows and we cannot explain (negative: misses).
    pub unexplained: Money,
}

/// Records float that was added to a utility account outside, or taken out of it (f1), and takes back the difference that it
/// explains. Needs `wallet.adjust` or `connections.write`. The same reference twice is one funding; with another amount it is refused.
pub async fn record_funding(engine: &Engine, actor: &Actor, new: &NewFunding) -> Result<Funding, VaultError> {
    if !actor.may(Permission::WalletAdjust) {
        actor.require(Permission::ConnectionsWrite)?;
    }
    let reason = crate::partner::checked_reason(&new.reason)?;
    let reference = checked_reference(&new.reference)?;
    if new.amount.is_zero() {
        return Err(Problem::invalid("/amount", "Say how much was added, or with a minus sign how much was taken out.").into());
    }
    let now = engine.now();
    let mut tx = engine.begin().await?;
    let place = lock_in_tx(tx.conn(), new.shortcode.uuid()).await?.filter(|p| actor.partner.is_none_or(|own| own == p.partner));
    let Some(place) = place else {
        return Err(Problem::not_found("shortcode").into());
    };
    let key = Key::new(funding_subject(place.id, &reference), funding::FUNDING);
    let account = utility(place.partner, &place.shortcode);
    let detail = serde_json::json!({ "reference": reference, "reason": reason, "by": actor.label() });
    let Some(posting) = funding::posting(key, place.partner, account, new.amount, now) else {
        return Err(Problem::invalid("/amount", "Zero cannot be recorded.").into());
    };
    let answers = pv_ledger::post_in_tx(tx.conn(), &*engine.ids, now, &[posting.detail(detail.clone()).fact()]).await?;
    let (transfer, recorded) = match answers.first() {
        Some(Answer::Posted(id)) => (*id, true),
        Some(Answer::AlreadyPosted(id)) => (*id, false),
        Some(Answer::KeyConflict { .. }) => {
            let words = "This reference is recorded on this shortcode with another amount.";
            return Err(Problem::refused("reference_taken", 409, words, "Check the amount; a second funding needs its own reference.").into());
        }
        Some(Answer::Invalid(why)) => {
            return Err(Problem::invalid("/amount", why.to_string()).into());
        }
        other => {
            return Err(VaultError::Broken(format!("the ledger answered {other:?} to a funding")));
        }
    };
    let (standing, generations) = books::difference_in_tx(tx.conn(), place.partner, place.id, &place.shortcode).await?;
    let mut left = standing.map_or(0, |s| s.amount);
    if recorded {
        let drift = Drift { place: &place, standing, generations, evidence: None };
        left = explain_in_tx(tx.conn(), engine, &drift, new.amount.minor()).await?;
        let entry = AuditEntry { after: Some(detail), ..AuditEntry::of(Some(place.partner), "funding.record", place.id).because(reason) };
        record_in_tx(tx.conn(), engine, actor, entry).await?;
    }
    tx.commit_at("funding.record").await?;
    Ok(Funding { transfer, recorded, unexplained: Money::from_minor(left) })
}

/// Takes back the part of the difference that a funding of `amount` explains; says what is left of it. The last balance is weighed
/// again against the band that the funding moved.
async fn explain_in_tx(conn: &mut PgConnection, engine: &Engine, drift: &Drift<'_>, amount: i64) -> Result<i64, VaultError> {
    let mut left = drift.standing.map_or(0, |s| s.amount);
    if left.signum() == amount.signum() {
        // Never beyond zero: what was recorded too much shows in the next balances by itself.
        left = if amount.saturating_abs() >= left.saturating_abs() { 0 } else { left.saturating_sub(amount) };
        drift.set_in_tx(conn, engine, left).await?;
    }
    if let Some(mut reading) = reading_in_tx(conn, drift.place.id).await? {
        // Whether the last balance was taken before or after is not known: only a distance that the funding explains is taken off.
        if reading.outside.signum() == amount.signum() {
            reading.lower = reading.lower.saturating_add(amount);
            reading.upper = reading.upper.saturating_add(amount);
            let now_outside = outside(reading.utility, reading.lower, reading.upper);
            reading.outside = if now_outside.signum() == amount.signum() { now_outside } else { 0 };
            keep_in_tx(conn, drift.place.id, &reading, engine.now()).await?;
        }
    }
    Ok(left)
}

fn checked_reference(text: &str) -> Result<String, Box<Problem>> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err(Box::new(Problem::invalid("/reference", "Give the reference of the bank or of M-Pesa, 1 to 100 characters in one line.")));
    }
    Ok(text.to_owned())
}

/// The subject of a funding follows from shortcode and reference, so that the same statement twice is one transfer.
fn funding_subject(shortcode: Uuid, reference: &str) -> Uuid {
    let hash = sha256(format!("f1|{shortcode}|{reference}").as_bytes());
    uuid::Builder::from_custom_bytes(hash.first_chunk::<16>().copied().unwrap_or_default()).into_uuid()
}

#[cfg(test)]
mod tests;
