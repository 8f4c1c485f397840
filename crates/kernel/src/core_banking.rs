//! The port of a core-banking system: Mifos X over HTTP, or the built-in SACCO core. The core says what stands in its books;
//! what follows from it is decided in `vault`.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{Money, ids::CoreId};

/// One connection to one core.
#[derive(Debug, Clone)]
pub struct CoreLink {
    /// The connection.
    pub core_id: CoreId,
    /// The whole base URL, `https://host/fineract-provider/api/v1`, without a slash at the end.
    pub base_url: String,
    /// The tenant header.
    pub tenant: String,
    /// The integration user.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// An extra certificate authority, PEM.
    pub trust: Option<String>,
    /// What detection found; `None` before the first probe.
    pub profile: Option<CoreProfile>,
}

/// What a host can do, found by detection and never assumed (Mifos X contract 11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreProfile {
    /// `1.8` or `1.9+`.
    pub line: String,
    /// Honours `Idempotency-Key` and reads by external id (1.9+).
    pub idempotency: bool,
}

/// The state of a loan that matters to us (Mifos X contract 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoanStatus {
    /// 100.
    PendingApproval,
    /// 200: approved, waiting for the money.
    Approved,
    /// 300 and beyond that still carry a disbursement: active, closed, overpaid, in transfer.
    Disbursed(u16),
    /// 400, 500: withdrawn or rejected.
    Ended(u16),
    /// Anything else.
    Other(u16),
}

impl LoanStatus {
    /// From the status id of the contract.
    pub const fn from_id(id: u16) -> Self {
        match id {
            100 => Self::PendingApproval,
            200 => Self::Approved,
            300 | 303 | 304 | 600 | 601 | 602 | 700 => Self::Disbursed(id),
            400 | 500 => Self::Ended(id),
            other => Self::Other(other),
        }
    }
}

/// A loan as the core reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreLoan {
    /// The core's id of the loan.
    pub loan_id: String,
    /// Account number, as people know it.
    pub account_no: String,
    /// Its state.
    pub status: LoanStatus,
    /// The borrower; `None` for some group loans.
    pub client_id: Option<String>,
    /// Name of the borrower on the loan.
    pub client_name: Option<String>,
    /// Product.
    pub product_id: String,
    /// Product name.
    pub product_name: String,
    /// ISO currency code.
    pub currency: String,
    /// The approved principal: the debt, what is booked (rule A17).
    pub principal: Money,
    /// What is paid out: the approved principal less the charges due at disbursement (rule A17).
    pub net: Money,
    /// Day of approval.
    pub approved_on: Option<NaiveDate>,
    /// Who approved, as the core names them.
    pub approved_by: Option<String>,
    /// Expected day of disbursement.
    pub expected_on: Option<NaiveDate>,
    /// First reason why this is not the simple case of rule A15, if any: `tranches`, `top_up`, `group_loan`, `linked_savings`.
    pub not_simple: Option<String>,
    /// Disbursement transactions, when they were asked for.
    pub disbursements: Vec<CoreTransaction>,
}

impl CoreLoan {
    /// Two reads with the same fingerprint describe the same approval: status, net, principal, product, client and approval day.
    pub fn approval_fingerprint(&self) -> String {
        format!(
            "{}|{}|{}|{}|{}|{}",
            self.client_id.as_deref().unwrap_or("-"),
            self.product_id,
            self.principal.minor(),
            self.net.minor(),
            self.approved_on.map(|d| d.to_string()).unwrap_or_default(),
            self.expected_on.map(|d| d.to_string()).unwrap_or_default(),
        )
    }
}

/// A transaction on a loan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreTransaction {
    /// The core's id of the transaction.
    pub id: String,
    /// The id we gave it, when the core keeps one.
    pub external_id: Option<String>,
    /// Receipt number in the payment detail.
    pub receipt: Option<String>,
    /// Amount.
    pub amount: Money,
    /// Day booked.
    pub date: Option<NaiveDate>,
    /// Reversed transactions stay in the list.
    pub reversed: bool,
}

/// A client as the core reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreClient {
    /// The core's id.
    pub client_id: String,
    /// Active in the core.
    pub active: bool,
    /// The phone as somebody typed it.
    pub mobile: Option<String>,
    /// The name.
    pub name: String,
    /// When the record was last changed, where the core tells.
    pub changed_at: Option<DateTime<Utc>>,
}

/// A loan product with its limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreProduct {
    /// The core's id.
    pub product_id: String,
    /// Name.
    pub name: String,
    /// Active on the tenant's day.
    pub active: bool,
    /// ISO currency code.
    pub currency: String,
    /// Smallest principal.
    pub min: Option<Money>,
    /// Largest principal.
    pub max: Option<Money>,
    /// May be disbursed more than once (Mifos X contract 3.6): never paid by itself.
    pub several_disbursements: bool,
    /// The disbursement date must equal the expected one.
    pub date_must_match: bool,
}

/// A payment type of the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorePaymentType {
    /// The core's id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Cash types need an open teller session (Mifos X contract 3.6).
    pub cash: bool,
}

