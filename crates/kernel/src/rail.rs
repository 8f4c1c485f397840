//! The port of a rail: a way money moves. The rail says what it knows; what follows from it is decided in `vault`.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{Money, Msisdn};

/// The account and credentials a payout is made with: one version of the credentials of one shortcode.
#[derive(Debug, Clone)]
pub struct RailAccount {
    /// The base URL of the environment (sandbox or production; never guessed).
    pub base_url: String,
    /// `sandbox` or `production`, as configured.
    pub environment: String,
    /// The paying shortcode (PartyA).
    pub shortcode: String,
    /// Consumer key of the portal app.
    pub consumer_key: String,
    /// Consumer secret of the portal app.
    pub consumer_secret: SecretString,
    /// Name of the API operator.
    pub initiator: String,
    /// The encrypted initiator password, base64 (M-Pesa contract 3). Made once per version, so that a repeat is byte for byte
    /// the same (rule A5).
    pub security_credential: SecretString,
    /// Requests per second this shortcode may make (M-Pesa contract 8.2).
    pub rate: u32,
}

/// One instruction to pay, under one rail id.
#[derive(Debug, Clone)]
pub struct PayoutOrder {
    /// `OriginatorConversationID` (rule A3).
    pub rail_id: String,
    /// The receiver.
    pub msisdn: Msisdn,
    /// Whole shillings.
    pub amount: Money,
    /// 2 to 100 characters, for the rail's records.
    pub remarks: String,
    /// Where the rail reports the result.
    pub result_url: String,
    /// Where the rail reports that it gave up queueing.
    pub timeout_url: String,
}

/// What is asked about a payment.
#[derive(Debug, Clone)]
pub struct StatusQuestion {
    /// The rail id of the payment, when known to us.
    pub rail_id: Option<String>,
    /// The rail's receipt, when that is what we have.
    pub receipt: Option<String>,
    /// Where the answer goes.
    pub result_url: String,
    /// Where the rail reports that it gave up queueing the question.
    pub timeout_url: String,
}

/// What stood on the wire, redacted, for the stored message and the timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireTrace {
    /// HTTP status, when there was an answer.
    pub http_status: Option<u16>,
    /// The rail's code, when it gave one.
    pub code: Option<String>,
    /// The rail's words, or ours about a missing answer.
    pub message: String,
    /// The request body without secrets.
    pub request: String,
    /// The answer body.
    pub response: String,
}

/// What the answer to one submission means for the money (rule A5, M-Pesa contract 7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionMeaning {
    /// Queued at the rail under this conversation id. Nothing more is known.
    Accepted {
        /// `ConversationID` of the acknowledgement.
        conversation_id: String,
    },
    /// Provably did not enter the rail; the same id may be sent again after `after`.
    NotAccepted {
        /// How long to wait.
        after: Duration,
        /// Why, in the family of reasons that the engine distinguishes.
        why: NotAccepted,
    },
    /// Provably did not enter the rail, and the same request would be refused again.
    Refused,
    /// The rail has seen this id before: an earlier submission of it was taken. Says nothing about the outcome.
    Duplicate,
    /// It may have entered the rail.
    Ambiguous,
    /// The process ends here (simulation only): write nothing.
    Crashed,
}

/// Why a submission did not enter the rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAccepted {
    /// No connection was made, or the deadline passed before the write.
    NotSent,
    /// The bearer token was refused even after a renewal: the app lacks the product or the credentials are wrong.
    Token,
    /// The bearer token was refused and has been renewed. The send goes back through the claim, where STOP, the fence and the loan are read
    /// again (rule A4).
    Renewed,
    /// Throttled or under maintenance.
    Throttled,
}

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionAnswer {
    /// What it means.
    pub meaning: SubmissionMeaning,
    /// What stood on the wire.
    pub trace: WireTrace,
}

/// The answer to a question put to the rail (status, balance): only whether it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryMeaning {
    /// Taken; the answer comes to the result URL.
    Accepted {
        /// `ConversationID` of the question.
        conversation_id: String,
    },
    /// Not taken, now or ever in this form; nothing is learnt about the payment.
    NotTaken {
        /// The refusal means that our credential is bad (rule A19).
        halts: bool,
    },
    /// No usable answer: the answer may still come to the result URL.
    Lost,
    /// The process ends here (simulation only).
    Crashed,
}

/// The answer to a question put to the rail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryAnswer {
    /// What it means.
    pub meaning: QueryMeaning,
    /// What stood on the wire.
    pub trace: WireTrace,
}

/// The class of a result code for money out (M-Pesa contract 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeClass {
    /// Money moved.
    Success,
    /// Money did not move; the same payment would fail again.
    Final,
    /// Money did not move; a new attempt may work: see [`RetryWhen`].
    Retry(RetryWhen),
    /// Money did not move, and everything else with this credential or shortcode will fail too (rule A19).
    Halt,
    /// Ask before anything else.
    Ambiguous,
}

/// When a new attempt may work (rule A8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryWhen {
    /// The paying account is short: after it was funded (codes 1, 5).
    Funded,
    /// The receiver's limit: the next day (codes 4, 8).
    NextDay,
    /// A lock or a busy system: after some minutes (codes 26, 1001).
    Minutes,
}

