//! Everything that can go wrong around a payment, by script, by magic number and by outage.

use std::time::Duration;

use pv_sandbox::daraja::{DarajaOptions, Fault, NoticeShape, Outage, OutageForm, OutageTarget, PaymentState, ThrottleForm};
use pv_sandbox::wire::Simulator;
use serde_json::{Value, json};

use crate::world::{B2C, PHONE, RESULT_URL, SHORTCODE, TIMEOUT_URL, World, body, order, parameter};

fn scripted(fault: Fault) -> World {
    let mut world = World::plain();
    world.sim.script("pv-", vec![fault]);
    world
}

fn paid(world: &World) -> i64 {
    world.phones.balance(PHONE)
}

#[test]
fn a_refusal_before_acceptance_takes_nothing_and_the_id_stays_free() {
    let mut world = scripted(Fault::RefusedBefore);
    let answer = world.pay("pv-1", PHONE, 100).unwrap();
    assert!((500..505).contains(&answer.status));
    assert_eq!((world.settle().len(), world.sim.payments().count()), (0, 0));
    assert_eq!(world.pay_and_settle("pv-1", PHONE, 100)["ResultCode"], 0);
}

#[test]
fn a_connection_dropped_before_acceptance_takes_nothing() {
    let mut world = scripted(Fault::DroppedBefore);
    assert!(world.pay("pv-1", PHONE, 100).is_none());
    assert_eq!((world.settle().len(), paid(&world)), (0, 0));
    assert_eq!(world.pay("pv-1", PHONE, 100).unwrap().status, 200);
}

#[test]
fn an_error_or_a_drop_after_acceptance_pays_and_the_repeat_is_a_duplicate() {
    for fault in [Fault::ErrorAfter, Fault::DroppedAfter] {
        let mut world = scripted(fault.clone());
        let answer = world.pay("pv-1", PHONE, 100);
        match fault {
            Fault::ErrorAfter => assert!(answer.unwrap().status >= 500),
            _ => assert!(answer.is_none()),
        }
        let repeat = world.pay("pv-1", PHONE, 100).unwrap();
        assert_eq!((repeat.status, repeat.json["errorCode"].as_str()), (500, Some("500.002.1001")));
        assert!(repeat.json["errorMessage"].as_str().unwrap().starts_with("Duplicate"));
        assert_eq!(world.settle().len(), 1);
        assert_eq!(paid(&world), 10_000);
    }
}

#[test]
fn a_result_is_lost_doubled_late_or_early_and_the_money_moves_once() {
    let mut world = scripted(Fault::ResultLost);
    world.pay("pv-1", PHONE, 100).unwrap();
    assert_eq!((world.settle().len(), paid(&world)), (0, 10_000));

    let mut world = scripted(Fault::ResultTwice);
    world.pay("pv-1", PHONE, 100).unwrap();
    let calls = world.settle();
    assert_eq!((calls.len(), paid(&world)), (2, 10_000));
    assert_eq!(calls[0].request.body(), calls[1].request.body());
    assert_ne!(calls[0].id, calls[1].id);

    let mut world = scripted(Fault::ResultDelayed(Duration::from_secs(30)));
    let sent = world.now;
    world.pay("pv-1", PHONE, 100).unwrap();
    assert_eq!(world.settle()[0].at - sent, chrono::TimeDelta::seconds(32));

    let mut world = scripted(Fault::ResultEarly);
    let sent = world.now;
    let reply = world.reply(B2C, &order("pv-1", PHONE, 100));
    let calls = world.settle();
    assert!(calls[0].at < sent + chrono::TimeDelta::from_std(reply.delay).unwrap());
    let acknowledged = world.read(reply).unwrap().json["ConversationID"].clone();
    assert_eq!(body(&calls[0])["Result"]["ConversationID"], acknowledged);
}

#[test]
fn a_timeout_notice_comes_in_both_shapes_and_the_result_may_follow() {
    for shape in [NoticeShape::Echo, NoticeShape::Envelope] {
        let mut world = scripted(Fault::TimeoutThenResult(shape));
        world.pay("pv-1", PHONE, 100).unwrap();
        let calls = world.settle();
        assert_eq!((calls[0].request.uri().to_string(), calls[1].request.uri().to_string()), (TIMEOUT_URL.to_owned(), RESULT_URL.to_owned()));
        let notice = body(&calls[0]);
        match shape {
            NoticeShape::Echo => assert_eq!(notice, order("pv-1", PHONE, 100)),
            NoticeShape::Envelope => {
                assert_eq!(notice["Result"]["OriginatorConversationID"], "pv-1");
                assert_ne!(notice["Result"]["ResultType"], 0);
            }
        }
        assert_eq!(body(&calls[1])["Result"]["ResultCode"], 0);
        assert_eq!(paid(&world), 10_000);
    }
}

