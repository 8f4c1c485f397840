//! The one sentence of the home page: is all money explained? Computed from the ledger (open holds, `to_book`), the rail's last
//! figures and the core's read-backs; a state column only says which of two words an open hold gets.
//!
//! *Explained* means that no amount is outside a final path or an open item (rule D8). One thing is never covered by an item: a
//! difference at the rail. Somebody looks for it, and still nobody can explain it.

mod words;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use pv_database::PgConnection;
use pv_kernel::{
    Money,
    clock::{nairobi, nairobi_day},
    ids::PartnerId,
};
use serde::Serialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::{core_check, movements::unexplained, rail::Reading, verify};
use crate::{Engine, VaultError};

/// Why money is not at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The verifier found rows that contradict each other.
    Contradiction,
    /// M-Pesa shows something that we cannot explain.
    RailDrift,
    /// A hold and its payout contradict each other.
    HoldContradiction,
    /// `to_book` says something that the payments do not.
    ToBookUnexplained,
    /// An account that must be on somebody's list is on none: owed, recover, a negative wallet.
    AccountUnlisted,
    /// At the rail, and nobody knows how it ended.
    NotYetKnown,
    /// Paid, and not booked in the core.
    NotBooked,
    /// Booked, and the core does not show it any more.
    UndoneInCore,
    /// Written, leaving, or taken by the rail.
    OnItsWay,
}

/// One reason, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Open {
    /// Why.
    pub kind: Kind,
    /// How many payouts, loans, shortcodes or rows.
    pub count: i64,
    /// How much; for a difference at the rail negative when something is missing.
    pub amount: Money,
    /// Since when.
    pub oldest: Option<DateTime<Utc>>,
    /// Where to look.
    pub link: String,
    /// Every part of it is on somebody's list.
    pub listed: bool,
    /// The shortcode, for a difference at the rail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcode: Option<String>,
}

/// Open items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Items {
    /// How many.
    pub count: i64,
    /// Since when.
    pub oldest: Option<DateTime<Utc>>,
}

/// One shortcode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RailLine {
    /// The number.
    pub shortcode: String,
    /// Whose.
    pub partner: PartnerId,
    /// Available in the utility account as last reported; `None`: never.
    pub available: Option<Money>,
    /// What the ledger has posted there now.
    pub ledger_posted: Money,
    /// What is prepared, on its way or not known.
    pub in_flight: Money,
    /// Whether the last figure lies inside the ledger's band; `None`: none was weighed.
    pub inside_band: Option<bool>,
    /// What cannot be explained there; negative: missing.
    pub unexplained: Money,
    /// When the last figure was asked for.
    pub as_of: Option<DateTime<Utc>>,
}

/// Bookings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct CoreLine {
    /// Loans booked.
    pub booked: i64,
    /// Of them, read back within the last day.
    pub checked: i64,
    /// Of them, not as they were booked.
    pub differing: i64,
}

/// What was paid since midnight in Nairobi.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PaidToday {
    /// How many payments.
    pub count: i64,
    /// How much.
    pub amount: Money,
}

/// The sentence, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// As of when.
    pub at: DateTime<Utc>,
    /// Whether no amount is outside a final path or an open item.
    pub all_explained: bool,
    /// In words.
    pub text: String,
    /// What is not at rest, worst first.
    pub open: Vec<Open>,
    /// What is on the list.
    pub items: Items,
    /// Shortcodes.
    pub rail: Vec<RailLine>,
    /// Bookings.
    pub core: CoreLine,
    /// Paid today.
    pub paid_today: PaidToday,
    /// When the verifier last ran; `None`: never.
    pub verified_at: Option<DateTime<Utc>>,
}

