//! The rules of proof, one by one.

use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use pv_kernel::{
    Money, Msisdn,
    rail::{CodeClass, NotAccepted, PaymentFate, ResultNotice, RetryWhen, StatusNotice, SubmissionMeaning},
    verdict::Grade,
};

use super::*;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 20, 8, 0, 0).unwrap()
}

fn pace() -> Pace {
    Pace { first_ask: Duration::from_secs(30), longest_ask: Duration::from_mins(30), token_life: Duration::from_hours(1) }
}

fn fresh() -> Payout {
    Payout {
        state: State::Prepared,
        attempt: 1,
        rail_id: "pv-a".into(),
        shortcode: "600111".into(),
        msisdn: Msisdn::parse("0712345678").unwrap(),
        amount: Money::from_minor(150_000),
        conversation_id: None,
        receipt: None,
        party_name: None,
        result_code: None,
        result_detail: None,
        repeat_wanted: false,
        veto: Veto::None,
        veto_tries: 0,
        confirm_wanted: false,
        double_paid: false,
        first_sent_at: None,
        sent_until: None,
        asks: 0,
        due_at: None,
        ended_at: None,
        submissions: Vec::new(),
        sibling_paid: false,
        confirm_above: None,
    }
}

fn after(payout: &Payout, events: &[Event]) -> Decision {
    let mut last = Decision { payout: payout.clone(), effects: Vec::new(), heard: Heard::NothingNew };
    for e in events {
        last = decide(&last.payout, e, &pace(), now());
    }
    last
}

fn claimed() -> Event {
    Event::Claimed { fence: 1, lease_until: now() + chrono::Duration::seconds(90) }
}

fn answered(number: i32, meaning: SubmissionMeaning) -> Event {
    Event::Answered { number, meaning, detail: String::new(), class: None }
}

fn accepted(number: i32) -> Event {
    answered(number, SubmissionMeaning::Accepted { conversation_id: "AG_1".into() })
}

fn throttled(number: i32) -> Event {
    answered(number, SubmissionMeaning::NotAccepted { after: Duration::from_secs(3), why: NotAccepted::Throttled })
}

fn notice(code: &str) -> ResultNotice {
    let ok = code == "0";
    ResultNotice {
        completed: true,
        code: code.into(),
        description: "as the rail says".into(),
        rail_id: Some("pv-a".into()),
        conversation_id: Some("AG_1".into()),
        receipt: ok.then(|| "UKK1AAAAAA".into()),
        amount: ok.then_some(Money::from_minor(150_000)),
        msisdn: ok.then(|| Msisdn::parse("0712345678").unwrap()),
        party_name: None,
        completed_at: None,
        utility_after: None,
        charges_after: None,
    }
}

fn result(code: &str, class: CodeClass) -> Event {
    Event::Result { notice: notice(code), trusted: true, class }
}

fn status(fate: PaymentFate) -> Event {
    let paid = fate == PaymentFate::Completed;
    Event::Status {
        notice: StatusNotice {
            query_conversation_id: None,
            fate,
            code: if fate == PaymentFate::NotFound { "2032".into() } else { "0".into() },
            description: "as the rail says".into(),
            rail_id: (fate != PaymentFate::NotFound).then(|| "pv-a".into()),
            conversation_id: paid.then(|| "AG_1".into()),
            receipt: paid.then(|| "UKK1AAAAAA".into()),
            amount: paid.then_some(Money::from_minor(150_000)),
            msisdn: paid.then(|| Msisdn::parse("0712345678").unwrap()),
            party_name: None,
            payer_shortcode: None,
            finalised_at: None,
            charge: None,
        },
        trusted: true,
    }
}

fn proofs(d: &Decision) -> usize {
    d.effects.iter().filter(|e| matches!(e, Effect::Prove { .. })).count()
}

#[test]
fn the_usual_way_is_sent_accepted_paid() {
    let d = after(&fresh(), &[claimed(), accepted(1), result("0", CodeClass::Success)]);
    assert_eq!(d.payout.state, State::Paid);
    assert_eq!(d.payout.receipt.as_deref(), Some("UKK1AAAAAA"));
    assert!(d.effects.contains(&Effect::PostPaid));
}

#[test]
fn a5_a_refusal_proves_not_paid_only_if_every_submission_stayed_out() {
    let refused = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Refused)]);
    assert_eq!((refused.payout.state, proofs(&refused)), (State::NotPaid, 1));
    // The first may have entered; the refusal of the second says nothing about it.
    let unknown = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Ambiguous)]);
    let mut p = unknown.payout;
    p.repeat_wanted = true;
    let second = after(&p, &[claimed(), answered(2, SubmissionMeaning::Refused)]);
    assert_eq!((second.payout.state, proofs(&second)), (State::Unknown, 0));
}