/// The result of a payment as the rail reported it to us (M-Pesa contract 2.4, 2.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultNotice {
    /// Only completed notices (`ResultType` 0) can count.
    pub completed: bool,
    /// The code as text, whatever its type on the wire.
    pub code: String,
    /// The rail's words.
    pub description: String,
    /// Our rail id, as echoed.
    pub rail_id: Option<String>,
    /// The rail's id of the conversation.
    pub conversation_id: Option<String>,
    /// The receipt, when the code is success.
    pub receipt: Option<String>,
    /// The amount that moved, when given.
    pub amount: Option<Money>,
    /// The receiver's number, when given and readable.
    pub msisdn: Option<Msisdn>,
    /// The receiver's registered name, when given.
    pub party_name: Option<String>,
    /// When it completed, when given.
    pub completed_at: Option<DateTime<Utc>>,
    /// Balance of the paying (utility) account after it, when given.
    pub utility_after: Option<Money>,
    /// Balance of the charges account after it, when given.
    pub charges_after: Option<Money>,
}

/// The answer to a status question (M-Pesa contract 6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusNotice {
    /// `ConversationID` of the question.
    pub query_conversation_id: Option<String>,
    /// What the rail says about the payment.
    pub fate: PaymentFate,
    /// Code of the question's own result.
    pub code: String,
    /// The rail's words.
    pub description: String,
    /// Our rail id of the payment, as echoed.
    pub rail_id: Option<String>,
    /// The rail's conversation id of the payment.
    pub conversation_id: Option<String>,
    /// The payment's receipt.
    pub receipt: Option<String>,
    /// The payment's amount.
    pub amount: Option<Money>,
    /// The receiver's number.
    pub msisdn: Option<Msisdn>,
    /// The receiver's registered name.
    pub party_name: Option<String>,
    /// The paying shortcode as named in the debit party.
    pub payer_shortcode: Option<String>,
    /// When the payment was final.
    pub finalised_at: Option<DateTime<Utc>>,
    /// What the rail charged the payer, when given.
    pub charge: Option<Money>,
}

/// What a status answer says about the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentFate {
    /// Money moved.
    Completed,
    /// Final, money did not move (`Cancelled`, `Declined`, `Expired`).
    Ended,
    /// Not final yet.
    Open,
    /// The rail knows no such payment. Not a proof of anything (rule A7).
    NotFound,
    /// The question failed, or an answer nobody has listed.
    Unclear,
}

/// The balances of a shortcode (M-Pesa contract 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceNotice {
    /// `ConversationID` of the question.
    pub query_conversation_id: Option<String>,
    /// Code of the question's result; `0` is success.
    pub code: String,
    /// The rail's words.
    pub description: String,
    /// Available balance per account name as the rail spells it.
    pub available: BTreeMap<String, Money>,
    /// When the figures were taken.
    pub at: Option<DateTime<Utc>>,
}

/// A notice to a timeout URL: the rail gave up queueing. Not a failure (M-Pesa contract 2.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutNotice {
    /// Our rail id, when the body carries it.
    pub rail_id: Option<String>,
}

/// A body that cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable: {0}")]
pub struct Unreadable(pub String);

/// The limits and the shape of ids of a rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RailLimits {
    /// Smallest amount.
    pub min: Money,
    /// Largest amount of one payment.
    pub max: Money,
    /// Longest rail id.
    pub id_length: usize,
    /// Seconds a bearer token lives: a request may enter the rail until its lease and its token are dead (rule A7).
    pub token_life: Duration,
}

/// A rail that pays out.
#[async_trait]
pub trait PayoutRail: Send + Sync {
    /// `mpesa`, `airtel`, …
    fn name(&self) -> &'static str;
    /// Its limits.
    fn limits(&self) -> RailLimits;
    /// Puts one payout on the wire, once. `write_before`: see [`crate::transport::Call`].
    async fn submit(&self, account: &RailAccount, order: &PayoutOrder, write_before: Duration) -> SubmissionAnswer;
    /// The exact body of a submission without its secret fields, for its hash (rule A5: a repeat is byte-identical).
    fn body_hash(&self, account: &RailAccount, order: &PayoutOrder) -> [u8; 32];
    /// Asks what became of a payment.
    async fn ask_status(&self, account: &RailAccount, question: &StatusQuestion) -> QueryAnswer;
    /// Asks for the balances of the shortcode.
    async fn ask_balance(&self, account: &RailAccount, result_url: &str, timeout_url: &str) -> QueryAnswer;
    /// Reads a result body.
    fn read_result(&self, body: &[u8]) -> Result<ResultNotice, Unreadable>;
    /// Reads a status answer body.
    fn read_status(&self, body: &[u8]) -> Result<StatusNotice, Unreadable>;
    /// Reads a balance answer body.
    fn read_balance(&self, body: &[u8]) -> Result<BalanceNotice, Unreadable>;
    /// Reads a timeout notice, in either of its shapes.
    fn read_timeout(&self, body: &[u8]) -> Result<TimeoutNotice, Unreadable>;
    /// The class of a result code for money out.
    fn classify(&self, code: &str) -> CodeClass;
    /// The body as it may be stored: secret fields cut out (rule D1).
    fn redact(&self, body: &[u8]) -> Vec<u8>;
}
