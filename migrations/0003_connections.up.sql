-- Connections of partners to the outside: M-Pesa shortcodes and credentials, Mifos X hosts, products, SMS settings, tariffs.
-- Columns that end in _enc, and those the requirements call encrypted, hold envelopes (vault::secret), never clear text.

create table mpesa_shortcodes (
    id uuid primary key,
    partner_id uuid not null references partners(id),
    shortcode text not null check (shortcode ~ '^[0-9]{5,7}$'),
    environment text not null check (environment in ('sandbox', 'production')),
    base_url text not null check (length(base_url) <= 300),
    -- Who pays Safaricom's tariff (rule B4): the partner's own M-Pesa account, or we do and take it from the wallet.
    tariff_payer text not null default 'rail' check (tariff_payer in ('rail', 'platform')),
    requests_per_second int not null default 5 check (requests_per_second between 1 and 500),
    is_active boolean not null default true,
    is_default boolean not null default true,
    -- Sending is off until a person releases it (rule A21).
    quarantined_at timestamptz,
    -- The last balances the rail reported, per account, in minor units, and when.
    utility_minor bigint,
    working_minor bigint,
    charges_minor bigint,
    balances_at timestamptz,
    next_balance_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (environment, shortcode),
    unique (partner_id, id)
);
create unique index mpesa_shortcodes_default on mpesa_shortcodes (partner_id) where is_default and is_active;
call pv_protect('mpesa_shortcodes', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, insert, update');

create table mpesa_credentials (
    id uuid primary key,
    partner_id uuid not null,
    shortcode_id uuid not null,
    version int not null check (version >= 1),
    consumer_key_enc text not null,
    consumer_secret_enc text not null,
    initiator text not null,
    -- The encrypted initiator password as it goes on the wire: made once per version, so a repeat is byte-identical (rule A5).
    security_credential_enc text not null,
    passkey_enc text,
    certificate text,
    password_set_on date,
    is_active boolean not null default true,
    -- A code that means our credential stops every send on it (rule A19).
    halted_at timestamptz,
    halt_code text,
    -- After a change or a stop, one send at a time until one succeeds (rule A19).
    careful boolean not null default true,
    created_at timestamptz not null,
    created_by text not null,
    retired_at timestamptz,
    unique (shortcode_id, version),
    unique (partner_id, id),
    foreign key (partner_id, shortcode_id) references mpesa_shortcodes (partner_id, id)
);
create unique index mpesa_credentials_active on mpesa_credentials (shortcode_id) where is_active;
call pv_protect('mpesa_credentials', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, update');

-- One connection to one core. The id is core_id of rule A1: immutable; connections are retired, never deleted.
create table mifos_partners (
    id uuid primary key,
    partner_id uuid not null references partners(id),
    label text not null default 'Mifos X',
    mifos_host_url varchar(500) not null,
    mifos_username varchar(255) not null,
    mifos_password text not null,
    mifos_tenant_id varchar(100) not null,
    api_endpoint varchar(500) not null default '/fineract-provider/api/v1',
    webhook_url varchar(500),
    -- SHA-256 (hex) of the token: the token itself is shown once. The one before stays good until the overlap ends.
    webhook_secret_token varchar(255),
    webhook_previous_token varchar(255),
    webhook_previous_until timestamptz,
    -- Optional key for an HMAC header on the documented webhook.
    webhook_hmac_enc text,
    sms_notifications_enabled boolean not null default true,
    sms_phone_numbers jsonb not null default '[]',
    is_active boolean not null default true,
    is_default boolean not null default true,
    ca_pem text,
    profile jsonb,
    zone text not null default 'Africa/Nairobi',
    business_date boolean not null default false,
    payment_type_id varchar(50),
    mifos_auto_disbursement_enabled boolean not null default false,
    -- Only approvals made after this moment are paid by themselves (rule A16).
    auto_since timestamptz,
    mifos_max_disbursement_amount numeric(15,2),
    mifos_min_disbursement_amount numeric(15,2),
    poll_seconds int not null default 600 check (poll_seconds between 1 and 86400),
    next_poll_at timestamptz not null,
    poll_lease_until timestamptz,
    last_poll_at timestamptz,
    last_ok_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    retired_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (partner_id, id)
);
create unique index mifos_partners_host on mifos_partners (partner_id, mifos_host_url, mifos_tenant_id) where retired_at is null;
create unique index mifos_partners_default on mifos_partners (partner_id) where is_default and retired_at is null;
create index mifos_partners_token on mifos_partners (webhook_secret_token);
create index mifos_partners_poll on mifos_partners (next_poll_at) where is_active and retired_at is null;
call pv_protect('mifos_partners', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, update');

create table loan_products (
    id uuid primary key,
    partner_id uuid not null,
    mifos_partner_id uuid not null,
    mifos_product_id varchar(100) not null,
    product_name varchar(255) not null,
    is_auto_disbursement_enabled boolean not null default false,
    auto_since timestamptz,
    max_disbursement_amount numeric(15,2),
    min_disbursement_amount numeric(15,2),
    -- Limits as the core states them, refreshed at each fetch.
    core_min numeric(15,2),
    core_max numeric(15,2),
    core_active boolean not null default true,
    currency char(3) not null default 'KES',
    several_disbursements boolean not null default false,
    date_must_match boolean not null default false,
    disbursement_rules jsonb not null default '{}',
    sms_notifications_enabled boolean not null default true,
    fetched_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (mifos_partner_id, mifos_product_id),
    unique (partner_id, id),
    foreign key (partner_id, mifos_partner_id) references mifos_partners (partner_id, id)
);
call pv_protect('loan_products', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, insert, update');

create table partner_sms_settings (
    id uuid primary key,
    partner_id uuid not null unique references partners(id),
    damza_base_url varchar(300) not null,
    damza_api_key text not null,
    damza_sender_id varchar(50) not null check (length(damza_sender_id) <= 11),
    damza_username varchar(255) not null,
    damza_password text not null,
    sms_enabled boolean not null default true,
    low_balance_threshold numeric(15,2) not null default 1000,
    notification_phone_numbers jsonb not null default '[]',
    -- The path token of delivery reports for this account (rule D2).
    report_token text not null unique,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
call pv_protect('partner_sms_settings', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select');

-- Tariffs are data with validity dates. partner_id null: for everybody without a tariff of their own.
create table tariffs (
    id uuid primary key,
    partner_id uuid references partners(id),
    rail text not null,
    kind text not null,
    name text not null,
    valid_from date not null,
    valid_to date,
    created_at timestamptz not null
);
create table tariff_bands (
    tariff_id uuid not null references tariffs(id),
    from_minor bigint not null check (from_minor >= 0),
    to_minor bigint not null,
    charge_minor bigint not null check (charge_minor >= 0),
    primary key (tariff_id, from_minor),
    check (to_minor >= from_minor)
);
-- What the platform takes per payout: system fee, SMS, tax on the fee in basis points.
create table charge_rules (
    id uuid primary key,
    partner_id uuid references partners(id),
    valid_from date not null,
    fee_minor bigint not null check (fee_minor >= 0),
    sms_minor bigint not null check (sms_minor >= 0),
    tax_basis_points int not null check (tax_basis_points between 0 and 10000),
    created_at timestamptz not null
);
call pv_protect('tariffs', 'partner_id is null or partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select');
grant select, insert on tariff_bands to pv_web;
grant select on tariff_bands to pv_worker;
call pv_protect('charge_rules', 'partner_id is null or partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select');

-- Safaricom's B2C tariff, form of August 2023, column "Business" (what the business pays, withdrawal not included).
-- The last band, 150,001 to 250,000, is not on the form and is assumed equal to the one before it.
insert into tariffs (id, rail, kind, name, valid_from, created_at) values
    ('00000000-0000-7000-8000-000000000001', 'mpesa', 'b2c', 'Safaricom B2C, August 2023', '2023-08-01', '2023-08-01T00:00:00Z');
insert into tariff_bands (tariff_id, from_minor, to_minor, charge_minor)
select '00000000-0000-7000-8000-000000000001', b.f * 100, b.t * 100 + 99, b.c * 100 from (values
    (1, 49, 0), (50, 100, 0), (101, 500, 5), (501, 1000, 5), (1001, 1500, 5), (1501, 2500, 9), (2501, 3500, 9),
    (3501, 5000, 9), (5001, 7500, 11), (7501, 10000, 11), (10001, 15000, 11), (15001, 20000, 11), (20001, 25000, 13),
    (25001, 30000, 13), (30001, 35000, 13), (35001, 40000, 13), (40001, 45000, 13), (45001, 50000, 13),
    (50001, 70000, 13), (70001, 150000, 13), (150001, 250000, 13)) as b(f, t, c);
insert into charge_rules (id, valid_from, fee_minor, sms_minor, tax_basis_points, created_at) values
    ('00000000-0000-7000-8000-000000000002', '2023-01-01', 500, 160, 0, '2023-01-01T00:00:00Z');

-- One bearer token per environment and consumer key, renewed by one process at a time (M-Pesa contract 1).
create table provider_tokens (
    key text primary key,
    token_enc text,
    expires_at timestamptz,
    renewed_at timestamptz
);
grant select, insert, update on provider_tokens to pv_worker;
