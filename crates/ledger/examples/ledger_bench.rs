//! How many transfers a second the ledger posts, single caller, durable commits:
//! `cargo run --release -p pv-ledger --example ledger_bench -- [folder for the cluster] [seconds per case]`.
//!
//! Starts a private, durable PostgreSQL in the folder (default: a new one in the temporary folder, deleted afterwards). The last line is JSON.

use std::{
    error::Error,
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use pv_database::{
    Db, DbConfig, Scope,
    cluster::{ADMIN, Cluster, ClusterOptions},
    migrate::{embedded, up},
};
use pv_kernel::{Clock as _, Ids as _, Money, SystemClock, SystemIds, ids::PartnerId};
use pv_ledger::{AccountKind, AccountRef, Answer, Command, Ending, Key, NewAccount, Posting, fold_in_tx, open_accounts_in_tx, post_in_tx, verify};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The wallets that the cases without a hot account spread over.
const WALLETS: usize = 1_000;

#[derive(Clone, Copy)]
enum Shape {
    /// Wallet to clearing, one of many wallets.
    Spread,
    /// All on one wallet.
    Hot,
    /// A hold and its posting, in two batches; each counts as one transfer.
    TwoPhase,
    /// Between unbounded accounts.
    Unbounded,
}

struct Case {
    name: &'static str,
    batch: usize,
    shape: Shape,
}

const CASES: &[Case] = &[
    Case { name: "spread_1", batch: 1, shape: Shape::Spread },
    Case { name: "spread_100", batch: 100, shape: Shape::Spread },
    Case { name: "spread_1000", batch: 1_000, shape: Shape::Spread },
    Case { name: "spread_2000", batch: 2_000, shape: Shape::Spread },
    Case { name: "hot_1000", batch: 1_000, shape: Shape::Hot },
    Case { name: "two_phase_1000", batch: 1_000, shape: Shape::TwoPhase },
    Case { name: "unbounded_1000", batch: 1_000, shape: Shape::Unbounded },
];

#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the machine's clock")]
fn clock() -> Instant {
    Instant::now()
}

fn arguments() -> (Option<PathBuf>, u64) {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from);
    (folder, arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5))
}

struct Bench {
    db: Db,
    clock: SystemClock,
    wallets: Vec<AccountRef>,
    partner: PartnerId,
}

impl Bench {
    fn clearing(&self) -> AccountRef {
        AccountRef::platform(format!("charges_clearing:{}", self.partner))
    }

    async fn open(db: Db) -> Outcome<Self> {
        let clock = SystemClock::new();
        let now = clock.now();
        let partner = PartnerId(SystemIds.uuid(now));
        let wallets: Vec<AccountRef> = (0..WALLETS).map(|n| AccountRef::platform(format!("wallet:{partner}:{n}"))).collect();
        let bench = Self { db, clock, wallets, partner };
        let mut tx = bench.db.begin(Scope::Worker).await?;
        sqlx::query("insert into partners (id, name, short_name, created_at, updated_at) values ($1, 'Bench', 'Bench', $2, $2)")
            .bind(partner.uuid())
            .bind(now)
            .execute(tx.conn())
            .await?;
        let mut accounts: Vec<NewAccount> =
            bench.wallets.iter().map(|wallet| NewAccount::new(wallet.clone(), AccountKind::Liability).bounded().of_partner(partner)).collect();
        accounts.push(NewAccount::new(bench.clearing(), AccountKind::Liability).of_partner(partner));
        accounts.push(NewAccount::new(AccountRef::platform("bank"), AccountKind::Asset));
        open_accounts_in_tx(tx.conn(), &accounts, now).await?;
        tx.commit().await?;
        let top_ups: Vec<Command> =
            bench.wallets.iter().map(|wallet| bench.posting(AccountRef::platform("bank"), wallet.clone(), 1_000_000_000_000, now).fact()).collect();
        bench.post(&top_ups).await?;
        Ok(bench)
    }

    fn posting(&self, debit: AccountRef, credit: AccountRef, amount: i64, now: DateTime<Utc>) -> Posting {
        Posting::new(Key::new(SystemIds.uuid(now), "bench"), debit, credit, Money::from_minor(amount), now).of_partner(self.partner)
    }