#[test]
fn a5_not_accepted_goes_again_under_the_same_id() {
    let d = after(&fresh(), &[claimed(), throttled(1)]);
    assert_eq!(d.payout.state, State::Prepared);
    assert!(d.effects.iter().any(|e| matches!(e, Effect::Tell(Told::SendAt(_)))));
    let d = after(&d.payout, &[claimed(), accepted(2)]);
    assert_eq!((d.payout.state, d.payout.rail_id.as_str()), (State::Accepted, "pv-a"));
}

#[test]
fn a5_an_ambiguous_answer_is_asked_about_and_repeated_at_most_twice_within_ten_minutes() {
    let mut p = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Ambiguous)]).payout;
    for number in 2..=3 {
        let d = after(&p, &[status(PaymentFate::NotFound)]);
        assert!(d.payout.repeat_wanted, "repeat {number}");
        p = after(&d.payout, &[claimed(), answered(number, SubmissionMeaning::Ambiguous)]).payout;
    }
    let d = after(&p, &[status(PaymentFate::NotFound)]);
    assert!(!d.payout.repeat_wanted, "two repeats are the most");
    let early = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Ambiguous)]).payout;
    let late = decide(&early, &status(PaymentFate::NotFound), &pace(), now() + chrono::Duration::minutes(11));
    assert!(!late.payout.repeat_wanted, "ten minutes are the longest");
}

#[test]
fn a5_after_a_duplicate_or_an_acceptance_the_id_is_never_posted_again() {
    for answer in [SubmissionMeaning::Duplicate, SubmissionMeaning::Accepted { conversation_id: "AG_1".into() }] {
        let d = after(&fresh(), &[claimed(), answered(1, answer), Event::TimeoutNotice, status(PaymentFate::NotFound)]);
        assert!(!d.payout.repeat_wanted);
        assert_eq!(after(&d.payout, &[claimed()]).heard, Heard::NothingNew);
    }
}

#[test]
fn a6_a_result_from_a_wrong_place_or_of_a_wrong_kind_only_makes_us_ask() {
    let p = after(&fresh(), &[claimed(), accepted(1)]).payout;
    let mut cases: Vec<Event> = vec![Event::Result { notice: notice("0"), trusted: false, class: CodeClass::Success }];
    let mut n = notice("0");
    n.completed = false;
    cases.push(Event::Result { notice: n, trusted: true, class: CodeClass::Success });
    let mut n = notice("0");
    n.conversation_id = Some("AG_2".into());
    cases.push(Event::Result { notice: n, trusted: true, class: CodeClass::Success });
    let mut n = notice("0");
    n.rail_id = Some("pv-b".into());
    cases.push(Event::Result { notice: n, trusted: true, class: CodeClass::Success });
    let mut n = notice("0");
    n.amount = None;
    cases.push(Event::Result { notice: n, trusted: true, class: CodeClass::Success });
    let mut n = notice("0");
    n.receipt = None;
    cases.push(Event::Result { notice: n, trusted: true, class: CodeClass::Success });
    for (i, event) in cases.iter().enumerate() {
        let d = after(&p, std::slice::from_ref(event));
        assert!(d.payout.state.is_live(), "case {i}");
        assert_eq!(d.heard, Heard::NotEvidence, "case {i}");
        assert_eq!(d.payout.due_at, Some(now()), "case {i}: the rail is asked at once");
    }
}

#[test]
fn a6_success_with_another_amount_or_party_is_unknown_and_an_incident() {
    let p = after(&fresh(), &[claimed(), accepted(1)]).payout;
    let mut other_amount = notice("0");
    other_amount.amount = Some(Money::from_minor(150_100));
    let mut other_party = notice("0");
    other_party.msisdn = Some(Msisdn::parse("0799999999").unwrap());
    for n in [other_amount, other_party] {
        let d = after(&p, &[Event::Result { notice: n, trusted: true, class: CodeClass::Success }]);
        assert_eq!(d.payout.state, State::Unknown);
        assert!(d.effects.iter().any(|e| matches!(e, Effect::Incident { kind: "paid_otherwise", page: true, .. })));
    }
}

