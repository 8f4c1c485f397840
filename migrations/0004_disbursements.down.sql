drop table stops, bookings, rail_queries, submissions;
alter table payout_proofs drop constraint payout_proofs_partner_id_payout_id_fkey;
drop table payouts, payout_proofs;
alter table loan_sightings drop constraint loan_sightings_partner_id_disbursement_id_fkey;
drop table client_phones, disbursements, loan_sightings;
