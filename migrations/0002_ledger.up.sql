-- The ledger: accounts, transfers, the locked balances of bounded accounts, and what is folded behind the log.
--
-- A transfer is one row that never changes: a debit, a credit, an amount. A hold is a row of kind `pending`; it ends by a
-- second row, `post` or `void`, that names it. Everything else here can be computed again from ledger_transfers, and the
-- verifier of pv-ledger does so. Sign convention of every balance and delta below: credits minus debits.

create table ledger_accounts (
    -- Made from SHA-256 of "book|name" (version 8), so that code can name an account without asking.
    id uuid primary key,
    -- 'P', the platform's own book, or 'M:{partner}', the mirror of a partner's money outside. Never mixed.
    book text not null check (book = 'P' or book ~ '^M:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'),
    name text not null check (length(name) between 1 and 120),
    -- Asset, liability, income, expense, equity, difference (two-sided).
    kind char(1) not null check (kind in ('A', 'L', 'I', 'E', 'Q', 'D')),
    currency char(3) not null,
    -- A command may not take a bounded account below zero (rule B6). Only these have a row in ledger_balances.
    bounded boolean not null,
    partner_id uuid references partners (id),
    opened_at timestamptz not null,
    unique (book, name),
    unique (id, book)
);
create index ledger_accounts_by_partner on ledger_accounts (partner_id) where partner_id is not null;

create table ledger_transfers (
    -- Version 7, and rising within a batch.
    id uuid primary key,
    book text not null,
    -- What the transfer is about, what it does there, and for the how-manieth time: once, for ever.
    subject uuid not null,
    movement text not null check (length(movement) between 1 and 80),
    generation int not null check (generation >= 1),
    kind text not null check (kind in ('posted', 'pending', 'post', 'void')),
    debit uuid not null,
    credit uuid not null check (credit <> debit),
    amount bigint not null check (amount > 0),
    -- The hold that this row ends. Unique: a hold ends once.
    resolves uuid,
    -- It already happened outside: no bound refuses it (rule B6).
    fact boolean not null,
    evidence uuid,
    corrects uuid references ledger_transfers (id),
    detail jsonb,
    partner_id uuid,
    -- When it happened in the business, and when it was written.
    at timestamptz not null,
    recorded_at timestamptz not null,
    xid xid8 not null default pg_current_xact_id(),
    unique (subject, movement, generation),
    check ((kind in ('post', 'void')) = (resolves is not null)),
    check (not fact or kind = 'posted')
);
create unique index ledger_transfers_resolves on ledger_transfers (resolves) where resolves is not null;
-- The order of the fold. Grows at its right end only.
create index ledger_transfers_fold on ledger_transfers (xid, id);
create index ledger_transfers_corrects on ledger_transfers (corrects) where corrects is not null;

-- Both accounts of a transfer are of its book; and what ends a hold repeats its accounts, book and amount. Checked once for all
-- rows of a statement, in place of foreign keys: those cost 7 of 15 microseconds a row and lock busy accounts' rows, this one 1.
-- It holds as strictly, because nothing that it looks at can be changed or deleted afterwards (append-only, below).
create function ledger_check_written() returns trigger language plpgsql as $$
begin
    if exists (
        select from (select debit as id, book from written union select credit, book from written) n
        where not exists (select from ledger_accounts a where a.id = n.id and a.book = n.book)
    ) then
        raise exception 'a transfer names an account that is not of its book'
            using errcode = 'foreign_key_violation', constraint = 'ledger_transfers_account', table = 'ledger_transfers';
    end if;
    if exists (
        select from written n
        where n.resolves is not null and not exists (
            select from ledger_transfers p
            where p.id = n.resolves and p.kind = 'pending'
              and (p.book, p.debit, p.credit, p.amount) = (n.book, n.debit, n.credit, n.amount)
        )
    ) then
        raise exception 'a transfer ends a hold that does not exist or differs from it'
            using errcode = 'foreign_key_violation', constraint = 'ledger_transfers_hold', table = 'ledger_transfers';
    end if;
    return null;
end $$;
create trigger ledger_transfers_written after insert on ledger_transfers referencing new table as written
    for each statement execute function ledger_check_written();

-- Nobody changes what has been written, whatever was granted to him by mistake.
create function ledger_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'table % is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end $$;
create trigger ledger_transfers_append_only before update or delete or truncate on ledger_transfers
    for each statement execute function ledger_append_only();
create trigger ledger_accounts_append_only before update or delete or truncate on ledger_accounts
    for each statement execute function ledger_append_only();

-- The balances that refuse a command, locked while a batch decides. A fact may drive them negative, so nothing is checked here.
create table ledger_balances (
    account_id uuid primary key references ledger_accounts (id),
    posted_minor bigint not null,
    -- Pending debits. Pending credits count for nothing until they are posted.
    held_minor bigint not null check (held_minor >= 0),
    partner_id uuid,
    changed_at timestamptz not null
) with (fillfactor = 50);

-- Behind the log: the statement of every account, with its running balance.
create table ledger_entries (
    account_id uuid not null,
    position bigint not null,
    transfer_id uuid not null,
    delta_minor bigint not null,
    balance_minor bigint not null,
    at timestamptz not null,
    partner_id uuid,
    primary key (account_id, position)
);
create index ledger_entries_by_time on ledger_entries (account_id, at) include (delta_minor);

create table ledger_folds (
    account_id uuid primary key,
    balance_minor bigint not null,
    position bigint not null,
    partner_id uuid
) with (fillfactor = 50);

-- Holds that the fold has seen begin and not end.
create table ledger_open_holds (
    transfer_id uuid primary key,
    book text not null,
    debit uuid not null,
    credit uuid not null,
    amount bigint not null,
    partner_id uuid
);
create index ledger_open_holds_by_debit on ledger_open_holds (debit);
create index ledger_open_holds_by_book on ledger_open_holds (book);

-- How far the fold has come in the order (xid, id). It never passes a transaction that is still running.
create table ledger_fold_cursor (
    one boolean primary key default true check (one),
    xid xid8 not null,
    transfer_id uuid not null,
    folded_at timestamptz
);
insert into ledger_fold_cursor (xid, transfer_id) values ('0', '00000000-0000-0000-0000-000000000000');

call pv_protect('ledger_accounts', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
call pv_protect('ledger_transfers', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
call pv_protect('ledger_balances', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');
call pv_protect('ledger_entries', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert');
call pv_protect('ledger_folds', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, update');
call pv_protect('ledger_open_holds', 'partner_id = pv_partner() or pv_platform()', 'select', 'select, insert, delete');
-- The cursor is nobody's: every reader needs it to know where the folded part ends.
call pv_protect('ledger_fold_cursor', 'true', 'select', 'select, update');