    /// One batch in one transaction; every command must be written.
    async fn post(&self, commands: &[Command]) -> Outcome<()> {
        let mut tx = self.db.begin(Scope::Worker).await?;
        let answers = post_in_tx(tx.conn(), &SystemIds, self.clock.now(), commands).await?;
        tx.commit().await?;
        match answers.iter().find(|answer| !matches!(answer, Answer::Posted(_))) {
            None => Ok(()),
            Some(refused) => Err(format!("a command was refused: {refused:?}").into()),
        }
    }

    /// Transfers a second of a case.
    async fn run(&self, case: &Case, length: Duration) -> Outcome<f64> {
        let started = clock();
        let mut written = 0u32;
        let mut next = self.wallets.iter().cycle();
        while started.elapsed() < length {
            let now = self.clock.now();
            let batch: Vec<Posting> = (0..case.batch)
                .filter_map(|_| {
                    let debit = match case.shape {
                        Shape::Hot => self.wallets.first()?.clone(),
                        Shape::Spread | Shape::TwoPhase => next.next()?.clone(),
                        Shape::Unbounded => AccountRef::platform("bank"),
                    };
                    Some(self.posting(debit, self.clearing(), 1, now))
                })
                .collect();
            if matches!(case.shape, Shape::TwoPhase) {
                let ends: Vec<Command> =
                    batch.iter().map(|posting| Ending::new(posting.key.clone(), Key::new(posting.key.subject, "bench end"), now).post()).collect();
                self.post(&batch.into_iter().map(Posting::hold).collect::<Vec<_>>()).await?;
                self.post(&ends).await?;
                written += u32::try_from(2 * ends.len())?;
            } else {
                written += u32::try_from(batch.len())?;
                self.post(&batch.into_iter().map(Posting::post).collect::<Vec<_>>()).await?;
            }
        }
        Ok(f64::from(written) / started.elapsed().as_secs_f64())
    }

    /// Folds everything; transfers a second.
    async fn fold(&self) -> Outcome<f64> {
        let started = clock();
        let mut taken = 0i64;
        loop {
            let mut tx = self.db.begin(Scope::Worker).await?;
            let report = fold_in_tx(tx.conn(), 5_000, self.clock.now()).await?;
            tx.commit().await?;
            taken += report.taken;
            if !report.more {
                return Ok(f64::from(u32::try_from(taken)?) / started.elapsed().as_secs_f64());
            }
        }
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let (folder, seconds) = arguments();
    let own = folder.is_none();
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(format!("ledger-bench-{}", std::process::id())));
    let cluster = Cluster::find_or_start_with(&folder, ClusterOptions::default())?;
    let mut admin = PgConnection::connect(&cluster.url("postgres", ADMIN)).await?;
    for sql in ["drop database if exists ledger_bench with (force)", "create database ledger_bench"] {
        admin.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    }
    admin.close().await?;
    up(&cluster.url("ledger_bench", ADMIN), &embedded()).await?;
    let bench = Bench::open(Db::connect(&DbConfig::for_cluster(&cluster, "ledger_bench")).await?).await?;

    let mut results = serde_json::Map::new();
    for case in CASES {
        let rate = bench.run(case, Duration::from_secs(seconds)).await?;
        println!("{:16} {rate:>10.0} transfers/s", case.name);
        results.insert(case.name.to_owned(), serde_json::json!(rate.round()));
    }
    let rate = bench.fold().await?;
    println!("{:16} {rate:>10.0} transfers/s", "fold");
    results.insert("fold".to_owned(), serde_json::json!(rate.round()));
    let started = clock();
    let mut tx = bench.db.begin(Scope::Worker).await?;
    let findings = verify(tx.conn(), None).await?;
    tx.rollback().await?;
    println!("{:16} {:>10.1} s, {} findings", "verify", started.elapsed().as_secs_f64(), findings.len());
    results.insert("findings".to_owned(), serde_json::json!(findings.len()));
    bench.db.close().await;
    cluster.stop()?;
    if own {
        std::fs::remove_dir_all(&folder)?;
    }
    println!("{}", serde_json::Value::Object(results));
    Ok(())
}
