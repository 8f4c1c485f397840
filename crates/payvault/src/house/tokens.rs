//! The bearer tokens of providers, shared by all processes (M-Pesa contract 1: a new token makes the old one invalid).
//!
//! A token stands sealed in `provider_tokens`, one row per environment and consumer key. Who renews it holds that row's lock
//! while it asks the provider, so that two processes never renew at once; in a process, one task at a time goes there. A short
//! memory in the process spares the database: a token that another process has replaced is found out by the provider's 401, and
//! then the stored one is read again without asking for a new one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use pv_database::{Db, DbError, Scope};
use pv_kernel::{
    Clock, crypto,
    transport::{TokenError, TokenFetch, TokenStore},
};
use pv_vault::secret::{KeyRing, Place};
use secrecy::ExposeSecret as _;
use sqlx::Row as _;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A token is not handed out any more when it ends within this time: the request it is for may wait in a lane.
const MARGIN: Duration = Duration::seconds(300);
/// Most keys that are remembered in the process; one per consumer key.
const REMEMBERED: usize = 10_000;
/// How long a process waits for another that is renewing, and how long the provider may take. Longer than a token request may.
const PATIENCE: &str = "60s";

/// A token in memory.
#[derive(Clone)]
struct Known {
    token: Zeroizing<String>,
    expires_at: DateTime<Utc>,
}

/// The token store of the product.
pub struct DbTokenStore {
    db: Db,
    clock: Arc<dyn Clock>,
    keys: KeyRing,
    known: Mutex<HashMap<String, Known>>,
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for DbTokenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DbTokenStore").finish_non_exhaustive()
    }
}

impl DbTokenStore {
    /// On the table `provider_tokens`, with tokens sealed by `keys`.
    pub fn new(db: Db, clock: Arc<dyn Clock>, keys: KeyRing) -> Self {
        Self { db, clock, keys, known: Mutex::default(), gates: Mutex::default() }
    }

    fn remembered(&self, key: &str) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned().filter(|known| self.is_good(known))
    }

    fn remember(&self, key: &str, known: Known) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(key.to_owned(), known);
    }

    fn gate(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= REMEMBERED {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Arc::clone(gates.entry(key.to_owned()).or_default())
    }

    fn is_good(&self, known: &Known) -> bool {
        known.expires_at - MARGIN > self.clock.now()
    }

    /// The stored token, when it can be opened and is good for a while. One that cannot be opened is as good as none.
    fn opened(&self, key: &str, sealed: Option<String>, expires_at: Option<DateTime<Utc>>) -> Option<Known> {
        let (sealed, expires_at) = (sealed?, expires_at?);
        match self.keys.open(place(key), &sealed) {
            Ok(token) => Some(Known { token: Zeroizing::new(token.expose_secret().to_owned()), expires_at }).filter(|known| self.is_good(known)),
            Err(error) => {
                tracing::warn!(%error, "a stored bearer token cannot be opened; a new one is fetched");
                None
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Known>, DbError> {
        let row = sqlx::query("select token_enc, expires_at from provider_tokens where key = $1").bind(key).fetch_optional(self.db.worker()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.opened(key, row.try_get(0)?, row.try_get(1)?))
    }

    /// Under the lock of the row: takes what somebody else has stored meanwhile, or fetches and stores.
    async fn renew_locked(&self, key: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<Known, RenewError> {
        let mut tx = self.db.begin(Scope::Worker).await?;
        sqlx::query(
            "select set_config('lock_timeout', $1, true), set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $1, true)",
        )
        .bind(PATIENCE)
        .execute(tx.conn())
        .await?;
        sqlx::query("insert into provider_tokens (key) values ($1) on conflict (key) do nothing").bind(key).execute(tx.conn()).await?;
        let row = sqlx::query("select token_enc, expires_at from provider_tokens where key = $1 for update").bind(key).fetch_one(tx.conn()).await?;
        let stored = self.opened(key, row.try_get(0)?, row.try_get(1)?);
        if let Some(stored) = stored.filter(|stored| stale != Some(stored.token.as_str())) {
            tx.rollback().await?;
            return Ok(stored);
        }
        let (token, seconds) = match fetch.fetch().await {
            Ok(fetched) => fetched,
            Err(error) => {
                // The row stays as it was; its lock must not outlive this call.
                tx.rollback().await?;
                return Err(RenewError::Token(error));
            }
        };
        let now = self.clock.now();
        let fresh = Known { token: Zeroizing::new(token), expires_at: now + Duration::seconds(i64::from(seconds)) };
        if let Err(error) = self.store(tx, key, &fresh, now).await {
            if matches!(error, RenewError::Db(DbError::Crashed)) {
                return Err(error);
            }
            // The provider has ended the old token already, so the new one is the only good one: use it. The other processes
            // learn by a 401 that theirs is old, and fetch again.
            tracing::warn!(%error, "a new bearer token could not be stored; only this process has it");
        }
        Ok(fresh)
    }

    async fn store(&self, mut tx: pv_database::Tx, key: &str, fresh: &Known, now: DateTime<Utc>) -> Result<(), RenewError> {
        let sealed = self.keys.seal(place(key), &fresh.token).map_err(|error| RenewError::Seal(error.to_string()))?;
        sqlx::query("update provider_tokens set token_enc = $2, expires_at = $3, renewed_at = $4 where key = $1")
            .bind(key)
            .bind(sealed)
            .bind(fresh.expires_at)
            .bind(now)
            .execute(tx.conn())
            .await?;
        Ok(tx.commit_at("token.store").await?)
    }
}

/// What went wrong while renewing.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Token(TokenError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the token could not be sealed: {0}")]
    Seal(String),
}

impl From<sqlx::Error> for RenewError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<RenewError> for TokenError {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Token(error) => error,
            RenewError::Db(DbError::Crashed) => Self::Crashed,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

#[async_trait]
impl TokenStore for DbTokenStore {
    async fn current(&self, key: &str) -> Option<String> {
        if let Some(known) = self.remembered(key) {
            return Some(known.token.as_str().to_owned());
        }
        match self.read(key).await {
            Ok(Some(known)) => {
                let token = known.token.as_str().to_owned();
                self.remember(key, known);
                Some(token)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the stored bearer token could not be read");
                None
            }
        }
    }

    async fn renew(&self, key: &str, stale: Option<&str>, fetch: &dyn TokenFetch) -> Result<String, TokenError> {
        let gate = self.gate(key);
        let _turn = gate.lock().await;
        // Whoever was before us in this process may have done it.
        if let Some(known) = self.remembered(key).filter(|known| stale.is_some_and(|stale| stale != known.token.as_str())) {
            return Ok(known.token.as_str().to_owned());
        }
        let fresh = self.renew_locked(key, stale, fetch).await?;
        let token = fresh.token.as_str().to_owned();
        self.remember(key, fresh);
        Ok(token)
    }
}

/// Where the token of a key stands: the row's id is made from the key, which is no UUID.
fn place(key: &str) -> Place {
    let hash = crypto::sha256(key.as_bytes());
    Place { column: "provider_tokens.token_enc", row: Uuid::from_bytes(*hash.first_chunk::<16>().unwrap_or(&[0; 16])) }
}

#[cfg(test)]
mod tests;
