//! Scopes, commits, errors and fault points.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pv_database::{CommitHook, ConstraintKind, Crash, Db, DbConfig, DbError, PgConnection, Scope, TestDatabase, Tx, cluster::ADMIN};
use sqlx::{Connection, Executor};
use uuid::Uuid;

use crate::folders::template;

const ANN: Uuid = Uuid::from_u128(1);
const BEN: Uuid = Uuid::from_u128(2);

async fn note(tx: &mut Tx, partner: Uuid, body: &str) -> Result<(), DbError> {
    sqlx::query("insert into note (partner_id, body) values ($1, $2)").bind(partner).bind(body).execute(tx.conn()).await?;
    Ok(())
}

async fn notes_seen(db: &Db, scope: Scope) -> i64 {
    let mut tx = db.begin(scope).await.unwrap();
    sqlx::query_scalar("select count(*) from note").fetch_one(tx.conn()).await.unwrap()
}

#[tokio::test]
async fn a_commit_writes_and_a_drop_or_rollback_does_not() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    for (round, body) in ["committed", "rolled back", "dropped"].iter().enumerate() {
        let mut tx = db.begin(Scope::Worker).await.unwrap();
        note(&mut tx, ANN, body).await.unwrap();
        match round {
            0 => tx.commit().await.unwrap(),
            1 => tx.rollback().await.unwrap(),
            _ => drop(tx),
        }
    }
    let bodies: Vec<String> = sqlx::query_scalar("select body from note").fetch_all(db.worker()).await.unwrap();
    assert_eq!(bodies, ["committed"]);
}

#[tokio::test]
async fn a_commit_after_a_swallowed_error_is_refused_and_nothing_is_written() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut tx = db.begin(Scope::Worker).await.unwrap();
    note(&mut tx, ANN, "good").await.unwrap();
    note(&mut tx, ANN, "").await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, DbError::AbortedTransaction(_)), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(notes_seen(&db, Scope::Worker).await, 0);
}

#[tokio::test]
async fn sqlx_says_ok_to_the_commit_of_a_failed_transaction_which_is_why_tx_does_not_use_it() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut raw = raw_begin(db.worker()).await;
    raw.execute("select 1/0").await.unwrap_err();
    assert!(raw.commit().await.is_ok());
}

#[expect(clippy::disallowed_methods, reason = "shows what the ban is for")]
async fn raw_begin(pool: &sqlx::PgPool) -> sqlx::Transaction<'static, sqlx::Postgres> {
    pool.begin().await.unwrap()
}

#[tokio::test]
async fn a_deferred_constraint_speaks_at_the_commit() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut tx = db.begin(Scope::Worker).await.unwrap();
    tx.conn().execute("insert into note (partner_id, body, reply_to) values (gen_random_uuid(), 'x', 999)").await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(&error, DbError::Constraint { name, kind: ConstraintKind::ForeignKey, .. } if name == "note_reply_exists"), "{error:?}");
    assert_eq!(notes_seen(&db, Scope::Worker).await, 0);
}

#[tokio::test]
async fn a_session_killed_before_the_commit_leaves_the_outcome_unknown_and_the_pool_sound() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut tx = db.begin(Scope::Worker).await.unwrap();
    note(&mut tx, ANN, "x").await.unwrap();
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(tx.conn()).await.unwrap();
    let mut admin = PgConnection::connect(&database.url(ADMIN)).await.unwrap();
    sqlx::query("select pg_terminate_backend($1, 5000)").bind(pid).execute(&mut admin).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, DbError::CommitUnknown(_)), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(notes_seen(&db, Scope::Worker).await, 0);
}

#[tokio::test]
async fn the_scope_is_set_inside_the_transaction_and_gone_after_it() {
    let database = TestDatabase::create(&template()).await;
    let mut config = database.config();
    config.web_connections = 1;
    let db = Db::connect(&config).await.unwrap();
    let settings = "select coalesce(current_setting('pv.partner_id', true), '') || '/' || coalesce(current_setting('pv.platform', true), '') || '/' || current_user";
    for (scope, expected) in
        [(Scope::Web(ANN), format!("{ANN}/off/pv_web")), (Scope::WebPlatform, "/on/pv_web".to_owned()), (Scope::Worker, "//pv_worker".to_owned())]
    {
        let mut tx = db.begin(scope).await.unwrap();
        let said: String = sqlx::query_scalar(settings).fetch_one(tx.conn()).await.unwrap();
        assert_eq!(said, expected);
        assert_eq!(tx.scope(), scope);
        tx.commit().await.unwrap();
        // The one session of the web pool, outside any transaction.
        let after: String = sqlx::query_scalar(settings).fetch_one(db.web()).await.unwrap();
        assert_eq!(after, "//pv_web");
    }
}