/// The sentence for one partner, or for the whole platform.
pub async fn sentence(engine: &Engine, partner: Option<PartnerId>) -> Result<Sentence, VaultError> {
    let now = engine.now();
    let mut tx = match partner {
        Some(p) => engine.begin_for(p).await?,
        None => engine.begin_platform().await?,
    };
    let conn = tx.conn();
    // What is compared with each other is read in one statement: a payout cannot be between two of them.
    let scope = partner.map(PartnerId::uuid);
    let holds = holds_in_tx(conn, scope).await?;
    let accounts = accounts_in_tx(conn, scope).await?;
    let mut open = of_holds(&holds);
    open.extend(without_hold_in_tx(conn, scope).await?);
    open.extend(to_book_in_tx(conn, scope).await?);
    open.extend(unlisted_in_tx(conn, scope).await?);
    let rail = rail_in_tx(conn, scope, &accounts, &holds).await?;
    open.extend(rail.iter().filter(|l| !l.unexplained.is_zero()).map(of_rail));
    let noted = verify::noted_in_tx(conn).await?;
    open.extend(noted.as_ref().and_then(|n| of_verify(n, partner)));
    let items = sqlx::query_as(
        "select count(*) as count, min(opened_at) as oldest from items where closed_at is null and ($1::uuid is null or partner_id = $1)",
    )
    .bind(scope)
    .fetch_one(&mut *conn)
    .await?;
    let core = core_in_tx(conn, scope, now).await?;
    let paid_today = paid_today_in_tx(conn, scope, now).await?;
    tx.rollback().await?;
    open.sort_by_key(|o| (o.listed, o.kind));
    let all_explained = open.iter().all(|o| o.listed);
    Ok(Sentence {
        at: now,
        all_explained,
        text: words::words(now, &open, items),
        open,
        items,
        rail,
        core,
        paid_today,
        verified_at: noted.map(|n| n.at),
    })
}

/// Open float holds, added up by what their payout says and where they stand.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Holds {
    word: String,
    listed: bool,
    account_id: Uuid,
    count: i64,
    amount: i64,
    oldest: Option<DateTime<Utc>>,
}

async fn holds_in_tx(conn: &mut PgConnection, partner: Option<Uuid>) -> Result<Vec<Holds>, VaultError> {
    // Indexes: primary keys, ledger_transfers_fold, items_open. Live payouts only: as many rows as there are open holds.
    Ok(sqlx::query_as(
        "with holds as (
             select o.transfer_id from ledger_open_holds o where $1::uuid is null or o.partner_id = $1
             union all
             select t.id from ledger_transfers t
             where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c) and t.kind = 'pending' and ($1::uuid is null or t.partner_id = $1)
         )
         select case when p.state = 'unknown' then 'unknown' when p.state in ('prepared', 'sending', 'accepted') then 'on_its_way' else 'contradiction' end as word,
                exists (select from items i where i.subject = p.id and i.closed_at is null) as listed,
                t.credit as account_id, count(*) as count, sum(t.amount)::bigint as amount, min(coalesce(p.first_sent_at, t.at)) as oldest
         from holds h join ledger_transfers t on t.id = h.transfer_id left join payouts p on p.id = t.subject
         where t.movement = 'p1_payout_prepared' and not exists (select from ledger_transfers r where r.resolves = t.id)
         group by 1, 2, 3",
    )
    .bind(partner)
    .fetch_all(conn)
    .await?)
}

fn of_holds(holds: &[Holds]) -> Vec<Open> {
    let mut open: BTreeMap<(Kind, bool), Open> = BTreeMap::new();
    for h in holds {
        let kind = match h.word.as_str() {
            "unknown" => Kind::NotYetKnown,
            "on_its_way" => Kind::OnItsWay,
            _ => Kind::HoldContradiction,
        };
        let status = if kind == Kind::NotYetKnown { "not_yet_known" } else { "on_its_way" };
        let sum = open.entry((kind, h.listed)).or_insert_with(|| plain(kind, format!("/api/loans/disbursements?status={status}"), h.listed));
        add(sum, h.count, h.amount, h.oldest);
    }
    open.into_values().collect()
}

fn plain(kind: Kind, link: String, listed: bool) -> Open {
    Open { kind, count: 0, amount: Money::ZERO, oldest: None, link, listed, shortcode: None }
}

