//! Figures of the mirror books that reconciliation compares with the outside, read as the ledger's own readers do: the fold, and the
//! tail that the fold has not reached. The verifier does not use them.

use chrono::{DateTime, Utc};
use pv_database::PgConnection;
use pv_kernel::ids::PartnerId;
use pv_ledger::{AccountRef, Book};
use uuid::Uuid;

use super::movements::{funding, unexplained};
use crate::{VaultError, payout::movements};

/// What the ledger says about the utility account of one shortcode, minor units, as people read an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Utility {
    /// Posted.
    pub posted: i64,
    /// Payouts that are prepared, at the rail or not known: their open holds.
    pub in_flight: i64,
    /// Of `posted`, what came in since a moment (funding, returned payouts).
    pub came_in: i64,
    /// Of `posted`, what went out since that moment; positive.
    pub went_out: i64,
    /// Of `posted`, openings since that moment.
    pub opened: i64,
    /// Of `posted`, differences and their reversals since that moment.
    pub differences: i64,
}

/// Reads the figures; `since` is when the question was put.
pub(super) async fn utility_in_tx(conn: &mut PgConnection, partner: PartnerId, shortcode: &str, since: DateTime<Utc>) -> Result<Utility, VaultError> {
    // Indexes: ledger_transfers_fold, ledger_entries_by_time, ledger_open_holds_by_book.
    Ok(sqlx::query_as(
        "with tail as (
             select t.* from ledger_transfers t where (t.xid, t.id) > (select c.xid, c.transfer_id from ledger_fold_cursor c) and t.book = $2
         ), moved as (
             select t.movement, t.at, case when t.debit = $1 then t.amount else -t.amount end as delta
             from tail t where t.kind in ('posted', 'post') and $1 in (t.debit, t.credit)
         ), since as (
             select t.movement, -e.delta_minor as delta from ledger_entries e join ledger_transfers t on t.id = e.transfer_id
             where e.account_id = $1 and e.at > $3
             union all
             select m.movement, m.delta from moved m where m.at > $3
         ), holds as (
             select o.transfer_id, o.amount from ledger_open_holds o where o.book = $2 and o.credit = $1
             union all
             select t.id, t.amount from tail t where t.kind = 'pending' and t.credit = $1
         )
         select (coalesce((select -f.balance_minor from ledger_folds f where f.account_id = $1), 0) + coalesce((select sum(m.delta) from moved m), 0))::bigint as posted,
                coalesce((select sum(h.amount) from holds h where not exists (select from ledger_transfers r where r.resolves = h.transfer_id)), 0)::bigint as in_flight,
                coalesce(sum(s.delta) filter (where s.delta > 0 and s.movement <> all ($4) and s.movement <> all ($5)), 0)::bigint as came_in,
                coalesce(-sum(s.delta) filter (where s.delta < 0 and s.movement <> all ($4) and s.movement <> all ($5)), 0)::bigint as went_out,
                coalesce(sum(s.delta) filter (where s.movement = any ($4)), 0)::bigint as opened,
                coalesce(sum(s.delta) filter (where s.movement = any ($5)), 0)::bigint as differences
         from (select 1) one left join since s on true",
    )
    .bind(movements::utility(partner, shortcode).id().uuid())
    .bind(Book::Partner(partner).to_string())
    .bind(since)
    .bind([funding::OPENING, funding::OPENING_SETTLED].as_slice())
    .bind([unexplained::UNEXPLAINED, unexplained::REVERSED].as_slice())
    .fetch_one(conn)
    .await?)
}

/// The posted figure of an account of a mirror, as people read an asset.
pub(super) async fn posted_asset_in_tx(conn: &mut PgConnection, account: &AccountRef) -> Result<i64, VaultError> {
    Ok(pv_ledger::balance(conn, account.id()).await?.map_or(0, |b| b.posted.minor().saturating_neg()))
}

/// A difference that stands on a shortcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Standing {
    /// The transfer.
    pub id: Uuid,
    /// Its generation.
    pub generation: i32,
    /// What M-Pesa has more than the ledger can explain; negative: less.
    pub amount: i64,
}

/// The difference that stands on a shortcode, and the number of those there have been.
/// Index: unique (subject, movement, generation).
pub(super) async fn difference_in_tx(
    conn: &mut PgConnection,
    partner: PartnerId,
    id: Uuid,
    shortcode: &str,
) -> Result<(Option<Standing>, i32), VaultError> {
    let generations: i32 = sqlx::query_scalar("select coalesce(max(generation), 0) from ledger_transfers where subject = $1 and movement = $2")
        .bind(id)
        .bind(unexplained::UNEXPLAINED)
        .fetch_one(&mut *conn)
        .await?;
    let standing = sqlx::query_as(
        "select t.id, t.generation, case when t.debit = $4 then t.amount else -t.amount end as amount from ledger_transfers t
         where t.subject = $1 and t.movement = $2
           and not exists (select from ledger_transfers r where r.subject = t.subject and r.movement = $3 and r.generation = t.generation)
         order by t.generation desc limit 1",
    )
    .bind(id)
    .bind(unexplained::UNEXPLAINED)
    .bind(unexplained::REVERSED)
    .bind(movements::utility(partner, shortcode).id().uuid())
    .fetch_optional(conn)
    .await?;
    Ok((standing, generations))
}
