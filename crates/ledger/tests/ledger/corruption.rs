//! The verifier is checked: each planted fault, of one row, is named; taken back, the ledger is clean again.

use std::collections::BTreeSet;

use pv_database::cluster::ADMIN;
use pv_ledger::{Finding, Posting, verify};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{Ledger, bank, charge, clearing, end, first_partner, kes, suspense, top_up, transfer, utility, wallet};

/// A fault: the check that must find it, the row that it must name (a text that SQL gives), and how it is planted.
struct Fault {
    code: &'static str,
    row: &'static str,
    plant: &'static str,
}

const fn fault(code: &'static str, row: &'static str, plant: &'static str) -> Fault {
    Fault { code, row, plant }
}

macro_rules! transfer_id {
    ($n:literal) => {
        concat!("select id::text from ledger_transfers where subject = ", subject!($n))
    };
}

macro_rules! subject {
    ($n:literal) => {
        concat!("lpad('", $n, "', 32, '0')::uuid")
    };
}

macro_rules! change {
    ($n:literal, $set:literal) => {
        concat!("update ledger_transfers set ", $set, " where subject = ", subject!($n))
    };
}

macro_rules! account {
    ($name:literal) => {
        concat!("(select id from ledger_accounts where name = '", $name, "')")
    };
}

/// Subjects are written in hexadecimal.
const FAULTS: &[Fault] = &[
    fault("account_id", "select id::text from ledger_accounts where name = 'bank'", "update ledger_accounts set name = 'bench' where name = 'bank'"),
    fault("transfer_amount", transfer_id!("a"), change!("a", "amount = -10")),
    fault("transfer_kind", transfer_id!("5"), change!("5", "kind = 'reserved'")),
    fault("transfer_kind", transfer_id!("4"), change!("4", "fact = true")),
    fault("transfer_kind", transfer_id!("7"), change!("7", "resolves = null")),
    fault("transfer_same_account", transfer_id!("5"), change!("5", "credit = debit")),
    fault("transfer_account", transfer_id!("9"), change!("9", "book = 'P'")),
    fault("transfer_account", transfer_id!("5"), change!("5", "credit = gen_random_uuid()")),
    fault("transfer_account", "select id::text from ledger_accounts where name = 'bank'", "delete from ledger_accounts where name = 'bank'"),
    fault("transfer_currency", transfer_id!("1"), "update ledger_accounts set currency = 'UGX' where name = 'bank'"),
    fault("transfer_partner", transfer_id!("1"), change!("1", "partner_id = null")),
    fault(
        "transfer_key_twice",
        transfer_id!("5"),
        concat!("update ledger_transfers set subject = ", subject!("5"), " where subject = ", subject!("a")),
    ),
    fault("resolution_without_hold", transfer_id!("3"), concat!("delete from ledger_transfers where subject = ", subject!("2"))),
    fault(
        "resolution_without_hold",
        transfer_id!("3"),
        concat!(
            "update ledger_transfers set resolves = (",
            "select id from ledger_transfers where subject = ",
            subject!("1"),
            ") where subject = ",
            subject!("3")
        ),
    ),
    fault("resolution_differs", transfer_id!("3"), change!("3", "amount = 299")),
    fault("resolution_differs", transfer_id!("3"), change!("2", "amount = 301")),
    fault(
        "hold_ended_twice",
        transfer_id!("2"),
        concat!(
            "update ledger_transfers set resolves = (select id from ledger_transfers where subject = ",
            subject!("2"),
            ") where subject = ",
            subject!("7")
        ),
    ),
    fault("corrects_unknown", transfer_id!("8"), change!("8", "corrects = gen_random_uuid()")),
    fault("transfer_time", transfer_id!("5"), change!("5", "recorded_at = recorded_at + interval '25 hours'")),
    fault("transfer_xid", transfer_id!("a"), change!("a", "xid = '999999999999'")),
    fault(
        "balance_row",
        "select id::text from ledger_accounts where name = 'suspense'",
        concat!("delete from ledger_balances where account_id = ", account!("suspense")),
    ),
    fault("balance_row", "select id::text from ledger_accounts where name = 'bank'", "update ledger_accounts set bounded = true where name = 'bank'"),
    fault(
        "balance_posted",
        "select id::text from ledger_accounts where name = 'suspense'",
        concat!("update ledger_balances set posted_minor = posted_minor + 1 where account_id = ", account!("suspense")),
    ),
    fault("balance_posted", "select account_id::text from ledger_balances where held_minor > 0", change!("5", "amount = 49")),
    fault(
        "balance_held",
        "select account_id::text from ledger_balances where held_minor > 0",
        "update ledger_balances set held_minor = held_minor - 1 where held_minor > 0",
    ),
    fault("overdrawn_by_command", "select account_id::text from ledger_balances where held_minor > 0", change!("5", "amount = 5000")),
    fault(
        "entry_without_transfer",
        "select account_id || ' position 2' from ledger_entries where position = 2 limit 1",
        "update ledger_entries set transfer_id = gen_random_uuid() where position = 2",
    ),
    fault(
        "entry_without_transfer",
        concat!("select id || ' is pending' from ledger_transfers where subject = ", subject!("4")),
        concat!("update ledger_entries set transfer_id = (select id from ledger_transfers where subject = ", subject!("4"), ") where position = 2"),
    ),
    fault("transfer_without_entry", transfer_id!("9"), concat!("delete from ledger_entries where account_id = ", account!("utility"))),
    fault("transfer_without_entry", transfer_id!("a"), "update ledger_fold_cursor set xid = xid8 '999999999998'"),
    fault("entry_differs", transfer_id!("9"), concat!("update ledger_entries set delta_minor = -899 where account_id = ", account!("utility"))),
    fault(
        "entry_differs",
        transfer_id!("9"),
        concat!("update ledger_entries set at = at + interval '1 second' where account_id = ", account!("utility")),
    ),
    fault(
        "entry_running",
        "select account_id || ' position 3' from ledger_entries where position = 3 limit 1",
        "update ledger_entries set balance_minor = balance_minor + 1 where position = 3",
    ),
    fault(
        "entry_running",
        "select id || ' position 5' from ledger_accounts where name = 'suspense'",
        concat!("update ledger_entries set position = 5 where account_id = ", account!("suspense")),
    ),
    fault(
        "fold",
        "select id::text from ledger_accounts where name = 'utility'",
        concat!("update ledger_folds set balance_minor = 0 where account_id = ", account!("utility")),
    ),
    fault(
        "fold",
        "select id::text from ledger_accounts where name = 'utility'",
        concat!("delete from ledger_folds where account_id = ", account!("utility")),
    ),
    fault(
        "fold",
        "select id::text from ledger_accounts where name = 'utility'",
        concat!("update ledger_folds set position = 2 where account_id = ", account!("utility")),
    ),
    fault(
        "book_not_zero",
        "select book from ledger_accounts where name = 'utility'",
        concat!("update ledger_folds set balance_minor = -901 where account_id = ", account!("utility")),
    ),
    fault("open_hold", transfer_id!("4"), "delete from ledger_open_holds"),
    fault("open_hold", transfer_id!("4"), "update ledger_open_holds set amount = amount + 1"),
    fault(
        "tenant",
        "select 'fold of ' || id from ledger_accounts where name = 'utility'",
        concat!("update ledger_folds set partner_id = null where account_id = ", account!("utility")),
    ),
    fault(
        "tenant",
        "select 'balance of ' || id from ledger_accounts where name = 'suspense'",
        concat!("update ledger_balances set partner_id = gen_random_uuid() where account_id = ", account!("suspense")),
    ),
];

