//! What an event means for a payout: pure, no I/O. State and event go in, the new state and what must be written with it come out.
//!
//! Every rule about proof lives here and only here. Two things are never concluded: that a payout failed because time
//! passed or because nothing was found, and that it succeeded because somebody said so from the wrong place.

mod kinds;

use std::time::Duration;

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money, Msisdn,
    rail::{CodeClass, NotAccepted, PaymentFate, ResultNotice, RetryWhen, StatusNotice, SubmissionMeaning},
    verdict::Grade,
};

pub use kinds::*;

/// Decides.
pub fn decide(payout: &Payout, event: &Event, pace: &Pace, now: DateTime<Utc>) -> Decision {
    let mut m = Machine { p: payout.clone(), effects: Vec::new(), pace: *pace, now };
    let heard = match event {
        Event::Claimed { fence, lease_until } => m.claimed(*fence, *lease_until),
        Event::Answered { number, meaning, detail, class } => m.answered(*number, meaning, detail, *class),
        Event::Withheld { why } => m.withheld(why),
        Event::Result { notice, trusted, class } => m.result(notice, *trusted, *class),
        Event::Status { notice, trusted } => m.status(notice, *trusted),
        Event::TimeoutNotice => m.timeout_notice(),
        Event::Due { answered } => m.due(*answered),
        Event::NewAttemptWanted => m.new_attempt_wanted(),
        Event::Ruled { paid, receipt, grade } => m.ruled(*paid, receipt.as_deref(), *grade),
    };
    Decision { payout: m.p, effects: m.effects, heard }
}

struct Machine {
    p: Payout,
    effects: Vec<Effect>,
    pace: Pace,
    now: DateTime<Utc>,
}

/// A success is checked against what we ordered.
struct Success<'a> {
    receipt: Option<&'a str>,
    amount: Option<Money>,
    msisdn: Option<Msisdn>,
    at: Option<DateTime<Utc>>,
    name: Option<&'a str>,
    confirmed: bool,
}

impl Machine {
    fn claimed(&mut self, fence: i64, lease_until: DateTime<Utc>) -> Heard {
        let may_send = self.p.state == State::Prepared || (self.p.state == State::Unknown && self.p.repeat_wanted);
        if !may_send {
            return Heard::NothingNew;
        }
        let number = self.p.submissions.last().map_or(1, |s| s.number + 1);
        self.p.submissions.push(Submission { number, fence, state: SubmissionState::Sending, lease_until, renewed: false });
        if self.p.state == State::Prepared {
            self.p.state = State::Sending;
        }
        self.p.repeat_wanted = false;
        self.p.first_sent_at.get_or_insert(self.now);
        let until = lease_until + chrono::Duration::from_std(self.pace.token_life).unwrap_or(chrono::Duration::hours(1)) + SAFETY;
        self.p.sent_until = Some(self.p.sent_until.map_or(until, |u| u.max(until)));
        // If this sender never comes back, the payout is looked at when its lease is over (a restart finds SENDING: UNKNOWN).
        self.p.due_at = Some(lease_until);
        self.effects.push(Effect::Tell(if self.p.state == State::Sending { Told::OnItsWay } else { Told::Unknown }));
        Heard::Changed
    }

    fn answered(&mut self, number: i32, meaning: &SubmissionMeaning, detail: &str, class: Option<CodeClass>) -> Heard {
        let Some(submission) = self.p.submissions.iter_mut().find(|s| s.number == number) else {
            return Heard::NothingNew;
        };
        // A late "lost" or a second answer never takes back what an answer said.
        if !matches!(submission.state, SubmissionState::Sending | SubmissionState::Lost) {
            return Heard::NothingNew;
        }
        submission.state = match meaning {
            SubmissionMeaning::Accepted { .. } => SubmissionState::Accepted,
            SubmissionMeaning::NotAccepted { .. } => SubmissionState::NotAccepted,
            SubmissionMeaning::Refused => SubmissionState::Refused,
            SubmissionMeaning::Duplicate => SubmissionState::Duplicate,
            SubmissionMeaning::Ambiguous => SubmissionState::Ambiguous,
            SubmissionMeaning::Crashed => return Heard::NothingNew,
        };
        submission.renewed = matches!(meaning, SubmissionMeaning::NotAccepted { why: NotAccepted::Renewed, .. });
        match meaning {
            SubmissionMeaning::Accepted { conversation_id } => self.acknowledged(conversation_id),
            SubmissionMeaning::Duplicate => self.in_flight(Duration::from_secs(1)),
            SubmissionMeaning::Ambiguous => self.not_known(Duration::from_secs(2)),
            SubmissionMeaning::NotAccepted { after, why } => self.stayed_out(Some((*after, *why)), detail, NextAttempt::Never),
            SubmissionMeaning::Refused if class == Some(CodeClass::Halt) => {
                self.effects.push(Effect::HaltCredential { code: detail.to_owned() });
                self.stayed_out(None, detail, NextAttempt::CredentialMended);
            }
            SubmissionMeaning::Refused => self.stayed_out(None, detail, NextAttempt::Never),
            SubmissionMeaning::Crashed => {}
        }
        // A result that came before its acknowledgement waits for exactly this (rule A6).
        self.effects.push(Effect::Rematch);
        Heard::Changed
    }

