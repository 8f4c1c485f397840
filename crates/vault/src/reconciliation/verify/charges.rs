//! Charges and bookings: what a disbursement cost, and what the core was told.

use super::Check;

/// A part of the locked quote in minor units; null where the quote does not have it.
macro_rules! part {
    ($name:literal) => {
        concat!(
            "case when d.quote->>'",
            $name,
            "' ~ '^[0-9]{1,13}([.][0-9]{1,2})?$' then round((d.quote->>'",
            $name,
            "')::numeric * 100)::bigint end"
        )
    };
}

pub(super) const ALL: &[Check] = &[
    Check {
        code: "charges",
        table: "disbursements",
        rule: "B7: reserved has one open c1 of the quote; taken one c2 or c4 of the quote; released a voided c1; none has none.",
        sql: concat!(
            "with wanted as (
                 select d.*, ", part!("from_wallet"), " as wallet from disbursements d where $1::uuid[] is null or d.partner_id = any($1)
             ), booked as (
                 select d.id,
                        count(*) filter (where t.kind = 'pending' and r.id is null) as open,
                        count(*) filter (where t.kind = 'pending' and r.id is null and t.generation = d.charges_generation and t.amount = d.wallet
                                           and a.name = 'wallet:' || d.partner_id and c.name = 'charges_clearing:' || d.partner_id) as right_open,
                        count(*) filter (where t.movement in ('c2_charges_taken', 'c4_late_charges')) as taken,
                        count(*) filter (where (t.movement = 'c2_charges_taken' and t.kind = 'post' and t.generation = d.charges_generation or t.movement = 'c4_late_charges' and t.kind = 'posted')
                                           and t.amount = d.wallet and a.name = 'wallet:' || d.partner_id and c.name = 'charges_clearing:' || d.partner_id) as right_taken,
                        count(*) filter (where t.movement = 'c1_charges_reserved' and t.generation = d.charges_generation and r.kind = 'void') as voided
                 from wanted d
                 join ledger_transfers t on t.subject = d.id and t.movement in ('c1_charges_reserved', 'c2_charges_taken', 'c4_late_charges')
                 left join ledger_transfers r on r.resolves = t.id
                 left join ledger_accounts a on a.id = t.debit
                 left join ledger_accounts c on c.id = t.credit
                 group by d.id
             )
             select d.id::text, 'charges ' || d.charges || ' of ' || coalesce(d.wallet::text, 'no quote') || ', generation ' || d.charges_generation,
                    coalesce(b.open, 0) || ' open (' || coalesce(b.right_open, 0) || ' right), ' || coalesce(b.taken, 0) || ' taken (' || coalesce(b.right_taken, 0) || ' right), last one '
                        || case when coalesce(b.voided, 0) > 0 then 'voided' else 'not voided' end,
                    d.partner_id
             from wanted d left join booked b on b.id = d.id
             where case d.charges
                 when 'none' then coalesce(b.open, 0) + coalesce(b.taken, 0) > 0
                 when 'reserved' then d.wallet is null or coalesce(b.taken, 0) > 0 or coalesce(b.open, 0) <> (d.wallet > 0)::int or coalesce(b.right_open, 0) <> (d.wallet > 0)::int
                 when 'taken' then coalesce(b.open, 0) > 0 or coalesce(b.taken, 0) <> coalesce(d.wallet > 0, false)::int or coalesce(b.right_taken, 0) <> coalesce(d.wallet > 0, false)::int
                 when 'released' then d.wallet is null or coalesce(b.open, 0) + coalesce(b.taken, 0) > 0 or coalesce(b.voided, 0) <> (d.wallet > 0)::int
                 else true end
             limit 1000"
        ),
    },
    Check {
        code: "charges_of_state",
        table: "disbursements",
        rule: "B7: charges are taken exactly when it was paid; what is over and was not paid keeps none; what is paying has them reserved.",
        sql: "select d.id::text,
                     case when d.state in ('paid', 'returned') then 'taken' when d.state = 'paying' then 'reserved' else 'none or released' end || ' for ' || d.state, d.charges, d.partner_id
              from disbursements d
              where ($1::uuid[] is null or d.partner_id = any($1))
                and case when d.state in ('paid', 'returned') then d.charges <> 'taken'
                         when d.state = 'paying' then d.charges <> 'reserved'
                         when d.state in ('not_paid', 'cancelled', 'refused') then d.charges not in ('none', 'released')
                         else d.charges = 'taken' end
              limit 1000",
    },
    Check {
        code: "charges_split",
        table: "ledger_transfers",
        rule: "B4, B8: taken charges are split into the parts of the quote, each once; what is not taken is not split.",
        sql: concat!(
            "with split as (
                 select t.subject, count(*) as parts, string_agg(t.id::text, ', ' order by t.movement) as ids, sum(t.amount) as total,
                        sum(t.amount) filter (where t.movement = 'c2_tariff') as tariff, sum(t.amount) filter (where t.movement = 'c2_fee') as fee,
                        sum(t.amount) filter (where t.movement = 'c2_tax') as tax, sum(t.amount) filter (where t.movement = 'c2_sms') as sms,
                        (array_agg(t.partner_id))[1] as partner_id
                 from ledger_transfers t
                 where t.movement in ('c2_tariff', 'c2_fee', 'c2_tax', 'c2_sms') and ($1::uuid[] is null or t.partner_id = any($1))
                 group by t.subject
             ), quoted as (
                 select d.id, d.charges, ", part!("from_wallet"), " as wallet,
                        case when d.quote->>'tariff_payer' = 'platform' then ", part!("tariff"), " else 0 end as tariff,
                        ", part!("fee"), " as fee, ", part!("tax"), " as tax, ", part!("sms"), " as sms
                 from disbursements d where d.id in (select subject from split)
             )
             select s.ids, coalesce(concat_ws(' ', q.charges, 'tariff', q.tariff, 'fee', q.fee, 'tax', q.tax, 'sms', q.sms, 'in all', q.wallet), 'a disbursement ' || s.subject),
                    concat_ws(' ', 'tariff', coalesce(s.tariff, 0), 'fee', coalesce(s.fee, 0), 'tax', coalesce(s.tax, 0), 'sms', coalesce(s.sms, 0), 'in all', s.total), s.partner_id
             from split s left join quoted q on q.id = s.subject
             where q.charges is distinct from 'taken' or q.wallet is distinct from s.total::bigint
                or (coalesce(s.tariff, 0), coalesce(s.fee, 0), coalesce(s.tax, 0), coalesce(s.sms, 0)) is distinct from (q.tariff::numeric, q.fee::numeric, q.tax::numeric, q.sms::numeric)
             limit 1000"
        ),
    },
    Check {
        code: "booking_of_paid",
        table: "bookings",
        rule: "A22: each paid loan of a core has its booking: of its paid payout, receipt, phone, loan and gross amount; nothing else has one.",
        sql: "with owed as (
                  select d.id, d.partner_id, d.core_id, d.loan_id, d.gross_minor, d.receipt, p.id as payout_id, p.msisdn
                  from disbursements d left join payouts p on p.disbursement_id = d.id and p.state = 'paid' and not p.double_paid
                  where d.state in ('paid', 'returned') and d.core_id is not null
              )
              select coalesce(b.disbursement_id, o.id)::text,
                     coalesce(concat_ws(' ', o.core_id, o.loan_id, o.payout_id, o.receipt, o.gross_minor, o.msisdn), 'no booking: it is not a paid loan'),
                     coalesce(concat_ws(' ', b.core_id, b.loan_id, b.payout_id, b.receipt, b.gross_minor, b.msisdn), 'no booking'),
                     coalesce(b.partner_id, o.partner_id)
              from owed o full join bookings b on b.disbursement_id = o.id
              where ($1::uuid[] is null or coalesce(b.partner_id, o.partner_id) = any($1))
                and (o.core_id, o.loan_id, o.payout_id, o.receipt, o.gross_minor, o.msisdn) is distinct from (b.core_id, b.loan_id, b.payout_id, b.receipt, b.gross_minor, b.msisdn)
              limit 1000",
    },
    Check {
        code: "booking_posted",
        table: "bookings",
        rule: "A22, E: booked exactly when p5 of the paid amount is posted, with its cents (p13).",
        sql: "select b.disbursement_id::text,
                     case when b.state in ('booked', 'adopted') then 'p5 of ' || d.amount_minor || ' and cents of ' || d.floored_minor else 'nothing posted while ' || b.state end,
                     coalesce('p5 of ' || t.amount, 'no p5') || coalesce(' and cents of ' || c.amount, ''), b.partner_id
              from bookings b
              join disbursements d on d.id = b.disbursement_id
              left join ledger_transfers t on t.subject = b.disbursement_id and t.movement = 'p5_booked'
              left join ledger_transfers c on c.subject = b.disbursement_id and c.movement = 'p13_cents'
              where ($1::uuid[] is null or b.partner_id = any($1))
                and (coalesce(t.amount, 0) <> case when b.state in ('booked', 'adopted') then d.amount_minor else 0 end
                     or coalesce(c.amount, 0) <> case when b.state in ('booked', 'adopted') then d.floored_minor else 0 end
                     or (b.state in ('booked', 'adopted')) <> (b.booked_at is not null))
              limit 1000",
    },
    Check {
        code: "nothing_to_book",
        table: "disbursements",
        rule: "E: a payment without a core is booked nowhere: p5_nothing_to_book of its amount, exactly when it is paid.",
        sql: "select d.id::text, case when d.state in ('paid', 'returned') then 'p5_nothing_to_book of ' || d.amount_minor else 'nothing posted' end, coalesce(t.amount::text, 'nothing posted'), d.partner_id
              from disbursements d left join ledger_transfers t on t.subject = d.id and t.movement = 'p5_nothing_to_book'
              where ($1::uuid[] is null or d.partner_id = any($1))
                and coalesce(t.amount, 0) <> case when d.core_id is null and d.state in ('paid', 'returned') then d.amount_minor else 0 end
              limit 1000",
    },
    Check {
        code: "undone_without_item",
        table: "ledger_transfers",
        rule: "E, D8: a booking that the core does not show any more (p12) is on somebody's list until it is found again.",
        sql: "select t.id::text, 'an open item undone_in_core of ' || t.subject, 'none', t.partner_id
              from ledger_transfers t
              where t.movement = 'p12_undone' and ($1::uuid[] is null or t.partner_id = any($1))
                and not exists (select from ledger_transfers r where r.subject = t.subject and r.movement = 'p12_found_again' and r.generation = t.generation)
                and not exists (select from items i where i.kind = 'undone_in_core' and i.subject = t.subject and i.closed_at is null)
              limit 1000",
    },
];