fn add(open: &mut Open, count: i64, amount: i64, oldest: Option<DateTime<Utc>>) {
    open.count = open.count.saturating_add(count);
    open.amount = Money::from_minor(open.amount.minor().saturating_add(amount));
    open.oldest = match (open.oldest, oldest) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

#[derive(Debug, sqlx::FromRow)]
struct Sum {
    listed: bool,
    count: i64,
    amount: i64,
    oldest: Option<DateTime<Utc>>,
}

/// Live payouts whose float is not held: somebody changed a row. Index: `payouts_live`.
async fn without_hold_in_tx(conn: &mut PgConnection, partner: Option<Uuid>) -> Result<Option<Open>, VaultError> {
    let sum: Sum = sqlx::query_as(
        "select false as listed, count(*) as count, coalesce(sum(p.amount_minor), 0)::bigint as amount, min(p.prepared_at) as oldest
         from payouts p
         where p.state in ('prepared', 'sending', 'accepted', 'unknown') and ($1::uuid is null or p.partner_id = $1)
           and not exists (select from ledger_transfers t where t.subject = p.id and t.movement = 'p1_payout_prepared' and t.kind = 'pending' and t.amount = p.amount_minor
                             and not exists (select from ledger_transfers r where r.resolves = t.id))",
    )
    .bind(partner)
    .fetch_one(conn)
    .await?;
    Ok((sum.count > 0).then(|| {
        let mut open = plain(Kind::HoldContradiction, "/api/loans/disbursements".to_owned(), false);
        add(&mut open, sum.count, sum.amount, sum.oldest);
        open
    }))
}

/// Balances of the partners' accounts that matter here (`a.balance`, credits minus debits): the fold, and the tail that it has not reached.
macro_rules! with_accounts {
    ($rest:literal) => {
        concat!(
            "with moved as (
                 select m.account_id, sum(m.delta) as delta
                 from ledger_transfers t cross join lateral (values (t.debit, -t.amount), (t.credit, t.amount)) as m (account_id, delta)
                 where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c) and t.kind in ('posted', 'post') group by m.account_id
             ), accounts as (
                 select a.id, a.partner_id, a.name,
                        (case when a.bounded then b.posted_minor else coalesce(f.balance_minor, 0) + coalesce(m.delta, 0) end)::bigint as balance
                 from ledger_accounts a
                 left join ledger_balances b on b.account_id = a.id
                 left join ledger_folds f on f.account_id = a.id
                 left join moved m on m.account_id = a.id
                 where a.partner_id is not null and ($1::uuid is null or a.partner_id = $1)
                   and (a.name in ('to_book', 'owed', 'recover', 'difference', 'suspense') or a.name like 'utility:%' or a.name like 'wallet:%')
             ) ",
            $rest
        )
    };
}

/// A utility account.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Account {
    id: Uuid,
    partner_id: Uuid,
    name: String,
    balance: i64,
}

async fn accounts_in_tx(conn: &mut PgConnection, partner: Option<Uuid>) -> Result<Vec<Account>, VaultError> {
    Ok(sqlx::query_as(with_accounts!("select id, partner_id, name, balance from accounts where name like 'utility:%'"))
        .bind(partner)
        .fetch_all(conn)
        .await?)
}

#[derive(Debug, sqlx::FromRow)]
struct ToBook {
    what: String,
    #[sqlx(flatten)]
    sum: Sum,
}

