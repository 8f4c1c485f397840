//! What every use case and step stands on: the database, the clock, the ids, the ports, the keys and the limits.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use pv_database::{Db, Scope, Tx};
use pv_kernel::{Clock, Ids, core_banking::Core, ids::PartnerId, rail::PayoutRail, sms::SmsGateway};
use uuid::Uuid;

use crate::{error::VaultError, payout::rail_id::IdKey, secret::KeyRing};

/// The house, put together by the binary or by the simulation.
pub struct Engine {
    /// The database, behind the guarded `begin`.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers and randomness.
    pub ids: Arc<dyn Ids>,
    /// The rail that pays out.
    pub rail: Arc<dyn PayoutRail>,
    /// The core-banking systems.
    pub core: Arc<dyn Core>,
    /// The SMS gateway.
    pub sms: Arc<dyn SmsGateway>,
    /// Keys for secrets at rest.
    pub keys: KeyRing,
    /// The key of the deterministic rail ids (rule A3), kept outside the database.
    pub id_key: IdKey,
    /// The public base URL under which providers reach us, without a slash at the end.
    pub public_url: String,
    /// Batch sizes, leases and intervals.
    pub limits: EngineLimits,
    /// Only rows of these partners are claimed; `None`: all. Several processes can share the work this way, and a simulation keeps
    /// its seeds apart with it.
    pub only_partners: Option<Vec<Uuid>>,
}

/// Batch sizes, leases and intervals: the one table of limits of the engine, shown in the operator guide.
#[derive(Debug, Clone, Copy)]
pub struct EngineLimits {
    /// Rows a step claims at once.
    pub batch: i64,
    /// How long a claimed row belongs to its step.
    pub lease: Duration,
    /// A submission's body is written before this much of the lease is over (rule A4).
    pub write_within: Duration,
    /// First status question after an acceptance without a result; then it grows.
    pub first_ask: Duration,
    /// Longest interval between status questions.
    pub longest_ask: Duration,
    /// First retry of a booking; then it grows.
    pub first_booking_retry: Duration,
    /// Longest interval between booking tries.
    pub longest_booking_retry: Duration,
    /// An unknown payout has an owner after this (rule A12).
    pub unknown_owner: Duration,
    /// An unknown payout pages after this (rule A12).
    pub unknown_page: Duration,
    /// How long the rail's "locked" and "busy" keep a new attempt waiting (rule A8).
    pub retry_minutes: Duration,
    /// How often a shortcode's balances are asked.
    pub balance_every: Duration,
    /// How often a waiting disbursement is looked at again when nothing wakes it.
    pub waiting_recheck: Duration,
    /// Skew between our clock and the database's at which claiming stops (rule D4).
    pub max_skew: Duration,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            batch: 200,
            lease: Duration::from_secs(90),
            write_within: Duration::from_secs(30),
            first_ask: Duration::from_secs(30),
            longest_ask: Duration::from_mins(30),
            first_booking_retry: Duration::from_secs(5),
            longest_booking_retry: Duration::from_mins(30),
            unknown_owner: Duration::from_mins(15),
            unknown_page: Duration::from_hours(24),
            retry_minutes: Duration::from_mins(2),
            balance_every: Duration::from_mins(5),
            waiting_recheck: Duration::from_mins(5),
            max_skew: Duration::from_secs(2),
        }
    }
}

impl Engine {
    /// Now.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A transaction of the worker role: the only one that moves money.
    pub async fn begin(&self) -> Result<Tx, VaultError> {
        Ok(self.db.begin(Scope::Worker).await?)
    }

    /// A transaction of the web role that sees one partner.
    pub async fn begin_for(&self, partner: PartnerId) -> Result<Tx, VaultError> {
        Ok(self.db.begin(Scope::Web(partner.uuid())).await?)
    }

    /// A transaction of the web role that sees the whole platform.
    pub async fn begin_platform(&self) -> Result<Tx, VaultError> {
        Ok(self.db.begin(Scope::WebPlatform).await?)
    }

