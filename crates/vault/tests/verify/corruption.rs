//! Each check is checked: one row is changed behind everybody's back, the verifier names it, the row is mended, the verifier is content.

use std::collections::BTreeSet;

use pv_database::cluster::ADMIN;
use pv_vault::reconciliation::{core_check, verify};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::world::World;

struct Fault {
    /// The check that must find it.
    code: &'static str,
    /// The row that must be named.
    row: &'static str,
    /// What is done to it.
    plant: &'static str,
}

macro_rules! fault {
    ($code:literal, $row:literal, $plant:literal) => {
        Fault { code: $code, row: $row, plant: $plant }
    };
}

const FAULTS: &[Fault] = &[
    fault!(
        "live_payout_hold",
        "select id::text from payouts where state = 'unknown'",
        "update ledger_transfers set amount = amount + 100 where movement = 'p1_payout_prepared' and subject = (select id from payouts where state = 'unknown')"
    ),
    fault!(
        "hold_without_owner",
        "select t.id::text from ledger_transfers t join payouts p on p.id = t.subject where p.state = 'unknown' and t.movement = 'p1_payout_prepared'",
        "update payouts set state = 'not_paid' where state = 'unknown'"
    ),
    fault!(
        "paid_payout_posted",
        "select p.id::text from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101'",
        "delete from ledger_transfers where movement = 'p3_paid' and subject = (select p.id from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101')"
    ),
    fault!(
        "unpaid_payout_posted",
        "select t.id::text from ledger_transfers t join payouts p on p.id = t.subject join disbursements d on d.id = p.disbursement_id where d.loan_id = '101' and t.movement = 'p3_paid'",
        "update payouts set state = 'not_paid' where disbursement_id = (select id from disbursements where loan_id = '101')"
    ),
    fault!(
        "not_paid_hold",
        "select p.id::text from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '107'",
        "delete from ledger_transfers where movement = 'p4_not_paid' and subject = (select p.id from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '107')"
    ),
    fault!(
        "not_paid_proof",
        "select p.id::text from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '107'",
        "delete from payout_proofs where disbursement_id = (select id from disbursements where loan_id = '107')"
    ),
    fault!(
        "proof_of_live_payout",
        "select f.id::text from payout_proofs f join disbursements d on d.id = f.disbursement_id where d.loan_id = '107'",
        "update payout_proofs set payout_id = (select id from payouts where state = 'unknown') where disbursement_id = (select id from disbursements where loan_id = '107')"
    ),
    fault!(
        "attempt_without_proof",
        "select id::text from payouts where state = 'unknown'",
        "update payouts set prior_proof_id = (select f.id from payout_proofs f join disbursements d on d.id = f.disbursement_id where d.loan_id = '107') where state = 'unknown'"
    ),
    fault!(
        "two_live_payouts",
        "select id::text from payouts where state = 'unknown'",
        "update payouts set state = 'accepted' where attempt = 1 and disbursement_id = (select id from disbursements where loan_id = '102')"
    ),
    fault!("live_payout_differs", "select id::text from payouts where state = 'unknown'", "update payouts set msisdn = '254700000099' where state = 'unknown'"),
    fault!(
        "submission_numbers",
        "select id::text from payouts where state = 'unknown'",
        "update submissions set number = 3 where payout_id = (select id from payouts where state = 'unknown')"
    ),
    fault!(
        "submission_contradicts",
        "select s.id::text from submissions s join payouts p on p.id = s.payout_id join disbursements d on d.id = p.disbursement_id where d.loan_id = '101'",
        "update submissions set conversation_id = 'AG_other' where payout_id = (select p.id from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101')"
    ),
    fault!(
        "receipt_twice",
        "select p.id::text from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101'",
        "update payouts set receipt = (select receipt from disbursements where loan_id = '104') where disbursement_id = (select id from disbursements where loan_id = '101')"
    ),
    fault!("paid_disbursement", "select id::text from disbursements where loan_id = '101'", "update disbursements set receipt = 'TAMPERED01' where loan_id = '101'"),
    fault!("paying_disbursement", "select id::text from disbursements where loan_id = '102'", "update disbursements set attempts = 3 where loan_id = '102'"),
    fault!("status_word", "select id::text from disbursements where loan_id = '102'", "update disbursements set status = 'not_paid' where loan_id = '102'"),
    fault!(
        "charges",
        "select id::text from disbursements where loan_id = '101'",
        "update disbursements set quote = jsonb_set(quote, '{from_wallet}', '\"7.41\"') where loan_id = '101'"
    ),
    fault!("charges_of_state", "select id::text from disbursements where loan_id = '107'", "update disbursements set charges = 'taken' where loan_id = '107'"),
    fault!(
        "charges_split",
        "select t.id::text from ledger_transfers t join disbursements d on d.id = t.subject where d.loan_id = '101' and t.movement = 'c2_fee'",
        "update ledger_transfers set amount = amount + 1 where movement = 'c2_fee' and subject = (select id from disbursements where loan_id = '101')"
    ),
    fault!(
        "booking_of_paid",
        "select id::text from disbursements where loan_id = '101'",
        "update bookings set gross_minor = gross_minor - 50 where loan_id = '101'"
    ),
    fault!(
        "booking_posted",
        "select id::text from disbursements where loan_id = '101'",
        "delete from ledger_transfers where movement = 'p13_cents' and subject = (select id from disbursements where loan_id = '101')"
    ),
    fault!(
        "nothing_to_book",
        "select id::text from disbursements where core_id is null",
        "update ledger_transfers set amount = amount - 100 where movement = 'p5_nothing_to_book'"
    ),
    fault!(
        "undone_without_item",
        "select t.id::text from ledger_transfers t where t.movement = 'p12_undone'",
        "update items set closed_at = opened_at where kind = 'undone_in_core'"
    ),
    fault!("loan_twice", "select id::text from disbursements where loan_id = '107'", "update disbursements set loan_id = '104' where loan_id = '107'"),
    fault!("generation_too_early", "select id::text from disbursements where loan_id = '107'", "update disbursements set generation = 2 where loan_id = '107'"),
    fault!("amounts", "select id::text from disbursements where loan_id = '107'", "update disbursements set gross_minor = 100 where loan_id = '107'"),
    fault!("sighting_link", "select id::text from loan_sightings", "update loan_sightings set loan_id = '999'"),
    fault!("held_without_item", "select id::text from disbursements where loan_id = '105'", "update items set closed_at = opened_at where kind = 'held'"),
    fault!(
        "booking_person_without_item",
        "select id::text from disbursements where loan_id = '103'",
        "update bookings set state = 'person' where loan_id = '103'"
    ),
    fault!("double_paid_without_item", "select id::text from payouts where double_paid", "delete from items where kind = 'double_paid'"),
    fault!("item_subject", "select id::text from items where kind = 'held'", "update items set subject = gen_random_uuid() where kind = 'held'"),
    fault!(
        "event_sequence",
        "select event_id::text from outbox_sequence where seq = 2",
        "update outbox_sequence set seq = 1000 where seq = 2"
    ),
    fault!("event_not_numbered", "select event_id::text from outbox_sequence where seq = 2", "delete from outbox_sequence where seq = 2"),
    fault!("consumer_ahead", "select 'sms'", "update outbox_cursors set seq = 1000000 where consumer = 'sms'"),
    fault!(
        "text_twice",
        "select id::text from sms_notifications",
        "insert into sms_notifications select (jsonb_populate_record(n, '{\"id\": \"00000000-0000-7000-8000-0000000000aa\"}')).* from sms_notifications n"
    ),
    fault!("text_of_another", "select id::text from sms_notifications", "update sms_notifications set status = 'sent'"),
    fault!("message_link", "select id::text from messages where kind = 'b2c_result'", "update messages set payout_id = gen_random_uuid() where kind = 'b2c_result'"),
    fault!(
        "to_book",
        "select id::text from ledger_accounts where name = 'to_book'",
        "update ledger_transfers set amount = amount + 100 where movement = 'p5_booked' and subject = (select id from disbursements where loan_id = '101')"
    ),
    fault!("account_without_item", "select id::text from ledger_accounts where name = 'recover'", "update items set closed_at = opened_at where kind = 'double_paid'"),
    fault!("customers_covered", "select 'bank_incoming'", "update ledger_transfers set amount = 999999, debit = (select id from ledger_accounts where name = 'difference' and book = 'P') where movement = 'x1_adjusted'"),
    fault!(
        "book_sum",
        "select book from ledger_accounts where name = 'to_book'",
        "update ledger_transfers set credit = (select id from ledger_accounts where name = 'tax') where movement = 'p3_paid' and subject = (select p.id from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101')"
    ),
    fault!(
        "bounded_balance",
        "select id::text from ledger_accounts where name like 'wallet:%'",
        "update ledger_balances set held_minor = held_minor + 1 where account_id = (select id from ledger_accounts where name like 'wallet:%')"
    ),
    fault!(
        "transfer_subject",
        "select id::text from ledger_transfers where movement = 'p13_cents'",
        "update ledger_transfers set subject = gen_random_uuid() where movement = 'p13_cents'"
    ),
    fault!(
        "difference_without_item",
        "select '00000000-0000-7000-8000-0000000000bb'",
        "insert into ledger_transfers select (jsonb_populate_record(t, jsonb_build_object('id', '00000000-0000-7000-8000-0000000000bb', 'movement', 'f2_unexplained', 'subject', s.id))).*
         from ledger_transfers t, mpesa_shortcodes s where t.movement = 'p13_cents'"
    ),
    fault!("rail_id", "select id::text from payouts where state = 'unknown'", "update payouts set rail_id = 'pv-other' where state = 'unknown'"),
    fault!("rail_token", "select id::text from payouts where state = 'unknown'", "update payouts set token = repeat('0', 32) where state = 'unknown'"),
    fault!(
        "booking_id",
        "select p.id::text from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101'",
        "update bookings set external_id = 'other' where loan_id = '101'"
    ),
];

