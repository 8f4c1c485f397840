-- no-transaction
create index concurrently note_partner on note (partner_id);