    fn acknowledged(&mut self, conversation_id: &str) {
        match &self.p.conversation_id {
            None => self.p.conversation_id = Some(conversation_id.to_owned()),
            Some(known) if known == conversation_id => {}
            Some(known) => {
                let detail = format!("two acknowledgements for {}: {known} and {conversation_id}", self.p.rail_id);
                self.incident("second_acknowledgement", detail, true);
            }
        }
        self.in_flight(self.pace.first_ask);
    }

    /// The rail has it; after this the id is never posted again (rule A5).
    fn in_flight(&mut self, ask_after: Duration) {
        self.p.repeat_wanted = false;
        if matches!(self.p.state, State::Prepared | State::Sending | State::Unknown) {
            self.p.state = State::Accepted;
            self.look_again(ask_after);
            self.effects.push(Effect::Tell(Told::OnItsWay));
        }
    }

    fn not_known(&mut self, ask_after: Duration) {
        if self.p.state.is_live() {
            self.p.state = State::Unknown;
            self.look_again(ask_after);
            self.effects.push(Effect::Tell(Told::Unknown));
        }
    }

    /// This submission provably did not enter the rail. What that means depends on all the others (rule A5): a refusal of the
    /// second never fails the first.
    fn stayed_out(&mut self, again: Option<(Duration, NotAccepted)>, detail: &str, next: NextAttempt) {
        // A fresh token that is refused as well means that the app lacks the product: never a loop (M-Pesa contract 1).
        // Two refusals far apart are two tokens that grew old.
        let recent = |s: &&Submission| s.renewed && self.now - s.lease_until < REPEAT_WITHIN;
        let refused_twice = self.p.submissions.iter().rev().take(2).filter(recent).count() == 2;
        if matches!(again, Some((_, NotAccepted::Token))) || refused_twice {
            self.effects.push(Effect::HaltCredential { code: "token".to_owned() });
        }
        if !self.p.state.is_live() || self.p.state == State::Accepted {
            return;
        }
        if !self.p.submissions.iter().all(|s| s.state.stayed_out()) {
            self.not_known(Duration::from_secs(2));
            return;
        }
        if let Some((after, _)) = again {
            self.p.state = State::Prepared;
            self.p.due_at = None;
            // Each send that stays out waits longer than the one before: a rail that is away for hours is not knocked at every second.
            let tries = u32::try_from(self.p.submissions.len().clamp(1, 8)).unwrap_or(1) - 1;
            let after = after.max(after.saturating_mul(1 << tries).min(LONGEST_KNOCK));
            self.effects.push(Effect::Tell(Told::SendAt(self.now + std_duration(after))));
        } else {
            let detail = format!("refused by the rail before it entered: {detail}");
            self.not_paid(Grade::Rail, ProofSource::AllRefused, next, "refused", &detail);
        }
    }

    /// Checked just before the send, and stopped. Only possible while nothing has entered the rail.
    fn withheld(&mut self, why: &str) -> Heard {
        if self.p.state != State::Prepared || !self.p.submissions.iter().all(|s| s.state.stayed_out()) {
            return Heard::NothingNew;
        }
        let source = if self.p.submissions.is_empty() { ProofSource::NeverWritten } else { ProofSource::AllRefused };
        self.not_paid(Grade::Rail, source, NextAttempt::Recheck, "withheld", why);
        Heard::Changed
    }

