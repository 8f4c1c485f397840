//! Reads booked loans again, in rotation: does the core still show each booking as it was? What it shows otherwise is a fact of the
//! core (p12) and an item; it is never mended by us (rule A22), and never a reason to pay again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    core_banking::{CoreError, CoreLoan, CoreTransaction, LoanStatus},
    ids::{CoreId, DisbursementId, PartnerId, TransferId},
};
use pv_ledger::Command;
use uuid::Uuid;

use super::movements::undone::{self, Booked, Place};
use crate::{
    Engine, VaultError,
    engine::Worked,
    item,
    outbox::{self, Line},
    partner::core_link::{self, CoreSettings},
};

/// Each booking is read again at most once in this time.
pub const EVERY: chrono::Duration = chrono::Duration::hours(24);
/// A booking that could not be read is tried again after this.
pub const RETRY: chrono::Duration = chrono::Duration::hours(1);
/// Bookings read in one run.
pub const BATCH: i64 = 100;
/// Reads under way at once.
const AT_ONCE: usize = 8;
/// Kind of the item about a booking that is not as it was; its subject is the disbursement.
pub const UNDONE: &str = "undone_in_core";

/// A booking to be read again.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Due {
    disbursement_id: Uuid,
    core_id: Uuid,
    loan_id: String,
    receipt: String,
    external_id: String,
    transaction_id: Option<String>,
    gross_minor: i64,
    outcome: Option<String>,
}

/// What the core shows of a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// As it was booked.
    AsBooked,
    /// Otherwise, in words.
    Otherwise(String),
    /// It could not be read now.
    Unread(String),
}

/// Runs once: reads the bookings that were not read for [`EVERY`], oldest first, at most [`BATCH`].
pub async fn run(engine: &Engine) -> Result<Worked, VaultError> {
    let now = engine.now();
    let mut tx = engine.begin().await?;
    // Index: bookings_recheck. Claimed by moving checked_at ahead for the length of a lease: a crash makes them due again.
    let due: Vec<Due> = sqlx::query_as(
        "with due as (
             select disbursement_id from bookings
             where state in ('booked', 'adopted') and (checked_at is null or checked_at <= $1) and coalesce(checked_at, booked_at, created_at) <= $1
               and ($4::uuid[] is null or partner_id = any($4))
             order by checked_at nulls first, disbursement_id limit $3 for update skip locked)
         update bookings b set checked_at = $2 from due where b.disbursement_id = due.disbursement_id
         returning b.disbursement_id, b.core_id, b.loan_id, b.receipt, b.external_id, b.transaction_id, b.gross_minor, b.outcome",
    )
    .bind(now - EVERY)
    .bind(now - EVERY + chrono::Duration::from_std(engine.limits.lease).unwrap_or(RETRY))
    .bind(BATCH)
    .bind(engine.only_partners.as_deref())
    .fetch_all(tx.conn())
    .await?;
    tx.commit_at("core_check.claim").await?;
    let taken = due.len();
    check(engine, due).await?;
    Ok(Worked::of(taken, BATCH))
}

/// Reads every booked loan again, however lately it was read. Says how many were read.
pub async fn check_now(engine: &Engine) -> Result<usize, VaultError> {
    let (mut after, mut read) = (Uuid::nil(), 0);
    loop {
        let mut tx = engine.begin().await?;
        let due: Vec<Due> = sqlx::query_as(
            "select disbursement_id, core_id, loan_id, receipt, external_id, transaction_id, gross_minor, outcome from bookings
             where state in ('booked', 'adopted') and disbursement_id > $1 and ($3::uuid[] is null or partner_id = any($3))
             order by disbursement_id limit $2",
        )
        .bind(after)
        .bind(BATCH)
        .bind(engine.only_partners.as_deref())
        .fetch_all(tx.conn())
        .await?;
        tx.commit().await?;
        let Some(last) = due.last() else {
            return Ok(read);
        };
        after = last.disbursement_id;
        read += due.len();
        check(engine, due).await?;
    }
}

