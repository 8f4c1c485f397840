//! The town of the benchmark: hosts, partners with shortcodes, the product with its database, and the questions that are asked of them
//! before, in between and after.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use pv_sandbox::{
    damza::DamzaOptions,
    daraja::{DarajaFaults, DarajaOptions, PaymentState},
    mifos::{Bank, MifosOptions, Profile},
};
use pv_vault::reconciliation::verify;
use serde_json::json;
use sqlx::Connection as _;

use super::Args;
use crate::{
    config::Settings,
    demo::stage::{PartnerPlan, Product, Settled, World, product::Folder, settle},
    failure::{Failure, Result},
};

/// First status question about a payment without a result, seconds.
pub const FIRST_ASK: u64 = 5;
/// Tenants of one host.
const TENANTS: u64 = 10;
/// Seed of everything random outside.
const SEED: u64 = 5;

/// Everything that stands.
pub struct Town {
    /// The outside.
    pub world: World,
    /// The product.
    pub product: Product,
    /// The partners, with their place at the hosts.
    pub partners: Vec<(Place, Settled)>,
    folder: Folder,
    /// The outside has threads of its own, so that its processor time can be told from the product's.
    outside: tokio::runtime::Runtime,
}

/// Where a partner's loans are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The host.
    pub host: usize,
    /// The tenant.
    pub tenant: String,
}

/// Counts of the database.
#[derive(Debug, Clone, Copy)]
pub struct Database {
    /// Transactions.
    pub commits: i64,
    /// Rows inserted, updated and deleted.
    pub written: i64,
}

impl Town {
    /// Builds it: the outside first, then the product, then the partners move in.
    pub async fn build(args: &Args) -> Result<Self> {
        let outside = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("outside").enable_all().build()?;
        let hosts = hosts(args.shortcodes);
        let mpesa =
            DarajaOptions { apps: Vec::new(), shortcodes: Vec::new(), magic_numbers: false, loose_typing_per_mille: 0, ..DarajaOptions::default() };
        let sms = DamzaOptions { accounts: Vec::new(), magic_numbers: false };
        let world = outside.spawn(async move { World::start(SEED, mpesa, hosts, sms).await }).await??;
        let folder = Folder::make("bench", args.keep)?;
        let product = match Product::start_with(settings(), &folder.path, args.profile).await {
            Ok(product) => product,
            Err(failure) => {
                outside.shutdown_background();
                return Err(failure);
            }
        };
        let moved = move_in(args, &world, &product).await;
        let mut town = Self { world, product, partners: Vec::new(), folder, outside };
        match moved {
            Ok(partners) => {
                town.partners = partners;
                Ok(town)
            }
            Err(failure) => {
                town.leave().await;
                Err(failure)
            }
        }
    }

    /// Stops everything and removes it.
    pub async fn leave(self) {
        self.product.stop(&self.folder).await;
        self.world.stop().await;
        self.outside.shutdown_background();
    }

    /// Turns the dials of M-Pesa's callbacks, per mille.
    pub fn faults(&self, lost: u16, doubled: u16) {
        self.world.mpesa.lock().set_faults(DarajaFaults { result_lost: lost, result_twice: doubled, ..DarajaFaults::default() });
    }

    /// The address of the database for its administrator.
    pub fn admin_url(&self) -> String {
        self.product.cluster.url("payvault", pv_database::cluster::ADMIN)
    }

