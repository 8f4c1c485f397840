//! What can go wrong, and the three ways to ask for it: dials (chance), magic numbers (for people), scripts (for tests).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::random::Chance;

/// Dials: how often, in a thousand, each fault happens. All off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DarajaFaults {
    /// 5xx, and the request was not taken.
    pub refused_before: u16,
    /// 5xx, although the request was taken.
    pub error_after: u16,
    /// The connection closes and the request was not taken.
    pub dropped_before: u16,
    /// The connection closes although the request was taken.
    pub dropped_after: u16,
    /// The result callback never comes.
    pub result_lost: u16,
    /// The result callback comes twice.
    pub result_twice: u16,
    /// The result callback comes late, by up to `result_delay_up_to`.
    pub result_delayed: u16,
    /// Longest extra delay of a result.
    pub result_delay_up_to: Duration,
    /// The result callback comes before the acknowledgement.
    pub result_early: u16,
    /// The money moves late, by up to `pending_up_to`; status queries see a state that is not final.
    pub pending: u16,
    /// Longest extra time before the money moves.
    pub pending_up_to: Duration,
    /// A queue-timeout notice, then the ordinary result.
    pub timeout_then_result: u16,
    /// A queue-timeout notice, then nothing; the money may have moved.
    pub timeout_then_silence: u16,
    /// A result code that no document lists; the money may have moved.
    pub unlisted_code: u16,
    /// Result 15, 17 or 26; the money may have moved.
    pub ambiguous_code: u16,
    /// Throttled before acceptance, in one of the documented bodies.
    pub throttled: u16,
    /// The app's tokens end at this request.
    pub token_revoked: u16,
    /// The result of a status query never comes.
    pub status_result_lost: u16,
    /// A status query is answered 5xx.
    pub status_error: u16,
    /// A status query answers 2032 although the payment exists.
    pub status_unknown: u16,
    /// The result of a balance query never comes.
    pub balance_result_lost: u16,
    /// A balance query ends in a failed result that carries parameters.
    pub balance_failed: u16,
    /// Any answer is slow, by up to `slow_up_to`.
    pub slow: u16,
    /// Longest extra wait for an answer.
    pub slow_up_to: Duration,
}

impl DarajaFaults {
    /// A bad day: every fault, each now and then.
    pub fn stormy() -> Self {
        Self {
            refused_before: 30,
            error_after: 30,
            dropped_before: 30,
            dropped_after: 30,
            result_lost: 60,
            result_twice: 60,
            result_delayed: 60,
            result_delay_up_to: Duration::from_mins(10),
            result_early: 40,
            pending: 40,
            pending_up_to: Duration::from_mins(5),
            timeout_then_result: 20,
            timeout_then_silence: 20,
            unlisted_code: 15,
            ambiguous_code: 15,
            throttled: 30,
            token_revoked: 10,
            status_result_lost: 100,
            status_error: 50,
            status_unknown: 30,
            balance_result_lost: 50,
            balance_failed: 30,
            slow: 50,
            slow_up_to: Duration::from_secs(20),
        }
    }
}

/// One fault of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special: takes its place in a script.
    Normal,
    /// 5xx, not taken.
    RefusedBefore,
    /// 5xx, taken.
    ErrorAfter,
    /// Connection closed, not taken.
    DroppedBefore,
    /// Connection closed, taken.
    DroppedAfter,
    /// Not taken, throttled.
    Throttled(ThrottleForm),
    /// Not taken, and all tokens of the app end.
    TokenRevoked,
    /// The answer takes this much longer.
    Slow(Duration),
    /// No result callback.
    ResultLost,
    /// The result callback twice.
    ResultTwice,
    /// The result callback this much later.
    ResultDelayed(Duration),
    /// The result callback before the acknowledgement.
    ResultEarly,
    /// The money moves this much later.
    Pending(Duration),
    /// A timeout notice, then the ordinary result.
    TimeoutThenResult(NoticeShape),
    /// A timeout notice, then silence.
    TimeoutThenSilence {
        /// The notice's body.
        shape: NoticeShape,
        /// Whether the money moves all the same.
        moved: bool,
    },
    /// The result has this code.
    Code {
        /// As in `ResultCode`. "0" without `moved` is a rail that lies.
        code: String,
        /// Whether the money moves all the same (if there is enough of it).
        moved: bool,
    },
    /// Status query: nothing special.
    StatusNormal,
    /// Status query: no result callback.
    StatusLost,
    /// Status query: 5xx.
    StatusError,
    /// Status query: 2032.
    StatusUnknown,
    /// Several at once.
    All(Vec<Fault>),
}

