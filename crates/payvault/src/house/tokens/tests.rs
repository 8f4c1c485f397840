use std::sync::atomic::{AtomicU32, Ordering};

use pv_database::{Template, TestDatabase};

use super::*;

struct HandClock(Mutex<DateTime<Utc>>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap())))
    }

    fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// A provider that numbers its tokens and takes its time.
#[derive(Default)]
struct Provider {
    given: AtomicU32,
    refuses: bool,
}

impl Provider {
    fn given(&self) -> u32 {
        self.given.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenFetch for Provider {
    async fn fetch(&self) -> Result<(String, u32), TokenError> {
        let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        // Long enough for the others to arrive meanwhile.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if self.refuses { Err(TokenError::Refused("no".into())) } else { Ok((format!("token-{number}"), 3599)) }
    }
}

fn ring(number: u8) -> KeyRing {
    KeyRing::new([(1, Zeroizing::new([number; 32]))]).unwrap()
}

struct World {
    database: TestDatabase,
    clock: Arc<HandClock>,
}

impl World {
    async fn new() -> Self {
        Self { database: TestDatabase::create(&Template::payvault()).await, clock: HandClock::new() }
    }

    /// A process of its own: it shares nothing with another but the database.
    fn process(&self) -> DbTokenStore {
        DbTokenStore::new(self.database.db(), self.clock.clone(), ring(1))
    }
}

#[tokio::test]
async fn of_many_that_need_a_token_at_once_one_fetches() {
    let world = World::new().await;
    let provider = Provider::default();
    let (one, two) = (world.process(), world.process());
    assert_eq!(one.current("k").await, None);
    let all =
        futures::future::join_all((0..12).map(|n| if n % 2 == 0 { one.renew("k", None, &provider) } else { two.renew("k", None, &provider) })).await;
    for token in all {
        assert_eq!(token.unwrap(), "token-1");
    }
    assert_eq!(provider.given(), 1);
    assert_eq!(two.current("k").await.as_deref(), Some("token-1"));
}

#[tokio::test]
async fn who_holds_an_old_token_gets_the_stored_one_without_a_fetch() {
    let world = World::new().await;
    let provider = Provider::default();
    let (one, two) = (world.process(), world.process());
    one.renew("k", None, &provider).await.unwrap();
    assert_eq!(two.current("k").await.as_deref(), Some("token-1"));
    // The provider refuses token-1: process one renews, process two still remembers the old one.
    assert_eq!(one.renew("k", Some("token-1"), &provider).await.unwrap(), "token-2");
    assert_eq!(two.current("k").await.as_deref(), Some("token-1"));
    assert_eq!(two.renew("k", Some("token-1"), &provider).await.unwrap(), "token-2");
    assert_eq!(provider.given(), 2);
    assert_eq!(two.current("k").await.as_deref(), Some("token-2"));
}

#[tokio::test]
async fn a_token_is_not_handed_out_in_its_last_five_minutes() {
    let world = World::new().await;
    let provider = Provider::default();
    let one = world.process();
    one.renew("k", None, &provider).await.unwrap();
    world.clock.forward(Duration::seconds(3599 - 301));
    assert_eq!(one.current("k").await.as_deref(), Some("token-1"));
    world.clock.forward(Duration::seconds(2));
    assert_eq!(one.current("k").await, None);
    assert_eq!(world.process().current("k").await, None, "nor out of the database");
    assert_eq!(one.renew("k", None, &provider).await.unwrap(), "token-2");
}

#[tokio::test]
async fn a_refusal_leaves_the_stored_token_and_the_lock_behind_it_free() {
    let world = World::new().await;
    let (good, bad) = (Provider::default(), Provider { refuses: true, ..Provider::default() });
    let one = world.process();
    one.renew("k", None, &good).await.unwrap();
    assert_eq!(one.renew("k", Some("token-1"), &bad).await, Err(TokenError::Refused("no".into())));
    assert_eq!(world.process().current("k").await.as_deref(), Some("token-1"));
    assert_eq!(world.process().renew("k", Some("token-1"), &good).await.unwrap(), "token-2");
}

#[tokio::test]
async fn tokens_stand_sealed_in_their_own_row() {
    let world = World::new().await;
    let provider = Provider::default();
    let one = world.process();
    one.renew("a", None, &provider).await.unwrap();
    let db = world.database.db();
    let stored: String = sqlx::query_scalar("select token_enc from provider_tokens where key = 'a'").fetch_one(db.worker()).await.unwrap();
    assert!(stored.starts_with("v1.") && !stored.contains("token-1"));
    // Copied into another row, or met by another key ring, it is as good as none.
    sqlx::query("insert into provider_tokens select 'b', token_enc, expires_at, renewed_at from provider_tokens where key = 'a'")
        .execute(db.worker())
        .await
        .unwrap();
    assert_eq!(world.process().current("b").await, None);
    let stranger = DbTokenStore::new(world.database.db(), world.clock.clone(), ring(2));
    assert_eq!(stranger.current("a").await, None);
    assert_eq!(stranger.renew("a", None, &provider).await.unwrap(), "token-2");
}
