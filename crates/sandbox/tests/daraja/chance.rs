//! Many payments under all faults at once: the same seed gives the same bytes, and no shilling is lost or made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pv_sandbox::daraja::{Account, DarajaFaults, DarajaOptions, PaymentState};
use pv_sandbox::wire::Simulator;
use serde_json::Value;

use crate::world::{B2C, BALANCE, SHORTCODE, World, balance_query, body, order};

/// A storm of payments, repeats and queries; the wire's bytes in their order are in `bodies`.
fn storm(seed: u64) -> World {
    let options = DarajaOptions { magic_numbers: true, ..DarajaOptions::default() };
    let mut world = World::new(seed, options);
    world.sim.set_faults(DarajaFaults::stormy());
    for round in 0..300 {
        let id = format!("pv-{round:04}");
        let phone = format!("2547{:08}", 11_000_000 + round % 40);
        for _ in 0..2 {
            if world.pay(&id, &phone, 100 + round).is_some_and(|answer| answer.status == 401) {
                world.sign_in();
            }
        }
        world.ask(&id);
        if round % 10 == 0 {
            world.post(BALANCE, &balance_query());
        }
        world.wait(7);
        for delivery in world.sim.take_due(world.now) {
            world.bodies.push(delivery.request.body().to_vec());
        }
    }
    world.settle();
    world
}

#[test]
fn the_same_seed_and_calls_give_the_same_bytes() {
    let (first, again, other) = (storm(42), storm(42), storm(43));
    assert_eq!(first.bodies, again.bodies);
    assert_eq!(first.phones.snapshot(), again.phones.snapshot());
    assert_ne!(first.bodies, other.bodies);
}

#[test]
fn what_left_the_utility_account_is_what_the_phones_received() {
    for seed in 0..20 {
        let world = storm(seed);
        let left: i64 = world.sim.statement(SHORTCODE).iter().map(|line| -line.delta_cents).sum();
        let arrived: i64 = world.phones.snapshot().iter().map(|phone| phone.balance_cents).sum();
        assert_eq!(left, arrived, "seed {seed}");
        assert_eq!(world.phones.total_received_from(SHORTCODE), arrived);
        let balances = world.sim.balances(SHORTCODE).unwrap();
        assert_eq!(balances.utility_cents, 100_000_000 - left);
        let charges: i64 = world.sim.statement_of(SHORTCODE, Account::ChargesPaid).iter().map(|line| line.delta_cents).sum();
        assert_eq!(balances.charges_cents, charges);

        let mut receipts = BTreeSet::new();
        let mut paid = 0;
        for payment in world.sim.payments() {
            assert_ne!(payment.state, PaymentState::Queued, "everything came to rest");
            assert_eq!(payment.receipt.is_some(), payment.state == PaymentState::Paid);
            if let Some(receipt) = &payment.receipt {
                assert!(receipts.insert(receipt.clone()));
                paid += payment.cents;
            }
        }
        assert_eq!(paid, left);
        assert!(receipts.len() > 100, "a storm, not the end of the world: {}", receipts.len());
        assert!(receipts.len() < 300);
    }
}

#[test]
fn loose_typing_shows_every_documented_variant() {
    let options = DarajaOptions { loose_typing_per_mille: 400, magic_numbers: true, ..DarajaOptions::default() };
    let mut world = World::new(9, options);
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let kind = |value: &Value| match value {
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        _ => "missing",
    };
    for round in 0..120 {
        let phone = if round % 3 == 0 { "254700000904" } else { "254700000001" };
        world.pay(&format!("pv-{round}"), phone, 100);
        world.post(BALANCE, &balance_query());
        for delivery in world.settle() {
            let result = body(&delivery)["Result"].clone();
            seen.entry("ResultCode").or_default().insert(kind(&result["ResultCode"]));
            seen.entry("ResultType").or_default().insert(kind(&result["ResultType"]));
            seen.entry("ReferenceItem").or_default().insert(kind(&result["ReferenceData"]["ReferenceItem"]));
            seen.entry("ResultParameter").or_default().insert(kind(&result["ResultParameters"]["ResultParameter"]));
            let failed = !["0", "\"0\""].contains(&result["ResultCode"].to_string().as_str());
            if failed {
                seen.entry("failed").or_default().insert(kind(&result["ResultParameters"]));
            }
            for key in ["TransactionAmount", "BOCompletedTime"] {
                if let Some(value) = crate::world::parameter(&result, key) {
                    seen.entry(key).or_default().insert(kind(&value));
                }
            }
        }
    }
    let expected = [
        ("ResultCode", ["number", "text"].as_slice()),
        ("ResultType", &["number", "text"]),
        ("ReferenceItem", &["array", "object"]),
        ("ResultParameter", &["array", "missing", "object"]),
        ("failed", &["missing", "object"]),
        ("TransactionAmount", &["number", "text"]),
        ("BOCompletedTime", &["number", "text"]),
    ];
    for (field, kinds) in expected {
        assert_eq!(seen[field], kinds.iter().copied().collect::<BTreeSet<_>>(), "{field}");
    }
}

#[expect(clippy::disallowed_methods, reason = "measures the machine, decides nothing in the simulation")]
/// The limit is for an unoptimised build on a busy machine; a release build needs some ten microseconds.
#[test]
fn a_payment_costs_far_less_than_a_millisecond() {
    let mut world = World::plain();
    world.pay_and_settle("pv-warm", "254700000001", 10);
    let rounds = 2_000;
    let requests: Vec<_> = (0..rounds).map(|i| world.request(B2C, &order(&format!("pv-{i}"), "254700000002", 10))).collect();
    let mut best = Duration::MAX;
    for batch in requests.chunks(100) {
        let started = Instant::now();
        for request in batch {
            let reply = world.sim.handle(world.now, request);
            assert_eq!(reply.response.unwrap().status(), 200);
        }
        best = best.min(started.elapsed() / 100);
    }
    assert!(best < Duration::from_micros(500), "{best:?} for one request");
    println!("{best:?} for one request");
}