impl Fault {
    /// A failure result without money: `Fault::code("2040")`.
    pub fn code(code: &str) -> Self {
        Self::Code { code: code.to_owned(), moved: false }
    }

    /// Whether this concerns status queries rather than payment requests.
    pub fn is_about_status(&self) -> bool {
        match self {
            Self::StatusNormal | Self::StatusLost | Self::StatusError | Self::StatusUnknown => true,
            Self::All(faults) => !faults.is_empty() && faults.iter().all(Self::is_about_status),
            _ => false,
        }
    }
}

/// The bodies seen when throttled (M-Pesa contract 7.1, 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleForm {
    /// 429 with the gateway's own fault form.
    GatewayFault,
    /// 500 `500.003.02`, spike arrest.
    SpikeArrest,
    /// 500 `500.003.02`, system is busy.
    Busy,
    /// 500 `500.003.03`, quota.
    Quota,
}

/// The two bodies of a queue-timeout notice (M-Pesa contract 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeShape {
    /// The request's body comes back, credential and all.
    Echo,
    /// The result envelope with a result type that is not terminal.
    Envelope,
}

/// A time during which the host or one shortcode does not work.
#[derive(Debug, Clone)]
pub struct Outage {
    /// What is down.
    pub target: OutageTarget,
    /// First moment.
    pub from: DateTime<Utc>,
    /// First moment after it.
    pub until: DateTime<Utc>,
    /// What a caller sees.
    pub form: OutageForm,
}

/// What an outage strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutageTarget {
    /// Every endpoint.
    Host,
    /// Requests whose `PartyA` is this shortcode.
    Shortcode(String),
}

/// What a caller sees during an outage. Nothing is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageForm {
    /// The connection closes.
    Closed,
    /// 503 with a proxy's HTML.
    Html,
    /// 500 `500.003.1001`, unreachable.
    Unreachable,
}

/// What happens at the door, before or instead of an acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Door {
    #[default]
    Open,
    RefusedBefore,
    ErrorAfter,
    DroppedBefore,
    DroppedAfter,
    Throttled(ThrottleForm),
    TokenRevoked,
}

/// How often the result callback leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Copies {
    None,
    #[default]
    One,
    Two,
}

/// A verdict that the world's rules did not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forced {
    pub code: String,
    pub moved: bool,
}

/// Everything that is decided about one payment request when it arrives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub door: Door,
    pub slow: Duration,
    pub copies: Copies,
    pub result_delay: Duration,
    pub early: bool,
    pub pending: Duration,
    pub notice: Option<NoticeShape>,
    pub forced: Option<Forced>,
}