/// What is paid and not booked, what was undone in the core, and what `to_book` says beyond both.
async fn to_book_in_tx(conn: &mut PgConnection, partner: Option<Uuid>) -> Result<Vec<Open>, VaultError> {
    // Indexes: bookings_open; items_open, then unique (subject, movement, generation). A payment that was sent back before it was
    // booked has nothing to book.
    let sums: Vec<ToBook> = sqlx::query_as(with_accounts!(
        ", unbooked as (
             select 'unbooked' as what, exists (select from items i where i.subject = b.disbursement_id and i.closed_at is null) as listed,
                    count(*) as count, sum(p.amount_minor)::bigint as amount, min(b.paid_at) as oldest
             from bookings b join payouts p on p.id = b.payout_id
             where b.state not in ('booked', 'adopted') and p.returned_at is null and ($1::uuid is null or b.partner_id = $1) group by 2
         ), undone as (
             select 'undone' as what, true as listed, count(*) as count, coalesce(sum(t.amount), 0)::bigint as amount, min(i.opened_at) as oldest
             from items i join ledger_transfers t on t.subject = i.subject and t.movement = 'p12_undone'
             where i.kind = 'undone_in_core' and i.closed_at is null and ($1::uuid is null or i.partner_id = $1)
               and not exists (select from ledger_transfers r where r.subject = t.subject and r.movement = 'p12_found_again' and r.generation = t.generation)
         )
         select * from unbooked union all select * from undone union all
         select 'rest', false, 1::bigint,
                (coalesce((select sum(-balance) from accounts where name = 'to_book'), 0) - coalesce((select sum(amount) from unbooked), 0)
                 - coalesce((select sum(amount) from undone), 0))::bigint, null"
    ))
    .bind(partner)
    .fetch_all(conn)
    .await?;
    Ok(sums
        .into_iter()
        .filter(|s| s.sum.count > 0 && s.sum.amount != 0)
        .map(|s| {
            let (kind, link) = match s.what.as_str() {
                "unbooked" => (Kind::NotBooked, "/api/loans/disbursements?status=paid"),
                "undone" => (Kind::UndoneInCore, "/api/items"),
                _ => (Kind::ToBookUnexplained, "/api/items"),
            };
            let mut open = plain(kind, link.to_owned(), s.sum.listed);
            add(&mut open, s.sum.count, s.sum.amount, s.sum.oldest);
            open
        })
        .collect())
}

/// Accounts that must be on somebody's list and are on none.
async fn unlisted_in_tx(conn: &mut PgConnection, partner: Option<Uuid>) -> Result<Option<Open>, VaultError> {
    let sum: Sum = sqlx::query_as(with_accounts!(
        "select false as listed, count(*) as count, coalesce(sum(abs(a.balance)), 0)::bigint as amount, null::timestamptz as oldest
         from accounts a
         where case when a.name in ('owed', 'recover', 'difference') then a.balance <> 0
                    when a.name = 'suspense' or a.name like 'wallet:%' then a.balance < 0 else false end
           and not exists (
               select from items i where i.closed_at is null and i.partner_id = a.partner_id
                 and i.kind = any (case when a.name = 'owed' then array['returned'] when a.name = 'recover' then array['double_paid']
                                        when a.name = 'difference' then array['rail_drift', 'bank_difference']
                                        when a.name = 'suspense' then array['suspense_negative', 'collection_reversed']
                                        else array['wallet_negative', 'late_success'] end))"
    ))
    .bind(partner)
    .fetch_one(conn)
    .await?;
    Ok((sum.count > 0).then(|| {
        let mut open = plain(Kind::AccountUnlisted, "/api/items".to_owned(), false);
        add(&mut open, sum.count, sum.amount, None);
        open
    }))
}

#[derive(Debug, sqlx::FromRow)]
struct Line {
    id: Uuid,
    partner_id: Uuid,
    shortcode: String,
    utility_minor: Option<i64>,
    balances_at: Option<DateTime<Utc>>,
    reading: Option<Json<Reading>>,
    difference: Option<i64>,
}

