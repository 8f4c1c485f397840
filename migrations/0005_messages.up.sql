-- What comes in and goes out: messages stored before they are understood, events, texts to people, items on somebody's list.

create table messages (
    id uuid primary key,
    -- Null while it is not known whose it is.
    partner_id uuid,
    direction text not null check (direction in ('in', 'out')),
    party text not null,
    kind text not null,
    -- What it belongs to, once known.
    disbursement_id uuid,
    payout_id uuid,
    query_id uuid,
    token text,
    peer text,
    -- It came from an address that is allowed for its party (rule A6).
    trusted boolean not null default false,
    headers jsonb,
    http_status int,
    -- Encrypted, secret fields cut out; the hash is of the whole as it arrived (rule D1).
    body_enc bytea,
    body_hash bytea,
    at timestamptz not null,
    -- stored: to be weighed; weighed: understood; unmatched: waits for what it belongs to; parked: a person.
    state text not null check (state in ('stored', 'weighed', 'unmatched', 'parked')),
    outcome text,
    tries int not null default 0,
    due_at timestamptz,
    weighed_at timestamptz
);
create index messages_due on messages (due_at, id) where due_at is not null;
create index messages_by_disbursement on messages (disbursement_id, id) where disbursement_id is not null;
create index messages_by_payout on messages (payout_id, id) where payout_id is not null;
call pv_protect('messages', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- Business events. Numbered by one sequencer below the oldest running transaction, so that a reader's cursor never skips a
-- late commit (docs/decisions/0005).
create table outbox (
    id uuid primary key,
    partner_id uuid,
    kind text not null,
    subject uuid not null,
    payload jsonb not null,
    at timestamptz not null,
    xid xid8 not null default pg_current_xact_id()
);
create index outbox_order on outbox (xid, id);
create table outbox_sequence (
    seq bigint primary key,
    event_id uuid not null unique references outbox(id),
    partner_id uuid
);
create table outbox_cursors (
    consumer text primary key,
    seq bigint not null,
    xid xid8 not null default '0',
    event_id uuid not null default '00000000-0000-0000-0000-000000000000'
);
insert into outbox_cursors (consumer, seq) values ('sequencer', 0), ('sms', 0);
call pv_protect('outbox', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
call pv_protect('outbox_sequence', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
grant select, update, insert on outbox_cursors to pv_worker;

create table sms_notifications (
    id uuid primary key,
    partner_id uuid not null references partners(id),
    recipient_phone varchar(20) not null,
    message_type varchar(50) not null,
    message_content text not null,
    status varchar(20) not null default 'pending' check (status in ('pending', 'sent', 'delivered', 'failed')),
    state text not null default 'queued' check (state in ('queued', 'accepted', 'submitted', 'buffered', 'no_report', 'delivered', 'undelivered', 'expired', 'rejected')),
    damza_reference varchar(100),
    damza_sender_id varchar(50),
    event_id uuid not null,
    disbursement_id uuid,
    language char(2) not null default 'en',
    segments int,
    gateway_segments int,
    cost_e4 bigint,
    tries int not null default 0,
    handovers int not null default 0,
    last_error text,
    due_at timestamptz,
    fence bigint not null default 0,
    handed_over_at timestamptz,
    delivered_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- One message per event, recipient and type, for ever.
    unique (event_id, recipient_phone, message_type)
);
create index sms_notifications_due on sms_notifications (due_at, id) where due_at is not null;
create index sms_notifications_reference on sms_notifications (damza_reference) where damza_reference is not null;
create index sms_notifications_by_disbursement on sms_notifications (disbursement_id) where disbursement_id is not null;
create index sms_notifications_list on sms_notifications (partner_id, created_at desc, id desc);
call pv_protect('sms_notifications', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- Something a person must settle (rule D8).
create table items (
    id uuid primary key,
    partner_id uuid,
    kind text not null,
    subject uuid not null,
    title text not null,
    detail text not null,
    suggested_action text not null,
    link text not null,
    amount_minor bigint,
    -- watch: on the list; page: somebody is called.
    urgency text not null default 'watch' check (urgency in ('watch', 'page')),
    owner text not null default 'operations',
    opened_at timestamptz not null,
    closed_at timestamptz,
    closed_by text,
    resolution text
);
create unique index items_open on items (kind, subject) where closed_at is null;
create index items_list on items (partner_id, opened_at, id) where closed_at is null;
create index items_by_subject on items (subject);
call pv_protect('items', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- What happened to a disbursement, in order, for the timeline: one row per state change or decision.
create table disbursement_events (
    id uuid primary key,
    partner_id uuid not null,
    disbursement_id uuid not null,
    at timestamptz not null,
    lane text not null,
    what text not null,
    detail text,
    message_id uuid,
    foreign key (partner_id, disbursement_id) references disbursements (partner_id, id)
);
create index disbursement_events_list on disbursement_events (disbursement_id, id);
call pv_protect('disbursement_events', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
