-- no-transaction
drop index concurrently note_partner;