async fn check(engine: &Engine, due: Vec<Due>) -> Result<(), VaultError> {
    if due.is_empty() {
        return Ok(());
    }
    let cores: Vec<CoreId> = due.iter().map(|d| CoreId(d.core_id)).collect();
    let mut tx = engine.begin().await?;
    let links = core_link::load_links_in_tx(tx.conn(), &engine.keys, &cores).await?;
    tx.commit().await?;
    let reads = due.into_iter().map(|d| {
        let link = links.get(&CoreId(d.core_id));
        async move {
            let seen = look(engine, &d, link).await?;
            Ok::<_, VaultError>((d.disbursement_id, seen))
        }
    });
    let mut seen = stream::iter(reads).buffer_unordered(AT_ONCE).ready_chunks(64);
    while let Some(chunk) = seen.next().await {
        write(engine, chunk.into_iter().collect::<Result<BTreeMap<Uuid, Seen>, VaultError>>()?).await?;
    }
    Ok(())
}

async fn look(engine: &Engine, due: &Due, link: Option<&CoreSettings>) -> Result<Seen, VaultError> {
    let Some(settings) = link else {
        return Ok(Seen::Unread("the connection to the core cannot be used".to_owned()));
    };
    match engine.core.loan(&settings.link, &due.loan_id, true).await {
        Ok(loan) => Ok(judge(due, &loan)),
        Err(CoreError::NotFound) => Ok(Seen::Otherwise(format!("the loan {} is not in the core any more", due.loan_id))),
        Err(CoreError::Crashed) => Err(VaultError::Crashed),
        Err(error) => Ok(Seen::Unread(error.to_string())),
    }
}

/// Compares what the core shows with what was booked: pure.
fn judge(due: &Due, loan: &CoreLoan) -> Seen {
    if !matches!(loan.status, LoanStatus::Disbursed(_)) {
        return Seen::Otherwise(format!("the loan is {} in the core, not disbursed", spoken(loan.status)));
    }
    let same_receipt = |t: &CoreTransaction| t.receipt.as_deref().is_some_and(|r| r.trim().eq_ignore_ascii_case(&due.receipt));
    let same_id = |t: &CoreTransaction| t.external_id.as_deref() == Some(&due.external_id) || due.transaction_id.as_deref() == Some(&t.id);
    let live = || loan.disbursements.iter().filter(|t| !t.reversed);
    let Some(t) = live().find(|t| same_receipt(t)).or_else(|| live().find(|t| same_id(t))) else {
        let reversed = loan.disbursements.iter().any(|t| t.reversed && (same_receipt(t) || same_id(t)));
        let words = if reversed { "the disbursement is reversed in the core" } else { "the core shows no disbursement with our receipt or id" };
        return Seen::Otherwise(words.to_owned());
    };
    // A core that throws receipts away never showed one; another one is another matter.
    if !same_receipt(t)
        && let Some(other) = t.receipt.as_deref().map(str::trim).filter(|r| !r.is_empty())
    {
        return Seen::Otherwise(format!("the core shows the receipt {other} where {} was booked", due.receipt));
    }
    // An amount that differed from the beginning is on the list since then.
    let known = due.outcome.as_deref() == Some(&format!("booked with another amount, {}", t.amount));
    if t.amount.minor() != due.gross_minor && !known {
        return Seen::Otherwise(format!("the core shows {} where {} was booked", t.amount, Money::from_minor(due.gross_minor)));
    }
    Seen::AsBooked
}

fn spoken(status: LoanStatus) -> String {
    match status {
        LoanStatus::PendingApproval => "waiting for approval".to_owned(),
        LoanStatus::Approved => "approved".to_owned(),
        LoanStatus::Disbursed(_) => "disbursed".to_owned(),
        LoanStatus::Ended(id) => format!("withdrawn or rejected ({id})"),
        LoanStatus::Other(id) => format!("in state {id}"),
    }
}

/// A booking under its lock, with what the ledger says of it.
#[derive(Debug, sqlx::FromRow)]
struct Locked {
    disbursement_id: Uuid,
    partner_id: Uuid,
    amount_minor: i64,
    floored_minor: i64,
    generations: i32,
    undone: Option<Uuid>,
    undone_cents: Option<Uuid>,
}

