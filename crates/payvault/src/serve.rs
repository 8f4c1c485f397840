//! `payvault serve`: requests and background work, until SIGTERM or SIGINT.
//!
//! At a stop the process first says that it is not ready, takes no new connection, lets requests and running steps finish, and leaves. A
//! `kill -9` in between loses nothing: whatever was begun comes due again when its lease ends.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::ListenerExt as _};
use pv_api::{ApiState, ReadyCheck};
use pv_database::migrate;
use pv_hooks::{HookCounts, HookState};
use pv_vault::{engine::Step, partner::api_key};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Role,
    failure::{Failure, Result},
    house::House,
    metrics,
    runner::{
        Runner, Wakes,
        bell::{self, Bell},
    },
};

/// How long open requests may finish at a stop.
const LAST_REQUESTS: Duration = Duration::from_secs(20);

/// A process that serves. Starting it is apart from waiting for its end, so that a demo can start one inside itself.
pub struct Service {
    /// Where it listens; `None` without the web role.
    pub address: Option<SocketAddr>,
    house: Arc<House>,
    runner: Option<Runner>,
    stop: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
}

impl Service {
    /// Starts everything that the role has.
    pub async fn start(house: Arc<House>, role: Role) -> Result<Self> {
        let stop = CancellationToken::new();
        let tasks = tokio_util::task::TaskTracker::new();
        let wakes = Arc::new(Wakes::default());
        let db = house.engine.db.clone();
        tasks.spawn(Arc::clone(&house.health).watch(db.clone(), Arc::clone(&house.clock), house.engine.limits.max_skew, stop.clone()));

        let runner = role.works().then(|| Runner::start(&house.engine, &wakes, &house.health, &house.settings));
        if runner.is_some() {
            tasks.spawn(bell::listen(db.clone(), Arc::clone(&wakes), stop.clone()));
        }
        let counts = Arc::new(HookCounts::default());
        let address = if role.serves() {
            let wake: Arc<dyn Fn(Step) + Send + Sync> = if runner.is_some() {
                Arc::new(move |step| wakes.poke(step))
            } else {
                let bell = Bell::start(db);
                Arc::new(move |step| bell.ring(step))
            };
            let app = app(&house, wake, Arc::clone(&counts));
            let listen = house.settings.server.listen;
            let listener = TcpListener::bind(listen).await.map_err(|error| Failure::from(error).while_(format_args!("listening on {listen}")))?;
            let address = listener.local_addr()?;
            // Small answers must not wait for more bytes; without it they only come later.
            let listener = listener.tap_io(|stream| {
                let _ = stream.set_nodelay(true);
            });
            let stopped = stop.clone();
            tasks.spawn(async move {
                let served = axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
                    .with_graceful_shutdown(stopped.cancelled_owned())
                    .await;
                if let Err(error) = served {
                    tracing::error!(%error, "the server ended");
                }
            });
            Some(address)
        } else {
            None
        };
        if let Some(listen) = house.settings.server.metrics_listen {
            let listener =
                TcpListener::bind(listen).await.map_err(|error| Failure::from(error).while_(format_args!("listening on {listen} for metrics")))?;
            let page = metrics::router(Arc::clone(&house.health), counts);
            let stopped = stop.clone();
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, page).with_graceful_shutdown(stopped.cancelled_owned()).await {
                    tracing::error!(%error, "the metrics are not served any more");
                }
            });
        }
        tasks.close();
        Ok(Self { address, house, runner, stop, tasks })
    }

    /// Lets what runs finish. Gives the house back when nobody else holds it.
    pub async fn stop(self) -> Option<House> {
        self.house.health.stop();
        self.stop.cancel();
        if let Some(runner) = self.runner {
            runner.stop().await;
        }
        if tokio::time::timeout(LAST_REQUESTS, self.tasks.wait()).await.is_err() {
            tracing::warn!("requests did not finish in time and were cut off");
        }
        Arc::into_inner(self.house)
    }
}

/// Everything that listens: the API, the doors of the providers.
fn app(house: &House, wake: Arc<dyn Fn(Step) + Send + Sync>, counts: Arc<HookCounts>) -> Router {
    let settings = &house.settings;
    let hooks =
        HookState { engine: Arc::clone(&house.engine), wake: Arc::clone(&wake), sources: settings.sources(), limits: settings.hook_limits(), counts };
    let mut api = ApiState::new(
        Arc::clone(&house.engine),
        settings.server.environment,
        Arc::new(move |steps: &[Step]| steps.iter().for_each(|step| wake(*step))),
    );
    api.host_rules = settings.host_rules();
    api.trusted_proxies.clone_from(&settings.server.trusted_proxies);
    api.ready_checks = vec![process_check(house), schema_check(house)];
    pv_api::router(api).merge(pv_hooks::router(hooks))
}

fn process_check(house: &House) -> ReadyCheck {
    let health = Arc::clone(&house.health);
    ReadyCheck {
        name: "process",
        run: Arc::new(move || {
            let ready = health.ready();
            Box::pin(async move { ready })
        }),
    }
}

/// Asked once and remembered when good: a schema does not go back under a running process.
fn schema_check(house: &House) -> ReadyCheck {
    let db = house.engine.db.clone();
    let known_good = Arc::new(std::sync::atomic::AtomicBool::new(false));
    ReadyCheck {
        name: "migrations",
        run: Arc::new(move || {
            let (db, known_good) = (db.clone(), Arc::clone(&known_good));
            Box::pin(async move {
                if known_good.load(std::sync::atomic::Ordering::Relaxed) {
                    return Ok(());
                }
                let applied: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations where success")
                    .fetch_all(db.worker())
                    .await
                    .map_err(|_| "the migrations could not be read".to_owned())?;
                let missing = migrate::embedded().iter().filter(|m| !m.migration_type.is_down_migration() && !applied.contains(&m.version)).count();
                if missing > 0 {
                    return Err(format!("{missing} migrations are missing"));
                }
                known_good.store(true, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            })
        }),
    }
}

/// Serves until a signal.
pub async fn run(house: House, role: Role, init: bool) -> Result<()> {
    let signal = stop_signal()?;
    if role.serves() {
        first_key(&house, init).await?;
    }
    let house = Arc::new(house);
    let service = Service::start(Arc::clone(&house), role).await?;
    let address = service.address.map(tracing::field::display);
    tracing::info!(address, public_url = %house.engine.public_url, environment = %house.settings.server.environment, role = role.name(), "Payment Vault is up");
    drop(house);
    signal.await;
    tracing::info!("stopping: nothing new is taken, what runs may finish");
    if let Some(house) = service.stop().await {
        house.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// The platform's first key, shown once and never logged. In production only when asked for: there the terminal is often a log.
async fn first_key(house: &House, init: bool) -> Result<()> {
    if house.settings.production() && !init {
        return Ok(());
    }
    if let Some(key) = api_key::ensure_platform_key(&house.engine, house.settings.server.environment).await? {
        println!(
            "The platform's API key, shown this once:\n\n    {}\n\nTry: curl -H 'Authorization: Bearer {0}' {}/api/partners\n",
            key.expose_secret(),
            house.engine.public_url
        );
    }
    Ok(())
}

/// Resolves at SIGTERM or SIGINT. Installed before anything starts, so that no signal is missed.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
