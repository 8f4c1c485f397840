//! Balances and holds. Each function is one statement, so that what it joins is of one moment.
//!
//! A bounded account is read from its locked row. An unbounded one is its fold plus the tail: the transfers that the fold has
//! not reached. Index of the tail: ledger_transfers_fold (xid, id).

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money,
    ids::{AccountId, PartnerId, TransferId},
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{AccountKind, Book, Key, LedgerError};

/// A balance, credits minus debits ([`AccountKind::natural`] turns it for people).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Posted credits minus posted debits.
    pub posted: Money,
    /// Pending debits, positive. Pending credits count for nothing until they are posted.
    pub held: Money,
    /// Posted minus held.
    pub available: Money,
}

impl Balance {
    fn from_row(row: &PgRow) -> Result<Self, LedgerError> {
        let posted: i64 = row.try_get("posted")?;
        let held: i64 = row.try_get("held")?;
        Ok(Self { posted: Money::from_minor(posted), held: Money::from_minor(held), available: Money::from_minor(posted.saturating_sub(held)) })
    }
}

/// One account of a book with its balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountBalance {
    /// The account.
    pub account: AccountId,
    /// Its name in the book.
    pub name: String,
    /// What it is.
    pub kind: AccountKind,
    /// Whether commands are refused below zero.
    pub bounded: bool,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// Credits minus debits.
    pub balance: Balance,
}

/// A hold that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The pending transfer.
    pub transfer: TransferId,
    /// Its key, by which it is posted or voided.
    pub key: Key,
    /// The account on which it is held.
    pub debit: AccountId,
    /// The account that gets it when it is posted.
    pub credit: AccountId,
    /// How much.
    pub amount: Money,
    /// Whose it is.
    pub partner: Option<PartnerId>,
    /// When it began in the business.
    pub at: DateTime<Utc>,
}

// The tail (`tail`), what it moves (`moved`), and the holds that have not ended (`holds`: folded and in the tail).
macro_rules! with_tail {
    ($rest:literal) => {
        concat!(
            "with tail as (
                 select t.* from ledger_transfers t
                 where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c)
             ), moved as (
                 select e.account_id, e.delta
                 from tail t cross join lateral (values (t.debit, -t.amount), (t.credit, t.amount)) as e (account_id, delta)
                 where t.kind in ('posted', 'post')
             ), holds as (
                 select h.transfer_id, h.book, h.debit, h.amount
                 from (
                     select o.transfer_id, o.book, o.debit, o.amount from ledger_open_holds o
                     union all
                     select t.id, t.book, t.debit, t.amount from tail t where t.kind = 'pending'
                 ) h
                 where not exists (select from ledger_transfers r where r.resolves = h.transfer_id)
             ) ",
            $rest
        )
    };
}

/// The balance of an account; `None` when it was never opened (or is not the caller's to see).
pub async fn balance(conn: &mut PgConnection, account: AccountId) -> Result<Option<Balance>, LedgerError> {
    let row = sqlx::query(with_tail!(
        "select case when a.bounded then b.posted_minor
                     else coalesce(f.balance_minor, 0)
                          + coalesce((select sum(m.delta) from moved m where m.account_id = a.id), 0)::bigint end as posted,
                case when a.bounded then b.held_minor
                     else coalesce((select sum(h.amount) from holds h where h.debit = a.id), 0)::bigint end as held
         from ledger_accounts a
         left join ledger_balances b on b.account_id = a.id
         left join ledger_folds f on f.account_id = a.id
         where a.id = $1"
    ))
    .bind(account.uuid())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(Balance::from_row).transpose()
}

/// All accounts of a book with their balances, by name.
pub async fn balances(conn: &mut PgConnection, book: Book) -> Result<Vec<AccountBalance>, LedgerError> {
    let rows = sqlx::query(with_tail!(
        ", sums as (select m.account_id, sum(m.delta)::bigint as delta from moved m group by m.account_id),
           held as (select h.debit, sum(h.amount)::bigint as amount from holds h where h.book = $1 group by h.debit)
         select a.id, a.name, a.kind::text as kind, a.bounded, a.partner_id,
                case when a.bounded then b.posted_minor else coalesce(f.balance_minor, 0) + coalesce(s.delta, 0) end as posted,
                case when a.bounded then b.held_minor else coalesce(h.amount, 0) end as held
         from ledger_accounts a
         left join ledger_balances b on b.account_id = a.id
         left join ledger_folds f on f.account_id = a.id
         left join sums s on s.account_id = a.id
         left join held h on h.debit = a.id
         where a.book = $1
         order by a.name"
    ))
    .bind(book.to_string())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(AccountBalance {
                account: AccountId(row.try_get("id")?),
                name: row.try_get("name")?,
                kind: AccountKind::from_letter(row.try_get("kind")?)?,
                bounded: row.try_get("bounded")?,
                partner: row.try_get::<Option<Uuid>, _>("partner_id")?.map(PartnerId),
                balance: Balance::from_row(row)?,
            })
        })
        .collect()
}

/// What was posted to an account up to and including a moment of business time, credits minus debits. Exact at any time: later
/// transfers with an earlier `at` change it, as they should. Zero for an account without transfers.
/// Index: ledger_entries_by_time (account_id, at).
pub async fn balance_as_of(conn: &mut PgConnection, account: AccountId, at: DateTime<Utc>) -> Result<Money, LedgerError> {
    let minor: i64 = sqlx::query_scalar(
        "select (coalesce((select sum(e.delta_minor) from ledger_entries e where e.account_id = $1 and e.at <= $2), 0)
               + coalesce((select sum(case when t.credit = $1 then t.amount else -t.amount end)
                           from ledger_transfers t
                           where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c)
                             and t.kind in ('posted', 'post') and (t.debit = $1 or t.credit = $1) and t.at <= $2), 0))::bigint",
    )
    .bind(account.uuid())
    .bind(at)
    .fetch_one(conn)
    .await?;
    Ok(Money::from_minor(minor))
}

/// What is held on an account: the sum of its pending debits. Zero for an account that was never opened.
pub async fn held(conn: &mut PgConnection, account: AccountId) -> Result<Money, LedgerError> {
    Ok(balance(conn, account).await?.map_or(Money::ZERO, |balance| balance.held))
}

/// The holds of a book that have not ended, oldest first.
pub async fn pending(conn: &mut PgConnection, book: Book) -> Result<Vec<Hold>, LedgerError> {
    let rows = sqlx::query(with_tail!(
        "select t.id, t.subject, t.movement, t.generation, t.debit, t.credit, t.amount, t.partner_id, t.at
         from holds h join ledger_transfers t on t.id = h.transfer_id
         where h.book = $1
         order by t.at, t.id"
    ))
    .bind(book.to_string())
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Hold {
                transfer: TransferId(row.try_get("id")?),
                key: Key::new(row.try_get("subject")?, row.try_get::<String, _>("movement")?).generation(row.try_get("generation")?),
                debit: AccountId(row.try_get("debit")?),
                credit: AccountId(row.try_get("credit")?),
                amount: Money::from_minor(row.try_get("amount")?),
                partner: row.try_get::<Option<Uuid>, _>("partner_id")?.map(PartnerId),
                at: row.try_get("at")?,
            })
        })
        .collect()
}
