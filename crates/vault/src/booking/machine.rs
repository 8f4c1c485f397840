//! What the core's answers and read-backs mean for a booking: pure.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use pv_kernel::{
    Money,
    core_banking::{BookingMeaning, BookingRefusal, CoreLoan, LoanStatus},
};
use serde::{Deserialize, Serialize};

/// The state of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// To be sent.
    Due,
    /// A request is under way.
    Sending,
    /// It may have been booked: read back before anything else.
    Unclear,
    /// Parked for the core's own checker: read only.
    Parked,
    /// Booked by us, read back.
    Booked,
    /// Booked by hand with our receipt: adopted.
    Adopted,
    /// A person must look.
    Person,
}

impl State {
    /// All states.
    pub const ALL: [Self; 7] = [Self::Due, Self::Sending, Self::Unclear, Self::Parked, Self::Booked, Self::Adopted, Self::Person];

    /// The name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sending => "sending",
            Self::Unclear => "unclear",
            Self::Parked => "parked",
            Self::Booked => "booked",
            Self::Adopted => "adopted",
            Self::Person => "person",
        }
    }

    /// From its stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Nothing more is done by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Booked | Self::Adopted | Self::Person)
    }
}

/// A booking as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Its state.
    pub state: State,
    /// What is booked: the gross principal.
    pub gross: Money,
    /// The rail's receipt.
    pub receipt: String,
    /// Our id of the disbursement transaction.
    pub external_id: String,
    /// Counts the keys used: the key is derived from it.
    pub keys_used: i32,
    /// The day that is booked.
    pub book_on: Option<NaiveDate>,
    /// The core's transaction.
    pub transaction_id: Option<String>,
    /// The core's parked command.
    pub command_id: Option<String>,
    /// How often it was tried or read.
    pub tries: i32,
    /// When to go on.
    pub due_at: Option<DateTime<Utc>>,
    /// The last words of the core.
    pub last_error: Option<String>,
    /// How it ended, for people.
    pub outcome: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is about to be sent, for this day.
    Claimed {
        /// The day.
        book_on: NaiveDate,
    },
    /// The core answered.
    Answered(BookingMeaning),
    /// The loan was read back, with its disbursements.
    ReadBack(Box<CoreLoan>),
    /// It could not be read back.
    Unreadable(String),
}

/// What must be written with the new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// p5: booked.
    Post,
    /// Somebody must look.
    Person {
        /// What happened.
        detail: String,
    },
    /// An item about it that settled itself.
    Settled,
}

/// Intervals.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// First retry.
    pub first: Duration,
    /// Longest interval.
    pub longest: Duration,
}

/// Decides.
pub fn decide(booking: &Booking, event: &Event, pace: &Pace, now: DateTime<Utc>) -> (Booking, Vec<Effect>) {
    let mut b = booking.clone();
    let mut effects = Vec::new();
    if booking.state.is_final() && booking.state != State::Person {
        return (b, effects);
    }
    let later = now + chrono::Duration::from_std(growing(pace, b.tries)).unwrap_or(chrono::Duration::minutes(30));
    match event {
        Event::Claimed { book_on } => {
            b.state = State::Sending;
            b.book_on = Some(*book_on);
        }
        Event::Answered(meaning) => answered(&mut b, &mut effects, meaning, now, later),
        Event::ReadBack(loan) => read_back(&mut b, &mut effects, loan, now, later),
        Event::Unreadable(why) => {
            b.tries += 1;
            b.last_error = Some(why.clone());
            b.due_at = Some(later);
        }
    }
    (b, effects)
}

