//! The path of anything.

use pv_kernel::ids::PartnerId;
use pv_vault::reconciliation::explain::{Verdict, explain};

use super::world::{PHONE, World, receipt_of};

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_a_payment_leads_to_its_path() {
    let world = World::full().await;
    let payout = world.id("select p.id from payouts p join disbursements d on d.id = p.disbursement_id where d.loan_id = '101'").await;
    let disbursement = world.id("select id from disbursements where loan_id = '101'").await;
    let transfer = world.id("select t.id from ledger_transfers t join disbursements d on d.id = t.subject where d.loan_id = '101' limit 1").await;
    let message = world.id("select id from messages where kind = 'b2c_result'").await;
    let text = world.id("select id from sms_notifications").await;
    let rail_id: String =
        sqlx::query_scalar("select rail_id from payouts where id = $1").bind(payout).fetch_one(world.engine.db.worker()).await.unwrap();
    let receipt = receipt_of(payout);
    for needle in [
        "101".to_owned(),
        "000000101".to_owned(),
        receipt.to_lowercase(),
        format!("  {receipt} "),
        rail_id,
        disbursement.to_string(),
        payout.to_string(),
        transfer.to_string(),
        message.to_string(),
        text.to_string(),
        "9101".to_owned(),
    ] {
        let paths = explain(&world.engine, &needle, Some(world.partner)).await.unwrap();
        assert_eq!(paths.iter().map(|p| p.intent.disbursement_id).collect::<Vec<_>>(), [disbursement], "{needle}");
    }
    let path = explain(&world.engine, &receipt, None).await.unwrap().remove(0);
    assert_eq!(path.verdict, Verdict::Explained);
    assert_eq!(
        path.sentence,
        format!("Explained: KES 1,000.00 paid to 2547****5678 at 4 Mar 10:00:00 under receipt {receipt}, booked in Mifos X as transaction 9101.")
    );
    assert_eq!(path.intent.ways, ["hook", "poll"]);
    let movements: Vec<&str> = path.transfers.iter().map(|t| t.movement.as_str()).collect();
    for movement in ["c1_charges_reserved", "p1_payout_prepared", "p3_paid", "c2_charges_taken", "p5_booked", "p13_cents", "c2_fee"] {
        assert!(movements.contains(&movement), "{movement} in {movements:?}");
    }
    assert_eq!((path.payouts.len(), path.payouts[0].submissions.len(), !path.messages.is_empty(), path.texts.len()), (1, 1, true, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_shows_neither_phones_nor_words_of_messages() {
    let world = World::full().await;
    for path in explain(&world.engine, "0712 345 678", None).await.unwrap() {
        let json = serde_json::to_string(&path).unwrap();
        for shown in [path.render(), json] {
            assert!(!shown.contains(PHONE) && !shown.contains("712345678"), "{shown}");
            assert!(!shown.contains("never to be shown"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_path_has_the_verdict_that_its_money_deserves() {
    let world = World::full().await;
    for (needle, verdict, words) in [
        ("101", Verdict::Explained, "Explained: KES 1,000.00 paid"),
        ("102", Verdict::NotYetKnown, "Not yet known: KES 300.00 to 2547****5678 may have been paid"),
        ("103", Verdict::NotYetKnown, "Paid and not yet booked"),
        ("104", Verdict::OnTheList, "On the list since"),
        ("105", Verdict::OnTheList, "A payment waits for a person"),
        ("106", Verdict::OnTheList, "A loan was paid twice"),
        ("107", Verdict::OnTheList, "A payment was not paid"),
        ("REF-1", Verdict::Explained, "there is no core to book it in"),
    ] {
        let paths = explain(&world.engine, needle, None).await.unwrap();
        assert_eq!(paths.len(), 1, "{needle}");
        assert_eq!(paths[0].verdict, verdict, "{needle}: {}", paths[0].sentence);
        assert!(paths[0].sentence.contains(words), "{needle}: {}", paths[0].sentence);
        assert!(paths[0].render().starts_with(&paths[0].sentence));
    }
    // By phone: all of them, newest first, but the one that has no phone yet.
    assert_eq!(explain(&world.engine, "+254 712 345 678", None).await.unwrap().len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_sees_no_path_of_another_and_nonsense_finds_nothing() {
    let world = World::full().await;
    let other = PartnerId(world.engine.id());
    assert!(explain(&world.engine, "101", Some(other)).await.unwrap().is_empty());
    assert!(explain(&world.engine, PHONE, Some(other)).await.unwrap().is_empty());
    for needle in ["", "   ", "no such thing", "0", "\0", &"x".repeat(500), "'; drop table payouts; --"] {
        assert!(explain(&world.engine, needle, None).await.unwrap().is_empty(), "{needle:?}");
    }
}