impl Locked {
    fn place(&self, generation: i32) -> Place {
        Place { disbursement: DisbursementId(self.disbursement_id), partner: PartnerId(self.partner_id), generation }
    }

    const fn booked(&self) -> Booked {
        Booked { paid: Money::from_minor(self.amount_minor), cents: Money::from_minor(self.floored_minor) }
    }
}

async fn lock_in_tx(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Locked>, VaultError> {
    // Canonical order: the disbursements, then their bookings.
    sqlx::query("select id from disbursements where id = any($1) order by id for update").bind(ids).execute(&mut *conn).await?;
    // Index: unique (subject, movement, generation). At most one p12 stands: the last one, unless it was found again.
    Ok(sqlx::query_as(
        "select b.disbursement_id, b.partner_id, d.amount_minor, d.floored_minor,
                coalesce((select max(t.generation) from ledger_transfers t where t.subject = d.id and t.movement = $2), 0) as generations,
                u.id as undone, c.id as undone_cents
         from bookings b
         join disbursements d on d.id = b.disbursement_id
         left join lateral (
             select t.id, t.generation from ledger_transfers t
             where t.subject = d.id and t.movement = $2
               and not exists (select from ledger_transfers r where r.subject = d.id and r.movement = $4 and r.generation = t.generation)
             order by t.generation desc limit 1) u on true
         left join ledger_transfers c on c.subject = d.id and c.movement = $3 and c.generation = u.generation
         where b.disbursement_id = any($1) and b.state in ('booked', 'adopted') and d.amount_minor is not null
         order by b.disbursement_id for update of b",
    )
    .bind(ids)
    .bind(undone::UNDONE)
    .bind(undone::UNDONE_CENTS)
    .bind(undone::FOUND_AGAIN)
    .fetch_all(conn)
    .await?)
}

async fn write(engine: &Engine, seen: BTreeMap<Uuid, Seen>) -> Result<(), VaultError> {
    let now = engine.now();
    let ids: Vec<Uuid> = seen.keys().copied().collect();
    let mut tx = engine.begin().await?;
    let rows = lock_in_tx(tx.conn(), &ids).await?;
    let mut batch = Batch::default();
    for row in &rows {
        if let Some(seen) = seen.get(&row.disbursement_id) {
            batch.hear(row, seen, now);
        }
    }
    let answers = pv_ledger::post_in_tx(tx.conn(), &*engine.ids, now, &batch.ledger).await?;
    if let Some((c, a)) = batch.ledger.iter().zip(&answers).find(|(_, a)| a.transfer().is_none()) {
        return Err(VaultError::Broken(format!("the ledger answered {a:?} to {:?}", c.key())));
    }
    outbox::lines_in_tx(tx.conn(), engine, now, &batch.lines).await?;
    item::open_in_tx(tx.conn(), engine, now, &batch.items).await?;
    item::settle_in_tx(tx.conn(), now, &batch.settled).await?;
    mark_in_tx(tx.conn(), &batch.read, now).await?;
    mark_in_tx(tx.conn(), &batch.unread, now - EVERY + RETRY).await?;
    Ok(tx.commit_at("core_check.write").await?)
}

async fn mark_in_tx(conn: &mut PgConnection, ids: &[Uuid], at: DateTime<Utc>) -> Result<(), VaultError> {
    if !ids.is_empty() {
        sqlx::query("update bookings set checked_at = $2 where disbursement_id = any($1)").bind(ids).bind(at).execute(conn).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    ledger: Vec<Command>,
    lines: Vec<Line>,
    items: Vec<item::NewItem>,
    settled: Vec<(&'static str, Uuid)>,
    read: Vec<Uuid>,
    unread: Vec<Uuid>,
}

impl Batch {
    fn hear(&mut self, row: &Locked, seen: &Seen, now: DateTime<Utc>) {
        let id = row.disbursement_id;
        let line = |what: &str, detail: Option<String>| Line {
            partner: row.partner_id,
            disbursement: id,
            lane: "Mifos X",
            what: what.to_owned(),
            detail,
            message: None,
        };
        match (seen, row.undone) {
            (Seen::Unread(why), _) => {
                tracing::info!(disbursement = %id, why, "a booking could not be read again");
                self.unread.push(id);
                return;
            }
            (Seen::AsBooked, None) => {}
            (Seen::AsBooked, Some(was)) => {
                self.ledger.extend(undone::found_again(
                    row.place(row.generations),
                    row.booked(),
                    TransferId(was),
                    row.undone_cents.map(TransferId),
                    now,
                ));
                self.settled.push((UNDONE, id));
                self.lines.push(line("the booking is there again", None));
            }
            (Seen::Otherwise(why), was) => {
                if was.is_none() {
                    self.ledger.extend(undone::undone(row.place(row.generations.saturating_add(1)), row.booked(), now));
                    self.lines.push(line("the booking is not as it was", Some(why.clone())));
                }
                let mut item = item::about(UNDONE, Some(row.partner_id), id, format!("/api/loans/disbursements/{id}"), why.clone(), false);
                item.amount_minor = Some(row.amount_minor);
                self.items.push(item);
            }
        }
        self.read.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due() -> Due {
        Due {
            disbursement_id: Uuid::from_u128(1),
            core_id: Uuid::from_u128(2),
            loan_id: "734".into(),
            receipt: "TKL1AB23CD".into(),
            external_id: "pv-abc".into(),
            transaction_id: Some("9001".into()),
            gross_minor: 1_000_000,
            outcome: Some("booked".into()),
        }
    }

    fn shown(change: impl FnOnce(&mut CoreTransaction)) -> CoreLoan {
        let mut transaction = CoreTransaction {
            id: "9001".into(),
            external_id: Some("pv-abc".into()),
            receipt: Some("tkl1ab23cd ".into()),
            amount: Money::from_minor(1_000_000),
            date: None,
            reversed: false,
        };
        change(&mut transaction);
        CoreLoan {
            loan_id: "734".into(),
            account_no: "000000734".into(),
            status: LoanStatus::Disbursed(300),
            client_id: None,
            client_name: None,
            product_id: "1".into(),
            product_name: "Loan".into(),
            currency: "KES".into(),
            principal: Money::from_minor(1_000_000),
            net: Money::from_minor(1_000_000),
            approved_on: None,
            approved_by: None,
            expected_on: None,
            not_simple: None,
            disbursements: vec![transaction],
        }
    }

    #[test]
    fn a_booking_that_still_stands_is_as_booked() {
        assert_eq!(judge(&due(), &shown(|_| {})), Seen::AsBooked);
        // A core that keeps no external id, or throws the receipt away, is recognised by what it keeps.
        assert_eq!(judge(&due(), &shown(|t| t.external_id = None)), Seen::AsBooked);
        assert_eq!(judge(&due(), &shown(|t| t.receipt = None)), Seen::AsBooked);
    }

    #[test]
    fn whatever_somebody_changed_in_the_core_is_seen() {
        let changes: [(&str, CoreLoan); 5] = [
            ("reversed", shown(|t| t.reversed = true)),
            ("receipt TAMPERED1", shown(|t| t.receipt = Some("TAMPERED1".into()))),
            ("KES 9,999.00", shown(|t| t.amount = Money::from_minor(999_900))),
            ("no disbursement", CoreLoan { disbursements: Vec::new(), ..shown(|_| {}) }),
            ("approved", CoreLoan { status: LoanStatus::Approved, ..shown(|_| {}) }),
        ];
        for (words, loan) in changes {
            let Seen::Otherwise(why) = judge(&due(), &loan) else { panic!("{words} was not seen") };
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn an_amount_that_differed_from_the_beginning_is_no_news() {
        let mut due = due();
        due.outcome = Some("booked with another amount, KES 9,999.00".into());
        assert_eq!(judge(&due, &shown(|t| t.amount = Money::from_minor(999_900))), Seen::AsBooked);
    }
}
