//! Booked loans are read again, and what somebody changed in the core is noticed.

use chrono::Duration;
use pv_kernel::Money;
use pv_ledger::AccountRef;
use pv_vault::{
    engine::Step,
    reconciliation::{core_check, verify},
};

use super::world::World;

async fn to_book(world: &World) -> Money {
    let mut tx = world.engine.begin().await.unwrap();
    let account = AccountRef::mirror(world.partner, "to_book").id();
    let minor = pv_ledger::balance(tx.conn(), account).await.unwrap().unwrap().posted.minor();
    Money::from_minor(-minor)
}

async fn booked() -> World {
    let world = World::empty().await;
    world.paid("101", 100_000, 120_050, 50).await;
    world.steps(&[Step::Book, Step::Book]).await;
    assert_eq!(world.count("select count(*) from bookings where state = 'booked'").await, 1);
    world
}

async fn open(world: &World) -> i64 {
    world.count("select count(*) from items where kind = 'undone_in_core' and closed_at is null").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booking_that_is_reversed_in_the_core_is_noticed_and_forgotten_when_it_is_there_again() {
    let world = booked().await;
    assert_eq!(core_check::check_now(&world.engine).await.unwrap(), 1);
    assert_eq!((to_book(&world).await, open(&world).await), (Money::ZERO, 0));
    for _ in 0..2 {
        world.loans.change("101", |loan| loan.disbursements[0].reversed = true);
        core_check::check_now(&world.engine).await.unwrap();
        core_check::check_now(&world.engine).await.unwrap();
        assert_eq!((to_book(&world).await, open(&world).await), (Money::from_minor(100_000), 1));
        let report = verify::verify(&world.engine).await.unwrap();
        assert!(report.is_clean(), "{}", report.render());
        world.loans.change("101", |loan| loan.disbursements[0].reversed = false);
        core_check::check_now(&world.engine).await.unwrap();
        assert_eq!((to_book(&world).await, open(&world).await), (Money::ZERO, 0));
        let report = verify::verify(&world.engine).await.unwrap();
        assert!(report.is_clean(), "{}", report.render());
    }
    assert_eq!(world.count("select count(*) from ledger_transfers where movement like 'p12_%'").await, 8, "twice gone and found again, with cents");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_booking_is_read_once_a_day_and_a_core_that_is_down_proves_nothing() {
    let world = booked().await;
    assert_eq!(core_check::run(&world.engine).await.unwrap().taken, 0, "it was just read back");
    world.forward(Duration::hours(25));
    *world.loans.down.lock().unwrap() = true;
    assert_eq!(core_check::run(&world.engine).await.unwrap().taken, 1);
    assert_eq!((to_book(&world).await, open(&world).await), (Money::ZERO, 0));
    *world.loans.down.lock().unwrap() = false;
    world.loans.change("101", |loan| loan.disbursements.clear());
    assert_eq!(core_check::run(&world.engine).await.unwrap().taken, 0, "tried again after an hour, not at once");
    world.forward(Duration::minutes(61));
    assert_eq!(core_check::run(&world.engine).await.unwrap().taken, 1);
    assert_eq!((to_book(&world).await, open(&world).await), (Money::from_minor(100_000), 1));
    assert_eq!(core_check::run(&world.engine).await.unwrap().taken, 0);
}
