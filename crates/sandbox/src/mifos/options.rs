//! What a simulated host is: its release, its tenants' settings, its users, and the dials of misfortune.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{NaiveDate, Weekday};
use chrono_tz::Tz;

/// The release that a host runs (Mifos X contract, section 11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// The 1.8 line: no idempotency, no `external-id` addresses, `sqlSearch`, hooks before the commit.
    V1_8,
    /// 1.9 and later, as of 1.14.
    V1_14,
}

impl Profile {
    pub(crate) fn is_old(self) -> bool {
        self == Self::V1_8
    }
}

/// Which day it is for the tenant (Mifos X contract 1.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusinessDate {
    /// Today in the tenant's zone.
    Calendar,
    /// The logical business date, which may lag or lead the calendar.
    Fixed(NaiveDate),
}

/// How a second use of a transaction's external id is refused (it depends on release and database).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateExternalId {
    /// 400 `validation.msg.loan.transaction.externalId.value.must.be.unique`.
    Validation,
    /// 403 `error.msg.data.integrity.issue`.
    Integrity,
}

/// Somebody who may log in.
#[derive(Debug, Clone)]
pub struct UserOptions {
    /// User name.
    pub name: String,
    /// Password; `None` never logs in over the wire.
    pub password: Option<String>,
    /// Full name, as hooks carry it.
    pub full_name: String,
    /// Rights such as `READ_LOAN`; `ALL_FUNCTIONS` gives all, `ALL_FUNCTIONS_READ` gives all reads.
    pub permissions: BTreeSet<String>,
    /// The office above everything the user sees; 1 is the head office.
    pub office_id: u64,
    /// Whether every call fails with `error.msg.password.outdated`.
    pub password_expired: bool,
}

impl UserOptions {
    /// The rights of an integration user, the whole list of the contract's section 10 with set-up and corrections.
    pub const INTEGRATION: [&'static str; 19] = [
        "READ_LOAN",
        "READ_LOANPRODUCT",
        "READ_CLIENT",
        "READ_SAVINGSACCOUNT",
        "READ_PAYMENTTYPE",
        "READ_BUSINESS_DATE",
        "DISBURSE_LOAN",
        "REPAYMENT_LOAN",
        "RECOVERYPAYMENT_LOAN",
        "DEPOSIT_SAVINGSACCOUNT",
        "ADJUST_LOAN",
        "UNDOTRANSACTION_SAVINGSACCOUNT",
        "DISBURSALUNDO_LOAN",
        "APPROVALUNDO_LOAN",
        "READ_HOOK",
        "CREATE_HOOK",
        "UPDATE_HOOK",
        "DELETE_HOOK",
        "CREATE_PAYMENTTYPE",
    ];

    /// A user at the head office with exactly these rights.
    pub fn new(name: &str, password: &str, permissions: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            password: Some(password.to_owned()),
            full_name: name.to_owned(),
            permissions: permissions.iter().map(|&right| right.to_owned()).collect(),
            office_id: 1,
            password_expired: false,
        }
    }

    /// The user of a payments integrator, with the rights of [`Self::INTEGRATION`].
    pub fn integration(name: &str, password: &str) -> Self {
        Self::new(name, password, &Self::INTEGRATION)
    }
}

/// What may happen to a hook on its way. Shares are per mille.
#[derive(Debug, Clone)]
pub struct HookDials {
    /// Events that are lost for ever (a restart, a slow network).
    pub lost: u16,
    /// Events that are posted twice.
    pub doubled: u16,
    /// Shortest way to the receiver. Different ways reorder events.
    pub shortest: Duration,
    /// Longest way to the receiver.
    pub longest: Duration,
    /// 1.8 only: events that leave before the change can be read.
    pub before_commit: u16,
    /// How long after the command the change becomes readable in that case.
    pub commit_lag: Duration,
    /// Address prefixes that the probe of a new hook cannot reach; all others pass, and the probe is emitted as a delivery.
    pub unreachable: BTreeSet<String>,
}

impl Default for HookDials {
    fn default() -> Self {
        Self {
            lost: 0,
            doubled: 0,
            shortest: Duration::from_millis(50),
            longest: Duration::from_millis(400),
            before_commit: 0,
            commit_lag: Duration::from_millis(700),
            unreachable: BTreeSet::new(),
        }
    }
}

