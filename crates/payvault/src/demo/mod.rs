//! `payvault demo`: the product's main job on a fresh machine, in half a minute. Production code and clock; only configured intervals are
//! short. The outside world is simulated on real sockets, the product serves and works in this process, and partners drive it over HTTP
//! with their keys, while callbacks are lost, doubled, late, early and forged.
//!
//! - [`stage`]: the world, the product, partners who move in (the benchmark stands on it too);
//! - [`cases`]: who borrows, by which way, what goes wrong, how it must end; [`play`]: what happens, in order; [`board`]: the partners' screens;
//! - [`check`]: everything is compared with the outside's own books; [`tamper`]: proves that the checks can fail; [`mod@print`]: the evidence.

mod board;
mod cases;
mod check;
mod play;
mod print;
pub mod stage;
pub mod tamper;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use futures::FutureExt as _;
use pv_sandbox::{
    damza::DamzaOptions,
    daraja::DarajaOptions,
    mifos::{HookDials, MifosOptions, Profile},
};
use pv_vault::reconciliation::{sentence, sentence::Sentence, verify};

use self::{
    board::{Board, Voice},
    cases::HOUSES,
    check::Checks,
    play::{Cast, Play},
    stage::{PartnerPlan, Product, Settled, World, product::Folder, settle},
    tamper::Tamper,
};
use crate::{
    config::Settings,
    failure::{Failure, Result},
};

/// Seed of everything random outside.
const SEED: u64 = 2026;
/// How long the books may take to come to rest after the last text.
const REST: Duration = Duration::from_secs(12);

/// What the demo is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Keep the data folder, to look into it afterwards
    #[arg(long)]
    pub keep: bool,
    /// Change something behind the product's back at the end, and see it found
    #[arg(long, value_enum, value_name = "WHAT")]
    pub tamper: Option<Tamper>,
}