impl Plan {
    pub(crate) fn add(&mut self, fault: &Fault) {
        match fault {
            Fault::Normal | Fault::StatusNormal | Fault::StatusLost | Fault::StatusError | Fault::StatusUnknown => {}
            Fault::RefusedBefore => self.door = Door::RefusedBefore,
            Fault::ErrorAfter => self.door = Door::ErrorAfter,
            Fault::DroppedBefore => self.door = Door::DroppedBefore,
            Fault::DroppedAfter => self.door = Door::DroppedAfter,
            Fault::Throttled(form) => self.door = Door::Throttled(*form),
            Fault::TokenRevoked => self.door = Door::TokenRevoked,
            Fault::Slow(by) => self.slow = *by,
            Fault::ResultLost => self.copies = Copies::None,
            Fault::ResultTwice => self.copies = Copies::Two,
            Fault::ResultDelayed(by) => self.result_delay = *by,
            Fault::ResultEarly => self.early = true,
            Fault::Pending(by) => self.pending = *by,
            Fault::TimeoutThenResult(shape) => self.notice = Some(*shape),
            Fault::TimeoutThenSilence { shape, moved } => {
                self.notice = Some(*shape);
                self.copies = Copies::None;
                if !moved {
                    self.forced = Some(Forced { code: "1019".to_owned(), moved: false });
                }
            }
            Fault::Code { code, moved } => {
                self.forced = Some(Forced { code: code.clone(), moved: *moved });
            }
            Fault::All(faults) => faults.iter().for_each(|fault| self.add(fault)),
        }
    }
}

impl DarajaFaults {
    /// Draws what happens to one payment request.
    pub(crate) fn draw(&self, chance: &mut Chance) -> Plan {
        let mut plan = Plan::default();
        let doors = [
            (self.refused_before, Fault::RefusedBefore),
            (self.error_after, Fault::ErrorAfter),
            (self.dropped_before, Fault::DroppedBefore),
            (self.dropped_after, Fault::DroppedAfter),
            (self.token_revoked, Fault::TokenRevoked),
            (self.result_lost, Fault::ResultLost),
            (self.result_twice, Fault::ResultTwice),
            (self.result_early, Fault::ResultEarly),
        ];
        for (dial, fault) in &doors {
            if chance.per_mille(*dial) {
                plan.add(fault);
            }
        }
        if chance.per_mille(self.throttled) {
            plan.door = Door::Throttled(throttle_form(chance));
        }
        if chance.per_mille(self.result_delayed) {
            plan.result_delay = up_to(chance, self.result_delay_up_to);
        }
        if chance.per_mille(self.pending) {
            plan.pending = up_to(chance, self.pending_up_to);
        }
        if chance.per_mille(self.timeout_then_result) {
            plan.add(&Fault::TimeoutThenResult(notice_shape(chance)));
        }
        if chance.per_mille(self.timeout_then_silence) {
            let shape = notice_shape(chance);
            plan.add(&Fault::TimeoutThenSilence { shape, moved: chance.coin() });
        }
        if chance.per_mille(self.unlisted_code) {
            let code = chance.pick(&["9917", "2043", "X00042", "-1"]).copied().unwrap_or("9917").to_owned();
            plan.add(&Fault::Code { code, moved: chance.coin() });
        }
        if chance.per_mille(self.ambiguous_code) {
            let code = chance.pick(&["15", "17", "26"]).copied().unwrap_or("17").to_owned();
            plan.add(&Fault::Code { code, moved: chance.coin() });
        }
        plan.slow = self.draw_slow(chance);
        plan
    }

    /// Draws the extra wait for one answer.
    pub(crate) fn draw_slow(&self, chance: &mut Chance) -> Duration {
        if chance.per_mille(self.slow) { up_to(chance, self.slow_up_to) } else { Duration::ZERO }
    }
}

fn up_to(chance: &mut Chance, longest: Duration) -> Duration {
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX - 1);
    Duration::from_millis(chance.below(millis.saturating_add(1)))
}

fn notice_shape(chance: &mut Chance) -> NoticeShape {
    if chance.coin() { NoticeShape::Echo } else { NoticeShape::Envelope }
}

pub(crate) fn throttle_form(chance: &mut Chance) -> ThrottleForm {
    use ThrottleForm::{Busy, GatewayFault, Quota, SpikeArrest};
    chance.pick(&[GatewayFault, SpikeArrest, Busy, Quota]).copied().unwrap_or(GatewayFault)
}