/// The tables that faults are planted in.
const TABLES: &[&str] = &[
    "disbursements",
    "payouts",
    "payout_proofs",
    "submissions",
    "bookings",
    "items",
    "messages",
    "sms_notifications",
    "loan_sightings",
    "outbox_sequence",
    "outbox_cursors",
    "ledger_transfers",
    "ledger_balances",
];

async fn run(conn: &mut PgConnection, sql: impl Into<String>) {
    let sql = sql.into();
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.clone()))).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Nothing stands in the way of a bad row any more, and every row is kept aside.
async fn loosen(admin: &mut PgConnection) {
    run(admin, "set session_replication_role = replica; create schema aside").await;
    for kind in ["f", "c", "u"] {
        for table in TABLES {
            run(
                admin,
                format!(
                    "do $$ declare c record; begin
                         for c in select conrelid::regclass as tab, conname from pg_constraint
                                  where contype = '{kind}' and ('{table}'::regclass in (conrelid, confrelid)) loop
                             execute format('alter table %s drop constraint %I', c.tab, c.conname);
                         end loop;
                     end $$"
                ),
            )
            .await;
        }
    }
    run(
        admin,
        "drop index payouts_one_live; drop index items_open; drop index ledger_transfers_resolves; drop index if exists disbursements_reference",
    )
    .await;
    for table in TABLES {
        run(admin, format!("create table aside.{table} as select * from {table}")).await;
    }
}

