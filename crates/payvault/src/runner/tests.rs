use std::sync::atomic::{AtomicU32, Ordering};

use pv_kernel::SystemIds;

use super::*;

/// A health that lets work be taken.
fn healthy() -> Arc<Health> {
    let health = Health::default();
    health.measured(chrono::Duration::zero(), Duration::from_secs(2));
    Arc::new(health)
}

struct Bench {
    shared: Shared,
    runs: Arc<AtomicU32>,
}

impl Bench {
    fn new(health: Arc<Health>) -> Self {
        let shared = Shared { wakes: Arc::default(), health, ids: Arc::new(SystemIds), stop: CancellationToken::new() };
        Self { shared, runs: Arc::default() }
    }

    /// A loop with an interval that no test waits for; what the n-th run does, the test says.
    fn start(&self, step: Step, act: impl Fn(u32) -> Result<Worked, VaultError> + Send + Sync + 'static) -> Runner {
        let (runs, act) = (Arc::clone(&self.runs), Arc::new(act));
        let job: Job = Arc::new(move || {
            let (runs, act) = (Arc::clone(&runs), Arc::clone(&act));
            Box::pin(async move { act(runs.fetch_add(1, Ordering::SeqCst) + 1) })
        });
        let mut loops = JoinSet::new();
        loops.spawn(Loop { step, interval: Duration::from_hours(1), job, shared: self.shared.clone() }.run());
        Runner { loops, stop: self.shared.stop.clone() }
    }

    async fn until(&self, runs: u32) {
        let reached = async {
            while self.runs.load(Ordering::SeqCst) < runs {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await.is_ok();
        assert!(in_time, "{} runs instead of {runs}", self.runs.load(Ordering::SeqCst));
    }
}

#[tokio::test]
async fn a_poke_wakes_a_step_that_would_sleep_for_an_hour_and_the_stop_ends_it() {
    let bench = Bench::new(healthy());
    let runner = bench.start(Step::Weigh, |_| Ok(Worked::default()));
    bench.until(1).await;
    bench.shared.wakes.poke(Step::Weigh);
    bench.until(2).await;
    assert!(runner.stop().await);
    bench.shared.wakes.poke(Step::Weigh);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_full_batch_is_followed_at_once_and_work_wakes_its_followers() {
    let bench = Bench::new(healthy());
    let runner = bench.start(Step::Intake, |run| Ok(Worked { taken: 1, more: run < 5 }));
    bench.until(5).await;
    let woken = tokio::time::timeout(Duration::from_secs(20), bench.shared.wakes.wait(Step::Pay)).await;
    assert!(woken.is_ok(), "Intake gives work to Pay");
    assert!(runner.stop().await);
    let work = bench.shared.health.work();
    assert_eq!(work.get("intake").map(|w| w.rows), Some(work.get("intake").map_or(0, |w| w.runs)));
}

#[tokio::test]
async fn a_panic_or_an_error_does_not_end_the_loop() {
    let bench = Bench::new(healthy());
    let runner = bench.start(Step::Book, |run| match run {
        1 => panic!("a defect"),
        2 => Err(VaultError::Broken("a row".into())),
        _ => Ok(Worked::default()),
    });
    bench.until(3).await;
    assert!(runner.stop().await);
    assert_eq!(bench.shared.health.work().get("book").map(|w| w.failures), Some(2));
}

#[tokio::test]
async fn nothing_is_claimed_while_the_clocks_differ() {
    let health = Arc::new(Health::default());
    let bench = Bench::new(Arc::clone(&health));
    let runner = bench.start(Step::Pay, |_| Ok(Worked::default()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.runs.load(Ordering::SeqCst), 0);
    health.measured(chrono::Duration::zero(), Duration::from_secs(2));
    bench.until(1).await;
    assert!(runner.stop().await);
}

#[test]
fn pauses_after_failures_grow_to_a_bound_and_are_never_nothing() {
    for (failures, bound) in [(1, 250), (2, 500), (4, 2_000), (9, 30_000), (u32::MAX, 30_000)] {
        for _ in 0..20 {
            let pause = backoff(failures, &SystemIds);
            assert!(pause >= Duration::from_millis(bound / 4) && pause <= Duration::from_millis(bound), "{failures}: {pause:?}");
        }
    }
}

#[tokio::test]
async fn a_bell_in_one_process_wakes_a_step_in_another() {
    let database = pv_database::TestDatabase::create(&pv_database::Template::payvault()).await;
    let (wakes, stop) = (Arc::new(Wakes::default()), CancellationToken::new());
    let listening = tokio::spawn(bell::listen(database.db(), Arc::clone(&wakes), stop.clone()));
    let bell = bell::Bell::start(database.db());
    // The ear takes a moment to open, and a bell that nobody hears is lost: that is what polling is for.
    let heard = async {
        loop {
            bell.ring(Step::Intake);
            if tokio::time::timeout(Duration::from_millis(100), wakes.wait(Step::Intake)).await.is_ok() {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), heard).await.is_ok());
    assert!(tokio::time::timeout(Duration::from_millis(50), wakes.wait(Step::Pay)).await.is_err(), "no other step");
    stop.cancel();
    assert!(listening.await.is_ok());
}
