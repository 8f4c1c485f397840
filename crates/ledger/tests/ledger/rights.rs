//! What the roles may do: the worker writes and never changes, the web reads its own partner, nobody rewrites the log.

use pv_database::{
    Scope,
    cluster::ADMIN,
    migrate::{down, up},
};
use pv_ledger::{Book, Cursor, balance, balances, pending, post_in_tx, statement, transfers_of};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{Ledger, bank, charge, clearing, first_partner, kes, ledger_migrations, now, second_partner, subject, top_up, transfer, wallet};

const DENIED: &str = "42501";

async fn refusal(conn: &mut PgConnection, sql: &'static str) -> String {
    let error = conn.execute(sql).await.unwrap_err();
    error.as_database_error().and_then(|db| db.code().map(String::from)).unwrap_or_default()
}

#[tokio::test]
async fn the_worker_can_neither_change_nor_delete_what_was_written() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 10), charge(2, 3).hold()]).await;
    ledger.fold(10).await;
    for sql in [
        "update ledger_transfers set amount = 11",
        "delete from ledger_transfers",
        "truncate ledger_transfers cascade",
        "update ledger_accounts set bounded = false",
        "delete from ledger_accounts",
        "delete from ledger_balances",
        "update ledger_entries set balance_minor = 0",
        "delete from ledger_entries",
        "delete from ledger_folds",
        "delete from ledger_fold_cursor",
    ] {
        let mut tx = ledger.begin().await;
        assert_eq!(refusal(tx.conn(), sql).await, DENIED, "{sql}");
    }
}

#[tokio::test]
async fn not_even_a_superuser_changes_the_log_by_an_ordinary_statement() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 10)]).await;
    let mut admin = PgConnection::connect(&ledger.database.url(ADMIN)).await.unwrap();
    for sql in [
        "update ledger_transfers set amount = 11",
        "update ledger_transfers set amount = 11 where false",
        "delete from ledger_transfers",
        "truncate ledger_transfers cascade",
        "update ledger_accounts set name = 'other'",
        "delete from ledger_accounts",
    ] {
        assert_eq!(refusal(&mut admin, sql).await, DENIED, "{sql}");
    }
}

#[tokio::test]
async fn the_web_writes_nothing_in_the_ledger() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 10)]).await;
    ledger.fold(10).await;
    for scope in [Scope::Web(first_partner().uuid()), Scope::WebPlatform] {
        let mut tx = ledger.db.begin(scope).await.unwrap();
        let refused = post_in_tx(tx.conn(), &ledger.ids, now(), &[transfer(2, bank(), wallet(first_partner()), 5).fact()]).await;
        assert!(refused.is_err());
        for sql in [
            "insert into ledger_transfers select * from ledger_transfers",
            "insert into ledger_accounts select * from ledger_accounts",
            "update ledger_balances set posted_minor = 1",
            "insert into ledger_entries select * from ledger_entries",
            "update ledger_folds set balance_minor = 1",
            "update ledger_fold_cursor set xid = '0'",
            "delete from ledger_open_holds",
        ] {
            let mut tx = ledger.db.begin(scope).await.unwrap();
            assert_eq!(refusal(tx.conn(), sql).await, DENIED, "{sql}");
        }
    }
    assert_eq!(ledger.count("select count(*) from ledger_transfers").await, 1);
}

#[tokio::test]
async fn a_partner_sees_his_own_money_whole_and_nobody_elses() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 100), charge(2, 30).post(), transfer(3, bank(), wallet(second_partner()), 777).fact(), charge(4, 5).hold()]).await;
    for _ in 0..3 {
        let mut tx = ledger.db.begin(Scope::Web(first_partner().uuid())).await.unwrap();
        let conn = tx.conn();
        assert_eq!(balance(conn, wallet(first_partner()).id()).await.unwrap().unwrap().available, kes(65));
        assert_eq!(balance(conn, clearing(first_partner()).id()).await.unwrap().unwrap().posted, kes(30));
        assert_eq!(balance(conn, wallet(second_partner()).id()).await.unwrap(), None);
        assert_eq!(balance(conn, bank().id()).await.unwrap(), None);
        assert_eq!(balances(conn, Book::Platform).await.unwrap().len(), 2);
        assert_eq!(transfers_of(conn, &[subject(1), subject(2), subject(3)]).await.unwrap().len(), 2);
        assert_eq!(pending(conn, Book::Platform).await.unwrap().len(), 1);
        assert_eq!(statement(conn, wallet(second_partner()).id(), Cursor::Newest, 10).await.unwrap().rows, []);
        assert_eq!(statement(conn, bank().id(), Cursor::Newest, 10).await.unwrap().rows, []);
        let mut platform = ledger.db.begin(Scope::WebPlatform).await.unwrap();
        assert_eq!(balance(platform.conn(), bank().id()).await.unwrap().unwrap().posted, kes(-877));
        drop((tx, platform));
        ledger.fold(2).await;
    }
    let mut tx = ledger.db.begin(Scope::Web(first_partner().uuid())).await.unwrap();
    assert_eq!(statement(tx.conn(), wallet(first_partner()).id(), Cursor::Newest, 10).await.unwrap().rows.len(), 2);
    let nobody = ledger.db.web();
    let rows: i64 = sqlx::query_scalar("select count(*) from ledger_transfers").fetch_one(nobody).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn the_migration_goes_down_with_rows_in_it_and_up_again() {
    let ledger = Ledger::new().await;
    ledger.must_post(&[top_up(1, 10)]).await;
    let (url, migrator) = (ledger.database.url(ADMIN), ledger_migrations());
    down(&url, &migrator, 1).await.unwrap();
    assert_eq!(ledger.count("select count(*) from pg_class where relname like 'ledger%'").await, 0);
    assert_eq!(ledger.count("select count(*) from pg_proc where proname like 'ledger%'").await, 0);
    up(&url, &migrator).await.unwrap();
    assert_eq!(ledger.count("select count(*) from ledger_transfers").await, 0);
}