#[test]
fn silence_after_a_timeout_notice_hides_either_outcome() {
    for moved in [true, false] {
        let mut world = scripted(Fault::TimeoutThenSilence { shape: NoticeShape::Echo, moved });
        world.pay("pv-1", PHONE, 100).unwrap();
        assert_eq!(world.settle().len(), 1, "only the notice");
        assert_eq!(paid(&world), if moved { 10_000 } else { 0 });
        let status = parameter(&world.ask_and_settle("pv-1"), "TransactionStatus").unwrap();
        assert_eq!(status, if moved { "Completed" } else { "Expired" });
    }
}

#[test]
fn an_unlisted_or_ambiguous_code_hides_either_outcome() {
    for (code, moved) in [("9917", true), ("9917", false), ("17", true), ("26", true), ("15", true), ("X00042", false)] {
        let mut world = scripted(Fault::Code { code: code.to_owned(), moved });
        let result = world.pay_and_settle("pv-1", PHONE, 100);
        assert_eq!(result["ResultCode"].to_string().trim_matches('"'), code);
        assert_eq!(paid(&world), if moved { 10_000 } else { 0 });
        let status = parameter(&world.ask_and_settle("pv-1"), "TransactionStatus").unwrap();
        assert_eq!(status == "Completed", moved, "{status}");
    }
}

#[test]
fn throttling_comes_in_all_documented_bodies_and_takes_nothing() {
    let cases = [
        (ThrottleForm::GatewayFault, 429, None),
        (ThrottleForm::SpikeArrest, 500, Some("500.003.02")),
        (ThrottleForm::Busy, 500, Some("500.003.02")),
        (ThrottleForm::Quota, 500, Some("500.003.03")),
    ];
    for (form, status, code) in cases {
        let mut world = scripted(Fault::Throttled(form));
        let answer = world.pay("pv-1", PHONE, 100).unwrap();
        assert_eq!((answer.status, answer.json["errorCode"].as_str()), (status, code));
        if form == ThrottleForm::GatewayFault {
            assert_eq!(answer.json["fault"]["detail"]["errorcode"], "policies.ratelimit.SpikeArrestViolation");
        }
        assert_eq!(world.sim.payments().count(), 0);
    }
}

#[test]
fn more_than_the_ceiling_in_one_second_meets_the_spike_arrest() {
    let options = DarajaOptions { spike_arrest_per_second: Some(3), ..DarajaOptions::default() };
    let mut world = World::new(1, options);
    let statuses = |world: &mut World, from: usize| -> Vec<u16> {
        (from..from + 4).map(|index| world.pay(&format!("pv-{index}"), PHONE, 100).unwrap().status).collect()
    };
    assert_eq!(statuses(&mut world, 0), [200, 200, 200, 500]);
    world.wait(1);
    assert_eq!(statuses(&mut world, 10), [200, 200, 200, 500]);
}

#[test]
fn a_revoked_token_stays_revoked_until_the_next_sign_in() {
    let mut world = scripted(Fault::TokenRevoked);
    assert_eq!(world.pay("pv-1", PHONE, 100).unwrap().status, 401);
    assert_eq!(world.pay("pv-1", PHONE, 100).unwrap().status, 401);
    world.sign_in();
    assert_eq!(world.pay("pv-1", PHONE, 100).unwrap().status, 200);
    world.sim.revoke_all_tokens();
    assert_eq!(world.ask("pv-1").unwrap().status, 400);
}

#[test]
fn a_script_is_used_one_fault_per_request_and_faults_can_be_joined() {
    let mut world = World::plain();
    let slow = Fault::All(vec![Fault::Slow(Duration::from_secs(9)), Fault::ResultLost]);
    world.sim.script(PHONE, vec![Fault::Normal, slow]);
    assert_eq!(world.reply(B2C, &order("pv-1", PHONE, 100)).delay, Duration::ZERO);
    assert_eq!(world.reply(B2C, &order("pv-2", PHONE, 100)).delay, Duration::from_secs(9));
    assert_eq!(world.reply(B2C, &order("pv-3", PHONE, 100)).delay, Duration::ZERO);
    assert_eq!(world.settle().len(), 2);
    assert_eq!(paid(&world), 30_000);
}

