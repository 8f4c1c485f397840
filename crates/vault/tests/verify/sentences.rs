//! The sentence changes with the money, and when anybody tampers with anything.

use chrono::Duration;
use pv_kernel::{Money, rail::SubmissionMeaning};
use pv_vault::{
    engine::Step,
    payout::machine::Event,
    reconciliation::{
        core_check,
        sentence::{Kind, sentence},
        verify,
    },
};

use super::world::World;

async fn text(world: &World) -> String {
    let whole = sentence(&world.engine, None).await.unwrap();
    let own = sentence(&world.engine, Some(world.partner)).await.unwrap();
    assert_eq!(whole.text, own.text);
    whole.text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sentence_follows_a_payment_from_its_way_to_its_rest() {
    let world = World::empty().await;
    assert_eq!(text(&world).await, "All money explained as of 10:00:00");
    let (_, payout) = world.order(Some("101"), 1_200_000, 1_200_000, 0).await;
    assert_eq!(text(&world).await, "KES 12,000 in 1 payout on its way");
    world.hear(payout, Event::Answered { number: 1, meaning: SubmissionMeaning::Ambiguous, detail: String::new(), class: None }).await;
    world.forward(Duration::minutes(11));
    assert_eq!(text(&world).await, "KES 12,000 in 1 payout not yet known, oldest 11 min");
    world.forward(Duration::minutes(5));
    world.steps(&[Step::Watch]).await;
    assert_eq!(text(&world).await, "All money explained as of 10:16:00 · 1 item on the list");
    let listed = sentence(&world.engine, None).await.unwrap();
    assert_eq!(listed.open.iter().map(|o| (o.kind, o.listed, o.amount.minor())).collect::<Vec<_>>(), [(Kind::NotYetKnown, true, 1_200_000)]);
    // The acknowledgement was lost; the result tells it.
    world.success(payout, 1_200_000).await;
    world.forward(Duration::minutes(3));
    assert_eq!(text(&world).await, "KES 12,000 paid and not yet booked in 1 loan, oldest 3 min");
    world.steps(&[Step::Book, Step::Book, Step::Fold]).await;
    assert_eq!(text(&world).await, "All money explained as of 10:19:00");
    let rest = sentence(&world.engine, Some(world.partner)).await.unwrap();
    assert!(rest.all_explained && rest.open.is_empty());
    assert_eq!((rest.paid_today.count, rest.paid_today.amount), (1, Money::from_minor(1_200_000)));
    assert_eq!((rest.core.booked, rest.core.checked, rest.core.differing), (1, 1, 0));
    assert_eq!((rest.rail.len(), rest.rail[0].ledger_posted, rest.rail[0].inside_band), (1, Money::from_minor(-1_200_000), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tampers_changes_the_sentence() {
    let world = World::empty().await;
    world.paid("101", 100_000, 100_000, 0).await;
    world.steps(&[Step::Book, Step::Book, Step::Sequence, Step::Fold]).await;
    let report = verify::verify_and_note(&world.engine).await.unwrap();
    assert!(report.is_clean(), "{}", report.render());
    let at_rest = "All money explained as of 10:00:00";
    assert_eq!(text(&world).await, at_rest);
    // A receipt.
    world.change("update payouts set receipt = 'TAMPERED' || receipt").await;
    verify::verify_and_note(&world.engine).await.unwrap();
    let tampered = text(&world).await;
    assert!(tampered.contains("contradict") && tampered.contains("see verify"), "{tampered}");
    world.change("update payouts set receipt = substr(receipt, 9)").await;
    verify::verify_and_note(&world.engine).await.unwrap();
    assert_eq!(text(&world).await, at_rest);
    // A booking in the core.
    world.loans.change("101", |loan| loan.disbursements[0].receipt = Some("OTHER".into()));
    core_check::check_now(&world.engine).await.unwrap();
    assert_eq!(text(&world).await, format!("{at_rest} · 1 item on the list"));
    // Whoever strikes it from the list explains nothing.
    world.change("update items set closed_at = opened_at where kind = 'undone_in_core'").await;
    assert_eq!(text(&world).await, "KES 1,000 to be booked that no payment explains");
    core_check::check_now(&world.engine).await.unwrap();
    // A row: a booking is called unbooked.
    world.loans.change("101", |loan| loan.disbursements[0].receipt = None);
    core_check::check_now(&world.engine).await.unwrap();
    assert_eq!(text(&world).await, at_rest);
    world.change("update bookings set state = 'due', due_at = null").await;
    assert!(text(&world).await.contains("that no payment explains"));
    world.change("update bookings set state = 'booked'").await;
    // A row: a live payout whose hold is gone.
    world.change("update payouts set state = 'unknown'").await;
    assert!(text(&world).await.contains("in 1 payout whose hold contradicts it"));
}