/// One booking of a disbursement that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingOrder {
    /// The loan.
    pub loan_id: String,
    /// The gross principal: what is owed (rule A17).
    pub gross: Money,
    /// Day of the payment, already capped to the tenant's day (rule A22).
    pub date: NaiveDate,
    /// The rail's receipt.
    pub receipt: String,
    /// The receiver's phone.
    pub account_number: String,
    /// Our id of the disbursement transaction.
    pub external_id: String,
    /// Idempotency key for this effect (Mifos X contract 1.8): the same after a time-out, a new one after a replayed failure.
    pub key: String,
    /// The partner's M-Pesa payment type; without it the receipt is thrown away (Mifos X contract 3.6).
    pub payment_type_id: String,
    /// For people.
    pub note: String,
}

/// What the answer to a booking means. None of them is the truth: the read-back is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookingMeaning {
    /// The core says that it is done.
    Done {
        /// The core's id of the disbursement transaction, where the answer has it.
        transaction_id: Option<String>,
    },
    /// Parked for the core's own checker (Mifos X contract 1.6): wait, read only.
    Parked {
        /// The core's id of the parked command.
        command_id: Option<String>,
    },
    /// Refused by a rule of the core; the code tells which.
    Refused {
        /// The inner code (Mifos X contract 1.7).
        code: String,
        /// The core replayed a stored failure: another try needs a new key.
        replayed: bool,
        /// What kind of refusal, as far as the engine cares.
        kind: BookingRefusal,
    },
    /// Busy, locked, in progress, broken or silent: read back before anything else.
    Unclear,
    /// The request never reached the core.
    NotSent,
    /// The process ends here (simulation only).
    Crashed,
}

/// Kinds of refusal that lead to different next steps (rule A22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookingRefusal {
    /// Already disbursed, or not approved any more: the same answer for both; read the loan.
    NotInState,
    /// The date is the problem (holiday, non-working day, closed period, future): next allowed date.
    Date,
    /// The loan or the client may not be changed by this user, or the client is not active: a person.
    Rule,
    /// Our external id is taken: read back.
    Duplicate,
    /// Credentials or permissions.
    Access,
}

/// The answer to a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookingAnswer {
    /// What it means.
    pub meaning: BookingMeaning,
    /// HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The request body.
    pub request: String,
    /// The answer body, bounded.
    pub response: String,
}

/// Why the core could not be read. No money moves on any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// There is no such row (404).
    #[error("the core has no such row")]
    NotFound,
    /// The credentials are refused (401), expired, or lack a permission (403).
    #[error("the core refuses our user: {0}")]
    Access(String),
    /// The host cannot be reached, is busy or broken.
    #[error("the core cannot be read now: {0}")]
    Down(String),
    /// It answered something that cannot be read.
    #[error("the core's answer cannot be read: {0}")]
    Unreadable(String),
    /// The process ends here (simulation only).
    #[error("the process ends here")]
    Crashed,
}

/// What a connection test found (requirement L1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// One row per check, in order.
    pub checks: Vec<ConnectionCheck>,
    /// What detection found.
    pub profile: Option<CoreProfile>,
    /// Products the user can read.
    pub products: Vec<CoreProduct>,
    /// Payment types the user can read.
    pub payment_types: Vec<CorePaymentType>,
}

/// One check of a connection test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCheck {
    /// Stable name: `reachable`, `tenant`, `credentials`, `permissions`, `version`, `loan_products`, `payment_type`, `clock`, `business_date`.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found, and what to do about it.
    pub detail: String,
}

/// A core-banking system.
#[async_trait]
pub trait Core: Send + Sync {
    /// Detects the version line.
    async fn detect(&self, link: &CoreLink) -> Result<CoreProfile, CoreError>;
    /// Tests a connection, with a precise report; never fails as a whole. `now` to compare clocks.
    async fn test(&self, link: &CoreLink, now: DateTime<Utc>) -> ConnectionReport;
    /// Reads one loan; `with_transactions` reads its disbursements too.
    async fn loan(&self, link: &CoreLink, loan_id: &str, with_transactions: bool) -> Result<CoreLoan, CoreError>;
    /// Reads a client.
    async fn client(&self, link: &CoreLink, client_id: &str) -> Result<CoreClient, CoreError>;
    /// Reads one product.
    async fn product(&self, link: &CoreLink, product_id: &str) -> Result<CoreProduct, CoreError>;
    /// Reads all products.
    async fn products(&self, link: &CoreLink) -> Result<Vec<CoreProduct>, CoreError>;
    /// Reads all payment types.
    async fn payment_types(&self, link: &CoreLink) -> Result<Vec<CorePaymentType>, CoreError>;
    /// Reads all loans that are approved now.
    async fn approved_loans(&self, link: &CoreLink) -> Result<Vec<CoreLoan>, CoreError>;
    /// The tenant's day, where the core tells it (business date); `None`: not switched on.
    async fn business_date(&self, link: &CoreLink) -> Result<Option<NaiveDate>, CoreError>;
    /// Books a disbursement that happened.
    async fn disburse(&self, link: &CoreLink, order: &BookingOrder) -> BookingAnswer;
}
