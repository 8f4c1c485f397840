//! Checklist 6: what may happen to a request, by script and by dial.

use std::time::Duration;

use pv_sandbox::mifos::{Fault, Profile};
use pv_sandbox::wire::Simulator;

use crate::world::{BOTH, World};

/// Status, loan status afterwards, and whether a repeat of the same disbursement then works.
fn struck(profile: Profile, fault: Fault) -> (u16, i64, u16) {
    let mut world = World::new(profile);
    let loan = world.approved();
    world.sim.bank_mut().script_loan(loan, [fault]);
    let first = world.disburse(loan, "d").status;
    (first, world.status_of(loan), world.disburse(loan, "d").status)
}

#[test]
fn each_fault_says_the_truth_about_the_money() {
    for profile in BOTH {
        assert_eq!(struck(profile, Fault::DroppedBefore), (0, 200, 200));
        assert_eq!(struck(profile, Fault::DroppedAfter), (0, 300, 400));
        assert_eq!(struck(profile, Fault::Unavailable), (503, 200, 200));
        assert_eq!(struck(profile, Fault::ServerError), (500, 200, 200));
        assert_eq!(struck(profile, Fault::GatewayTimeout), (504, 300, 400));
        assert_eq!(struck(profile, Fault::Parked), (200, 200, 200));
        assert_eq!(struck(profile, Fault::Nothing), (200, 300, 400));
        assert_eq!(struck(profile, Fault::KeyStuck), (0, 300, 400));
    }
    assert_eq!(struck(Profile::V1_14, Fault::Locked), (409, 200, 200));
    assert_eq!(struck(Profile::V1_8, Fault::Locked), (200, 300, 400), "1.8 has no such lock");
    assert_eq!(struck(Profile::V1_14, Fault::Conflict), (409, 200, 200));
    assert_eq!(struck(Profile::V1_8, Fault::Conflict), (500, 200, 200));
}

#[test]
fn faults_have_the_codes_of_the_contract() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    world.sim.bank_mut().script_loan(loan, [Fault::Locked, Fault::Unavailable, Fault::Conflict]);
    assert_eq!(world.disburse(loan, "d").verdict(), (409, "error.msg.loan.locked".to_owned()));
    assert_eq!(world.disburse(loan, "d").verdict(), (503, "error.msg.sheduler.job.currently.running".to_owned()));
    assert_eq!(world.disburse(loan, "d").verdict(), (409, "error.msg.platform.service.loan.conflict".to_owned()));
}

#[test]
fn a_lock_is_not_kept_under_the_key_but_a_500_is() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    world.sim.bank_mut().script_loan(loan, [Fault::Locked, Fault::ServerError]);
    assert_eq!(world.post_keyed(&path, "k", &body).status, 409);
    assert_eq!(world.post_keyed(&path, "k", &body).status, 500);
    let replay = world.post_keyed(&path, "k", &body);
    assert_eq!((replay.status, replay.from_cache), (500, true));
    assert_eq!(world.post_keyed(&path, "k2", &body).status, 200);
}

#[test]
fn an_answer_lost_after_the_commit_is_replayed_by_its_key() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    let (path, body) = (format!("/loans/{loan}?command=disburse"), world.disburse_body("d"));
    world.sim.bank_mut().script_loan(loan, [Fault::DroppedAfter, Fault::DroppedAfter]);
    assert_eq!(world.post_keyed(&path, "k", &body).status, 0);
    assert_eq!(world.post_keyed(&path, "k", &body).status, 0, "a replay may get lost as well");
    let seen = world.post_keyed(&path, "k", &body);
    assert_eq!((seen.status, seen.from_cache, world.sim.bank().loan(loan).unwrap().disbursements().count()), (200, true, 1));
}

#[test]
fn reads_have_scripts_of_their_own_and_slow_answers_say_how_slow() {
    let mut world = World::new(Profile::V1_8);
    let loan = world.approved();
    let slow = Duration::from_secs(12);
    world.sim.bank_mut().script_loan_reads(loan, [Fault::DroppedBefore, Fault::ServerError, Fault::Slow(slow)]);
    let path = format!("/loans/{loan}");
    assert_eq!((world.get(&path).status, world.get(&path).status, world.get(&path).delay), (0, 500, slow));
    assert_eq!((world.get(&path).status, world.get(&path).delay), (200, Duration::ZERO));
}

#[test]
fn a_host_that_is_down_answers_nobody_and_loses_its_hooks() {
    for profile in BOTH {
        let mut world = World::new(profile);
        world.hook(&[("LOAN", "APPROVE")]);
        world.deliveries();
        let until = world.now + Duration::from_mins(10);
        world.sim.down(world.now, until);
        world.approved();
        assert_eq!(world.get("/loans").status, 0);
        assert!(world.posts().is_empty());
        assert_eq!(world.sim.bank().hook_log().lost, 1);
        world.now = until;
        assert_eq!(world.get("/loans").status, 200);
        assert_eq!(world.sim.next_due(), None);
    }
}

#[test]
fn dials_turned_full_strike_every_command_and_turned_back_none() {
    let mut world = World::new(Profile::V1_14);
    let loan = world.approved();
    world.sim.bank_mut().options_mut().dials.locked = 1000;
    assert_eq!(world.disburse(loan, "d").status, 409);
    assert_eq!(world.get(&format!("/loans/{loan}")).status, 200, "the lock is for writes");
    world.sim.bank_mut().options_mut().dials.locked = 0;
    world.sim.bank_mut().options_mut().dials.dropped_before = 1000;
    assert_eq!((world.get("/loans").status, world.disburse(loan, "d").status), (0, 0));
    world.sim.bank_mut().options_mut().dials.dropped_before = 0;
    world.sim.bank_mut().options_mut().dials.parked = 1000;
    assert!(world.disburse(loan, "d").body.get("loanId").is_none());
}
