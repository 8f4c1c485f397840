//! What is built behind the log: statement entries with running balances, folds per account, open holds.
//!
//! The fold goes through the transfers in the order (xid, id), and never past the oldest transaction that is still running, so
//! that a late commit is never skipped. Nothing that decides reads what is built here.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::LedgerError;

/// What one run of the fold did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldReport {
    /// Transfers taken.
    pub taken: i64,
    /// Statement entries written.
    pub entries: i64,
    /// The run was full: there is more to fold now.
    pub more: bool,
}

/// Folds at most `limit` transfers. One fold runs at a time: the cursor row is locked until the caller's transaction ends.
/// A transaction that posted transfers itself cannot fold them.
pub async fn fold_in_tx(conn: &mut PgConnection, limit: i64, now: DateTime<Utc>) -> Result<FoldReport, LedgerError> {
    let limit = limit.max(1);
    // A statement of its own: the one below must see what the last fold committed while we waited for its lock.
    let cursor = sqlx::query("select xid::text as xid, transfer_id from ledger_fold_cursor for update").fetch_one(&mut *conn).await?;
    // Index: ledger_transfers_fold (xid, id).
    let row = sqlx::query(
        "with batch as materialized (
             select id, book, kind, debit, credit, amount, resolves, partner_id, at, xid
             from ledger_transfers
             where (xid, id) > ($1::text::xid8, $2) and xid < pg_snapshot_xmin(pg_current_snapshot())
             order by xid, id limit $3
         ), effects as (
             select b.xid, b.id, b.at, e.account_id, e.delta
             from batch b cross join lateral (values (b.debit, -b.amount), (b.credit, b.amount)) as e (account_id, delta)
             where b.kind in ('posted', 'post')
         ), numbered as (
             select e.account_id, e.id, e.at, e.delta, a.partner_id,
                    coalesce(f.position, 0) + row_number() over account as position,
                    (coalesce(f.balance_minor, 0) + sum(e.delta) over account)::bigint as balance
             from effects e
             join ledger_accounts a on a.id = e.account_id
             left join ledger_folds f on f.account_id = e.account_id
             window account as (partition by e.account_id order by e.xid, e.id)
         ), entered as (
             insert into ledger_entries (account_id, position, transfer_id, delta_minor, balance_minor, at, partner_id)
             select account_id, position, id, delta, balance, at, partner_id from numbered order by account_id, position
             returning 1
         ), folded as (
             insert into ledger_folds (account_id, balance_minor, position, partner_id)
             select distinct on (account_id) account_id, balance, position, partner_id from numbered order by account_id, position desc
             on conflict (account_id) do update set balance_minor = excluded.balance_minor, position = excluded.position
         ), opened as (
             -- The end of a hold can come before the hold in this order, when its transaction is the older one.
             insert into ledger_open_holds (transfer_id, book, debit, credit, amount, partner_id)
             select p.id, p.book, p.debit, p.credit, p.amount, p.partner_id
             from batch p
             where p.kind = 'pending'
               and not exists (select from batch r where r.resolves = p.id)
               and not exists (select from ledger_transfers r where r.resolves = p.id and (r.xid, r.id) <= ($1::text::xid8, $2))
         ), closed as (
             delete from ledger_open_holds h using batch r where r.resolves = h.transfer_id
         ), moved as (
             update ledger_fold_cursor set xid = l.xid, transfer_id = l.id, folded_at = $4
             from (select xid, id from batch order by xid desc, id desc limit 1) l
         )
         select (select count(*) from batch) as taken, (select count(*) from entered) as entries",
    )
    .bind(cursor.try_get::<String, _>("xid")?)
    .bind(cursor.try_get::<Uuid, _>("transfer_id")?)
    .bind(limit)
    .bind(now)
    .fetch_one(&mut *conn)
    .await?;
    let taken: i64 = row.try_get("taken")?;
    Ok(FoldReport { taken, entries: row.try_get("entries")?, more: taken == limit })
}