#[test]
fn a6_a_result_before_its_acknowledgement_waits_and_a_lost_acknowledgement_is_adopted() {
    let sending = after(&fresh(), &[claimed()]).payout;
    assert_eq!(after(&sending, &[result("0", CodeClass::Success)]).heard, Heard::TooEarly);
    // The sender never came back: its lease is over, and the result tells the conversation.
    let late = decide(&sending, &result("0", CodeClass::Success), &pace(), now() + chrono::Duration::seconds(91));
    assert_eq!((late.payout.state, late.payout.conversation_id.as_deref()), (State::Paid, Some("AG_1")));
}

#[test]
fn a6_above_the_partners_amount_success_is_confirmed_first() {
    let mut p = after(&fresh(), &[claimed(), accepted(1)]).payout;
    p.confirm_above = Some(Money::from_minor(100_000));
    let d = after(&p, &[result("0", CodeClass::Success)]);
    assert!(d.payout.confirm_wanted && d.payout.state.is_live());
    assert_eq!(after(&d.payout, &[status(PaymentFate::Completed)]).payout.state, State::Paid);
}

#[test]
fn a7_not_found_silence_and_time_never_fail_a_payout() {
    let mut p = after(&fresh(), &[claimed(), accepted(1)]).payout;
    let mut at = now();
    for _ in 0..200 {
        at += chrono::Duration::hours(6);
        p = decide(&p, &Event::Due { answered: false }, &pace(), at).payout;
        p = decide(&p, &status(PaymentFate::NotFound), &pace(), at).payout;
        p = decide(&p, &status(PaymentFate::Unclear), &pace(), at).payout;
        assert!(p.state.is_live());
        assert!(p.due_at.is_some(), "it is asked about again, for ever");
    }
}

#[test]
fn a7_a_ruling_of_absence_waits_until_every_request_is_certainly_dead() {
    let p = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Ambiguous)]).payout;
    let ruled = Event::Ruled { paid: false, receipt: None, grade: Grade::Attested };
    assert_eq!(after(&p, std::slice::from_ref(&ruled)).heard, Heard::TooEarly);
    let dead = p.sent_until.unwrap();
    assert_eq!(dead, now() + chrono::Duration::seconds(90 + 3600 + 300), "lease, token life and five minutes");
    assert_eq!(decide(&p, &ruled, &pace(), dead).payout.state, State::NotPaid);
}

#[test]
fn a8_before_a_new_id_the_old_one_is_asked_about_and_has_a_veto() {
    let p = after(&fresh(), &[claimed(), accepted(1), result("1", CodeClass::Retry(RetryWhen::Funded))]).payout;
    let wanted = after(&p, &[Event::NewAttemptWanted]).payout;
    assert_eq!(wanted.veto, Veto::Wanted);
    let asked = after(&wanted, &[Event::Due { answered: false }]);
    assert!(asked.effects.contains(&Effect::Ask { purpose: Purpose::Veto }));
    assert_eq!(after(&asked.payout, &[status(PaymentFate::NotFound)]).payout.veto, Veto::Clear);
    let open = after(&asked.payout, &[status(PaymentFate::Open)]);
    assert_eq!(open.payout.veto, Veto::Wanted, "still open at the rail: wait");
    let completed = after(&asked.payout, &[status(PaymentFate::Completed)]);
    assert_eq!(completed.payout.state, State::Paid, "it was paid: the veto saves the partner's money");
    assert!(completed.effects.contains(&Effect::PostLate));
    let mut silent = wanted;
    for _ in 0..4 {
        silent = after(&silent, &[Event::Due { answered: false }]).payout;
    }
    assert_eq!(silent.veto, Veto::Blocked, "three times no answer: a person");
}

#[test]
fn a10_a_late_success_is_posted_and_a_second_one_is_a_double() {
    let failed = after(&fresh(), &[claimed(), accepted(1), result("17", CodeClass::Final)]).payout;
    let late = after(&failed, &[result("0", CodeClass::Success)]);
    assert_eq!(late.payout.state, State::Paid);
    assert!(late.effects.contains(&Effect::PostLate) && late.effects.contains(&Effect::StopSiblings));
    let mut other = failed;
    other.sibling_paid = true;
    let double = after(&other, &[result("0", CodeClass::Success)]);
    assert!(double.payout.double_paid);
    assert!(double.effects.contains(&Effect::PostDouble) && double.effects.contains(&Effect::PauseShortcode));
    assert!(!double.effects.iter().any(|e| matches!(e, Effect::Tell(Told::Paid { .. }))));
}

#[test]
fn a10_a_late_failure_after_paid_is_an_incident_and_no_transition() {
    let paid = after(&fresh(), &[claimed(), accepted(1), result("0", CodeClass::Success)]).payout;
    let d = after(&paid, &[result("1", CodeClass::Retry(RetryWhen::Funded))]);
    assert_eq!(d.payout.state, State::Paid);
    assert!(d.effects.iter().any(|e| matches!(e, Effect::Incident { kind: "late_failure", .. })));
    assert_eq!(proofs(&d), 0);
}

