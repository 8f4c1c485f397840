//! Sums: what whole accounts must say, given all rows.

use super::Check;

/// The natural (asset) balance per account of all transfers, without fold and locked rows.
macro_rules! with_balances {
    ($rest:literal) => {
        concat!(
            "with sides as (
                 select credit as account_id, amount from ledger_transfers where kind in ('posted', 'post')
                 union all select debit, -amount from ledger_transfers where kind in ('posted', 'post')
             ), balances as (
                 select a.id, a.book, a.name, a.kind, a.partner_id, coalesce(sum(s.amount), 0)::bigint as balance
                 from ledger_accounts a left join sides s on s.account_id = a.id
                 where $1::uuid[] is null or a.partner_id = any($1)
                 group by a.id
             ) ",
            $rest
        )
    };
}

pub(super) const ALL: &[Check] = &[
    Check {
        code: "to_book",
        table: "ledger_accounts",
        rule: "E: to_book is what was paid and is not booked: paid payouts, less the booked, less those returned before, more what was undone in the core.",
        sql: with_balances!(
            ", paid as (
                 select p.partner_id,
                        sum(p.amount_minor) filter (where b.disbursement_id is null or b.state not in ('booked', 'adopted')) as unbooked
                 from payouts p join disbursements d on d.id = p.disbursement_id left join bookings b on b.disbursement_id = p.disbursement_id
                 where p.state = 'paid' and not p.double_paid and d.core_id is not null group by p.partner_id
             ), moved as (
                 select t.partner_id,
                        sum(t.amount) filter (where t.movement = 'p10_returned') as returned,
                        sum(case when t.movement = 'p12_undone' then t.amount else -t.amount end) filter (where t.movement in ('p12_undone', 'p12_found_again')) as undone
                 from ledger_transfers t join balances k on k.name = 'to_book' and k.id in (t.debit, t.credit)
                 where t.movement in ('p10_returned', 'p12_undone', 'p12_found_again') group by t.partner_id
             )
             select b.id::text, (coalesce(p.unbooked, 0) - coalesce(m.returned, 0) + coalesce(m.undone, 0))::text, (-b.balance)::text, b.partner_id
             from balances b
             left join paid p on p.partner_id = b.partner_id
             left join moved m on m.partner_id = b.partner_id
             where b.name = 'to_book' and -b.balance <> coalesce(p.unbooked, 0) - coalesce(m.returned, 0) + coalesce(m.undone, 0) limit 1000"
        ),
    },
    Check {
        code: "account_without_item",
        table: "ledger_accounts",
        rule: "E, D8: owed, recover, difference, and a negative wallet or suspense, each have an open item.",
        sql: with_balances!(
            "select b.id::text || ' (' || b.book || '|' || b.name || ')', case when b.name like 'wallet:%' or b.name = 'suspense' then 'not below 0, or an open item' else '0, or an open item' end,
                    b.balance || ', no item', b.partner_id
             from balances b
             where (case when b.name in ('owed', 'recover', 'difference') then b.balance <> 0 when b.name like 'wallet:%' or b.name = 'suspense' then b.balance < 0 else false end)
               and not exists (
                   select from items i where i.closed_at is null and i.partner_id is not distinct from b.partner_id
                     and i.kind = any (case when b.name = 'owed' then array['returned'] when b.name = 'recover' then array['double_paid']
                                            when b.name = 'difference' then array['rail_drift', 'bank_difference'] when b.name = 'suspense' then array['suspense_negative', 'collection_reversed']
                                            else array['wallet_negative', 'late_success'] end))
             limit 1000"
        ),
    },
    Check {
        code: "customers_covered",
        table: "ledger_accounts",
        rule: "E: bank, incoming and B2C money covers what belongs to others: wallets, unattributed, float due, charges in clearing, tariffs, tax.",
        sql: with_balances!(
            ", s as (
                 select coalesce(sum(-balance) filter (where name in ('bank', 'bank_incoming', 'b2c_account')), 0) as have,
                        coalesce(sum(greatest(balance, 0)) filter (where name like 'wallet:%'), 0)
                        + coalesce(sum(balance) filter (where name in ('unattributed', 'tax') or name like 'float_due:%' or name like 'charges_clearing:%' or name like 'rail_tariff:%'), 0) as owe
                 from balances where book = 'P'
             )
             select 'P: bank, bank_incoming, b2c_account', 'at least ' || owe, have::text, null::uuid from s where $1::uuid[] is null and have < owe"
        ),
    },
    Check {
        code: "book_sum",
        table: "ledger_accounts",
        rule: "E: each book sums to zero.",
        sql: with_balances!("select book, '0', sum(balance)::text, (array_agg(partner_id))[1] from balances where $1::uuid[] is null or book <> 'P' group by book having sum(balance) <> 0 limit 1000"),
    },
    Check {
        code: "bounded_balance",
        table: "ledger_balances",
        rule: "E: the locked balance of a wallet or suspense is what its transfers and open holds say.",
        sql: with_balances!(
            ", held as (
                 select t.debit, sum(t.amount) as amount from ledger_transfers t
                 where t.kind = 'pending' and not exists (select from ledger_transfers r where r.resolves = t.id) group by t.debit
             )
             select b.id::text || ' (' || b.book || '|' || b.name || ')', b.balance || ', held ' || coalesce(h.amount, 0), l.posted_minor || ', held ' || l.held_minor, b.partner_id
             from balances b join ledger_balances l on l.account_id = b.id left join held h on h.debit = b.id
             where l.posted_minor <> b.balance or l.held_minor <> coalesce(h.amount, 0) limit 1000"
        ),
    },
    Check {
        code: "transfer_subject",
        table: "ledger_transfers",
        rule: "E: a transfer is about something that exists: p movements a payout, charges and bookings a disbursement, f movements a shortcode.",
        sql: "select t.id::text, 'a row for ' || t.movement, 'no row ' || t.subject, t.partner_id
              from ledger_transfers t
              where ($1::uuid[] is null or t.partner_id = any($1))
                and case when t.movement ~ '^p(1|3|4|6|7|10)_' then not exists (select from payouts p where p.id = t.subject and p.partner_id = t.partner_id)
                         when t.movement ~ '^(c[1-5]|p5|p12|p13)_' then not exists (select from disbursements d where d.id = t.subject and d.partner_id = t.partner_id)
                         when t.movement ~ '^(f1_opening|f2_)' then not exists (select from mpesa_shortcodes s where s.id = t.subject and s.partner_id = t.partner_id)
                         else false end
              limit 1000",
    },
    Check {
        code: "difference_without_item",
        table: "ledger_transfers",
        rule: "E, D8: a difference at the rail (f2) that is not reversed has an open item on its shortcode.",
        sql: "select t.id::text, 'an open item rail_drift of ' || t.subject, 'none', t.partner_id
              from ledger_transfers t
              where t.movement = 'f2_unexplained' and ($1::uuid[] is null or t.partner_id = any($1))
                and not exists (select from ledger_transfers r where r.subject = t.subject and r.movement = 'f2_reversed' and r.generation = t.generation)
                and not exists (select from items i where i.kind = 'rail_drift' and i.subject = t.subject and i.closed_at is null)
              limit 1000",
    },
];
