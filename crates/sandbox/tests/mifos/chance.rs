//! One seed, one course of events.

use pv_sandbox::mifos::{Dials, HookDials, MifosOptions, Profile, UserOptions};
use std::time::Duration;

use crate::world::{BOTH, Seen, World};

/// Everything that is seen while thirty loans are approved and disbursed on a host with every dial turned up.
fn course(profile: Profile, seed: u64) -> (Vec<Seen>, Vec<String>) {
    let dials = Dials {
        slow: 100,
        slow_by: Duration::from_secs(9),
        dropped_before: 80,
        dropped_after: 80,
        unavailable: 80,
        server_error: 80,
        gateway_timeout: 80,
        locked: 80,
        conflict: 80,
        key_stuck: 80,
        parked: 80,
    };
    let hooks = HookDials { lost: 200, doubled: 200, before_commit: 300, ..HookDials::default() };
    let mut world = World::with(MifosOptions { profile, seed, hooks, users: vec![UserOptions::integration("pv", "x")], ..MifosOptions::default() });
    while world.hook(&[("LOAN", "APPROVE"), ("LOAN", "DISBURSE")]).status != 200 {}
    world.deliveries();
    world.sim.bank_mut().options_mut().dials = dials;
    let mut seen = Vec::new();
    let mut posted = Vec::new();
    for turn in 0..30 {
        let loan = world.approved();
        let body = world.disburse_body(&format!("d{turn}"));
        seen.push(world.get(&format!("/loans/{loan}")));
        seen.push(world.post_keyed(&format!("/loans/{loan}?command=disburse"), &format!("k{turn}"), &body));
        posted.extend(world.deliveries().into_iter().map(|delivery| format!("{} {} {}", delivery.id, delivery.at, delivery.what)));
    }
    (seen, posted)
}

#[test]
fn the_same_seed_gives_the_same_course_and_another_seed_another() {
    for profile in BOTH {
        assert_eq!(course(profile, 7), course(profile, 7));
        assert_ne!(course(profile, 7), course(profile, 8));
    }
}

#[test]
fn whatever_the_dials_do_no_loan_of_a_simple_product_is_disbursed_twice() {
    for profile in BOTH {
        for seed in 0..5 {
            let mut world = World::with(MifosOptions { profile, seed, users: vec![UserOptions::integration("pv", "x")], ..MifosOptions::default() });
            world.sim.bank_mut().options_mut().dials = Dials { dropped_after: 400, conflict: 200, key_stuck: 200, ..Dials::default() };
            let loan = world.approved();
            for turn in 0..20 {
                world.disburse(loan, &format!("d{turn}"));
            }
            let loan = world.sim.bank().loan(loan).unwrap();
            assert_eq!((loan.disbursements().count(), loan.figures.disbursed), (1, 1_500_000));
        }
    }
}