    /// A new time-ordered id.
    pub fn id(&self) -> Uuid {
        self.ids.uuid(self.clock.now())
    }

    /// The moment `after` from now.
    pub fn in_(&self, after: Duration) -> DateTime<Utc> {
        self.now() + chrono::Duration::from_std(after).unwrap_or(chrono::Duration::zero())
    }

    /// The URL a provider gets for a path token: `/h/{hex}/…` (rule D2).
    pub fn hook_url(&self, token: &str, tail: &str) -> String {
        format!("{}/h/{token}/{tail}", self.public_url)
    }
}

/// What a run of a step did, for pacing and metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Worked {
    /// Rows taken.
    pub taken: usize,
    /// The batch was full: there is probably more.
    pub more: bool,
}

impl Worked {
    /// A run that took `taken` rows out of at most `batch`.
    pub fn of(taken: usize, batch: i64) -> Self {
        Self { taken, more: i64::try_from(taken).unwrap_or(i64::MAX) >= batch }
    }
}

/// The background steps, in the order in which a single-threaded worker would run them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Weighs stored messages: results, status answers, balances, hooks, delivery reports.
    Weigh,
    /// Reads approved loans of every core.
    Poll,
    /// Reads sighted loans and makes disbursements.
    Intake,
    /// Checks, reserves and sends.
    Pay,
    /// Asks the rail about payouts without a result.
    Ask,
    /// Books paid loans in the core.
    Book,
    /// Numbers events.
    Sequence,
    /// Makes texts from events.
    Notify,
    /// Hands texts to the gateway.
    Text,
    /// Asks for balances.
    Balance,
    /// Splits taken charges and folds the ledger behind the log.
    Fold,
    /// Gives old unknowns an owner, closes items that settled themselves.
    Watch,
    /// Reads booked loans in the core again, in rotation.
    Recheck,
    /// Recomputes the books and keeps the result for the sentence.
    Verify,
}

impl Step {
    /// All steps.
    pub const ALL: [Self; 14] = [
        Self::Weigh,
        Self::Poll,
        Self::Intake,
        Self::Pay,
        Self::Ask,
        Self::Book,
        Self::Sequence,
        Self::Notify,
        Self::Text,
        Self::Balance,
        Self::Fold,
        Self::Watch,
        Self::Recheck,
        Self::Verify,
    ];

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weigh => "weigh",
            Self::Poll => "poll",
            Self::Intake => "intake",
            Self::Pay => "pay",
            Self::Ask => "ask",
            Self::Book => "book",
            Self::Sequence => "sequence",
            Self::Notify => "notify",
            Self::Text => "text",
            Self::Balance => "balance",
            Self::Fold => "fold",
            Self::Watch => "watch",
            Self::Recheck => "recheck",
            Self::Verify => "verify",
        }
    }
}

impl Engine {
    /// Runs one step once.
    pub async fn run(&self, step: Step) -> Result<Worked, VaultError> {
        match step {
            Step::Weigh => crate::message::weigh::run(self).await,
            Step::Poll => crate::disbursement::poll::run(self).await,
            Step::Intake => crate::disbursement::intake::run(self).await,
            Step::Pay => crate::disbursement::pay::run(self).await,
            Step::Ask => crate::payout::ask::run(self).await,
            Step::Book => crate::booking::step::run(self).await,
            Step::Sequence => crate::outbox::sequence(self).await,
            Step::Notify => crate::notification::notify::run(self).await,
            Step::Text => crate::notification::text::run(self).await,
            Step::Balance => crate::payout::balance::run(self).await,
            Step::Fold => crate::wallet::fold::run(self).await,
            Step::Watch => crate::item::watch::run(self).await,
            Step::Recheck => crate::reconciliation::core_check::run(self).await,
            Step::Verify => {
                let report = crate::reconciliation::verify::verify_and_note(self).await?;
                for finding in &report.findings {
                    tracing::error!(code = finding.code, row = finding.row, found = finding.found, "the verifier found a contradiction");
                }
                Ok(Worked::default())
            }
        }
    }
}