/// What may happen to a request. Shares are per mille; at most one of the failures hits a request, in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct Dials {
    /// Any request is slow by `slow_by`.
    pub slow: u16,
    /// How slow a slow request is.
    pub slow_by: Duration,
    /// Any request: the connection closes and nothing was done.
    pub dropped_before: u16,
    /// Any request: it is carried out and the connection closes without the answer.
    pub dropped_after: u16,
    /// Any request: 503, nothing was done.
    pub unavailable: u16,
    /// Any request: 500, nothing was done.
    pub server_error: u16,
    /// Commands: carried out, but a proxy in front answers 504.
    pub gateway_timeout: u16,
    /// Commands on a loan: 409 `error.msg.loan.locked`, nothing was done (1.9+).
    pub locked: u16,
    /// Commands on a loan: 409 concurrent change, nothing was done (1.9+; 500 on 1.8).
    pub conflict: u16,
    /// Commands with a key: booked, then the process dies; the key answers 425 for ever (1.9+).
    pub key_stuck: u16,
    /// Commands: parked for a checker.
    pub parked: u16,
}

/// One misfortune, for a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing goes wrong: holds a place in a script.
    Nothing,
    /// The answer comes late.
    Slow(Duration),
    /// The connection closes, nothing was done.
    DroppedBefore,
    /// Carried out, the connection closes without the answer.
    DroppedAfter,
    /// 503, nothing was done.
    Unavailable,
    /// 500, nothing was done (with a key, the failure is stored and replayed).
    ServerError,
    /// Carried out, a proxy answers 504.
    GatewayTimeout,
    /// 409 `error.msg.loan.locked`, nothing was done and nothing stored.
    Locked,
    /// 409 concurrent change (500 on 1.8), nothing was done; with a key, the failure is stored and replayed.
    Conflict,
    /// Booked, then the process dies: no answer, and the key answers 425 for ever.
    KeyStuck,
    /// Parked for a checker: 200 with a `commandId` and without the business id.
    Parked,
    /// The server retries on a lock by itself: a failed event leaves first, then the command succeeds.
    RetriedInside,
}

/// A host with its first tenant. More tenants: [`super::MifosSim::add_tenant`].
#[derive(Debug, Clone)]
pub struct MifosOptions {
    /// The release.
    pub profile: Profile,
    /// The value of `Fineract-Platform-TenantId`.
    pub tenant: String,
    /// Where the API is mounted, up to and including `v1`.
    pub base_path: String,
    /// Who may log in. Staff who approve by hand ("peter", "jane") exist besides and never log in.
    pub users: Vec<UserOptions>,
    /// The tenant's zone; a fresh Fineract stands at Asia/Kolkata.
    pub zone: Tz,
    /// Which day it is.
    pub business_date: BusinessDate,
    /// Holidays of every office.
    pub holidays: BTreeSet<NaiveDate>,
    /// Days of the week without work.
    pub non_working_days: Vec<Weekday>,
    /// `allow-transactions-on-holiday`.
    pub transactions_on_holiday: bool,
    /// `allow-transactions-on-non_workingday`.
    pub transactions_on_non_working_day: bool,
    /// How a second use of an external id is refused.
    pub duplicate_external_id: DuplicateExternalId,
    /// Rights that stand under maker-checker, e.g. `DISBURSE_LOAN`: every such command over the wire is parked.
    pub maker_checker: BTreeSet<String>,
    /// Dials of the hooks.
    pub hooks: HookDials,
    /// Dials of the requests.
    pub dials: Dials,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for MifosOptions {
    fn default() -> Self {
        Self {
            profile: Profile::V1_14,
            tenant: "default".to_owned(),
            base_path: "/fineract-provider/api/v1".to_owned(),
            users: vec![UserOptions::integration("pv-integration", "s3cret")],
            zone: chrono_tz::Asia::Kolkata,
            business_date: BusinessDate::Calendar,
            holidays: BTreeSet::new(),
            non_working_days: Vec::new(),
            transactions_on_holiday: false,
            transactions_on_non_working_day: false,
            duplicate_external_id: DuplicateExternalId::Validation,
            maker_checker: BTreeSet::new(),
            hooks: HookDials::default(),
            dials: Dials::default(),
            seed: 1,
        }
    }
}