#[test]
fn an_outage_of_the_host_or_of_one_shortcode_takes_nothing() {
    let mut world = World::plain();
    let (from, until) = (world.now, world.now + chrono::TimeDelta::seconds(60));
    for (index, form) in [OutageForm::Closed, OutageForm::Html, OutageForm::Unreachable].into_iter().enumerate() {
        for target in [OutageTarget::Host, OutageTarget::Shortcode(SHORTCODE.to_owned())] {
            let mut world = World::plain();
            world.sim.outage(Outage { target, from, until, form });
            let answer = world.pay("pv-1", PHONE, 100);
            let shown = answer.map(|answer| (answer.status, answer.json["errorCode"].as_str().map(str::to_owned)));
            let expected = [None, Some((503, None)), Some((500, Some("500.003.1001".to_owned())))];
            assert_eq!(shown, expected[index]);
            world.wait(60);
            assert_eq!(world.pay_and_settle("pv-1", PHONE, 100)["ResultCode"], 0);
        }
    }
    let other = OutageTarget::Shortcode("600999".to_owned());
    world.sim.outage(Outage { target: other, from, until, form: OutageForm::Closed });
    assert!(world.pay("pv-1", PHONE, 100).is_some());
}

/// Code told (if any), calls made, and whether the phone was paid.
fn magic(digits: &str) -> (Option<String>, usize, bool) {
    let mut world = World::plain();
    let number = format!("254700000{digits}");
    world.pay("pv-1", &number, 100);
    let calls = world.settle();
    let result = calls.iter().find(|call| call.request.uri() == RESULT_URL);
    let code = result.map(|call| body(call)["Result"]["ResultCode"].to_string());
    (code, calls.len(), world.phones.balance(&number) == 10_000)
}

#[test]
fn each_magic_number_does_what_the_table_says() {
    let table = [
        ("001", Some("0"), 1, true),
        ("901", None, 0, true),
        ("902", Some("0"), 2, true),
        ("903", Some("0"), 1, true),
        ("904", Some("2040"), 1, false),
        ("905", None, 0, true),
        ("906", Some("9917"), 1, false),
        ("907", Some("0"), 1, true),
        ("908", Some("1"), 1, false),
        ("909", Some("0"), 2, true),
        ("910", Some("1001"), 1, false),
        ("911", Some("4"), 1, false),
        ("912", Some("8"), 1, false),
        ("913", None, 1, true),
        ("914", Some("0"), 1, true),
        ("915", Some("0"), 1, true),
        ("916", Some("9917"), 1, true),
        ("917", None, 1, false),
        ("918", None, 0, false),
    ];
    for (digits, code, calls, moved) in table {
        assert_eq!(magic(digits), (code.map(str::to_owned), calls, moved), "{digits}");
    }
}

#[test]
fn a_locked_subscriber_is_free_at_the_third_payment_and_a_throttled_one_at_the_third_submission() {
    let mut world = World::plain();
    let codes: Vec<Value> = (0..4).map(|index| world.pay_and_settle(&format!("pv-{index}"), "254711000910", 100)["ResultCode"].clone()).collect();
    assert_eq!(codes, [json!(1001), json!(1001), json!(0), json!(0)]);
    let statuses: Vec<u16> = (0..3).map(|_| world.pay("pv-x", "254711000918", 100).unwrap().status).collect();
    assert_eq!(statuses, [500, 500, 200]);
}

#[test]
fn number_905_is_initiated_for_twenty_seconds() {
    let mut world = World::plain();
    world.pay("pv-1", "254700000905", 100).unwrap();
    world.sim.options_mut().query_delay = Duration::from_millis(100);
    world.ask("pv-1").unwrap();
    world.wait(15);
    let calls = world.sim.take_due(world.now);
    assert_eq!(parameter(&body(&calls[0])["Result"], "TransactionStatus").unwrap(), "Initiated");
    assert_eq!(world.sim.payment("pv-1").unwrap().state, PaymentState::Queued);
    world.settle();
    assert_eq!(world.sim.payment("pv-1").unwrap().state, PaymentState::Paid);
}

#[test]
fn magic_numbers_can_be_switched_off() {
    let options = DarajaOptions { magic_numbers: false, ..DarajaOptions::default() };
    let mut world = World::new(1, options);
    world.pay("pv-1", "254700000904", 100).unwrap();
    world.settle();
    assert_eq!(world.phones.balance("254700000904"), 10_000);
}
