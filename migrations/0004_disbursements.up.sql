-- The way of a loan: sightings of approvals, disbursements, payouts, submissions, proofs, questions to the rail, bookings.
-- Nothing here is ever deleted. Rows are claimed by moving due_at ahead and raising the fence (docs/decisions/0004).

-- An approval that somebody told us about: hook, webhook, poll or API. Only a hint to read the loan.
create table loan_sightings (
    id uuid primary key,
    partner_id uuid not null,
    core_id uuid not null,
    loan_id text not null check (length(loan_id) between 1 and 60),
    -- All ways in by which it was seen, first one first.
    ways text[] not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    -- What the documented webhook claimed (phone, amount): compared with the loan, never used.
    claimed jsonb,
    -- A person or key asked for it by name: rule A16 does not hold it back.
    asked_by text,
    due_at timestamptz,
    fence bigint not null default 0,
    tries int not null default 0,
    last_error text,
    disbursement_id uuid,
    unique (core_id, loan_id),
    foreign key (partner_id, core_id) references mifos_partners (partner_id, id)
);
create index loan_sightings_due on loan_sightings (due_at, id) where due_at is not null;
call pv_protect('loan_sightings', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

create table disbursements (
    id uuid primary key,
    partner_id uuid not null references partners(id),
    -- Identity (rule A1). Null for a payment that has no loan: then the business reference is unique below.
    core_id uuid,
    loan_id text,
    tranche int not null default 0,
    generation int not null default 1 check (generation >= 1),
    origin text not null check (origin in ('mifos_webhook', 'mifos_hook', 'mifos_poll', 'api', 'manual')),
    reference text check (length(reference) <= 100),
    -- The borrower.
    client_id text,
    client_name text,
    msisdn text check (msisdn ~ '^254[17][0-9]{8}$'),
    product_id text,
    product_name text,
    -- What is paid out and what is booked (rule A17), minor units.
    amount_minor bigint check (amount_minor > 0),
    gross_minor bigint check (gross_minor > 0),
    floored_minor bigint not null default 0 check (floored_minor between 0 and 99),
    currency char(3) not null default 'KES',
    approved_on date,
    expected_on date,
    -- Fingerprint of the approval as last read (rule A15).
    approval text,
    shortcode_id uuid,
    -- The fine truth, and the five words beside it.
    state text not null check (state in ('received', 'waiting', 'held', 'refused', 'paying', 'paid', 'not_paid', 'cancelled', 'returned')),
    status text not null check (status in ('to_do', 'on_its_way', 'paid', 'not_paid', 'not_yet_known')),
    reason text,
    reason_detail text,
    -- Charges locked at reservation (rule B7).
    quote jsonb,
    charges text not null default 'none' check (charges in ('none', 'reserved', 'taken', 'released')),
    charges_generation int not null default 0,
    -- Taken charges are split into their parts behind the log (ledger rule c2).
    charges_split boolean not null default false,
    attempts int not null default 0,
    -- A new attempt not before this moment (rule A8).
    retry_at timestamptz,
    receipt text,
    paid_at timestamptz,
    -- Whether the receiver's name is compared with the client's (rule A18): the partner's rule, or the product's.
    name_check boolean not null default true,
    -- A person may pass certain checks, by name (duplicate, ceiling, phone change, old approval): audited.
    overrides text[] not null default '{}',
    note text,
    due_at timestamptz,
    fence bigint not null default 0,
    tries int not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    created_by text not null,
    unique (partner_id, id),
    unique (core_id, loan_id, tranche, generation),
    foreign key (partner_id, core_id) references mifos_partners (partner_id, id),
    foreign key (partner_id, shortcode_id) references mpesa_shortcodes (partner_id, id),
    check ((core_id is null) = (loan_id is null)),
    check (state in ('received', 'waiting', 'held', 'refused', 'cancelled') or (amount_minor is not null and msisdn is not null and shortcode_id is not null)),
    check (state <> 'paid' or receipt is not null)
);
create unique index disbursements_reference on disbursements (partner_id, reference) where core_id is null;
create index disbursements_due on disbursements (due_at, id) where due_at is not null;
create index disbursements_to_split on disbursements (id) where charges = 'taken' and not charges_split;
create index disbursements_list on disbursements (partner_id, created_at desc, id desc);
create index disbursements_by_phone on disbursements (partner_id, msisdn, amount_minor);
create index disbursements_by_receipt on disbursements (receipt) where receipt is not null;
create index disbursements_open on disbursements (partner_id, state) where state not in ('paid', 'not_paid', 'cancelled', 'refused');
call pv_protect('disbursements', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

alter table loan_sightings add foreign key (partner_id, disbursement_id) references disbursements (partner_id, id);

-- The phone of a client as last read, and since when it reads so: a change within 72 hours holds a payment (rule A15).
create table client_phones (
    partner_id uuid not null,
    core_id uuid not null,
    client_id text not null,
    msisdn text not null,
    previous text,
    changed_at timestamptz,
    seen_at timestamptz not null,
    primary key (core_id, client_id),
    foreign key (partner_id, core_id) references mifos_partners (partner_id, id)
);
call pv_protect('client_phones', 'partner_id = pv_partner() or pv_platform()', '', 'select, insert, update');

-- The stored proof that one payout moved no money (rule A7).
create table payout_proofs (
    id uuid primary key,
    partner_id uuid not null,
    disbursement_id uuid not null,
    attempt int not null,
    payout_id uuid not null unique,
    grade text not null check (grade in ('rail', 'statement', 'attested')),
    source text not null check (source in ('final_result', 'all_refused', 'never_written', 'final_status', 'statement', 'attested')),
    -- The message (or the request for a ruling) that proves it.
    message_id uuid not null,
    detail text not null,
    at timestamptz not null,
    unique (disbursement_id, attempt, id)
);
call pv_protect('payout_proofs', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');

create table payouts (
    id uuid primary key,
    partner_id uuid not null,
    disbursement_id uuid not null,
    attempt int not null check (attempt between 1 and 10),
    -- A new attempt stands on the proof of the one before it (rule A7): the database refuses one without.
    prior_attempt int generated always as (attempt - 1) stored,
    prior_proof_id uuid unique,
    rail text not null,
    -- OriginatorConversationID (rule A3), unique on the platform (rule D5).
    rail_id text not null unique check (length(rail_id) <= 36),
    -- Path token of its callbacks (rule A6): derived like the id, so that a repeat is byte-identical after a restore too.
    token text not null unique check (token ~ '^[0-9a-f]{32}$'),
    shortcode_id uuid not null,
    credential_id uuid not null,
    msisdn text not null,
    amount_minor bigint not null check (amount_minor > 0 and amount_minor % 100 = 0),
    remarks text not null,
    -- SHA-256 (hex) of the body of its first submission: a repeat is byte-identical (rule A5).
    body_hash text,
    state text not null check (state in ('prepared', 'sending', 'accepted', 'unknown', 'paid', 'not_paid')),
    conversation_id text,
    receipt text unique,
    party_name text,
    result_code text,
    result_detail text,
    -- May be sent again under the same id (rule A5): set by the machine, cleared by the send.
    repeat_wanted boolean not null default false,
    -- A person or the policy wants the status asked once more before a new id (rule A8).
    veto text not null default 'none' check (veto in ('none', 'wanted', 'asked', 'clear', 'blocked')),
    veto_tries int not null default 0,
    -- Above the partner's amount, a success is confirmed by status before it is booked (rule A6).
    confirm_wanted boolean not null default false,
    double_paid boolean not null default false,
    returned_at timestamptz,
    prepared_at timestamptz not null,
    first_sent_at timestamptz,
    -- Latest moment at which a request of this payout may still enter the rail: lease end of the last unanswered send,
    -- plus the life of a token, plus five minutes (rule A7).
    sent_until timestamptz,
    ended_at timestamptz,
    asks int not null default 0,
    due_at timestamptz,
    fence bigint not null default 0,
    updated_at timestamptz not null,
    unique (partner_id, id),
    unique (disbursement_id, attempt),
    foreign key (partner_id, disbursement_id) references disbursements (partner_id, id),
    foreign key (partner_id, shortcode_id) references mpesa_shortcodes (partner_id, id),
    foreign key (partner_id, credential_id) references mpesa_credentials (partner_id, id),
    foreign key (disbursement_id, prior_attempt, prior_proof_id) references payout_proofs (disbursement_id, attempt, id),
    check ((attempt = 1) = (prior_proof_id is null)),
    check (state <> 'paid' or receipt is not null)
);
-- Only live payouts are unique per disbursement (rule A10).
create unique index payouts_one_live on payouts (disbursement_id) where state in ('prepared', 'sending', 'accepted', 'unknown');
create index payouts_due on payouts (due_at, id) where due_at is not null;
create index payouts_live on payouts (shortcode_id) where state in ('prepared', 'sending', 'accepted', 'unknown');
create index payouts_by_receiver on payouts (partner_id, msisdn, amount_minor);
create index payouts_by_day on payouts (partner_id, prepared_at);
create index payouts_by_conversation on payouts (conversation_id) where conversation_id is not null;
call pv_protect('payouts', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

alter table payout_proofs add foreign key (partner_id, payout_id) references payouts (partner_id, id);

-- One request on the wire for a payout. A repeat carries the same id (rule A2).
create table submissions (
    id uuid primary key,
    partner_id uuid not null,
    payout_id uuid not null,
    number int not null check (number >= 1),
    -- The fence under which it was sent (rule A4).
    fence bigint not null,
    state text not null check (state in ('sending', 'accepted', 'not_accepted', 'refused', 'duplicate', 'ambiguous', 'lost')),
    started_at timestamptz not null,
    lease_until timestamptz not null,
    answered_at timestamptz,
    http_status int,
    code text,
    message text,
    conversation_id text,
    request_body text,
    response_body text,
    -- Refused because of an old bearer token, which was renewed (rule A4).
    renewed boolean not null default false,
    unique (payout_id, number),
    foreign key (partner_id, payout_id) references payouts (partner_id, id)
);
call pv_protect('submissions', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- One asynchronous question to a rail. It has its own callback path, stored before it is sent (rule D2).
create table rail_queries (
    id uuid primary key,
    partner_id uuid not null,
    shortcode_id uuid not null,
    credential_id uuid,
    kind text not null check (kind in ('status', 'balance')),
    payout_id uuid,
    -- Asked for by a person who typed a receipt (rule A13).
    receipt text,
    purpose text not null check (purpose in ('fate', 'veto', 'confirm', 'receipt', 'balance', 'quarantine')),
    token text not null unique check (token ~ '^[0-9a-f]{32}$'),
    state text not null check (state in ('wanted', 'asking', 'taken', 'not_taken', 'lost', 'answered')),
    conversation_id text,
    asked_at timestamptz not null,
    acknowledged_at timestamptz,
    answered_at timestamptz,
    code text,
    answer text,
    message text,
    -- For balances: the ledger's posted figure of the utility account when the question was put (minor units).
    ledger_minor bigint,
    foreign key (partner_id, shortcode_id) references mpesa_shortcodes (partner_id, id),
    foreign key (partner_id, payout_id) references payouts (partner_id, id),
    unique (partner_id, id)
);
create index rail_queries_by_payout on rail_queries (payout_id) where payout_id is not null;
create index rail_queries_wanted on rail_queries (asked_at, id) where state = 'wanted';
create index rail_queries_balance on rail_queries (shortcode_id, asked_at) where kind = 'balance';
call pv_protect('rail_queries', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- Booking in the core: an independent fact with a life of its own (rule A22).
create table bookings (
    disbursement_id uuid primary key,
    partner_id uuid not null,
    core_id uuid not null,
    loan_id text not null,
    payout_id uuid not null,
    receipt text not null,
    gross_minor bigint not null,
    msisdn text not null,
    paid_at timestamptz not null,
    state text not null check (state in ('due', 'sending', 'unclear', 'parked', 'booked', 'adopted', 'person')),
    outcome text,
    external_id text not null,
    -- The idempotency key of the running effect; a new one only after a replayed failure and a read-back (rule A22).
    idempotency_key text not null,
    keys_used int not null default 1,
    book_on date,
    transaction_id text,
    command_id text,
    tries int not null default 0,
    last_error text,
    due_at timestamptz,
    fence bigint not null default 0,
    booked_at timestamptz,
    -- When the core was last asked whether the booking still stands.
    checked_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    foreign key (partner_id, disbursement_id) references disbursements (partner_id, id),
    foreign key (partner_id, payout_id) references payouts (partner_id, id)
);
create index bookings_due on bookings (due_at, disbursement_id) where due_at is not null;
create index bookings_recheck on bookings (checked_at nulls first, disbursement_id) where state in ('booked', 'adopted');
create index bookings_open on bookings (partner_id, msisdn) where state not in ('booked', 'adopted');
call pv_protect('bookings', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');

-- STOP (rule A20): what must not send. A row is lifted, never deleted.
create table stops (
    id uuid primary key,
    partner_id uuid references partners(id),
    scope text not null check (scope in ('all', 'rail', 'shortcode', 'partner', 'product')),
    -- Name of the rail, id of the shortcode, partner or product row; '*' for all.
    target text not null,
    reason text not null,
    set_by text not null,
    set_at timestamptz not null,
    lifted_by text,
    lifted_at timestamptz
);
create unique index stops_live on stops (scope, target) where lifted_at is null;
call pv_protect('stops', 'partner_id is null or partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');