/// Plays, compares, cleans up. Any difference is a failure.
pub async fn run(args: Args) -> Result<ExitCode> {
    let stop = stopped()?;
    let voice = Voice::new();
    voice.head("Payment Vault: loans approved in Mifos X reach the borrowers' phones");
    let folder = Folder::make("demo", args.keep)?;
    let world = outside().await?;
    // Starting is not cut off: what is half started could not be stopped.
    let product = match Product::start(settings(), &folder.path).await {
        Ok(product) => product,
        Err(failure) => {
            world.stop().await;
            return Err(failure);
        }
    };
    let told = std::panic::AssertUnwindSafe(Box::pin(evening(&args, &world, &product, &voice))).catch_unwind();
    let ended = tokio::select! {
        told = told => Some(told.unwrap_or_else(|_| Err(Failure::new("the demo itself broke")))),
        () = stop => None,
    };
    product.stop(&folder).await;
    world.stop().await;
    if folder.keeps() {
        println!("\nThe data folder is kept: {} (payvault explain RECEIPT --data-dir {0})", folder.path.display());
    }
    match ended {
        None => {
            println!("\nInterrupted; everything was stopped and removed.");
            Ok(ExitCode::from(130))
        }
        Some(ended) => {
            let checks = ended?;
            println!("\nDone in {:.0} s.", voice.elapsed().as_secs_f64());
            Ok(if checks.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Resolves at SIGTERM or SIGINT.
fn stopped() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// The outside world: M-Pesa is quick, hosts of both release lines, one gateway.
async fn outside() -> Result<World> {
    let mpesa = DarajaOptions {
        apps: Vec::new(),
        shortcodes: Vec::new(),
        magic_numbers: false,
        processing_delay: Duration::from_millis(350),
        callback_delay: Duration::from_millis(150),
        query_delay: Duration::from_millis(250),
        ..DarajaOptions::default()
    };
    let host = |profile, seed| MifosOptions {
        profile,
        zone: chrono_tz::Africa::Nairobi,
        transactions_on_holiday: true,
        transactions_on_non_working_day: true,
        hooks: HookDials { shortest: Duration::from_millis(15), longest: Duration::from_millis(60), ..HookDials::default() },
        seed,
        ..MifosOptions::default()
    };
    let sms = DamzaOptions { accounts: Vec::new(), magic_numbers: false };
    World::start(SEED, mpesa, vec![host(Profile::V1_8, SEED), host(Profile::V1_14, SEED + 1)], sms).await
}

/// Nothing is configured but how long the product waits: a demo has no half hours.
fn settings() -> Settings {
    let mut settings = Settings::default();
    let limits = &mut settings.limits;
    (limits.first_ask, limits.longest_ask) = (1, 2);
    (limits.first_booking_retry, limits.longest_booking_retry) = (1, 2);
    (limits.retry_wait, limits.waiting_recheck, limits.balance_every) = (1, 2, 2);
    settings.worker.intervals_ms = [("poll", 500), ("balance", 500), ("watch", 500), ("fold", 500)].map(|(step, ms)| (step.to_owned(), ms)).into();
    // One address speaks for M-Pesa; the forger has another.
    settings.server.callback_sources = "127.0.0.1/32".parse().ok().map(|net| vec![net]);
    settings
}

/// The whole evening: partners move in, the play, the evidence.
async fn evening(args: &Args, world: &World, product: &Product, voice: &Voice) -> Result<Checks> {
    voice.say("", "product", &format!("serves at {}; database, keys and port of its own", product.platform.base()));
    let partners = move_in(world, product, voice).await?;
    let (board, screens) = board::watch(partners.iter().map(|p| p.api.clone()).collect(), voice.clone());
    let play = Play { world, product, partners: &partners, board: &board, voice };
    let cast = play.prepare(cases::cast())?;
    let played = async {
        play.credit(cases::PWANI, "BANK-0002").await?;
        Box::pin(play.run(&cast)).await
    }
    .await;
    drop(screens);
    voice.release();
    if let Err(failure) = played {
        print::table(product, &cast, &board.all()).await?;
        return Err(failure);
    }
    let twins = play::shared_numbers(&cast).values().filter(|n| **n > 1).count();
    voice.say("", "demo", &format!("{twins} loan numbers exist at both hosts: each is its own loan"));
    rest(world, product).await?;
    if let Some(what) = args.tamper {
        tamper::tamper(what, world, product, &cast, |place| board.get(place)).await?;
        voice.head(&format!("Somebody changes {what} behind everybody's back"));
    }
    evidence(world, product, &cast, &board).await
}

async fn move_in(world: &World, product: &Product, voice: &Voice) -> Result<Vec<Settled>> {
    let mut partners = Vec::new();
    for (host, card) in HOUSES.iter().enumerate() {
        let plan = PartnerPlan {
            name: card.name.to_owned(),
            short_name: card.short_name.to_owned(),
            staff: card.staff.to_owned(),
            shortcode: card.shortcode.to_owned(),
            float: card.float,
            host,
            tenant: "default".to_owned(),
            products: vec!["Biashara", "Kilimo"],
            poll_seconds: 4,
            requests_per_second: 20,
            hook: true,
        };
        let settled = settle::settle(world, &product.platform, &plan).await?;
        voice.say(
            card.short_name,
            "set up",
            &format!(
                "{}, Mifos X {} at {}, shortcode {}: connection test {}",
                card.name,
                card.release,
                world.host(host)?.url,
                card.shortcode,
                settled.report
            ),
        );
        partners.push(settled);
    }
    Ok(partners)
}

/// Waits until the last balances are in, the last texts have reached their phones, and nothing is open any more that is not on a list.
async fn rest(world: &World, product: &Product) -> Result<()> {
    let quiet = async {
        loop {
            let said = sentence::sentence(&product.engine, None).await?;
            let delivered = world.sms.lock().sent().all(|text| text.status == "DELIVERED");
            if said.all_explained && delivered && said.rail.iter().all(settled_line) {
                return Ok::<(), Failure>(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    // Whatever is still open then stands in the evidence.
    tokio::time::timeout(REST, quiet).await.unwrap_or(Ok(()))
}

fn settled_line(line: &sentence::RailLine) -> bool {
    line.inside_band == Some(true) && line.available == Some(line.ledger_posted) && line.in_flight.is_zero()
}

/// Everything that can be compared is compared, and shown.
async fn evidence(world: &World, product: &Product, cast: &Cast, board: &Board) -> Result<Checks> {
    let payments = board.all();
    let verified = verify::verify_and_note(&product.engine).await?;
    let said: Sentence = sentence::sentence(&product.engine, None).await?;
    let mut checks = Checks::default();
    check::payments(&mut checks, world, cast, &payments);
    let rail = check::totals(&mut checks, world, cast, &payments, &said);
    checks.compared += verified.checked.checks;
    checks.differences.extend(verified.findings.iter().map(|f| format!("verify: {} {}: expected {}, found {}", f.table, f.row, f.expected, f.found)));
    print::table(product, cast, &payments).await?;
    print::explained(product, cast, &payments).await?;
    print::books(world, cast, &payments, &rail, &verified);
    print::list(product).await?;
    print::verdict(&checks, &said);
    Ok(checks)
}

/// Payments by place, as the board knows them.
type Payments = BTreeMap<board::Place, board::Payment>;
