//! The regression test for the writes that sqlx 0.9.0 loses after a cancelled `begin` (sqlx #4385, #4393).
//!
//! A pool of one session behind a slow line; `begin` is cancelled at many moments; after each, one autocommit insert
//! is acknowledged. At the end a second connection counts what is really there.

use std::{path::Path, time::Duration};

use pv_database::{Db, DbConfig, Scope, Target, TestDatabase, cluster::ADMIN};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::folders::{Folder, template};

const ROUNDS: u32 = 150;
const ONE_WAY: Duration = Duration::from_millis(2);

/// A line with a delay in each direction, from a socket in `dir` to the server's.
fn slow_line(dir: &Path, server: &Path) {
    let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).unwrap();
    let server = server.join(".s.PGSQL.5432");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = UnixStream::connect(&server).await.unwrap();
            let (client_reads, client_writes) = client.into_split();
            let (server_reads, server_writes) = server.into_split();
            tokio::spawn(slowly(client_reads, server_writes));
            tokio::spawn(slowly(server_reads, client_writes));
        }
    });
}

async fn slowly(mut from: tokio::net::unix::OwnedReadHalf, mut to: tokio::net::unix::OwnedWriteHalf) {
    let mut buffer = [0_u8; 8192];
    while let Ok(length) = from.read(&mut buffer).await {
        tokio::time::sleep(ONE_WAY).await;
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

struct Bench {
    database: TestDatabase,
    _folder: Folder,
    url: String,
}

impl Bench {
    async fn new(name: &str) -> Self {
        let database = TestDatabase::create(&template()).await;
        let folder = Folder::new(name);
        slow_line(&folder.path, database.cluster().socket_dir());
        let url = format!("postgres://pv_worker@localhost:5432/{}?host={}&sslmode=disable", database.name(), folder.path.display());
        Self { database, _folder: folder, url }
    }

    async fn guarded(&self) -> Db {
        let target = Target::Private { web_url: self.url.clone(), worker_url: self.url.clone() };
        let mut config = DbConfig::new(target);
        config.worker_connections = 1;
        Db::connect(&config).await.unwrap()
    }

    async fn rows(&self) -> i64 {
        let mut conn = PgConnection::connect(&self.database.url(ADMIN)).await.unwrap();
        sqlx::query_scalar("select count(*) from note").fetch_one(&mut conn).await.unwrap()
    }
}

async fn insert(pool: &PgPool) -> bool {
    sqlx::query("insert into note (partner_id, body) values (gen_random_uuid(), 'x')").execute(pool).await.is_ok()
}

/// Runs the rounds and says how many inserts were acknowledged. `begin` is started in a task and that task is aborted after
/// a time that sweeps over all its round trips.
async fn cancel_and_insert<F>(pool: &PgPool, begin: impl Fn() -> F) -> i64
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let task = tokio::spawn(begin());
        tokio::time::sleep(Duration::from_micros(u64::from(round % 50) * 300)).await;
        task.abort();
        let _ = task.await;
        acknowledged += i64::from(insert(pool).await);
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_begin_is_cancelled() {
    let bench = Bench::new("guard").await;
    let db = bench.guarded().await;
    let acknowledged = cancel_and_insert(db.worker(), || {
        let db = db.clone();
        async move {
            let _tx = db.begin(Scope::Worker).await.unwrap();
        }
    })
    .await;
    assert_eq!(acknowledged, i64::from(ROUNDS), "each insert found a session");
    db.close().await;
    assert_eq!(bench.rows().await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_refuses_a_session_that_a_raw_begin_left_inside_a_transaction() {
    let bench = Bench::new("pool").await;
    let db = bench.guarded().await;
    let acknowledged = cancel_and_insert(db.worker(), || {
        let pool = db.worker().clone();
        async move {
            let _tx = raw_begin(&pool).await;
        }
    })
    .await;
    db.close().await;
    assert_eq!(bench.rows().await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guards_writes_are_lost_which_is_reported() {
    let bench = Bench::new("raw").await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&bench.url).await.unwrap();
    let acknowledged = cancel_and_insert(&pool, || {
        let pool = pool.clone();
        async move {
            let _tx = raw_begin(&pool).await;
        }
    })
    .await;
    pool.close().await;
    let lost = acknowledged - bench.rows().await;
    // How many depends on the machine's timing, so only the direction is asserted. A release of sqlx that loses none makes this
    // line say 0: then the guards may be reconsidered.
    println!("raw begin: {lost} of {acknowledged} acknowledged writes lost");
    assert!(lost >= 0);
}

#[expect(clippy::disallowed_methods, reason = "shows what the ban is for")]
async fn raw_begin(pool: &PgPool) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, sqlx::Error> {
    pool.begin().await
}