/// Puts every row back as it was.
async fn mend(admin: &mut PgConnection) {
    for table in TABLES {
        let columns: String = sqlx::query_scalar("select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''")
            .bind(*table)
            .fetch_one(&mut *admin)
            .await
            .unwrap();
        run(admin, format!("delete from {table}; insert into {table} ({columns}) select {columns} from aside.{table}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_row_is_named_and_mended_the_verifier_is_content() {
    let world = World::full().await;
    world.loans.change("104", |loan| loan.disbursements[0].reversed = true);
    core_check::check_now(&world.engine).await.unwrap();
    let clean = verify::verify(&world.engine).await.unwrap();
    assert!(clean.is_clean(), "{}", clean.render());
    assert!(clean.checked.payouts >= 9 && clean.checked.transfers > 30 && clean.checked.bookings == 4, "{:?}", clean.checked);

    let mut admin = PgConnection::connect(&world.database.url(ADMIN)).await.unwrap();
    loosen(&mut admin).await;
    let mut tried = BTreeSet::new();
    for fault in FAULTS {
        let row: String = sqlx::query_scalar(fault.row).fetch_one(&mut admin).await.unwrap_or_else(|e| panic!("{}: {e}", fault.row));
        let done = admin.execute(sqlx::raw_sql(fault.plant)).await.unwrap_or_else(|e| panic!("{}: {e}", fault.plant));
        assert_eq!(done.rows_affected(), 1, "one row, no more: {}", fault.plant);
        let report = verify::verify(&world.engine).await.unwrap();
        let named = report.findings.iter().any(|f| f.code == fault.code && (f.row.contains(&row) || f.found.contains(&row)));
        assert!(named, "{} of {row} by {}:\n{}", fault.code, fault.plant, report.render());
        mend(&mut admin).await;
        tried.insert(fault.code);
    }
    let report = verify::verify(&world.engine).await.unwrap();
    assert!(report.is_clean(), "mended: {}", report.render());
    assert_eq!(tried, verify::codes().collect::<BTreeSet<_>>(), "each check has found a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_for_some_partners_looks_at_theirs_alone() {
    let mut world = World::full().await;
    let mut admin = PgConnection::connect(&world.database.url(ADMIN)).await.unwrap();
    run(&mut admin, "update payouts set token = repeat('0', 32) where state = 'unknown'").await;
    assert_eq!(verify::verify(&world.engine).await.unwrap().findings.len(), 1);
    world.engine.only_partners = Some(vec![world.engine.id()]);
    let report = verify::verify(&world.engine).await.unwrap();
    assert!(report.is_clean(), "{}", report.render());
    assert_eq!(report.checked.payouts, 0);
    world.engine.only_partners = Some(vec![world.partner.uuid()]);
    let report = verify::verify(&world.engine).await.unwrap();
    assert_eq!(report.findings.iter().map(|f| (f.code.as_str(), f.partner)).collect::<Vec<_>>(), [("rail_token", Some(world.partner))]);
}
