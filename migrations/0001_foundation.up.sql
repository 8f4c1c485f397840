-- Foundation: who may see what, partners, people, keys, audit, idempotency, settings.
--
-- The roles pv_owner, pv_web and pv_worker exist before this migration (the migrator makes them; they belong to the cluster).
-- pv_owner owns the objects. pv_web serves requests and sees one partner at a time. pv_worker moves money. None is a superuser,
-- none bypasses row-level security.

grant usage on schema public to pv_web, pv_worker;

-- The partner of the running web transaction, set by the guarded begin.
create function pv_partner() returns uuid language sql stable parallel safe
    return nullif(current_setting('pv.partner_id', true), '')::uuid;

-- Whether the running web transaction is the platform's own.
create function pv_platform() returns boolean language sql stable parallel safe
    return coalesce(current_setting('pv.platform', true), '') = 'on';

-- Puts a table under row-level security and grants. `visible` is the condition for the web role.
create procedure pv_protect(tab regclass, visible text, web text, worker text) language plpgsql as $$
begin
    execute format('alter table %s enable row level security', tab);
    execute format('alter table %s force row level security', tab);
    execute format('create policy owner_all on %s to pv_owner using (true) with check (true)', tab);
    execute format('create policy worker_all on %s to pv_worker using (true) with check (true)', tab);
    execute format('create policy web_tenant on %s to pv_web using (%s) with check (%s)', tab, visible, visible);
    if web <> '' then execute format('grant %s on %s to pv_web', web, tab); end if;
    if worker <> '' then execute format('grant %s on %s to pv_worker', worker, tab); end if;
end $$;

create table partners (
    id uuid primary key,
    name text not null check (length(name) between 2 and 120),
    short_name text not null check (length(short_name) between 2 and 30),
    status text not null default 'active' check (status in ('active', 'suspended', 'closing', 'closed')),
    zone text not null default 'Africa/Nairobi',
    -- Limits and switches (vault::partner::policy), unknown keys refused by the code.
    policy jsonb not null default '{}',
    notification_phones jsonb not null default '[]',
    created_at timestamptz not null,
    updated_at timestamptz not null
);
call pv_protect('partners', 'id = pv_partner() or pv_platform()', 'select, insert, update', 'select, insert, update');

create table roles (
    name text primary key,
    scope text not null check (scope in ('platform', 'partner')),
    description text not null
);
create table role_permissions (
    role text not null references roles(name),
    permission text not null,
    primary key (role, permission)
);
grant select on roles, role_permissions to pv_web, pv_worker;

insert into roles (name, scope, description) values
    ('platform_admin', 'platform', 'Everything of the platform'),
    ('operations', 'platform', 'Runs the platform from day to day'),
    ('finance', 'platform', 'Money, reconciliation and corrections of the platform'),
    ('auditor', 'platform', 'Reads everything, changes nothing'),
    ('partner_admin', 'partner', 'Runs one partner and its users'),
    ('maker', 'partner', 'Starts payments'),
    ('checker', 'partner', 'Approves what makers start'),
    ('viewer', 'partner', 'Reads one partner');

insert into role_permissions (role, permission)
select r.role, p.permission from (values
    ('platform_admin', array['partners.read','partners.write','connections.read','connections.write','disbursements.read','disbursements.create','disbursements.act','disbursements.resolve','disbursements.approve','items.read','items.act','stop.set','wallet.read','wallet.adjust','keys.write','audit.read','float.authorise','quarantine.release']),
    ('operations', array['partners.read','connections.read','connections.write','disbursements.read','disbursements.act','disbursements.resolve','disbursements.approve','items.read','items.act','stop.set','wallet.read','quarantine.release']),
    ('finance', array['partners.read','disbursements.read','disbursements.resolve','disbursements.approve','items.read','items.act','wallet.read','wallet.adjust']),
    ('auditor', array['partners.read','connections.read','disbursements.read','items.read','wallet.read','audit.read']),
    ('partner_admin', array['connections.read','connections.write','disbursements.read','disbursements.create','disbursements.act','disbursements.approve','items.read','items.act','stop.set','wallet.read','keys.write','audit.read','float.authorise']),
    ('maker', array['connections.read','disbursements.read','disbursements.create','disbursements.act','items.read','wallet.read']),
    ('checker', array['connections.read','disbursements.read','disbursements.approve','disbursements.act','items.read','items.act','wallet.read']),
    ('viewer', array['connections.read','disbursements.read','items.read','wallet.read'])
) as r(role, permissions), unnest(r.permissions) as p(permission);

create table users (
    id uuid primary key,
    partner_id uuid references partners(id),
    name text not null,
    email text not null unique check (length(email) <= 255),
    phone text check (phone ~ '^254[17][0-9]{8}$'),
    role text not null references roles(name),
    status text not null default 'active' check (status in ('invited', 'active', 'disabled')),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index users_by_partner on users (partner_id);
call pv_protect('users', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select');

create table api_keys (
    id uuid primary key,
    partner_id uuid references partners(id),
    label text not null,
    environment text not null check (environment in ('sandbox', 'production')),
    -- What is shown of the key, to recognise it: never enough to use it.
    prefix text not null,
    -- SHA-256 of the whole key. The key itself is shown once and kept nowhere.
    key_hash bytea not null unique check (length(key_hash) = 32),
    role text not null references roles(name),
    addresses jsonb not null default '[]',
    limits jsonb not null default '{}',
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz not null,
    created_by text not null
);
create index api_keys_by_partner on api_keys (partner_id);
call pv_protect('api_keys', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, insert, update');

create table audit_log (
    id uuid primary key,
    partner_id uuid,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text,
    reason text,
    before jsonb,
    after jsonb,
    request_id text,
    address text
);
create index audit_log_by_partner on audit_log (partner_id, id);
call pv_protect('audit_log', 'partner_id = pv_partner() or pv_platform()', 'select, insert', 'select, insert');

create table idempotency_keys (
    -- The platform's own commands stand under the nil UUID.
    partner_id uuid not null,
    environment text not null,
    route text not null,
    key text not null check (length(key) between 1 and 255),
    fingerprint bytea not null,
    -- null while the first request is still running
    status int,
    resource_id uuid,
    response jsonb,
    created_at timestamptz not null,
    locked_until timestamptz not null,
    primary key (partner_id, environment, route, key)
);
call pv_protect('idempotency_keys', 'partner_id = pv_partner() or pv_platform()', '', 'select, insert, update');

-- The platform's own switches: quarantine after a restore, fingerprint of the id key.
create table settings (
    name text primary key,
    value jsonb not null,
    updated_at timestamptz not null
);
grant select on settings to pv_web;
grant select, insert, update on settings to pv_worker;

-- Four eyes: what one person asked for and another decides. The rule as it stood is kept with it.
create table approval_requests (
    id uuid primary key,
    partner_id uuid references partners(id),
    action text not null,
    subject uuid not null,
    payload jsonb not null,
    rule jsonb not null default '{}',
    requested_by text not null,
    requested_at timestamptz not null,
    decision text check (decision in ('approved', 'rejected')),
    decided_by text,
    decided_at timestamptz,
    check ((decision is null) = (decided_by is null)),
    check (decided_by is null or decided_by <> requested_by)
);
create unique index approval_requests_open on approval_requests (action, subject) where decision is null;
create index approval_requests_by_partner on approval_requests (partner_id, requested_at);
call pv_protect('approval_requests', 'partner_id = pv_partner() or pv_platform()', 'select, insert, update', 'select, insert, update');
