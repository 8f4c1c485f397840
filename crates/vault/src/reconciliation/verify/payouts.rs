//! Payouts, their holds, their proofs, and what they did to their disbursement.

use super::Check;

pub(super) const ALL: &[Check] = &[
    Check {
        code: "live_payout_hold",
        table: "payouts",
        rule: "B7, E: a live payout has exactly one open float hold (p1), of its amount, on its shortcode's utility account.",
        sql: "select p.id::text, 'an open hold of ' || p.amount_minor || ' from to_book to utility:' || s.shortcode,
                     case when t.id is null then 'no hold'
                          when r.id is not null then 'hold ' || t.id || ' ended by ' || r.kind || ' ' || r.id
                          else t.kind || ' ' || t.id || ' of ' || t.amount || ' from ' || coalesce(a.name, '?') || ' to ' || coalesce(c.name, '?') || ' in ' || t.book end,
                     p.partner_id
              from payouts p
              left join mpesa_shortcodes s on s.id = p.shortcode_id
              left join ledger_transfers t on t.subject = p.id and t.movement = 'p1_payout_prepared'
              left join ledger_accounts a on a.id = t.debit
              left join ledger_accounts c on c.id = t.credit
              left join ledger_transfers r on r.resolves = t.id
              where p.state in ('prepared', 'sending', 'accepted', 'unknown') and ($1::uuid[] is null or p.partner_id = any($1))
                and (t.id is null or t.kind <> 'pending' or r.id is not null or t.amount <> p.amount_minor or t.book <> 'M:' || p.partner_id
                     or a.name is distinct from 'to_book' or c.name is distinct from 'utility:' || s.shortcode)
              limit 1000",
    },
    Check {
        code: "hold_without_owner",
        table: "ledger_transfers",
        rule: "E: an open hold has a live owner: p1 a live payout, c1 a disbursement whose charges are reserved under that generation.",
        sql: "select t.id::text, 'a live owner of ' || t.movement,
                     coalesce('payout ' || p.id || ' is ' || p.state, 'disbursement ' || d.id || ' has charges ' || d.charges || ', generation ' || d.charges_generation, 'nobody: ' || t.subject),
                     t.partner_id
              from ledger_transfers t
              left join payouts p on p.id = t.subject and t.movement = 'p1_payout_prepared'
              left join disbursements d on d.id = t.subject and t.movement = 'c1_charges_reserved'
              where t.kind = 'pending' and ($1::uuid[] is null or t.partner_id = any($1))
                and not exists (select from ledger_transfers r where r.resolves = t.id)
                and not coalesce(p.state in ('prepared', 'sending', 'accepted', 'unknown'), false)
                and not coalesce(d.charges = 'reserved' and d.charges_generation = t.generation, false)
              limit 1000",
    },
    Check {
        code: "paid_payout_posted",
        table: "payouts",
        rule: "E: a paid payout moved its amount exactly once: p3 posted its hold, or p6 after p4, or p7 when another attempt was paid too.",
        sql: "with moved as (
                  select p.id, t.movement, t.amount, t.kind, h.kind as hold_kind, h.subject as hold_subject,
                         c.name as credit, a.name as debit
                  from payouts p
                  join ledger_transfers t on t.subject = p.id and t.movement in ('p3_paid', 'p6_late_success', 'p7_double_paid')
                  left join ledger_transfers h on h.id = t.resolves
                  left join ledger_accounts a on a.id = t.debit
                  left join ledger_accounts c on c.id = t.credit
              ), ended as (
                  select p.id, r.kind from payouts p
                  join ledger_transfers h on h.subject = p.id and h.movement = 'p1_payout_prepared'
                  join ledger_transfers r on r.resolves = h.id
              )
              select p.id::text,
                     case when p.double_paid then 'p4 and p7 of ' else 'p3, or p4 and p6, of ' end || p.amount_minor || ' on utility:' || s.shortcode,
                     coalesce((select string_agg(m.movement || ' ' || m.kind || ' of ' || m.amount || ' from ' || coalesce(m.debit, '?') || ' to ' || coalesce(m.credit, '?'), ', ' order by m.movement) from moved m where m.id = p.id), 'nothing posted')
                         || coalesce(', hold ended by ' || e.kind, ', hold open or missing'),
                     p.partner_id
              from payouts p
              left join mpesa_shortcodes s on s.id = p.shortcode_id
              left join ended e on e.id = p.id
              where p.state = 'paid' and ($1::uuid[] is null or p.partner_id = any($1))
                and not coalesce((select count(*) = 1 and bool_and(m.amount = p.amount_minor and m.credit is not distinct from 'utility:' || s.shortcode
                            and case m.movement
                                when 'p3_paid' then not p.double_paid and m.kind = 'post' and m.hold_subject = p.id and e.kind = 'post' and m.debit = 'to_book'
                                when 'p6_late_success' then not p.double_paid and m.kind = 'posted' and e.kind = 'void' and m.debit = 'to_book'
                                else p.double_paid and m.kind = 'posted' and e.kind = 'void' and m.debit = 'recover' end)
                         from moved m where m.id = p.id), false)
              limit 1000",
    },
    Check {
        code: "unpaid_payout_posted",
        table: "ledger_transfers",
        rule: "E: only a paid payout moves money: p3, its tariff, p6, p7 and p10 belong to one.",
        sql: "select t.id::text, t.movement || ' of a paid payout', coalesce('payout ' || p.id || ' is ' || p.state, 'no payout ' || t.subject), t.partner_id
              from ledger_transfers t left join payouts p on p.id = t.subject
              where t.movement in ('p3_paid', 'p3_tariff', 'p6_late_success', 'p7_double_paid', 'p10_returned') and ($1::uuid[] is null or t.partner_id = any($1))
                and p.state is distinct from 'paid' limit 1000",
    },
    Check {
        code: "not_paid_hold",
        table: "payouts",
        rule: "E: a payout that was not paid has its float hold voided (p4).",
        sql: "select p.id::text, 'hold voided by p4', coalesce(r.movement || ' ' || r.kind, 'hold ' || t.id || ' is open', 'no hold'), p.partner_id
              from payouts p
              left join ledger_transfers t on t.subject = p.id and t.movement = 'p1_payout_prepared'
              left join ledger_transfers r on r.resolves = t.id
              where p.state = 'not_paid' and ($1::uuid[] is null or p.partner_id = any($1)) and r.kind is distinct from 'void' limit 1000",
    },
    Check {
        code: "not_paid_proof",
        table: "payouts",
        rule: "A7: a payout is called not paid only with a proof row.",
        sql: "select p.id::text, 'a proof of attempt ' || p.attempt || ' of ' || p.disbursement_id,
                     coalesce('proof ' || f.id || ' of attempt ' || f.attempt || ' of ' || f.disbursement_id, 'no proof'), p.partner_id
              from payouts p left join payout_proofs f on f.payout_id = p.id
              where p.state = 'not_paid' and ($1::uuid[] is null or p.partner_id = any($1))
                and (f.attempt is distinct from p.attempt or f.disbursement_id is distinct from p.disbursement_id or f.partner_id is distinct from p.partner_id)
              limit 1000",
    },
    Check {
        code: "proof_of_live_payout",
        table: "payout_proofs",
        rule: "A7: a proof is about a payout that was not paid (or was paid late after it), never about a live one.",
        sql: "select f.id::text, 'a payout that is not paid, or paid late', coalesce('payout ' || p.id || ' is ' || p.state, 'no payout ' || f.payout_id), f.partner_id
              from payout_proofs f left join payouts p on p.id = f.payout_id
              where ($1::uuid[] is null or f.partner_id = any($1))
                and (p.id is null or p.state in ('prepared', 'sending', 'accepted', 'unknown')) limit 1000",
    },
    Check {
        code: "attempt_without_proof",
        table: "payouts",
        rule: "A7: a new attempt stands on the proof of the attempt before it, of the same disbursement; attempts count from 1 without a gap.",
        sql: "select p.id::text, 'the proof of attempt ' || p.attempt - 1 || ' of ' || p.disbursement_id,
                     coalesce('proof ' || f.id || ' of attempt ' || f.attempt || ' of ' || f.disbursement_id, 'proof ' || p.prior_proof_id || ', which does not exist', 'no proof'),
                     p.partner_id
              from payouts p left join payout_proofs f on f.id = p.prior_proof_id
              where ($1::uuid[] is null or p.partner_id = any($1))
                and case when p.attempt = 1 then p.prior_proof_id is not null
                         else f.disbursement_id is distinct from p.disbursement_id or f.attempt is distinct from p.attempt - 1
                              or not exists (select from payouts o where o.disbursement_id = p.disbursement_id and o.attempt = p.attempt - 1 and o.id = f.payout_id) end
              limit 1000",
    },
    Check {
        code: "two_live_payouts",
        table: "payouts",
        rule: "A10: at most one live payout per disbursement.",
        sql: "select string_agg(p.id::text, ', ' order by p.id), '1 live payout of ' || p.disbursement_id, count(*) || ' live payouts', (array_agg(p.partner_id))[1]
              from payouts p
              where p.state in ('prepared', 'sending', 'accepted', 'unknown') and ($1::uuid[] is null or p.partner_id = any($1))
              group by p.disbursement_id having count(*) > 1 limit 1000",
    },
    Check {
        code: "live_payout_differs",
        table: "payouts",
        rule: "A2, A17: what is live pays what the disbursement says: amount, receiver and shortcode.",
        sql: "select p.id::text, concat_ws(' ', d.amount_minor, d.msisdn, d.shortcode_id), concat_ws(' ', p.amount_minor, p.msisdn, p.shortcode_id), p.partner_id
              from payouts p join disbursements d on d.id = p.disbursement_id
              where p.state in ('prepared', 'sending', 'accepted', 'unknown') and d.state = 'paying' and ($1::uuid[] is null or p.partner_id = any($1))
                and (p.amount_minor, p.msisdn, p.shortcode_id) is distinct from (d.amount_minor, d.msisdn, d.shortcode_id)
              limit 1000",
    },
    Check {
        code: "submission_numbers",
        table: "submissions",
        rule: "A2: the submissions of a payout count from 1 without a gap; what the rail has was submitted.",
        sql: "select p.id::text, case when count(s.id) = 0 then 'at least 1 submission' else 'numbers 1 to ' || count(s.id) end,
                     coalesce('numbers ' || string_agg(s.number::text, ', ' order by s.number), 'none'), p.partner_id
              from payouts p left join submissions s on s.payout_id = p.id
              where $1::uuid[] is null or p.partner_id = any($1)
              group by p.id
              having (count(s.id) > 0 and (max(s.number) <> count(s.id) or min(s.number) <> 1))
                  or (count(s.id) = 0 and (p.state in ('sending', 'accepted') or p.first_sent_at is not null))
              limit 1000",
    },
    Check {
        code: "submission_contradicts",
        table: "submissions",
        rule: "A5: an id that the rail accepted is acknowledged: its submission and its payout carry the same conversation.",
        sql: "select s.id::text, coalesce('conversation ' || p.conversation_id, 'a conversation on the payout'), coalesce('conversation ' || s.conversation_id, 'none'), s.partner_id
              from submissions s join payouts p on p.id = s.payout_id
              where s.state = 'accepted' and ($1::uuid[] is null or s.partner_id = any($1))
                and s.conversation_id is distinct from p.conversation_id
                and not exists (select from items i where i.kind = 'second_acknowledgement' and i.subject = p.id)
              limit 1000",
    },
    Check {
        code: "receipt_twice",
        table: "payouts",
        rule: "D5: a receipt is unique on the platform.",
        sql: "select string_agg(x.id::text, ', ' order by x.id), '1 payment under ' || x.receipt, count(*) || ' payments', (array_agg(x.partner_id))[1]
              from (select id, upper(receipt) as receipt, partner_id from payouts where receipt is not null
                    union all
                    select id, upper(receipt), partner_id from disbursements d where receipt is not null
                      and not exists (select from payouts p where p.disbursement_id = d.id and upper(p.receipt) = upper(d.receipt))) x
              where $1::uuid[] is null or x.partner_id = any($1)
              group by x.receipt having count(*) > 1 limit 1000",
    },
    Check {
        code: "paid_disbursement",
        table: "disbursements",
        rule: "A10: a disbursement is paid exactly when one payout of it is (a second one is double_paid), with the same receipt and amount.",
        sql: "with paid as (select * from payouts where state = 'paid' and not double_paid)
              select d.id::text,
                     coalesce('paid by payout ' || p.id || ' under ' || p.receipt || ', ' || p.amount_minor, 'no paid payout, so not paid'),
                     d.state || coalesce(' under ' || d.receipt, '') || coalesce(', ' || d.amount_minor, ''), d.partner_id
              from disbursements d left join paid p on p.disbursement_id = d.id
              where ($1::uuid[] is null or d.partner_id = any($1))
                and case when d.state in ('paid', 'returned') then p.receipt is distinct from d.receipt or p.amount_minor is distinct from d.amount_minor
                         else p.id is not null end
              union all
              select string_agg(p.id::text, ', ' order by p.id), '1 payout paid and not double_paid', count(*) || ' of ' || p.disbursement_id, (array_agg(p.partner_id))[1]
              from paid p where $1::uuid[] is null or p.partner_id = any($1) group by p.disbursement_id having count(*) > 1
              limit 1000",
    },
    Check {
        code: "paying_disbursement",
        table: "disbursements",
        rule: "A2: a disbursement is paying exactly when a payout of it is live (a paid one may have a sibling still live); it counts its attempts.",
        sql: "with p as (
                  select disbursement_id, count(*) as attempts, count(*) filter (where state in ('prepared', 'sending', 'accepted', 'unknown')) as live
                  from payouts group by disbursement_id
              )
              select d.id::text, coalesce(p.live, 0) || ' live payouts, ' || coalesce(p.attempts, 0) || ' attempts', d.state || ', ' || d.attempts || ' attempts', d.partner_id
              from disbursements d left join p on p.disbursement_id = d.id
              where ($1::uuid[] is null or d.partner_id = any($1))
                and (d.attempts <> coalesce(p.attempts, 0)
                     or case when d.state = 'paying' then coalesce(p.live, 0) = 0 else coalesce(p.live, 0) > 0 and d.state not in ('paid', 'returned') end)
              limit 1000",
    },
    Check {
        code: "status_word",
        table: "disbursements",
        rule: "The five words follow from the state, and never say not paid of what is not known.",
        sql: "with live as (select distinct on (disbursement_id) disbursement_id, state from payouts where state in ('prepared', 'sending', 'accepted', 'unknown') order by disbursement_id, attempt desc),
              words as (
                  select d.*, l.state as live,
                         case when d.state in ('received', 'waiting', 'held') then array['to_do']
                              when d.state in ('refused', 'not_paid', 'cancelled') then array['not_paid']
                              when d.state in ('paid', 'returned') then array['paid']
                              when l.state = 'prepared' then array['to_do', 'on_its_way']
                              when l.state in ('sending', 'accepted') then array['on_its_way']
                              when l.state = 'unknown' then array['not_yet_known']
                              else array['on_its_way', 'not_yet_known', 'to_do'] end as allowed
                  from disbursements d left join live l on l.disbursement_id = d.id
              )
              select w.id::text, array_to_string(w.allowed, ' or ') || ' for ' || w.state || coalesce(' with a payout ' || w.live, ''), w.status, w.partner_id
              from words w where ($1::uuid[] is null or w.partner_id = any($1)) and w.status <> all (w.allowed) limit 1000",
    },
];