/// As a superuser who wants to do harm: without triggers, foreign keys, checks and unique keys of the log.
const LOOSEN: &str = "set local session_replication_role = replica;
    do $$ declare c record; begin
        for c in select conname from pg_constraint where conrelid = 'ledger_transfers'::regclass and contype in ('c', 'u') loop
            execute format('alter table ledger_transfers drop constraint %I', c.conname);
        end loop;
    end $$;
    drop index ledger_transfers_resolves";

async fn run(conn: &mut PgConnection, sql: impl Into<String>) {
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql.into()))).await.unwrap();
}

fn named(findings: &[Finding], fault: &Fault, row: &str) -> bool {
    findings.iter().any(|finding| finding.code == fault.code && (finding.row.contains(row) || finding.found.contains(row)))
}

#[tokio::test]
async fn each_planted_fault_is_named_and_taken_back_the_ledger_is_clean() {
    let ledger = Ledger::new().await;
    let answers = ledger.must_post(&[top_up(1, 1_000), charge(2, 300).hold(), end(2, 3).post(), charge(4, 200).hold(), charge(5, 50).post()]).await;
    let correction = Posting::corrects(transfer(8, clearing(first_partner()), wallet(first_partner()), 50), answers[4].transfer().unwrap());
    ledger.must_post(&[charge(6, 20).hold(), end(6, 7).void(), correction.fact(), transfer(9, utility(), suspense(), 900).fact()]).await;
    ledger.fold(100).await;
    ledger.must_post(&[charge(10, 10).post(), charge(11, 5).hold()]).await;
    ledger.assert_clean().await;
    assert_eq!(ledger.balance(&bank()).await.posted, kes(-1_000));

    let mut admin = PgConnection::connect(&ledger.database.url(ADMIN)).await.unwrap();
    let mut tried = BTreeSet::new();
    for fault in FAULTS {
        run(&mut admin, "begin").await;
        let row: String = sqlx::query_scalar(fault.row).fetch_one(&mut admin).await.unwrap();
        run(&mut admin, LOOSEN).await;
        run(&mut admin, fault.plant).await;
        let findings = verify(&mut admin, None).await.unwrap();
        assert!(named(&findings, fault, &row), "{} of {row} by {}: {findings:#?}", fault.code, fault.plant);
        run(&mut admin, "rollback").await;
        assert_eq!(verify(&mut admin, None).await.unwrap(), [], "after {}", fault.plant);
        tried.insert(fault.code);
    }
    assert_eq!(tried, pv_ledger::verify::codes().collect::<BTreeSet<_>>(), "each check has found a fault");
}

#[tokio::test]
async fn a_scope_limits_the_findings_to_its_books() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 1_000), transfer(9, utility(), suspense(), 900).fact()]).await;
    let mut admin = PgConnection::connect(&ledger.database.url(ADMIN)).await.unwrap();
    run(&mut admin, "update ledger_balances set posted_minor = posted_minor + 1").await;
    let codes = |findings: Vec<Finding>| findings.into_iter().map(|finding| (finding.code, finding.expected)).collect::<Vec<_>>();
    let platform = ledger.verify(Some(&[pv_ledger::Book::Platform])).await;
    let posted = |expected: &str| ("balance_posted", expected.to_owned());
    assert_eq!(codes(platform).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([posted("0"), posted("1000")]));
    let mirror = ledger.verify(Some(&[utility().book])).await;
    assert_eq!(codes(mirror), [posted("900")]);
    assert_eq!(ledger.verify(Some(&[])).await, []);
}