#[tokio::test]
async fn each_scope_sees_and_writes_only_what_is_its_own() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    for partner in [ANN, BEN] {
        let mut tx = db.begin(Scope::Web(partner)).await.unwrap();
        note(&mut tx, partner, "mine").await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(notes_seen(&db, Scope::Web(ANN)).await, 1);
    assert_eq!(notes_seen(&db, Scope::WebPlatform).await, 2);
    assert_eq!(notes_seen(&db, Scope::Worker).await, 2);
    let outside: i64 = sqlx::query_scalar("select count(*) from note").fetch_one(db.web()).await.unwrap();
    assert_eq!(outside, 0, "without a scope the web role sees nothing");

    let mut tx = db.begin(Scope::Web(ANN)).await.unwrap();
    let error = note(&mut tx, BEN, "not mine").await.unwrap_err();
    assert!(matches!(error, DbError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn no_role_is_a_superuser_or_bypasses_row_level_security() {
    let database = TestDatabase::create(&template()).await;
    let mut admin = PgConnection::connect(&database.url(ADMIN)).await.unwrap();
    let roles: Vec<(String, bool, bool, bool, bool)> = sqlx::query_as(
        "select rolname::text, rolsuper, rolbypassrls, rolcreaterole, rolcanlogin from pg_roles where rolname like 'pv\\_%' and rolname <> 'pv_admin' order by 1",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let role = |name: &str, login| (name.to_owned(), false, false, false, login);
    assert_eq!(roles, [role("pv_owner", false), role("pv_web", true), role("pv_worker", true)]);
    let owner: String = sqlx::query_scalar("select tableowner::text from pg_tables where tablename = 'note'").fetch_one(&mut admin).await.unwrap();
    assert_eq!(owner, "pv_owner");
}

#[tokio::test]
async fn with_one_address_each_pool_acts_as_its_role_under_the_same_limits() {
    let database = TestDatabase::create(&template()).await;
    let db = Db::connect(&DbConfig::for_url(database.url(ADMIN))).await.unwrap();
    for (pool, role) in [(db.web(), "pv_web"), (db.worker(), "pv_worker")] {
        let said: (String, String, String, String, String) = sqlx::query_as(
            "select current_user::text, current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('application_name')",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        let text = |text: &str| text.to_owned();
        let application = format!("payvault {}", &role[3..]);
        assert_eq!(said, (text(role), text("30s"), text("10s"), text("30s"), application));
    }
    db.begin(Scope::Web(ANN)).await.unwrap().commit().await.unwrap();
    assert!(!format!("{:?}", DbConfig::for_url("postgres://a:secret@h/d")).contains("secret"));
}

#[tokio::test]
async fn errors_are_sorted_by_what_the_caller_can_do() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    db.worker().execute("insert into note (partner_id, body, slug) values (gen_random_uuid(), 'x', 'one')").await.unwrap();
    for (sql, kind, name) in [
        ("insert into note (partner_id, body, slug) values (gen_random_uuid(), 'x', 'one')", ConstraintKind::Unique, "note_slug_once"),
        ("insert into note (partner_id, body) values (gen_random_uuid(), '')", ConstraintKind::Check, "note_body_not_empty"),
        ("insert into note (body) values ('x')", ConstraintKind::NotNull, "partner_id"),
    ] {
        let error = DbError::from(db.worker().execute(sql).await.unwrap_err());
        assert!(!error.is_retryable());
        assert_eq!(error.unique_violation().is_some(), kind == ConstraintKind::Unique);
        match error {
            DbError::Constraint { name: said, kind: said_kind, .. } => assert_eq!((said.as_str(), said_kind), (name, kind)),
            other => panic!("{other:?}"),
        }
    }
    let wrong = DbError::from(db.worker().execute("select nonsense").await.unwrap_err());
    assert!(matches!(wrong, DbError::Other(_)));
    let denied = DbError::from(db.worker().execute("delete from note").await.unwrap_err());
    assert!(matches!(denied, DbError::Denied(_)));
}

#[tokio::test]
async fn waiting_too_long_for_a_lock_or_a_session_is_retryable() {
    let database = TestDatabase::create(&template()).await;
    let mut config = database.config();
    config.lock_timeout = Duration::from_millis(50);
    config.acquire_timeout = Duration::from_millis(300);
    config.worker_connections = 2;
    let db = Db::connect(&config).await.unwrap();
    let update = "update shelf set id = id";
    let mut holder = db.begin(Scope::Worker).await.unwrap();
    holder.conn().execute(update).await.unwrap();
    let mut waiter = db.begin(Scope::Worker).await.unwrap();
    let error = DbError::from(waiter.conn().execute(update).await.unwrap_err());
    assert!(matches!(error, DbError::Timeout(_)) && error.is_retryable(), "{error:?}");
    let error = db.begin(Scope::Worker).await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn two_transactions_that_met_are_told_to_run_again() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut one = db.begin(Scope::Worker).await.unwrap();
    let mut two = db.begin(Scope::Worker).await.unwrap();
    for tx in [&mut one, &mut two] {
        tx.conn().execute("set transaction isolation level serializable").await.unwrap();
        tx.conn().execute("insert into shelf select max(id) + 1 + pg_backend_pid() from shelf").await.unwrap();
    }
    one.commit().await.unwrap();
    let error = two.commit().await.unwrap_err();
    assert!(matches!(error, DbError::Serialization(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let mut config = DbConfig::for_url("postgres://nobody@localhost:5432/x?host=/nonexistent&sslmode=disable");
    config.acquire_timeout = Duration::from_millis(300);
    let error = Db::connect(&config).await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable(_)), "{error:?}");
}

/// Crashes once, at the named place.
struct CrashAt {
    place: &'static str,
    asked: AtomicU32,
}

impl CrashAt {
    fn answer(&self, moment: &str, label: &str) -> Result<(), Crash> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if format!("{moment} {label}") == self.place { Err(Crash) } else { Ok(()) }
    }
}

impl CommitHook for CrashAt {
    fn before_commit(&self, label: &'static str) -> Result<(), Crash> {
        self.answer("before", label)
    }

    fn after_commit(&self, label: &'static str) -> Result<(), Crash> {
        self.answer("after", label)
    }
}

#[tokio::test]
async fn a_crash_before_the_commit_writes_nothing_and_one_after_it_writes_all() {
    let database = TestDatabase::create(&template()).await;
    for (place, written, asked) in [("before pay", 0, 1), ("after pay", 1, 2)] {
        let hook = Arc::new(CrashAt { place, asked: AtomicU32::new(0) });
        let db = database.db().with_hook(Arc::clone(&hook) as Arc<dyn CommitHook>);
        let mut tx = db.begin(Scope::Worker).await.unwrap();
        note(&mut tx, ANN, place).await.unwrap();
        let error = tx.commit_at("pay").await.unwrap_err();
        assert!(matches!(error, DbError::Crashed), "{error:?}");
        assert_eq!(hook.asked.load(Ordering::SeqCst), asked);
        assert_eq!(notes_seen(&database.db(), Scope::Worker).await, written, "{place}");
    }
}

#[tokio::test]
async fn a_transaction_may_be_dropped_outside_the_runtime() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut tx = db.begin(Scope::Worker).await.unwrap();
    note(&mut tx, ANN, "x").await.unwrap();
    std::thread::spawn(move || drop(tx)).join().unwrap();
    assert_eq!(notes_seen(&db, Scope::Worker).await, 0);
}

#[tokio::test]
async fn a_statement_cancelled_midway_leaves_a_pool_that_works() {
    let database = TestDatabase::create(&template()).await;
    let mut config = database.config();
    config.worker_connections = 1;
    let db = Db::connect(&config).await.unwrap();
    for _ in 0..5 {
        let mut tx = db.begin(Scope::Worker).await.unwrap();
        note(&mut tx, ANN, "x").await.unwrap();
        let slow = sqlx::query("select pg_sleep(0.2)").execute(tx.conn());
        assert!(tokio::time::timeout(Duration::from_millis(10), slow).await.is_err());
        drop(tx);
        assert_eq!(notes_seen(&db, Scope::Worker).await, 0);
    }
}

#[tokio::test]
async fn the_listener_hears_and_the_clock_is_told() {
    let database = TestDatabase::create(&template()).await;
    let db = database.db();
    let mut listener = db.listener().await.unwrap();
    listener.listen("pv_test").await.unwrap();
    let before = db.now().await.unwrap();
    db.worker().execute("notify pv_test, 'hello'").await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await.unwrap().unwrap();
    assert_eq!(heard.payload(), "hello");
    assert!(db.now().await.unwrap() > before);
}