    fn result(&mut self, notice: &ResultNotice, trusted: bool, class: CodeClass) -> Heard {
        if !trusted || !notice.completed {
            return self.not_evidence();
        }
        if notice.rail_id.as_ref().is_some_and(|id| *id != self.p.rail_id) {
            self.incident("foreign_result", format!("a result for another id came to the path of {}", self.p.rail_id), false);
            return self.not_evidence();
        }
        match self.conversation(notice.conversation_id.as_deref()) {
            Conversation::Ours => {}
            Conversation::Wait => return Heard::TooEarly,
            Conversation::Foreign => {
                self.incident("foreign_result", format!("a result of another conversation came to the path of {}", self.p.rail_id), true);
                return self.not_evidence();
            }
            Conversation::NeverSent => {
                self.incident("result_without_send", format!("a result came for {}, of which no send is recorded", self.p.rail_id), true);
                return self.not_evidence();
            }
        }
        self.p.result_code = Some(notice.code.clone());
        self.p.result_detail = Some(notice.description.clone());
        if class != CodeClass::Halt && class != CodeClass::Ambiguous {
            // An acknowledgement does not check the credential (M-Pesa contract 0.4); a result does.
            self.effects.push(Effect::CredentialWorks);
        }
        match class {
            CodeClass::Success => self.success(&Success {
                receipt: notice.receipt.as_deref(),
                amount: notice.amount,
                msisdn: notice.msisdn,
                at: notice.completed_at,
                name: notice.party_name.as_deref(),
                confirmed: false,
            }),
            CodeClass::Final => self.failure(ProofSource::FinalResult, NextAttempt::Never, &notice.code, &notice.description),
            CodeClass::Retry(when) => self.failure(ProofSource::FinalResult, NextAttempt::When(when), &notice.code, &notice.description),
            CodeClass::Halt => {
                self.effects.push(Effect::HaltCredential { code: notice.code.clone() });
                self.failure(ProofSource::FinalResult, NextAttempt::CredentialMended, &notice.code, &notice.description)
            }
            // Asked for. "Busy" (26) as a result is one of these: asked once, then a failure that may be tried again (M-Pesa contract 7.3).
            CodeClass::Ambiguous => self.not_evidence(),
        }
    }

    /// Whose conversation is it (rule A6)?
    fn conversation(&mut self, heard: Option<&str>) -> Conversation {
        if self.p.submissions.is_empty() {
            return Conversation::NeverSent;
        }
        match (&self.p.conversation_id, heard) {
            (Some(known), Some(heard)) if known == heard => Conversation::Ours,
            (None, _) if self.p.submissions.iter().any(|s| s.state == SubmissionState::Sending && s.lease_until > self.now) => Conversation::Wait,
            (None, Some(heard)) => {
                // The acknowledgement is lost: the result tells it.
                self.p.conversation_id = Some(heard.to_owned());
                Conversation::Ours
            }
            (Some(_), _) | (None, None) => Conversation::Foreign,
        }
    }

    /// Anything less than evidence only makes us ask.
    fn not_evidence(&mut self) -> Heard {
        match self.p.state {
            State::Prepared if self.p.submissions.is_empty() => {
                self.effects.push(Effect::Ask { purpose: Purpose::Fate });
            }
            State::Prepared | State::Sending | State::Accepted | State::Unknown => {
                if self.p.state != State::Sending {
                    self.not_known(Duration::ZERO);
                }
                self.p.due_at = Some(self.now);
            }
            State::Paid => {}
            State::NotPaid => {
                // Somebody says something about a payout that is proven not paid: ask, and let the answer decide.
                self.effects.push(Effect::Ask { purpose: Purpose::Fate });
            }
        }
        Heard::NotEvidence
    }

    fn success(&mut self, s: &Success<'_>) -> Heard {
        let ours = s.amount == Some(self.p.amount) && s.msisdn == Some(self.p.msisdn);
        let known_and_wrong = s.amount.is_some_and(|a| a != self.p.amount) || s.msisdn.is_some_and(|m| m != self.p.msisdn);
        let Some(receipt) = s.receipt.filter(|r| !r.is_empty()) else {
            return self.not_evidence();
        };
        if known_and_wrong {
            let detail = format!("the rail reports success for {} with another amount or receiver (receipt {receipt})", self.p.rail_id);
            self.incident("paid_otherwise", detail, true);
            if self.p.state.is_live() {
                self.not_known(self.pace.longest_ask);
            }
            return Heard::NotEvidence;
        }
        if !ours {
            return self.not_evidence();
        }
        if self.p.state == State::Paid {
            if self.p.receipt.as_deref() != Some(receipt) {
                let detail = format!("two receipts for {}: {} and {receipt}", self.p.rail_id, self.p.receipt.as_deref().unwrap_or("none"));
                self.incident("second_receipt", detail, true);
            }
            return Heard::NothingNew;
        }
        if let Some(name) = s.name {
            self.p.party_name = Some(name.to_owned());
        }
        if !s.confirmed && self.p.confirm_above.is_some_and(|limit| self.p.amount > limit) {
            self.p.confirm_wanted = true;
            if self.p.state.is_live() {
                self.p.due_at = Some(self.now);
            } else {
                self.effects.push(Effect::Ask { purpose: Purpose::Confirm });
            }
            return Heard::NotEvidence;
        }
        self.paid(receipt, s.at.unwrap_or(self.now))
    }

