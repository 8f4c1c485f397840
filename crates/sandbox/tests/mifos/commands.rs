//! Checklist 5 and the parking of 6: idempotency keys and maker-checker.

use std::collections::BTreeSet;

use pv_sandbox::mifos::{CommandOutcome, Fault, Profile};
use serde_json::json;

use crate::world::{BOTH, World};

#[test]
fn a_repeat_with_its_key_gets_the_stored_answer_and_does_nothing() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    let first = world.post_keyed(&path, "k1", &body);
    let again = world.post_keyed(&path, "k1", &body);
    assert_eq!((first.status, first.from_cache), (200, false));
    assert_eq!((again.status, again.from_cache, &again.text), (200, true, &first.text));
    assert_eq!(world.sim.bank().loan(loan).unwrap().disbursements().count(), 1);
}

#[test]
fn a_key_used_for_another_loan_answers_the_first_loan_and_does_nothing() {
    let mut world = World::new(Profile::V1_14);
    let (first, second) = (world.approved(), world.approved());
    let (one, two) = (world.disburse_body("a"), world.disburse_body("b"));
    world.post_keyed(&format!("/loans/{first}?command=disburse"), "same", &one);
    let seen = world.post_keyed(&format!("/loans/{second}?command=disburse"), "same", &two);
    assert_eq!((seen.status, seen.from_cache, seen.body["loanId"].clone()), (200, true, json!(first)));
    assert_eq!(world.status_of(second), 200);
    let repayment = world.repay_body(100, "r");
    let other = world.post_keyed(&format!("/loans/{first}/transactions?command=repayment"), "same", &repayment);
    assert_eq!((other.status, other.from_cache), (200, false), "another action is another identity");
}

#[test]
fn a_failure_is_replayed_though_its_cause_has_gone() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.submitted();
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    assert_eq!(world.post_keyed(&path, "early", &body).status, 400);
    let now = world.now;
    world.sim.bank_mut().approve(loan, now).unwrap();
    let replay = world.post_keyed(&path, "early", &body);
    assert_eq!((replay.status, replay.from_cache), (400, true));
    assert_eq!(world.post_keyed(&path, "fresh", &body).status, 200);
}

#[test]
fn the_old_line_ignores_keys() {
    let mut world = World::new(Profile::V1_8);
    let loan = world.approved();
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    assert_eq!(world.post_keyed(&path, "k", &body).status, 200);
    let again = world.post_keyed(&path, "k", &body);
    assert_eq!((again.status, again.from_cache), (400, false));
}

#[test]
fn rights_and_external_ids_are_looked_at_before_the_key() {
    let mut world = World::new(Profile::V1_14);
    let body = world.disburse_body("d");
    let seen = world.post_keyed("/loans/external-id/none?command=disburse", "k", &body);
    assert_eq!(seen.verdict(), (404, "error.msg.loan.external.id.invalid".to_owned()));
    let loan = world.approved();
    assert_eq!(world.post_keyed(&format!("/loans/{loan}?command=disburse"), "k", &body).status, 200, "the 404 was not stored");
    assert_eq!(world.post_keyed(&format!("/loans/{loan}?command=disburse"), &"k".repeat(51), &body).status, 500);
}

#[test]
fn a_stuck_key_answers_425_for_ever_though_the_money_is_booked() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    world.sim.bank_mut().script_loan(loan, [Fault::KeyStuck]);
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    assert_eq!(world.post_keyed(&path, "stuck", &body).status, 0);
    for _ in 0..3 {
        let seen = world.post_keyed(&path, "stuck", &body);
        assert_eq!((seen.status, seen.from_cache, seen.delay.as_secs()), (425, true, 3));
        assert_eq!(seen.body, body, "the body is the request");
    }
    assert_eq!(world.sim.bank().loan(loan).unwrap().disbursements().count(), 1);
}

#[test]
fn a_parked_command_is_a_200_that_did_nothing_until_the_checker_lets_it_run() {
    for profile in BOTH {
        let mut world = World::new(profile);
        let loan = world.approved();
        world.sim.bank_mut().options_mut().maker_checker = BTreeSet::from(["DISBURSE_LOAN".to_owned()]);
        let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
        let seen = world.post_keyed(&path, "k", &body);
        assert_eq!((seen.status, seen.body.get("loanId"), seen.body.get("changes")), (200, None, None));
        assert_eq!(seen.body["resourceId"], loan);
        assert_eq!(world.status_of(loan), 200);
        let command = seen.body["commandId"].as_u64().unwrap();
        assert_eq!(world.get("/makercheckers").body[0]["id"], command);
        if profile == Profile::V1_14 {
            assert_eq!(world.post_keyed(&path, "k", &body).status, 425, "the key counts as used");
        }
        let now = world.now;
        assert_eq!(world.sim.bank_mut().checker_approve(command, now), Ok(()));
        assert_eq!(world.status_of(loan), 300);
        assert!(world.sim.bank_mut().checker_approve(command, now).is_err(), "only once");
        if profile == Profile::V1_14 {
            assert_eq!(world.post_keyed(&path, "k", &body).body["loanId"], loan);
        }
    }
}

#[test]
fn a_checker_works_over_the_wire_too_and_may_say_no() {
    let mut world = World::new(Profile::V1_14);
    let (first, second) = (world.approved(), world.approved());
    for (loan, answer, status) in [(first, "approve", 300), (second, "reject", 200)] {
        world.sim.bank_mut().script_loan(loan, [Fault::Parked]);
        let command = world.disburse(loan, &format!("d{loan}")).body["commandId"].clone();
        assert_eq!(world.post(&format!("/makercheckers/{command}?command={answer}"), &json!({})).status, 200);
        assert_eq!(world.status_of(loan), status);
    }
    let outcomes: Vec<_> = world.sim.bank().commands().filter(|command| command.over_the_wire).map(|command| command.outcome.clone()).collect();
    assert_eq!(outcomes, [CommandOutcome::Done, CommandOutcome::TurnedDown]);
}

#[test]
fn the_book_of_commands_keeps_who_did_what_and_how_it_ended() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    world.disburse(loan, "d");
    world.disburse(loan, "e");
    let book: Vec<(String, &str, Option<u64>, CommandOutcome, bool)> = world
        .sim
        .bank()
        .commands()
        .map(|command| (command.user.clone(), command.action, command.target, command.outcome.clone(), command.over_the_wire))
        .collect();
    let refused = CommandOutcome::Refused("error.msg.loan.disbursal.account.is.not.approve.not.disbursed.state".to_owned());
    assert_eq!(
        book,
        [
            ("peter".to_owned(), "APPROVE", Some(loan), CommandOutcome::Done, false),
            ("pv".to_owned(), "DISBURSE", Some(loan), CommandOutcome::Done, true),
            ("pv".to_owned(), "DISBURSE", Some(loan), refused, true),
        ]
    );
}
