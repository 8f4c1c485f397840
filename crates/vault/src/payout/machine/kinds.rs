//! The words of the payout machine: its states, what can happen, and what must be written with the new state.

use std::time::Duration;

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money, Msisdn,
    rail::{CodeClass, ResultNotice, RetryWhen, StatusNotice, SubmissionMeaning},
    verdict::Grade,
};
use serde::{Deserialize, Serialize};

/// The state of a payout (rule A2; M-Pesa contract 2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written and committed, nothing sent, or everything sent so far provably did not enter the rail.
    Prepared,
    /// A send is under way.
    Sending,
    /// The rail took it.
    Accepted,
    /// It may have been paid.
    Unknown,
    /// It was paid.
    Paid,
    /// It provably was not paid.
    NotPaid,
}

impl State {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Paid => "paid",
            Self::NotPaid => "not_paid",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Sending, Self::Accepted, Self::Unknown, Self::Paid, Self::NotPaid].into_iter().find(|s| s.as_str() == text)
    }

    /// Live payouts are unique per disbursement (rule A10).
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Prepared | Self::Sending | Self::Accepted | Self::Unknown)
    }
}

/// The state of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubmissionState {
    /// Under way, no answer yet.
    Sending,
    /// The rail took it.
    Accepted,
    /// Provably did not enter; the same id may go again.
    NotAccepted,
    /// Provably did not enter; it would be refused again.
    Refused,
    /// The rail had seen the id.
    Duplicate,
    /// The answer leaves open whether it entered.
    Ambiguous,
    /// Its process did not come back with an answer.
    Lost,
}

impl SubmissionState {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::NotAccepted => "not_accepted",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::Ambiguous => "ambiguous",
            Self::Lost => "lost",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sending, Self::Accepted, Self::NotAccepted, Self::Refused, Self::Duplicate, Self::Ambiguous, Self::Lost]
            .into_iter()
            .find(|s| s.as_str() == text)
    }

    /// It provably did not enter the rail.
    pub const fn stayed_out(self) -> bool {
        matches!(self, Self::NotAccepted | Self::Refused)
    }

    /// Nobody knows whether it entered, or still may.
    pub const fn open(self) -> bool {
        matches!(self, Self::Sending | Self::Ambiguous | Self::Lost)
    }
}

/// A submission as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// 1 for the first.
    pub number: i32,
    /// The fence it was sent under.
    pub fence: i64,
    /// Its state.
    pub state: SubmissionState,
    /// Its sender may still act until then.
    pub lease_until: DateTime<Utc>,
    /// It was refused because of an old bearer token, which was renewed.
    pub renewed: bool,
}

/// The state of the last question before a new id (rule A8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Veto {
    /// Nobody wants a new attempt.
    None,
    /// The status is to be asked once more.
    Wanted,
    /// It was asked.
    Asked,
    /// It answered that nothing stands against a new attempt.
    Clear,
    /// Three questions without an answer: a person.
    Blocked,
}

impl Veto {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wanted => "wanted",
            Self::Asked => "asked",
            Self::Clear => "clear",
            Self::Blocked => "blocked",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Wanted, Self::Asked, Self::Clear, Self::Blocked].into_iter().find(|s| s.as_str() == text)
    }
}

/// A payout as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payout {
    /// Its state.
    pub state: State,
    /// 1 for the first attempt.
    pub attempt: i32,
    /// `OriginatorConversationID`.
    pub rail_id: String,
    /// The paying shortcode.
    pub shortcode: String,
    /// The receiver.
    pub msisdn: Msisdn,
    /// The amount.
    pub amount: Money,
    /// The acknowledged conversation.
    pub conversation_id: Option<String>,
    /// The receipt, once paid.
    pub receipt: Option<String>,
    /// The registered name, once told.
    pub party_name: Option<String>,
    /// The last result code heard.
    pub result_code: Option<String>,
    /// The words that came with it.
    pub result_detail: Option<String>,
    /// May be sent again under the same id.
    pub repeat_wanted: bool,
    /// The last question before a new id.
    pub veto: Veto,
    /// How often it was asked.
    pub veto_tries: i32,
    /// A success waits for its confirmation by status.
    pub confirm_wanted: bool,
    /// Paid although another attempt was paid too.
    pub double_paid: bool,
    /// First send.
    pub first_sent_at: Option<DateTime<Utc>>,
    /// Latest moment at which a request may still enter the rail (rule A7).
    pub sent_until: Option<DateTime<Utc>>,
    /// Status questions asked so far.
    pub asks: i32,
    /// When to look again; `None`: at rest.
    pub due_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// All submissions, oldest first.
    pub submissions: Vec<Submission>,
    /// Another attempt of the same disbursement is paid.
    pub sibling_paid: bool,
    /// Above this a success is confirmed by status first (rule A6).
    pub confirm_above: Option<Money>,
}

/// Intervals the machine needs.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// First question after an acceptance.
    pub first_ask: Duration,
    /// Longest interval between questions.
    pub longest_ask: Duration,
    /// How long a bearer token lives.
    pub token_life: Duration,
}