    fn paid(&mut self, receipt: &str, at: DateTime<Utc>) -> Heard {
        let late = self.p.state == State::NotPaid;
        self.p.state = State::Paid;
        self.p.receipt = Some(receipt.to_owned());
        self.p.confirm_wanted = false;
        self.p.repeat_wanted = false;
        self.p.due_at = None;
        self.p.ended_at = Some(self.now);
        self.p.veto = Veto::None;
        for kind in ["unknown_payout", "paid_otherwise"] {
            self.effects.push(Effect::Settled { kind });
        }
        self.effects.push(Effect::StopSiblings);
        if self.p.sibling_paid {
            self.p.double_paid = true;
            self.effects.push(if late { Effect::PostDouble } else { Effect::VoidHold });
            if !late {
                self.effects.push(Effect::PostDouble);
            }
            self.effects.push(Effect::PauseShortcode);
            self.incident("double_paid", format!("{} was paid (receipt {receipt}) although another attempt was paid too", self.p.rail_id), true);
            return Heard::Changed;
        }
        self.effects.push(if late { Effect::PostLate } else { Effect::PostPaid });
        if late {
            self.incident("late_success", format!("{} was paid (receipt {receipt}) after it had been proven not paid", self.p.rail_id), true);
        }
        self.effects.push(Effect::Tell(Told::Paid { receipt: receipt.to_owned(), at, late }));
        Heard::Changed
    }

    fn failure(&mut self, source: ProofSource, next: NextAttempt, code: &str, detail: &str) -> Heard {
        match self.p.state {
            State::Paid => {
                self.incident("late_failure", format!("the rail reports {code} for {}, which is paid", self.p.rail_id), true);
                Heard::NothingNew
            }
            State::NotPaid => Heard::NothingNew,
            _ => {
                self.not_paid(Grade::Rail, source, next, code, detail);
                Heard::Changed
            }
        }
    }

    fn not_paid(&mut self, grade: Grade, source: ProofSource, next: NextAttempt, code: &str, detail: &str) {
        self.p.state = State::NotPaid;
        self.p.due_at = None;
        self.p.repeat_wanted = false;
        self.p.confirm_wanted = false;
        self.p.ended_at = Some(self.now);
        self.p.result_code.get_or_insert_with(|| code.to_owned());
        self.p.result_detail.get_or_insert_with(|| detail.to_owned());
        self.effects.push(Effect::VoidHold);
        self.effects.push(Effect::Prove { grade, source, detail: format!("{code}: {detail}") });
        self.effects.push(Effect::Settled { kind: "unknown_payout" });
        self.effects.push(Effect::Tell(Told::NotPaid { next, code: code.to_owned(), detail: detail.to_owned() }));
    }

