//! What is kept beside the money: identities, items, events, texts, messages.

use super::Check;

pub(super) const ALL: &[Check] = &[
    Check {
        code: "loan_twice",
        table: "disbursements",
        rule: "A1: a loan is one disbursement per tranche and generation, for ever.",
        sql: "select string_agg(d.id::text, ', ' order by d.id), '1 disbursement', count(*) || ' of loan ' || d.loan_id || ' in ' || d.core_id, (array_agg(d.partner_id))[1]
              from disbursements d where d.core_id is not null and ($1::uuid[] is null or d.partner_id = any($1))
              group by d.core_id, d.loan_id, d.tranche, d.generation having count(*) > 1 limit 1000",
    },
    Check {
        code: "generation_too_early",
        table: "disbursements",
        rule: "A1: a further generation needs the one before it, over and without money at the borrower.",
        sql: "select d.id::text, 'generation ' || d.generation - 1 || ' over, without money', coalesce(o.id || ' is ' || o.state, 'no generation before it'), d.partner_id
              from disbursements d
              left join disbursements o on o.core_id = d.core_id and o.loan_id = d.loan_id and o.tranche = d.tranche and o.generation = d.generation - 1
              where d.generation > 1 and d.core_id is not null and ($1::uuid[] is null or d.partner_id = any($1))
                and coalesce(o.state not in ('not_paid', 'cancelled', 'refused', 'returned'), true) limit 1000",
    },
    Check {
        code: "amounts",
        table: "disbursements",
        rule: "A17: M-Pesa moves whole shillings; what is paid and the cents left out never exceed what is owed.",
        sql: "select d.id::text, 'whole shillings, at most ' || coalesce(d.gross_minor::text, '?'), d.amount_minor || ' and ' || d.floored_minor || ' cents', d.partner_id
              from disbursements d where ($1::uuid[] is null or d.partner_id = any($1))
                and d.state in ('paying', 'paid', 'returned', 'not_paid')
                and (d.amount_minor % 100 <> 0 or (d.core_id is not null and d.amount_minor + d.floored_minor > coalesce(d.gross_minor, 0))) limit 1000",
    },
    Check {
        code: "sighting_link",
        table: "loan_sightings",
        rule: "A1: a sighting leads to the disbursement of its own loan.",
        sql: "select s.id::text, s.core_id || ' ' || s.loan_id, coalesce(d.core_id || ' ' || d.loan_id, 'no disbursement ' || s.disbursement_id), s.partner_id
              from loan_sightings s left join disbursements d on d.id = s.disbursement_id
              where s.disbursement_id is not null and ($1::uuid[] is null or s.partner_id = any($1))
                and (d.core_id, d.loan_id) is distinct from (s.core_id, s.loan_id) limit 1000",
    },
    Check {
        code: "held_without_item",
        table: "disbursements",
        rule: "D8: what waits for a person is on somebody's list (loans that are only listed, by rule A16, apart).",
        sql: "select d.id::text, 'an open item', 'none, held because of ' || coalesce(d.reason, 'nothing'), d.partner_id
              from disbursements d
              where d.state = 'held' and ($1::uuid[] is null or d.partner_id = any($1)) and coalesce(d.reason, '') not in ('auto_off', 'old_approval')
                and not exists (select from items i where i.subject = d.id and i.closed_at is null) limit 1000",
    },
    Check {
        code: "booking_person_without_item",
        table: "bookings",
        rule: "A22, D8: a booking that waits for a person is on somebody's list.",
        sql: "select b.disbursement_id::text, 'an open item booking_person', 'none', b.partner_id
              from bookings b where b.state = 'person' and ($1::uuid[] is null or b.partner_id = any($1))
                and not exists (select from items i where i.kind = 'booking_person' and i.subject = b.disbursement_id and i.closed_at is null) limit 1000",
    },
    Check {
        code: "double_paid_without_item",
        table: "payouts",
        rule: "A10, D8: a second payment of a loan is an item.",
        sql: "select p.id::text, 'an item double_paid', 'none', p.partner_id
              from payouts p where p.double_paid and ($1::uuid[] is null or p.partner_id = any($1))
                and not exists (select from items i where i.kind = 'double_paid' and i.subject = p.id) limit 1000",
    },
    Check {
        code: "item_subject",
        table: "items",
        rule: "D8: an item is about a row that exists, and is shown to the partner whose row it is.",
        sql: "with known as (
                  select id, partner_id from disbursements union all select id, partner_id from payouts union all select id, partner_id from mpesa_shortcodes
                  union all select id, partner_id from mpesa_credentials union all select id, partner_id from messages
                  union all select id, partner_id from mifos_partners union all select id, partner_id from loan_sightings union all select id, id from partners
                  union all select id, partner_id from sms_notifications union all select id, partner_id from rail_queries union all select id, partner_id from outbox
                  union all select id, partner_id from loan_products union all select id, partner_id from stops union all select id, partner_id from approval_requests
                  union all select id, partner_id from api_keys
              )
              select i.id::text, coalesce('partner ' || k.partner_id, case when k.id is null then 'a row ' || i.subject else 'nobody''s' end),
                     i.kind || coalesce(' of partner ' || i.partner_id, ' of nobody'), i.partner_id
              from items i left join known k on k.id = i.subject
              where ($1::uuid[] is null or i.partner_id = any($1))
                -- The subject of a name mismatch is a phone, that of messages to unknown paths is their kind: there is no row of either.
                and i.kind <> 'name_mismatch' and not (i.kind = 'message_parked' and i.partner_id is null) and (k.id is null or k.partner_id is distinct from i.partner_id)
                and not (k.id is not null and i.partner_id is null)
              limit 1000",
    },
    Check {
        code: "event_sequence",
        table: "outbox_sequence",
        rule: "Events are numbered from 1 without a gap, in the order of their transactions, each once.",
        sql: "with numbered as (
                  select s.seq, s.event_id, s.partner_id as shown, o.id, o.partner_id, row_number() over (order by s.seq) as place,
                         row_number() over (order by o.xid, o.id) as due
                  from outbox_sequence s left join outbox o on o.id = s.event_id
              )
              select n.event_id::text, 'number ' || n.due || coalesce(' of partner ' || n.partner_id, ''), 'number ' || n.seq || coalesce(' of partner ' || n.shown, ''), n.partner_id
              from numbered n
              where (n.id is null or n.seq <> n.place or n.due <> n.place or n.shown is distinct from n.partner_id) and ($1::uuid[] is null or n.partner_id = any($1))
              limit 1000",
    },
    Check {
        code: "event_not_numbered",
        table: "outbox",
        rule: "Below the sequencer's cursor every event has its number, and the cursor stands at the last one.",
        sql: "with c as (select * from outbox_cursors where consumer = 'sequencer')
              select o.id::text, 'a number up to ' || c.seq, 'none', o.partner_id
              from outbox o, c
              where (o.xid, o.id) <= (c.xid, c.event_id) and not exists (select from outbox_sequence s where s.event_id = o.id)
                and ($1::uuid[] is null or o.partner_id = any($1))
              union all
              select 'cursor of the sequencer', coalesce((select max(seq) from outbox_sequence), 0)::text, coalesce((select seq::text from c), 'no cursor'), null
              where (select seq from c) is distinct from coalesce((select max(seq) from outbox_sequence), 0)
              limit 1000",
    },
    Check {
        code: "consumer_ahead",
        table: "outbox_cursors",
        rule: "No reader of events is ahead of the sequencer.",
        sql: "select k.consumer, 'at most ' || c.seq, k.seq::text, null::uuid
              from outbox_cursors k, outbox_cursors c where c.consumer = 'sequencer' and k.seq > c.seq and ($1::uuid[] is null or true) limit 1000",
    },
    Check {
        code: "text_twice",
        table: "sms_notifications",
        rule: "One text per event, recipient and type, for ever.",
        sql: "select string_agg(n.id::text, ', ' order by n.id), '1 text', count(*) || ' texts ' || n.message_type || ' of event ' || n.event_id, (array_agg(n.partner_id))[1]
              from sms_notifications n where $1::uuid[] is null or n.partner_id = any($1)
              group by n.event_id, n.recipient_phone, n.message_type having count(*) > 1 limit 1000",
    },
    Check {
        code: "text_of_another",
        table: "sms_notifications",
        rule: "A text and its disbursement are of one partner; delivered is said of both states or of none.",
        sql: "select n.id::text, coalesce('partner ' || d.partner_id, 'a disbursement ' || n.disbursement_id) || ', delivered or not',
                     'partner ' || n.partner_id || ', ' || n.status || ' and ' || n.state, n.partner_id
              from sms_notifications n left join disbursements d on d.id = n.disbursement_id
              where ($1::uuid[] is null or n.partner_id = any($1))
                and ((n.disbursement_id is not null and d.partner_id is distinct from n.partner_id) or (n.status = 'delivered') <> (n.state = 'delivered')) limit 1000",
    },
    Check {
        code: "message_link",
        table: "messages",
        rule: "D1: a message belongs to the payout, question or disbursement of its partner.",
        sql: "select m.id::text, 'rows of partner ' || coalesce(m.partner_id::text, 'nobody'),
                     concat_ws(', ', coalesce('payout of ' || p.partner_id, 'no payout ' || m.payout_id), coalesce('disbursement of ' || d.partner_id, 'no disbursement ' || m.disbursement_id),
                               coalesce('question of ' || q.partner_id, 'no question ' || m.query_id)), m.partner_id
              from messages m
              left join payouts p on p.id = m.payout_id
              left join disbursements d on d.id = m.disbursement_id
              left join rail_queries q on q.id = m.query_id
              where ($1::uuid[] is null or m.partner_id = any($1))
                and ((m.payout_id is not null and p.partner_id is distinct from m.partner_id)
                     or (m.disbursement_id is not null and d.partner_id is distinct from m.partner_id)
                     or (m.query_id is not null and q.partner_id is distinct from m.partner_id)
                     or (p.id is not null and d.id is not null and p.disbursement_id <> d.id))
              limit 1000",
    },
];