/// The fault that belongs to the last three digits of a recipient, for people who play with the sandbox:
///
/// | digits | what happens |
/// |---|---|
/// | 901 | paid, the result callback is lost |
/// | 902 | paid, the result callback comes twice |
/// | 903 | taken and paid, but the connection closes without an acknowledgement |
/// | 904 | 2040, not registered on M-Pesa |
/// | 905 | stays "Initiated" for 20 s, then paid; the callback is lost |
/// | 906 | result code 9917, which no document lists; the money did not move |
/// | 907 | paid, the result callback comes 30 s late |
/// | 908 | 1, too little money in the utility account |
/// | 909 | timeout notice, then paid |
/// | 910 | 1001 (subscriber locked) for the first two payments to the number, then paid |
/// | 911 | 4, recipient's daily limit |
/// | 912 | 8, recipient's maximum balance |
/// | 913 | timeout notice, then silence; the money moved |
/// | 914 | taken and paid, but answered 5xx |
/// | 915 | paid, the result callback comes before the acknowledgement |
/// | 916 | result code 9917, and the money moved all the same |
/// | 917 | timeout notice, then silence; the money did not move |
/// | 918 | throttled at the first two submissions to the number, then paid |
///
/// They are about the first submission of an id: a repeat meets the ordinary refusal of a known id. `earlier` counts the
/// payments to the number before this one (for 918: the submissions).
pub fn magic_fault(msisdn: &str, earlier: u32) -> Option<Fault> {
    let digits = msisdn.get(msisdn.len().checked_sub(3)?..)?;
    Some(match digits {
        "901" => Fault::ResultLost,
        "902" => Fault::ResultTwice,
        "903" => Fault::DroppedAfter,
        "904" => Fault::code("2040"),
        "905" => Fault::All(vec![Fault::Pending(Duration::from_secs(20)), Fault::ResultLost]),
        "906" => Fault::code("9917"),
        "907" => Fault::ResultDelayed(Duration::from_secs(30)),
        "908" => Fault::code("1"),
        "909" => Fault::TimeoutThenResult(NoticeShape::Echo),
        "910" if earlier < 2 => Fault::code("1001"),
        "911" => Fault::code("4"),
        "912" => Fault::code("8"),
        "913" => Fault::TimeoutThenSilence { shape: NoticeShape::Envelope, moved: true },
        "914" => Fault::ErrorAfter,
        "915" => Fault::ResultEarly,
        "916" => Fault::Code { code: "9917".to_owned(), moved: true },
        "917" => Fault::TimeoutThenSilence { shape: NoticeShape::Echo, moved: false },
        "918" if earlier < 2 => Fault::Throttled(ThrottleForm::SpikeArrest),
        _ => return None,
    })
}

/// Queues of faults by key: the start of an `OriginatorConversationID`, or a recipient's number.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    payments: BTreeMap<String, VecDeque<Fault>>,
    queries: BTreeMap<String, VecDeque<Fault>>,
}

impl Scripts {
    pub(crate) fn add(&mut self, key: &str, faults: Vec<Fault>) {
        for fault in faults {
            let queues = if fault.is_about_status() { &mut self.queries } else { &mut self.payments };
            queues.entry(key.to_owned()).or_default().push_back(fault);
        }
    }

    pub(crate) fn for_payment(&mut self, originator: &str, msisdn: &str) -> Option<Fault> {
        next_of(&mut self.payments, originator, msisdn)
    }

    pub(crate) fn for_query(&mut self, originator: &str, msisdn: &str) -> Option<Fault> {
        next_of(&mut self.queries, originator, msisdn)
    }
}

fn next_of(queues: &mut BTreeMap<String, VecDeque<Fault>>, originator: &str, msisdn: &str) -> Option<Fault> {
    if queues.is_empty() {
        return None;
    }
    let key = queues
        .iter()
        .find(|(key, queue)| !queue.is_empty() && (originator.starts_with(key.as_str()) || key.as_str() == msisdn))
        .map(|(key, _)| key.clone())?;
    queues.get_mut(&key)?.pop_front()
}