    fn status(&mut self, notice: &StatusNotice, trusted: bool) -> Heard {
        if !trusted {
            return self.not_evidence();
        }
        if notice.rail_id.as_ref().is_some_and(|id| *id != self.p.rail_id) {
            self.incident("foreign_result", format!("a status answer about another id came to a question about {}", self.p.rail_id), true);
            return self.status_unclear();
        }
        match notice.fate {
            PaymentFate::Completed => {
                if notice.payer_shortcode.as_ref().is_some_and(|s| *s != self.p.shortcode) {
                    self.incident("paid_otherwise", format!("the rail names another payer for {}", self.p.rail_id), true);
                    return self.status_unclear();
                }
                if self.p.conversation_id.is_none() {
                    self.p.conversation_id.clone_from(&notice.conversation_id);
                }
                self.success(&Success {
                    receipt: notice.receipt.as_deref(),
                    amount: notice.amount,
                    msisdn: notice.msisdn,
                    at: notice.finalised_at,
                    name: notice.party_name.as_deref(),
                    confirmed: true,
                })
            }
            PaymentFate::Ended => {
                if self.p.state == State::NotPaid {
                    return self.veto_clear();
                }
                let code = self.p.result_code.clone().unwrap_or_else(|| "status".to_owned());
                let next = if code == "26" { NextAttempt::When(RetryWhen::Minutes) } else { NextAttempt::Never };
                self.failure(ProofSource::FinalStatus, next, &code, &notice.description)
            }
            PaymentFate::Open => {
                if self.p.state == State::NotPaid && self.p.veto != Veto::None {
                    // Not final: the veto stands, and it is asked again (rule A8).
                    self.p.veto = Veto::Wanted;
                    self.p.veto_tries = 0;
                    self.p.due_at = Some(self.now + std_duration(self.pace.first_ask));
                    self.incident("veto", format!("{} is proven not paid, yet the rail says it is still open", self.p.rail_id), true);
                } else if self.p.state.is_live() {
                    self.look_again(self.growing());
                }
                Heard::NothingNew
            }
            PaymentFate::NotFound => self.status_not_found(),
            PaymentFate::Unclear => self.status_unclear(),
        }
    }

    /// "Not found" proves nothing (rule A7). It allows a byte-identical repeat of an id that nobody acknowledged (rule A5), and it
    /// does not stand against a new attempt that has its proof from elsewhere (rule A8).
    fn status_not_found(&mut self) -> Heard {
        if self.p.state == State::NotPaid {
            return self.veto_clear();
        }
        if self.p.result_code.as_deref() == Some("26") && self.p.state.is_live() {
            return self.failure(
                ProofSource::FinalResult,
                NextAttempt::When(RetryWhen::Minutes),
                "26",
                "the rail was too busy and knows no such payment",
            );
        }
        if !self.repeat() && self.p.state.is_live() {
            self.look_again(self.growing());
        }
        Heard::NothingNew
    }

    fn status_unclear(&mut self) -> Heard {
        if self.p.state == State::NotPaid && self.p.veto == Veto::Asked {
            self.p.veto = Veto::Wanted;
            self.p.due_at = Some(self.now + std_duration(self.pace.first_ask));
        } else if self.p.state.is_live() {
            self.look_again(self.growing());
        }
        Heard::NothingNew
    }

    fn veto_clear(&mut self) -> Heard {
        if matches!(self.p.veto, Veto::None | Veto::Clear) {
            return Heard::NothingNew;
        }
        self.p.veto = Veto::Clear;
        self.p.due_at = None;
        self.effects.push(Effect::Tell(Told::VetoClear));
        Heard::Changed
    }

    /// Asks for a repeat of the same id where rule A5 allows one.
    fn repeat(&mut self) -> bool {
        let acknowledged = self.p.conversation_id.is_some()
            || self.p.submissions.iter().any(|s| matches!(s.state, SubmissionState::Accepted | SubmissionState::Duplicate));
        let sent = self.p.submissions.iter().filter(|s| !s.state.stayed_out()).count();
        let under_way = self.p.submissions.iter().any(|s| s.state == SubmissionState::Sending && s.lease_until > self.now);
        let soon_enough = self.p.first_sent_at.is_some_and(|t| self.now - t < REPEAT_WITHIN);
        if self.p.state != State::Unknown || acknowledged || under_way || sent > MAX_REPEATS || !soon_enough {
            return false;
        }
        self.p.repeat_wanted = true;
        self.look_again(self.growing());
        self.effects.push(Effect::Tell(Told::SendAt(self.now)));
        true
    }

    fn timeout_notice(&mut self) -> Heard {
        match self.p.state {
            State::Sending | State::Accepted | State::Unknown => {
                self.not_known(Duration::from_secs(1));
                Heard::Changed
            }
            State::Prepared | State::Paid | State::NotPaid => self.not_evidence(),
        }
    }