/// At most two repeats of an id, within ten minutes of its first send (rule A5).
pub const MAX_REPEATS: usize = 2;
/// See [`MAX_REPEATS`].
pub const REPEAT_WITHIN: chrono::Duration = chrono::Duration::minutes(10);
/// Added to lease end and token life (rule A7).
pub const SAFETY: chrono::Duration = chrono::Duration::minutes(5);
/// A payout that cannot reach its rail is tried again at least this often.
pub const LONGEST_KNOCK: Duration = Duration::from_mins(5);
/// Questions without an answer before a person decides about a new attempt (rule A8).
pub const MAX_VETO_TRIES: i32 = 3;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A sender claimed it: this submission is about to leave.
    Claimed {
        /// The fence.
        fence: i64,
        /// The lease end.
        lease_until: DateTime<Utc>,
    },
    /// The answer to a submission.
    Answered {
        /// Which one.
        number: i32,
        /// What it means.
        meaning: SubmissionMeaning,
        /// Code and words, for people.
        detail: String,
        /// The class of the code of a refusal: one that means our credential stops every send on it (rule A19).
        class: Option<CodeClass>,
    },
    /// A sender found just before sending that it must not (a check failed, STOP, another amount).
    Withheld {
        /// Why.
        why: String,
    },
    /// A result came to the payout's own path.
    Result {
        /// What it says.
        notice: ResultNotice,
        /// It came from an allowed address.
        trusted: bool,
        /// Its class.
        class: CodeClass,
    },
    /// The answer to a status question about it.
    Status {
        /// What it says.
        notice: StatusNotice,
        /// It came from an allowed address to the path of our question.
        trusted: bool,
    },
    /// The rail gave up queueing. Not a failure.
    TimeoutNotice,
    /// Its time to be looked at has come.
    Due {
        /// The last question was answered.
        answered: bool,
    },
    /// A new attempt is wanted: ask once more first.
    NewAttemptWanted,
    /// A ruling by two persons, after A13.
    Ruled {
        /// True: it was paid, under this receipt. False: it was not.
        paid: bool,
        /// The receipt, for paid.
        receipt: Option<String>,
        /// How good the evidence is.
        grade: Grade,
    },
}

/// What must be written with the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// p3: the payout's hold is posted, the tariff booked.
    PostPaid,
    /// p4: the payout's hold is voided.
    VoidHold,
    /// p6: it was paid after all.
    PostLate,
    /// p7: it was paid although another attempt was paid too.
    PostDouble,
    /// The proof that it moved no money (rule A7).
    Prove {
        /// How good.
        grade: Grade,
        /// Of which kind.
        source: ProofSource,
        /// In words.
        detail: String,
    },
    /// Ask the rail.
    Ask {
        /// Why.
        purpose: Purpose,
    },
    /// Stop every send on this credential (rule A19).
    HaltCredential {
        /// The code that says so.
        code: String,
    },
    /// A result that is not about the credential: the credential is good.
    CredentialWorks,
    /// Look again at messages that wait for this payout.
    Rematch,
    /// Stop every sibling that was not sent yet (rule A10).
    StopSiblings,
    /// Pause the shortcode: something is badly wrong.
    PauseShortcode,
    /// Somebody must look.
    Incident {
        /// Kind of item.
        kind: &'static str,
        /// What happened.
        detail: String,
        /// Somebody is called.
        page: bool,
    },
    /// An item about this payout that has settled itself.
    Settled {
        /// Kind of item.
        kind: &'static str,
    },
    /// Tells the disbursement.
    Tell(Told),
}

/// What the disbursement hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something is under way.
    OnItsWay,
    /// It is not known.
    Unknown,
    /// Paid.
    Paid {
        /// The receipt.
        receipt: String,
        /// When, as the rail says.
        at: DateTime<Utc>,
        /// After it had been called not paid.
        late: bool,
    },
    /// Provably not paid.
    NotPaid {
        /// What may be tried.
        next: NextAttempt,
        /// The code.
        code: String,
        /// In words.
        detail: String,
    },
    /// May be sent (again) under its id, at this moment.
    SendAt(DateTime<Utc>),
    /// Nothing stands against a new attempt.
    VetoClear,
    /// A person must decide about a new attempt.
    VetoBlocked,
}

/// What may be tried after a payout that was not paid (rule A8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextAttempt {
    /// Never by itself.
    Never,
    /// Under this condition.
    When(RetryWhen),
    /// After the credential is mended (rule A19).
    CredentialMended,
    /// At once: nothing had entered the rail, and the check that stopped it is run again anyway.
    Recheck,
}

/// The sources of a proof (rule A7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofSource {
    /// A final failure result for the id (rule A6).
    FinalResult,
    /// Every submission was refused or not accepted (rule A5).
    AllRefused,
    /// Provably never written.
    NeverWritten,
    /// A status answer that is final.
    FinalStatus,
    /// An admissible statement (rule A9).
    Statement,
    /// Two persons vouch (rule A13).
    Attested,
}

impl ProofSource {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FinalResult => "final_result",
            Self::AllRefused => "all_refused",
            Self::NeverWritten => "never_written",
            Self::FinalStatus => "final_status",
            Self::Statement => "statement",
            Self::Attested => "attested",
        }
    }
}

/// Why the rail is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// What became of it.
    Fate,
    /// Once more before a new id.
    Veto,
    /// A large success is confirmed.
    Confirm,
}

impl Purpose {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fate => "fate",
            Self::Veto => "veto",
            Self::Confirm => "confirm",
        }
    }
}

/// What became of the event itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It changed something.
    Changed,
    /// It was known already, or comes too late to matter.
    NothingNew,
    /// It does not count; the rail is asked instead.
    NotEvidence,
    /// It came too early: keep it and look again.
    TooEarly,
}

/// The new state, and what must be written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The payout afterwards.
    pub payout: Payout,
    /// In the order in which they happen.
    pub effects: Vec<Effect>,
    /// What became of the event.
    pub heard: Heard,
}