fn answered(b: &mut Booking, effects: &mut Vec<Effect>, meaning: &BookingMeaning, now: DateTime<Utc>, later: DateTime<Utc>) {
    b.tries += 1;
    match meaning {
        // Done, says the core: it is read back at once, and only that counts.
        BookingMeaning::Done { transaction_id } => {
            b.state = State::Unclear;
            b.transaction_id.clone_from(transaction_id);
            b.last_error = None;
            b.due_at = Some(now);
        }
        BookingMeaning::Parked { command_id } => {
            b.state = State::Parked;
            b.command_id.clone_from(command_id);
            b.last_error = Some("parked in the core for its own checker".to_owned());
            b.due_at = Some(later);
        }
        BookingMeaning::Unclear => {
            b.state = State::Unclear;
            b.last_error = Some("no usable answer; the loan is read back".to_owned());
            b.due_at = Some(now);
        }
        BookingMeaning::NotSent => {
            b.state = State::Due;
            b.last_error = Some("the core could not be reached".to_owned());
            b.due_at = Some(later);
        }
        BookingMeaning::Refused { code, replayed, kind } => {
            b.last_error = Some(code.clone());
            if *replayed {
                // A stored failure is replayed for ever: another try needs a new key, after a read-back (rule A22).
                b.keys_used += 1;
            }
            match kind {
                BookingRefusal::NotInState | BookingRefusal::Duplicate => {
                    b.state = State::Unclear;
                    b.due_at = Some(now);
                }
                BookingRefusal::Date => {
                    // Next day, recorded; the tenant's own day bounds it when it is sent.
                    b.state = State::Due;
                    b.keys_used += i32::from(!*replayed);
                    b.book_on = b.book_on.and_then(|d| d.succ_opt());
                    b.due_at = Some(later);
                }
                BookingRefusal::Rule => to_person(b, effects, later, format!("the core refuses the booking: {code}")),
                BookingRefusal::Access => {
                    b.state = State::Due;
                    b.due_at = Some(later);
                }
            }
        }
        BookingMeaning::Crashed => {}
    }
}

fn read_back(b: &mut Booking, effects: &mut Vec<Effect>, loan: &CoreLoan, now: DateTime<Utc>, later: DateTime<Utc>) {
    let live = loan.disbursements.iter().filter(|t| !t.reversed);
    let ours = live.clone().find(|t| t.external_id.as_deref() == Some(&b.external_id));
    let by_receipt = live.clone().find(|t| t.receipt.as_deref().is_some_and(|r| r.trim().eq_ignore_ascii_case(&b.receipt)));
    match (loan.status, ours.or(by_receipt)) {
        (LoanStatus::Disbursed(_), Some(t)) => {
            // With our receipt but not our id, and no request of ours ever answered or unclear: somebody booked it by hand.
            let by_us = ours.is_some() || b.transaction_id.as_deref() == Some(&t.id) || b.book_on.is_some();
            b.state = if by_us { State::Booked } else { State::Adopted };
            b.transaction_id = Some(t.id.clone());
            b.due_at = None;
            b.last_error = None;
            b.outcome = Some(if t.amount == b.gross { "booked".to_owned() } else { format!("booked with another amount, {}", t.amount) });
            effects.push(Effect::Post);
            effects.push(Effect::Settled);
            if t.amount != b.gross {
                effects.push(Effect::Person { detail: format!("the core shows {} disbursed where {} was owed", t.amount, b.gross) });
            }
        }
        (LoanStatus::Disbursed(_), None) => {
            to_person(b, effects, later, "somebody disbursed the loan in the core without our receipt: was cash paid too?".to_owned());
        }
        (LoanStatus::Approved, _) => match b.state {
            State::Parked => {
                b.tries += 1;
                b.due_at = Some(later);
            }
            State::Person => b.due_at = Some(later),
            // Nothing of ours is there: it may be sent again, with the same key (or the next one after a replayed failure).
            State::Due | State::Sending | State::Unclear | State::Booked | State::Adopted => {
                b.state = State::Due;
                b.due_at = Some(if b.tries <= 1 { now } else { later });
            }
        },
        (LoanStatus::PendingApproval | LoanStatus::Ended(_) | LoanStatus::Other(_), _) => {
            to_person(b, effects, later, "the approval was undone or the loan was rejected in the core after the money was paid".to_owned());
        }
    }
}

fn to_person(b: &mut Booking, effects: &mut Vec<Effect>, later: DateTime<Utc>, detail: String) {
    if b.state != State::Person {
        b.state = State::Person;
        b.outcome = Some(detail.clone());
        effects.push(Effect::Person { detail });
    }
    // Still read now and then: what a person mends in the core is found by itself.
    b.tries += 1;
    b.due_at = Some(later);
}

fn growing(pace: &Pace, tries: i32) -> Duration {
    let doublings = u32::try_from(tries.clamp(0, 14)).unwrap_or(0);
    pace.first.saturating_mul(1 << doublings).min(pace.longest)
}
