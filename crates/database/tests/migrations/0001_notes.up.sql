create table note (
    id bigint generated always as identity primary key,
    partner_id uuid not null,
    body text not null constraint note_body_not_empty check (body <> ''),
    reply_to bigint constraint note_reply_exists references note (id) deferrable initially deferred,
    slug text constraint note_slug_once unique
);
alter table note enable row level security;
alter table note force row level security;
create policy note_worker on note to pv_worker using (true) with check (true);
create policy note_web on note to pv_web using (
    partner_id = nullif(current_setting('pv.partner_id', true), '')::uuid
    or current_setting('pv.platform', true) = 'on'
);
grant select, insert on note to pv_web, pv_worker;