    fn due(&mut self, answered: bool) -> Heard {
        if self.p.state == State::Sending && self.p.submissions.iter().all(|s| s.lease_until <= self.now || s.state != SubmissionState::Sending) {
            for s in &mut self.p.submissions {
                if s.state == SubmissionState::Sending {
                    s.state = SubmissionState::Lost;
                }
            }
            self.not_known(Duration::ZERO);
        }
        for s in &mut self.p.submissions {
            if s.state == SubmissionState::Sending && s.lease_until <= self.now {
                s.state = SubmissionState::Lost;
            }
        }
        match self.p.state {
            State::Sending => {
                let until = self.p.submissions.iter().map(|s| s.lease_until).max();
                self.p.due_at = until.or(Some(self.now + std_duration(self.pace.first_ask)));
                Heard::NothingNew
            }
            State::Accepted | State::Unknown => {
                self.effects.push(Effect::Rematch);
                // Two questions without any answer count like "not found" for a repeat (rule A5).
                if self.p.state == State::Unknown && !answered && self.p.asks >= 2 && self.repeat() {
                    return Heard::Changed;
                }
                self.p.asks += 1;
                let purpose = if self.p.confirm_wanted { Purpose::Confirm } else { Purpose::Fate };
                self.effects.push(Effect::Ask { purpose });
                self.look_again(self.growing());
                Heard::Changed
            }
            State::NotPaid if matches!(self.p.veto, Veto::Wanted | Veto::Asked) => {
                if self.p.veto_tries >= MAX_VETO_TRIES {
                    self.p.veto = Veto::Blocked;
                    self.p.due_at = None;
                    self.effects.push(Effect::Tell(Told::VetoBlocked));
                    return Heard::Changed;
                }
                self.p.veto = Veto::Asked;
                self.p.veto_tries += 1;
                self.effects.push(Effect::Ask { purpose: Purpose::Veto });
                self.p.due_at = Some(self.now + std_duration(self.pace.first_ask.saturating_mul(2)));
                Heard::Changed
            }
            State::Prepared | State::Paid | State::NotPaid => {
                self.p.due_at = None;
                Heard::NothingNew
            }
        }
    }

    fn new_attempt_wanted(&mut self) -> Heard {
        if self.p.state != State::NotPaid {
            return Heard::NothingNew;
        }
        if self.p.submissions.is_empty() {
            // Nothing was ever written: there is nothing to ask about.
            self.p.veto = Veto::Clear;
            self.effects.push(Effect::Tell(Told::VetoClear));
            return Heard::Changed;
        }
        self.p.veto = Veto::Wanted;
        self.p.veto_tries = 0;
        // Not before every unanswered request of this payout is certainly dead (rule A7).
        let not_before = if self.p.submissions.iter().filter(|s| s.state.open()).count() > 1 { self.p.sent_until } else { None };
        self.p.due_at = Some(not_before.map_or(self.now, |t| t.max(self.now)));
        Heard::Changed
    }

    fn ruled(&mut self, paid: bool, receipt: Option<&str>, grade: Grade) -> Heard {
        match (self.p.state, paid, receipt) {
            (State::Paid, true, _) | (State::NotPaid, false, _) => Heard::NothingNew,
            (State::Paid, false, _) => {
                self.incident("contradiction", format!("a ruling says {} was not paid; the rail said it was", self.p.rail_id), true);
                Heard::NothingNew
            }
            (_, true, Some(receipt)) => self.paid(receipt, self.now),
            (_, true, None) => Heard::NotEvidence,
            (_, false, _) => {
                // Absence is never proof before every request is certainly dead (rule A7).
                if self.p.sent_until.is_some_and(|t| self.now < t) {
                    return Heard::TooEarly;
                }
                let source = if grade == Grade::Statement { ProofSource::Statement } else { ProofSource::Attested };
                self.not_paid(grade, source, NextAttempt::Never, "ruled", "ruled not paid by two persons");
                Heard::Changed
            }
        }
    }

    fn incident(&mut self, kind: &'static str, detail: String, page: bool) {
        self.effects.push(Effect::Incident { kind, detail, page });
    }

    fn look_again(&mut self, after: Duration) {
        self.p.due_at = Some(self.now + std_duration(after));
    }

    /// Growing intervals between questions (rule A12): doubled each time, bounded.
    fn growing(&self) -> Duration {
        let doublings = u32::try_from(self.p.asks.clamp(0, 12)).unwrap_or(0);
        self.pace.first_ask.saturating_mul(1 << doublings).min(self.pace.longest_ask)
    }
}

enum Conversation {
    Ours,
    Wait,
    Foreign,
    NeverSent,
}

fn std_duration(d: Duration) -> chrono::Duration {
    chrono::Duration::from_std(d).unwrap_or(chrono::Duration::days(1))
}

#[cfg(test)]
mod tests;