#[test]
fn a11_acknowledgement_lost_after_the_verdict_does_nothing() {
    let paid = after(&fresh(), &[claimed(), answered(1, SubmissionMeaning::Ambiguous), result("0", CodeClass::Success)]).payout;
    let d = after(&paid, &[answered(1, SubmissionMeaning::Ambiguous)]);
    assert_eq!((d.payout.state, d.heard), (State::Paid, Heard::NothingNew));
}

#[test]
fn a12_the_questions_grow_apart_and_never_end() {
    let mut p = after(&fresh(), &[claimed(), accepted(1)]).payout;
    let mut gaps = Vec::new();
    for _ in 0..10 {
        p = after(&p, &[Event::Due { answered: true }]).payout;
        gaps.push((p.due_at.unwrap() - now()).num_seconds());
    }
    assert!(gaps.windows(2).all(|w| w.first() <= w.last()));
    assert_eq!(gaps.last(), Some(&1800));
}

#[test]
fn a19_a_code_about_our_credential_stops_it_and_a_fresh_token_refused_twice_does_too() {
    let d = after(&fresh(), &[claimed(), accepted(1), result("2001", CodeClass::Halt)]);
    assert!(d.effects.contains(&Effect::HaltCredential { code: "2001".into() }));
    assert_eq!(d.payout.state, State::NotPaid);
    let renewed = |n| answered(n, SubmissionMeaning::NotAccepted { after: Duration::ZERO, why: NotAccepted::Renewed });
    let once = after(&fresh(), &[claimed(), renewed(1)]);
    assert!(!once.effects.iter().any(|e| matches!(e, Effect::HaltCredential { .. })));
    let twice = after(&once.payout, &[claimed(), renewed(2)]);
    assert!(twice.effects.iter().any(|e| matches!(e, Effect::HaltCredential { .. })));
}

#[test]
fn what_was_withheld_is_proven_never_written_and_only_while_nothing_entered() {
    let d = after(&fresh(), &[Event::Withheld { why: "the loan changed".into() }]);
    assert!(d.effects.iter().any(|e| matches!(e, Effect::Prove { source: ProofSource::NeverWritten, .. })));
    let sent = after(&fresh(), &[claimed(), accepted(1)]).payout;
    assert_eq!(after(&sent, &[Event::Withheld { why: "cancelled".into() }]).heard, Heard::NothingNew);
}

#[test]
fn busy_as_a_result_is_asked_about_once_and_may_then_be_tried_again() {
    let d = after(&fresh(), &[claimed(), accepted(1), result("26", CodeClass::Ambiguous)]);
    assert_eq!(d.payout.state, State::Unknown);
    let d = after(&d.payout, &[status(PaymentFate::NotFound)]);
    assert_eq!(d.payout.state, State::NotPaid);
    assert!(d.effects.iter().any(|e| matches!(e, Effect::Tell(Told::NotPaid { next: NextAttempt::When(RetryWhen::Minutes), .. }))));
}

#[test]
fn every_event_may_come_twice() {
    let all = [
        claimed(),
        accepted(1),
        throttled(1),
        answered(1, SubmissionMeaning::Ambiguous),
        answered(1, SubmissionMeaning::Duplicate),
        answered(1, SubmissionMeaning::Refused),
        result("0", CodeClass::Success),
        result("1", CodeClass::Retry(RetryWhen::Funded)),
        result("2001", CodeClass::Halt),
        result("9917", CodeClass::Ambiguous),
        status(PaymentFate::Completed),
        status(PaymentFate::Ended),
        status(PaymentFate::Open),
        status(PaymentFate::NotFound),
        Event::TimeoutNotice,
        Event::Ruled { paid: true, receipt: Some("UKK1AAAAAA".into()), grade: Grade::Attested },
    ];
    for first in &all {
        for second in &all {
            let once = after(&fresh(), &[claimed(), first.clone(), second.clone()]);
            let twice = after(&once.payout, std::slice::from_ref(second));
            assert_eq!(once.payout.state.is_live(), twice.payout.state.is_live(), "{first:?} then {second:?}");
            let money = |d: &Decision| {
                d.effects
                    .iter()
                    .any(|e| matches!(e, Effect::PostPaid | Effect::PostLate | Effect::PostDouble | Effect::VoidHold | Effect::Prove { .. }))
            };
            assert!(!money(&twice), "{second:?} moved money twice");
        }
    }
}