    /// The process of the database server.
    pub fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.product.cluster.pgdata().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Disbursements that are paid and booked.
    pub async fn booked(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from bookings where state in ('booked', 'adopted')")
            .fetch_one(self.product.engine.db.worker())
            .await?)
    }

    /// What the database counted so far.
    pub async fn database(&self) -> Result<Database> {
        let mut conn = sqlx::PgConnection::connect(&self.admin_url()).await?;
        // Sessions hand in their counts once a second at most.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (commits, written): (i64, i64) =
            sqlx::query_as("select xact_commit, tup_inserted + tup_updated + tup_deleted from pg_stat_database where datname = current_database()")
                .fetch_one(&mut conn)
                .await?;
        conn.close().await?;
        Ok(Database { commits, written })
    }

    /// The statements that took the server's time, and forgets them.
    pub async fn statements(&self) -> Result<Vec<String>> {
        let mut conn = sqlx::PgConnection::connect(&self.admin_url()).await?;
        let rows: Vec<(String, i64, f64, i64)> = sqlx::query_as(
            "select regexp_replace(left(query, 130), '\\s+', ' ', 'g'), calls, total_exec_time, rows from pg_stat_statements s
             join pg_database d on d.oid = s.dbid and d.datname = current_database() order by total_exec_time desc limit 40",
        )
        .fetch_all(&mut conn)
        .await?;
        sqlx::raw_sql("select pg_stat_statements_reset()").execute(&mut conn).await?;
        conn.close().await?;
        let all: f64 = rows.iter().map(|r| r.2).sum();
        Ok(rows
            .into_iter()
            .map(|(query, calls, time, rows)| format!("{:5.1} % {time:9.0} ms {calls:8} calls {rows:9} rows  {query}", time * 100.0 / all.max(1.0)))
            .collect())
    }

    /// Everything that must hold after the load: by the phones, by M-Pesa's own books, by the hosts, and by the verifier.
    pub async fn check(&self, sent: u64) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut paid: BTreeMap<String, u64> = BTreeMap::new();
        for payment in self.world.mpesa.lock().payments().filter(|p| p.state == PaymentState::Paid) {
            *paid.entry(payment.msisdn.clone()).or_default() += 1;
        }
        let twice = paid.values().filter(|n| **n > 1).count();
        if twice > 0 {
            problems.push(format!("{twice} phones were paid more than once"));
        }
        let received = self.world.phones.snapshot().iter().filter(|p| p.received.len() > 1).count();
        if received > 0 {
            problems.push(format!("{received} phones hold more than one payment"));
        }
        if u64::try_from(paid.len()).unwrap_or(0) != sent {
            problems.push(format!("{sent} loans were approved and {} phones were paid", paid.len()));
        }
        let mut disbursed = 0;
        for host in &self.world.hosts {
            let host = host.lock();
            let tenants = (0..TENANTS).filter_map(|t| host.bank_of(&tenant(t)));
            disbursed += tenants.flat_map(Bank::loans).filter(|loan| loan.disbursements().count() == 1).count();
        }
        if u64::try_from(disbursed).unwrap_or(0) != sent {
            problems.push(format!("{sent} loans were approved and {disbursed} are disbursed once in their core"));
        }
        let report = verify::verify(&self.product.engine).await?;
        problems
            .extend(report.findings.iter().take(10).map(|f| format!("verify: {} {}: expected {}, found {}", f.table, f.row, f.expected, f.found)));
        Ok(problems)
    }
}

fn tenant(n: u64) -> String {
    if n == 0 { "default".to_owned() } else { format!("tenant{n}") }
}

fn options(host: u64, tenant_number: u64) -> MifosOptions {
    MifosOptions {
        profile: if host.is_multiple_of(2) { Profile::V1_14 } else { Profile::V1_8 },
        tenant: tenant(tenant_number),
        zone: chrono_tz::Africa::Nairobi,
        transactions_on_holiday: true,
        transactions_on_non_working_day: true,
        seed: SEED + host * TENANTS + tenant_number,
        ..MifosOptions::default()
    }
}

fn hosts(shortcodes: u64) -> Vec<MifosOptions> {
    (0..shortcodes.div_ceil(TENANTS)).map(|host| options(host, 0)).collect()
}

/// As `payvault serve` has it by default, except: more sessions, generous doors, and a first question after some seconds.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.limits.first_ask = FIRST_ASK;
    settings.limits.webhooks_per_second = 10_000;
    settings.limits.balance_every = 3_600;
    settings
}

async fn move_in(args: &Args, world: &World, product: &Product) -> Result<Vec<(Place, Settled)>> {
    for host in 0..args.shortcodes.div_ceil(TENANTS) {
        let sim = world.host(usize::try_from(host)?)?;
        for t in 1..TENANTS {
            sim.lock().add_tenant(options(host, t));
        }
    }
    let moved: Vec<(u64, Place, Settled)> =
        stream::iter((0..args.shortcodes).map(|n| one(args, world, product, n))).buffer_unordered(8).try_collect().await?;
    let mut moved = moved;
    moved.sort_by_key(|(n, ..)| *n);
    Ok(moved.into_iter().map(|(_, place, settled)| (place, settled)).collect())
}

async fn one(args: &Args, world: &World, product: &Product, n: u64) -> Result<(u64, Place, Settled)> {
    let place = Place { host: usize::try_from(n / TENANTS)?, tenant: tenant(n % TENANTS) };
    let plan = PartnerPlan {
        name: format!("Partner {n}"),
        short_name: format!("P{n}"),
        staff: format!("2547990{n:05}"),
        shortcode: format!("{}", 100_000 + n),
        float: 1_000_000_000_000,
        host: place.host,
        tenant: place.tenant.clone(),
        products: vec!["Biashara"],
        poll_seconds: 86_400,
        requests_per_second: i64::try_from(args.limit)?,
        hook: false,
    };
    let settled = settle::settle(world, &product.platform, &plan).await?;
    let funds = json!({ "partner_id": settled.id, "amount": "10000000.00", "reference": format!("OPENING-{n}"), "reason": "Opening balance" });
    product.platform.post("/api/wallet/adjustments", &funds).await?;
    if args.no_texts {
        settled.api.post("/api/sms/settings", &json!({ "sms_enabled": false })).await?;
    }
    if !settled.report.contains("10 of 10") {
        return Err(Failure::new(format!("partner {n}: {}", settled.report)));
    }
    Ok((n, place, settled))
}
