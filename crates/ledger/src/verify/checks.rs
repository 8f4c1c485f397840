//! The checks, each one statement. Text columns out: the row, what was expected, what was found.

use super::Check;

pub(super) const ALL: &[Check] = &[
    // The log itself.
    Check {
        code: "account_id",
        table: "ledger_accounts",
        explanation: "The account's id does not follow from its book and name: code would name another account.",
        sql: "with made as (
                  select a.id, a.book, a.name, encode(substring(sha256(convert_to(a.book || '|' || a.name, 'UTF8')) for 16), 'hex') as hash
                  from ledger_accounts a where $1::text[] is null or a.book = any($1)
              ), versioned as (
                  select id, book, name,
                         overlay(overlay(hash placing '8' from 13 for 1)
                                 placing to_hex((('x' || substr(hash, 17, 1))::bit(4) & b'0011' | b'1000')::int) from 17 for 1)::uuid as expected
                  from made
              )
              select id || ' (' || book || '|' || name || ')', expected::text, id::text from versioned where id <> expected limit 1000",
    },
    Check {
        code: "transfer_amount",
        table: "ledger_transfers",
        explanation: "A transfer moves a positive amount.",
        sql: "select id::text, 'more than 0', amount::text from ledger_transfers
              where amount <= 0 and ($1::text[] is null or book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_kind",
        table: "ledger_transfers",
        explanation: "A row is posted, pending, or an end of a hold that names it; only a posted row can be a fact.",
        sql: "select id::text, 'post or void with a hold, or posted or pending without; facts are posted',
                     kind || case when resolves is null then ' without' else ' with' end || ' a hold' || case when fact then ', a fact' else '' end
              from ledger_transfers
              where (kind not in ('posted', 'pending', 'post', 'void') or (kind in ('post', 'void')) <> (resolves is not null)
                     or (fact and kind <> 'posted'))
                and ($1::text[] is null or book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_same_account",
        table: "ledger_transfers",
        explanation: "A transfer needs two accounts.",
        sql: "select id::text, 'two accounts', debit::text from ledger_transfers
              where debit = credit and ($1::text[] is null or book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_account",
        table: "ledger_transfers",
        explanation: "Both accounts of a transfer exist, and are of its book: books never mix.",
        sql: "select t.id || ', ' || s.side || ' ' || s.account_id, 'an account of ' || t.book, coalesce('an account of ' || a.book, 'no such account')
              from ledger_transfers t
              cross join lateral (values ('debit', t.debit), ('credit', t.credit)) as s (side, account_id)
              left join ledger_accounts a on a.id = s.account_id
              where a.book is distinct from t.book and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_currency",
        table: "ledger_transfers",
        explanation: "Both accounts of a transfer have one currency.",
        sql: "select t.id::text, d.currency::text, c.currency::text
              from ledger_transfers t join ledger_accounts d on d.id = t.debit join ledger_accounts c on c.id = t.credit
              where d.currency <> c.currency and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_partner",
        table: "ledger_transfers",
        explanation: "A transfer on a partner's account is that partner's: otherwise it is hidden from him or shown to another.",
        sql: "select t.id || ', account ' || a.id, a.partner_id::text, coalesce(t.partner_id::text, 'nobody')
              from ledger_transfers t join ledger_accounts a on a.id in (t.debit, t.credit)
              where a.partner_id is not null and a.partner_id is distinct from t.partner_id
                and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_key_twice",
        table: "ledger_transfers",
        explanation: "One subject, movement and generation is one transfer, for ever.",
        sql: "select string_agg(id::text, ', ' order by id), '1 transfer', count(*) || ' transfers of ' || subject || ' ' || movement || ' ' || generation
              from ledger_transfers
              where $1::text[] is null or book = any($1)
              group by subject, movement, generation having count(*) > 1 limit 1000",
    },
    Check {
        code: "resolution_without_hold",
        table: "ledger_transfers",
        explanation: "What ends a hold names a pending transfer.",
        sql: "select t.id::text, 'ends a pending transfer', coalesce('ends a transfer that is ' || p.kind, 'ends ' || t.resolves || ', which does not exist')
              from ledger_transfers t left join ledger_transfers p on p.id = t.resolves
              where t.resolves is not null and p.kind is distinct from 'pending' and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "resolution_differs",
        table: "ledger_transfers",
        explanation: "The end of a hold repeats its accounts, amount, book and partner.",
        sql: "select t.id || ', end of ' || p.id,
                     concat_ws(' ', p.book, p.debit, p.credit, p.amount, p.partner_id), concat_ws(' ', t.book, t.debit, t.credit, t.amount, t.partner_id)
              from ledger_transfers t join ledger_transfers p on p.id = t.resolves
              where (t.book, t.debit, t.credit, t.amount) <> (p.book, p.debit, p.credit, p.amount)
                 or t.partner_id is distinct from p.partner_id
              group by t.id, p.id
              having $1::text[] is null or t.book = any($1) or p.book = any($1) limit 1000",
    },
    Check {
        code: "hold_ended_twice",
        table: "ledger_transfers",
        explanation: "A hold ends once.",
        sql: "select resolves::text, 'ended once', 'ended by ' || string_agg(id || ' (' || kind || ')', ', ' order by id)
              from ledger_transfers
              where resolves is not null and ($1::text[] is null or book = any($1))
              group by resolves having count(*) > 1 limit 1000",
    },
    Check {
        code: "corrects_unknown",
        table: "ledger_transfers",
        explanation: "A correction names a transfer that exists.",
        sql: "select t.id::text, 'a transfer', t.corrects || ', which does not exist'
              from ledger_transfers t
              where t.corrects is not null and not exists (select from ledger_transfers c where c.id = t.corrects)
                and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_time",
        table: "ledger_transfers",
        explanation: "A transfer's id carries the time at which it was made: it lies within a day of the time at which it was recorded.",
        sql: "select id::text, 'recorded within a day of ' || made.at, recorded_at::text
              from ledger_transfers
              cross join lateral (
                  select to_timestamp((('x0000' || substr(replace(id::text, '-', ''), 1, 12))::bit(64)::bigint) / 1000.0) as at
              ) made
              where abs(extract(epoch from recorded_at - made.at)) > 86400 and ($1::text[] is null or book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_xid",
        table: "ledger_transfers",
        explanation: "The row carries a transaction number that this database has not reached: it was loaded from another one, and the fold would not pass it.",
        sql: "select id::text, 'below ' || pg_snapshot_xmax(pg_current_snapshot()), xid::text
              from ledger_transfers
              where xid >= pg_snapshot_xmax(pg_current_snapshot()) and xid is distinct from pg_current_xact_id_if_assigned()
                and ($1::text[] is null or book = any($1)) limit 1000",
    },
    // The locked balances.
    Check {
        code: "balance_row",
        table: "ledger_balances",
        explanation: "Bounded accounts, and only they, have a locked balance.",
        sql: "select coalesce(a.id, b.account_id)::text, case when a.bounded then 'a balance row' else 'no balance row' end,
                     case when b.account_id is null then 'no balance row' else 'a balance row' end
              from ledger_accounts a full join ledger_balances b on b.account_id = a.id
              where coalesce(a.bounded, false) <> (b.account_id is not null)
                and ($1::text[] is null or a.book is null or a.book = any($1)) limit 1000",
    },
    Check {
        code: "balance_posted",
        table: "ledger_balances",
        explanation: "The posted balance of a bounded account is the sum of its posted transfers.",
        sql: "with credits as (
                  select credit as account_id, sum(amount) as amount from ledger_transfers where kind = 'posted' or kind = 'post' group by credit
              ), debits as (
                  select debit as account_id, sum(amount) as amount from ledger_transfers where kind = 'posted' or kind = 'post' group by debit
              )
              select b.account_id || ' (' || a.book || '|' || a.name || ')',
                     (coalesce(c.amount, 0) - coalesce(d.amount, 0))::text, b.posted_minor::text
              from ledger_balances b
              join ledger_accounts a on a.id = b.account_id
              left join credits c on c.account_id = b.account_id
              left join debits d on d.account_id = b.account_id
              where b.posted_minor <> coalesce(c.amount, 0) - coalesce(d.amount, 0) and ($1::text[] is null or a.book = any($1)) limit 1000",
    },
    Check {
        code: "balance_held",
        table: "ledger_balances",
        explanation: "What is held on a bounded account is the sum of its pending debits that have not ended.",
        sql: "with begun as (
                  select debit as account_id, sum(amount) as amount from ledger_transfers where kind = 'pending' group by debit
              ), ended as (
                  select debit as account_id, sum(amount) as amount from ledger_transfers where kind = 'post' or kind = 'void' group by debit
              )
              select b.account_id || ' (' || a.book || '|' || a.name || ')',
                     (coalesce(p.amount, 0) - coalesce(e.amount, 0))::text, b.held_minor::text
              from ledger_balances b
              join ledger_accounts a on a.id = b.account_id
              left join begun p on p.account_id = b.account_id
              left join ended e on e.account_id = b.account_id
              where b.held_minor <> coalesce(p.amount, 0) - coalesce(e.amount, 0) and ($1::text[] is null or a.book = any($1)) limit 1000",
    },
    Check {
        code: "overdrawn_by_command",
        table: "ledger_balances",
        explanation: "Only facts take a bounded account below zero: it cannot be further below than the facts that debited it.",
        sql: "with facts as (select debit as account_id, sum(amount) as amount from ledger_transfers where fact group by debit),
                   moved as (
                       select x.account_id, sum(x.delta) as available
                       from ledger_transfers t
                       cross join lateral (values
                           (t.credit, case when t.kind in ('posted', 'post') then t.amount else 0 end),
                           (t.debit, case t.kind when 'post' then 0 when 'void' then t.amount else -t.amount end)) as x (account_id, delta)
                       group by x.account_id
                   )
              select m.account_id || ' (' || a.book || '|' || a.name || ')', 'at least ' || -coalesce(f.amount, 0), m.available::text
              from moved m
              join ledger_accounts a on a.id = m.account_id and a.bounded
              left join facts f on f.account_id = m.account_id
              where m.available < -coalesce(f.amount, 0) and ($1::text[] is null or a.book = any($1)) limit 1000",
    },
    // What is built behind the log.
    Check {
        code: "entry_without_transfer",
        table: "ledger_entries",
        explanation: "Each statement line stands for a posted transfer on that account which the fold has reached.",
        sql: "select e.account_id || ' position ' || e.position, 'a folded, posted transfer on this account',
                     case when t.id is null then 'no transfer ' || e.transfer_id
                          when a.id is null then 'no such account'
                          else 'transfer ' || t.id || ' is ' || t.kind || ', between ' || t.debit || ' and ' || t.credit end
              from ledger_entries e
              left join ledger_accounts a on a.id = e.account_id
              left join ledger_transfers t on t.id = e.transfer_id
              cross join ledger_fold_cursor c
              where (t.id is null or a.id is null or t.kind not in ('posted', 'post') or e.account_id not in (t.debit, t.credit)
                     or (t.xid, t.id) > (c.xid, c.transfer_id))
                and ($1::text[] is null or a.book is null or a.book = any($1)) limit 1000",
    },
    Check {
        code: "transfer_without_entry",
        table: "ledger_entries",
        explanation: "Each posted transfer that the fold has reached has one statement line on each of its accounts.",
        // Counted and not joined: a join by account would visit a busy account's lines once for each of its transfers.
        sql: "with counted as (
                  select t.id as transfer_id, s.account_id, 1 as wanted, 0 as lines
                  from ledger_transfers t cross join lateral (values (t.debit), (t.credit)) as s (account_id)
                  where t.kind in ('posted', 'post') and (t.xid, t.id) <= (select c.xid, c.transfer_id from ledger_fold_cursor c)
                    and ($1::text[] is null or t.book = any($1))
                  union all
                  select e.transfer_id, e.account_id, 0, 1 from ledger_entries e
              )
              select transfer_id || ' on ' || account_id, '1 line', sum(lines) || ' lines'
              from counted
              group by transfer_id, account_id having sum(wanted) > 0 and sum(lines) <> 1 limit 1000",
    },
    Check {
        code: "entry_differs",
        table: "ledger_entries",
        explanation: "A statement line repeats the amount and the time of its transfer.",
        sql: "select e.account_id || ' position ' || e.position || ', transfer ' || t.id,
                     case when t.credit = e.account_id then t.amount else -t.amount end || ' at ' || t.at, e.delta_minor || ' at ' || e.at
              from ledger_entries e join ledger_transfers t on t.id = e.transfer_id and e.account_id in (t.debit, t.credit)
              where (e.delta_minor <> case when t.credit = e.account_id then t.amount else -t.amount end or e.at <> t.at)
                and ($1::text[] is null or t.book = any($1)) limit 1000",
    },
    Check {
        code: "entry_running",
        table: "ledger_entries",
        explanation: "Positions count from 1 without a gap, and each line's balance is the sum of all lines up to it.",
        sql: "select account_id || ' position ' || position, 'position ' || place || ', balance ' || total, 'position ' || position || ', balance ' || balance_minor
              from (
                  select e.account_id, e.position, e.balance_minor,
                         row_number() over account as place, sum(e.delta_minor) over account as total
                  from ledger_entries e left join ledger_accounts a on a.id = e.account_id
                  where $1::text[] is null or a.book = any($1)
                  window account as (partition by e.account_id order by e.position)
              ) lines
              where position <> place or balance_minor <> total
              order by account_id, position limit 1000",
    },
    Check {
        code: "fold",
        table: "ledger_folds",
        explanation: "The fold of an account is the sum and the number of the posted transfers that the fold has reached.",
        sql: "with reached as (
                  select t.debit, t.credit, t.amount from ledger_transfers t, ledger_fold_cursor c
                  where (t.xid, t.id) <= (c.xid, c.transfer_id) and t.kind in ('posted', 'post')
              ), sides as (
                  select credit as account_id, amount from reached union all select debit, -amount from reached
              ), expected as (
                  select account_id, sum(amount) as balance, count(*) as lines from sides group by account_id
              )
              select coalesce(f.account_id, e.account_id)::text,
                     coalesce('balance ' || e.balance || ' after ' || e.lines || ' lines', 'no fold'),
                     coalesce('balance ' || f.balance_minor || ' after ' || f.position || ' lines', 'no fold')
              from expected e
              full join ledger_folds f on f.account_id = e.account_id
              left join ledger_accounts a on a.id = coalesce(f.account_id, e.account_id)
              where (f.balance_minor is distinct from e.balance or f.position is distinct from e.lines)
                and ($1::text[] is null or a.book is null or a.book = any($1)) limit 1000",
    },
    Check {
        code: "book_not_zero",
        table: "ledger_folds",
        explanation: "The folded balances of a book sum to zero over all its accounts.",
        sql: "select book, '0', sum(balance) || ' (' || string_agg(kind || ' ' || balance, ', ' order by kind) || ')'
              from (
                  select a.book, a.kind, sum(f.balance_minor) as balance
                  from ledger_folds f join ledger_accounts a on a.id = f.account_id
                  where $1::text[] is null or a.book = any($1)
                  group by a.book, a.kind
              ) kinds
              group by book having sum(balance) <> 0 limit 1000",
    },
    Check {
        code: "open_hold",
        table: "ledger_open_holds",
        explanation: "The open holds are the pending transfers that the fold has reached and whose end it has not.",
        sql: "with open as (
                  select coalesce(t.resolves, t.id) as hold
                  from ledger_transfers t
                  where (t.kind = 'pending' or t.resolves is not null)
                    and (t.xid, t.id) <= (select c.xid, c.transfer_id from ledger_fold_cursor c)
                  group by 1 having count(*) filter (where t.kind = 'pending') = 1 and count(t.resolves) = 0
              ), expected as (
                  select p.* from open o join ledger_transfers p on p.id = o.hold
              )
              select coalesce(h.transfer_id, e.id)::text,
                     coalesce(concat_ws(' ', e.book, e.debit, e.credit, e.amount, e.partner_id), 'not open'),
                     coalesce(concat_ws(' ', h.book, h.debit, h.credit, h.amount, h.partner_id), 'not open')
              from expected e full join ledger_open_holds h on h.transfer_id = e.id
              where (h.book, h.debit, h.credit, h.amount, h.partner_id) is distinct from (e.book, e.debit, e.credit, e.amount, e.partner_id)
                and ($1::text[] is null or coalesce(e.book, h.book) = any($1)) limit 1000",
    },
    Check {
        code: "tenant",
        table: "ledger_balances, ledger_folds, ledger_entries",
        explanation: "What is kept of an account is visible to the account's partner, and to no other.",
        sql: "select k.place || ' of ' || a.id, coalesce(a.partner_id::text, 'nobody'), coalesce(k.partner_id::text, 'nobody')
              from (
                  select 'balance' as place, account_id, partner_id from ledger_balances
                  union all select 'fold', account_id, partner_id from ledger_folds
                  union all select 'entry ' || position, account_id, partner_id from ledger_entries
              ) k join ledger_accounts a on a.id = k.account_id
              where k.partner_id is distinct from a.partner_id and ($1::text[] is null or a.book = any($1)) limit 1000",
    },
];
