//! Roles and migrations, on clusters of their own, because roles belong to the whole server.

use pv_database::{
    Cluster, PgConnection,
    cluster::ADMIN,
    migrate::{self, MigrationError, MigrationState, Migrator},
};
use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::folders::{Folder, notes};

async fn admin(cluster: &Cluster, database: &str) -> PgConnection {
    PgConnection::connect(&cluster.url(database, ADMIN)).await.unwrap()
}

async fn applied(url: &str, migrator: &Migrator) -> Vec<bool> {
    let status = migrate::status(url, migrator).await.unwrap();
    status.iter().map(|status| matches!(status.state, MigrationState::Applied(_))).collect()
}

#[tokio::test]
async fn migrations_go_up_and_down_and_say_where_they_are() {
    let mut folder = Folder::new("updown");
    let cluster = folder.start(&folder.path.join("database"));
    cluster.ensure_database("a").await.unwrap();
    let (url, migrator) = (cluster.url("a", ADMIN), notes());
    assert_eq!(applied(&url, &migrator).await, [false, false, false]);
    migrate::up(&url, &migrator).await.unwrap();
    migrate::up(&url, &migrator).await.unwrap();
    assert_eq!(applied(&url, &migrator).await, [true, true, true]);
    // The worker may ask too.
    assert_eq!(applied(&cluster.url("a", "pv_worker"), &migrator).await, [true, true, true]);
    migrate::down(&url, &migrator, 1).await.unwrap();
    assert_eq!(applied(&url, &migrator).await, [true, false, false]);
    migrate::down(&url, &migrator, 0).await.unwrap();
    assert_eq!(applied(&url, &migrator).await, [false, false, false]);
    migrate::up(&url, &migrator).await.unwrap();
    assert_eq!(applied(&url, &migrator).await, [true, true, true]);

    let mut conn = admin(&cluster, "a").await;
    conn.execute("update _sqlx_migrations set checksum = '\\x00' where version = 2").await.unwrap();
    conn.execute("insert into _sqlx_migrations values (9, 'newer', now(), true, '\\x00', 1)").await.unwrap();
    let status = migrate::status(&url, &migrator).await.unwrap();
    assert!(matches!(status[1].state, MigrationState::Changed(_)));
    assert!(matches!(status[3].state, MigrationState::Unknown(_)) && status[3].version == 9);
    let error = migrate::up(&url, &migrator).await.unwrap_err();
    assert!(matches!(error, MigrationError::Schema(_)), "{error:?}");
}

#[tokio::test]
async fn many_processes_may_migrate_at_once_in_one_or_several_databases() {
    let mut folder = Folder::new("many");
    let cluster = folder.start(&folder.path.join("database"));
    let mut tasks = Vec::new();
    for database in ["a", "b", "c"] {
        cluster.ensure_database(database).await.unwrap();
        for _ in 0..3 {
            let url = cluster.url(database, ADMIN);
            tasks.push(tokio::spawn(async move { migrate::up(&url, &notes()).await }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for database in ["a", "b", "c"] {
        assert_eq!(applied(&cluster.url(database, ADMIN), &notes()).await, [true, true, true]);
    }
}

#[tokio::test]
async fn a_user_without_the_right_is_told_the_sql_that_an_administrator_must_run_and_it_suffices() {
    let mut folder = Folder::new("rights");
    let cluster = folder.start(&folder.path.join("database"));
    cluster.ensure_database("a").await.unwrap();
    let mut conn = admin(&cluster, "a").await;
    conn.execute("create role \"App-User\" login").await.unwrap();
    let url = cluster.url("a", "App-User");
    let error = migrate::up(&url, &notes()).await.unwrap_err();
    let said = error.to_string();
    assert!(!said.contains('\n') && said.contains("App-User"), "{said}");
    let MigrationError::MissingRights { sql, .. } = error else { panic!("{said}") };
    conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    migrate::up(&url, &notes()).await.unwrap();
    assert_eq!(applied(&url, &notes()).await, [true, true, true]);
    // And the same user serves both pools.
    let db = pv_database::Db::connect(&pv_database::DbConfig::for_url(url)).await.unwrap();
    let who: String = sqlx::query_scalar("select current_user::text").fetch_one(db.web()).await.unwrap();
    assert_eq!(who, "pv_web");
}

#[tokio::test]
async fn a_user_that_may_make_roles_needs_no_administrator() {
    let mut folder = Folder::new("maker");
    let cluster = folder.start(&folder.path.join("database"));
    let mut conn = admin(&cluster, "postgres").await;
    conn.execute("create role maker login createrole; ").await.unwrap();
    conn.execute("create database a owner maker").await.unwrap();
    let url = cluster.url("a", "maker");
    migrate::up(&url, &notes()).await.unwrap();
    assert_eq!(applied(&url, &notes()).await, [true, true, true]);
}

#[tokio::test]
async fn a_role_that_bypasses_row_level_security_is_refused() {
    let mut folder = Folder::new("strong");
    let cluster = folder.start(&folder.path.join("database"));
    let mut conn = admin(&cluster, "postgres").await;
    conn.execute("create role pv_web login bypassrls").await.unwrap();
    let error = migrate::up(&cluster.url("postgres", ADMIN), &notes()).await.unwrap_err();
    assert!(matches!(&error, MigrationError::RoleTooStrong { roles } if roles == "pv_web"), "{error:?}");
}

#[tokio::test]
async fn a_failing_migration_leaves_the_ones_before_it_and_names_itself() {
    use sqlx::{
        SqlSafeStr,
        migrate::{Migration, MigrationType},
    };
    let mut folder = Folder::new("failing");
    let cluster = folder.start(&folder.path.join("database"));
    let migration = |version, sql: &'static str| Migration::new(version, "x".into(), MigrationType::ReversibleUp, sql.into_sql_str(), false);
    let migrator = Migrator::with_migrations(vec![migration(1, "create table a ()"), migration(2, "create table b (); select 1/0")]);
    let url = cluster.url("postgres", ADMIN);
    let error = migrate::up(&url, &migrator).await.unwrap_err();
    assert!(error.to_string().contains("migration 2"), "{error}");
    assert_eq!(applied(&url, &migrator).await, [true, false]);
}
