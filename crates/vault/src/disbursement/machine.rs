//! What news about a payout means for the disbursement: pure.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use pv_kernel::{clock::nairobi, rail::RetryWhen, verdict::Status};
use serde::{Deserialize, Serialize};

use crate::payout::machine::{NextAttempt, State as PayoutState, Told};

/// The state of a disbursement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, not yet checked.
    Received,
    /// Goes on by itself when its reason is gone.
    Waiting,
    /// A person must decide.
    Held,
    /// Refused by a check; a person may try again.
    Refused,
    /// A payout is live.
    Paying,
    /// The borrower has the money.
    Paid,
    /// Provably not paid, and nothing is being tried.
    NotPaid,
    /// Called off before any money moved.
    Cancelled,
    /// Paid, and sent back (rule A14).
    Returned,
}

impl State {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Paying => "paying",
            Self::Paid => "paid",
            Self::NotPaid => "not_paid",
            Self::Cancelled => "cancelled",
            Self::Returned => "returned",
        }
    }

    /// All states.
    pub const ALL: [Self; 9] =
        [Self::Received, Self::Waiting, Self::Held, Self::Refused, Self::Paying, Self::Paid, Self::NotPaid, Self::Cancelled, Self::Returned];

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// What became of the charges of a disbursement (rule B7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charges {
    /// Never reserved.
    None,
    /// Held in the wallet (c1).
    Reserved,
    /// Taken (c2, or c4 after a late success).
    Taken,
    /// Given back (c3).
    Released,
}

impl Charges {
    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reserved => "reserved",
            Self::Taken => "taken",
            Self::Released => "released",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Reserved, Self::Taken, Self::Released].into_iter().find(|s| s.as_str() == text)
    }
}

/// A disbursement as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// In the five words.
    pub status: Status,
    /// Why it waits, is held, was refused.
    pub reason: Option<String>,
    /// In words.
    pub reason_detail: Option<String>,
    /// Its charges.
    pub charges: Charges,
    /// Payouts made so far.
    pub attempts: i32,
    /// No new attempt before.
    pub retry_at: Option<DateTime<Utc>>,
    /// When the sender looks at it.
    pub due_at: Option<DateTime<Utc>>,
    /// The receipt.
    pub receipt: Option<String>,
    /// When the money moved.
    pub paid_at: Option<DateTime<Utc>>,
    /// It has a core to be booked in.
    pub has_core: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What must be done with the news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// c2.
    TakeCharges,
    /// c3.
    ReleaseCharges,
    /// c4: a late success after the release.
    LateCharges,
    /// A booking is due.
    Book,
    /// There is no core to book in.
    NothingToBook,
    /// Ask the old payout once more, then make a new one.
    WantNewAttempt,
    /// Publish an event.
    Publish(&'static str),
    /// Open an item.
    Item {
        /// Kind.
        kind: &'static str,
        /// In words.
        detail: String,
    },
    /// Items about it that have settled themselves.
    Settled(&'static str),
}

/// Times of the policy of new attempts (rule A8).
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// For "locked" and "busy".
    pub minutes: Duration,
    /// For short float, when no balance tells better.
    pub funded_recheck: Duration,
}

/// At most this many attempts, then a person (rule A8).
pub const MAX_ATTEMPTS: i32 = 3;
/// At most this long, then a person (rule A8).
pub const MAX_AGE: chrono::Duration = chrono::Duration::days(7);

/// Hears news about the payout `payout` (its state afterwards).
pub fn hear(standing: &Standing, told: &Told, payout: PayoutState, policy: &RetryPolicy, now: DateTime<Utc>) -> (Standing, Vec<Consequence>) {
    let mut s = standing.clone();
    let mut then = Vec::new();
    match told {
        Told::OnItsWay => paying(&mut s, Status::OnItsWay),
        Told::Unknown => paying(&mut s, Status::NotYetKnown),
        Told::SendAt(at) => {
            if s.state == State::Paying || s.state == State::Waiting {
                let status = if payout == PayoutState::Prepared { Status::ToDo } else { Status::NotYetKnown };
                s.state = State::Paying;
                s.status = status;
                s.reason = (status == Status::ToDo).then(|| "rail_not_reachable".to_owned());
                s.due_at = Some(*at);
            }
        }
        Told::Paid { receipt, at, late } => paid(&mut s, &mut then, receipt, *at, *late),
        Told::NotPaid { next, code, detail } => not_paid(&mut s, &mut then, *next, code, detail, policy, now),
        Told::VetoClear => {
            if s.state == State::Waiting {
                s.due_at = Some(s.retry_at.map_or(now, |t| t.max(now)));
            }
        }
        Told::VetoBlocked => {
            if s.state == State::Waiting {
                s.state = State::Held;
                s.reason = Some("old_attempt_unanswered".to_owned());
                s.reason_detail = Some(
                    "The rail did not say what became of the earlier attempt, asked three times. Check it at the portal before a new attempt."
                        .to_owned(),
                );
                s.due_at = None;
                then.push(Consequence::Item {
                    kind: "held",
                    detail: "a new attempt waits for a person: the rail does not answer about the old one".to_owned(),
                });
            }
        }
    }
    (s, then)
}