async fn rail_in_tx(conn: &mut PgConnection, partner: Option<Uuid>, accounts: &[Account], holds: &[Holds]) -> Result<Vec<RailLine>, VaultError> {
    let lines: Vec<Line> = sqlx::query_as(
        "select s.id, s.partner_id, s.shortcode, s.utility_minor, s.balances_at, g.value as reading, f.amount as difference
         from mpesa_shortcodes s
         left join settings g on g.name = 'rail_reading:' || s.id
         left join lateral (
             select case when a.name like 'utility:%' then t.amount else -t.amount end as amount
             from ledger_transfers t join ledger_accounts a on a.id = t.debit
             where t.subject = s.id and t.movement = $2
               and not exists (select from ledger_transfers r where r.subject = t.subject and r.movement = $3 and r.generation = t.generation)
             order by t.generation desc limit 1) f on true
         where $1::uuid is null or s.partner_id = $1
         order by s.partner_id, s.shortcode",
    )
    .bind(partner)
    .bind(unexplained::UNEXPLAINED)
    .bind(unexplained::REVERSED)
    .fetch_all(conn)
    .await?;
    Ok(lines
        .into_iter()
        .map(|l| {
            let name = format!("utility:{}", l.shortcode);
            let account = accounts.iter().find(|a| a.partner_id == l.partner_id && a.name == name);
            let in_flight: i64 = holds.iter().filter(|h| account.is_some_and(|a| a.id == h.account_id)).map(|h| h.amount).sum();
            let reading = l.reading.map(|r| r.0);
            let unexplained = l.difference.or(reading.as_ref().map(|r| r.outside)).unwrap_or(0);
            tracing::trace!(shortcode = %l.id, unexplained, "rail line");
            RailLine {
                shortcode: l.shortcode,
                partner: PartnerId(l.partner_id),
                available: l.utility_minor.map(Money::from_minor),
                ledger_posted: Money::from_minor(account.map_or(0, |a| a.balance.saturating_neg())),
                in_flight: Money::from_minor(in_flight),
                inside_band: reading.map(|r| r.outside == 0 && unexplained == 0),
                unexplained: Money::from_minor(unexplained),
                as_of: l.balances_at,
            }
        })
        .collect())
}

fn of_rail(line: &RailLine) -> Open {
    Open {
        kind: Kind::RailDrift,
        count: 1,
        amount: line.unexplained,
        oldest: line.as_of,
        link: format!("/api/partners/{}/shortcodes", line.partner),
        listed: false,
        shortcode: Some(line.shortcode.clone()),
    }
}

fn of_verify(noted: &verify::Noted, partner: Option<PartnerId>) -> Option<Open> {
    let count = noted.of(partner);
    (count > 0).then(|| Open { count, oldest: Some(noted.at), ..plain(Kind::Contradiction, "/api/verify".to_owned(), false) })
}

async fn core_in_tx(conn: &mut PgConnection, partner: Option<Uuid>, now: DateTime<Utc>) -> Result<CoreLine, VaultError> {
    // Index: bookings_recheck.
    Ok(sqlx::query_as(
        "select count(*) as booked,
                count(*) filter (where greatest(b.checked_at, b.booked_at) >= $2) as checked,
                (select count(*) from items i where i.kind = $3 and i.closed_at is null and ($1::uuid is null or i.partner_id = $1)) as differing
         from bookings b where b.state in ('booked', 'adopted') and ($1::uuid is null or b.partner_id = $1)",
    )
    .bind(partner)
    .bind(now - core_check::EVERY - core_check::RETRY)
    .bind(core_check::UNDONE)
    .fetch_one(conn)
    .await?)
}

async fn paid_today_in_tx(conn: &mut PgConnection, partner: Option<Uuid>, now: DateTime<Utc>) -> Result<PaidToday, VaultError> {
    let midnight = nairobi_day(now).and_time(NaiveTime::MIN).and_local_timezone(nairobi()).single().map_or(now, |t| t.with_timezone(&Utc));
    // Indexes: ledger_entries_by_time, ledger_transfers_fold.
    let (count, amount): (i64, i64) = sqlx::query_as(
        "with accounts as (
             select a.id from ledger_accounts a where a.name = 'to_book' and ($1::uuid is null or a.partner_id = $1)
         ), today as (
             select t.movement, t.amount from accounts a
             join ledger_entries e on e.account_id = a.id and e.at >= $2 and e.delta_minor < 0
             join ledger_transfers t on t.id = e.transfer_id
             union all
             select t.movement, t.amount from ledger_transfers t
             where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c) and t.kind in ('posted', 'post') and t.at >= $2
               and t.debit in (select id from accounts)
         )
         select count(*), coalesce(sum(amount), 0)::bigint from today where movement in ('p3_paid', 'p6_late_success')",
    )
    .bind(partner)
    .bind(midnight)
    .fetch_one(conn)
    .await?;
    Ok(PaidToday { count, amount: Money::from_minor(amount) })
}