fn paying(s: &mut Standing, status: Status) {
    if !matches!(s.state, State::Paid | State::Returned) {
        s.state = State::Paying;
        s.status = status;
        s.reason = None;
        s.reason_detail = None;
        s.due_at = None;
    }
}

fn paid(s: &mut Standing, then: &mut Vec<Consequence>, receipt: &str, at: DateTime<Utc>, late: bool) {
    if s.state == State::Paid {
        return;
    }
    s.state = State::Paid;
    s.status = Status::Paid;
    s.reason = late.then(|| "late_success".to_owned());
    s.reason_detail = None;
    s.due_at = None;
    s.retry_at = None;
    s.receipt = Some(receipt.to_owned());
    s.paid_at = Some(at);
    match s.charges {
        Charges::Reserved => {
            s.charges = Charges::Taken;
            then.push(Consequence::TakeCharges);
        }
        Charges::Released | Charges::None => {
            s.charges = Charges::Taken;
            then.push(Consequence::LateCharges);
        }
        Charges::Taken => {}
    }
    then.push(if s.has_core { Consequence::Book } else { Consequence::NothingToBook });
    then.push(Consequence::Settled("held"));
    then.push(Consequence::Settled("not_paid"));
    then.push(Consequence::Publish("disbursement.paid"));
}

fn not_paid(s: &mut Standing, then: &mut Vec<Consequence>, next: NextAttempt, code: &str, detail: &str, policy: &RetryPolicy, now: DateTime<Utc>) {
    // An old attempt that fails while the disbursement is over, or while another attempt runs, changes nothing here.
    if s.state != State::Paying {
        return;
    }
    s.reason_detail = Some(format!("{code}: {detail}"));
    let exhausted = s.attempts >= MAX_ATTEMPTS || now - s.created_at > MAX_AGE;
    let wait = |s: &mut Standing, reason: &str, at: DateTime<Utc>| {
        s.state = State::Waiting;
        s.status = Status::ToDo;
        s.reason = Some(reason.to_owned());
        s.retry_at = Some(at);
        // Nothing is sent before the old attempt was asked about once more: the veto sets the time.
        s.due_at = None;
    };
    match next {
        NextAttempt::Never => {
            give_up(s, then, "refused_by_rail");
            then.push(Consequence::Item { kind: "not_paid", detail: format!("the rail refused it for good: {code} ({detail})") });
        }
        _ if exhausted => {
            give_up(s, then, "attempts_exhausted");
            then.push(Consequence::Item {
                kind: "attempts_exhausted",
                detail: format!("{} attempts were not paid, the last with {code} ({detail})", s.attempts),
            });
        }
        NextAttempt::When(when) => {
            let (reason, at) = match when {
                RetryWhen::Funded => ("waiting_float", now + to_chrono(policy.funded_recheck)),
                RetryWhen::NextDay => ("waiting_receiver_limit", next_morning(now)),
                RetryWhen::Minutes => ("waiting_rail", now + to_chrono(policy.minutes)),
            };
            wait(s, reason, at);
            then.push(Consequence::WantNewAttempt);
            if reason == "waiting_float" {
                then.push(Consequence::Publish("disbursement.waiting_float"));
            }
        }
        NextAttempt::CredentialMended => {
            wait(s, "credential_halted", now);
            then.push(Consequence::WantNewAttempt);
        }
        NextAttempt::Recheck => {
            wait(s, "changed", now);
            then.push(Consequence::WantNewAttempt);
        }
    }
}

fn give_up(s: &mut Standing, then: &mut Vec<Consequence>, reason: &str) {
    s.state = State::NotPaid;
    s.status = Status::NotPaid;
    s.reason = Some(reason.to_owned());
    s.due_at = None;
    s.retry_at = None;
    if s.charges == Charges::Reserved {
        s.charges = Charges::Released;
        then.push(Consequence::ReleaseCharges);
    }
    then.push(Consequence::Publish("disbursement.not_paid"));
}

/// Six in the morning of the next day in Nairobi: daily limits of customers start anew at midnight.
pub fn next_morning(now: DateTime<Utc>) -> DateTime<Utc> {
    let local = now.with_timezone(&nairobi());
    let morning = NaiveTime::from_hms_opt(6, 0, 0).unwrap_or(NaiveTime::MIN);
    let next = local.date_naive().succ_opt().unwrap_or(local.date_naive()).and_time(morning);
    next.and_local_timezone(nairobi()).single().map_or(now + chrono::Duration::hours(12), |t| t.with_timezone(&Utc))
}

fn to_chrono(d: Duration) -> chrono::Duration {
    chrono::Duration::from_std(d).unwrap_or(chrono::Duration::minutes(5))
}
