//! What a payout costs, read from the tariffs in the database.

use chrono::NaiveDate;
use pv_kernel::{Money, ids::PartnerId};
use pv_vault::wallet::quote::{QuoteFor, TariffPayer, quote_in_tx, quotes_in_tx};

use crate::support::{House, house, kes, new_id, refusal};

fn wanted(partner: PartnerId, amount: Money, day: &str) -> QuoteFor {
    QuoteFor { partner, rail: "mpesa".into(), amount, day: day.parse::<NaiveDate>().unwrap(), tariff_payer: TariffPayer::Platform, sms_billed: true }
}

async fn tariff(house: &House, partner: Option<PartnerId>, from: &str, to: Option<&str>, shillings: i64) {
    let id = new_id();
    let mut tx = house.engine.begin_platform().await.unwrap();
    sqlx::query("insert into tariffs (id, partner_id, rail, kind, name, valid_from, valid_to, created_at) values ($1, $2, 'mpesa', 'b2c', 't', $3, $4, '2026-01-01')")
        .bind(id)
        .bind(partner.map(PartnerId::uuid))
        .bind(from.parse::<NaiveDate>().unwrap())
        .bind(to.map(|t| t.parse::<NaiveDate>().unwrap()))
        .execute(tx.conn())
        .await
        .unwrap();
    sqlx::query("insert into tariff_bands (tariff_id, from_minor, to_minor, charge_minor) values ($1, 0, 10000000000, $2)")
        .bind(id)
        .bind(shillings * 100)
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn safaricoms_bands_are_met_at_both_ends() {
    let house = house().await;
    let partner = house.partner("Umoja").await.id;
    let mut tx = house.engine.begin().await.unwrap();
    for (shillings, tariff) in
        [(10, 0), (100, 0), (101, 5), (1_500, 5), (1_501, 9), (5_000, 9), (5_001, 11), (20_000, 11), (20_001, 13), (250_000, 13)]
    {
        let quote = quote_in_tx(tx.conn(), &wanted(partner, kes(shillings), "2026-11-20")).await.unwrap();
        assert_eq!(quote.tariff, kes(tariff), "{shillings}");
        assert_eq!(quote.from_wallet, Money::from_minor(tariff * 100 + 500 + 160), "{shillings}");
    }
    assert_eq!(refusal(quote_in_tx(tx.conn(), &wanted(partner, kes(250_001), "2026-11-20")).await), "no_tariff_band");
    assert_eq!(refusal(quote_in_tx(tx.conn(), &wanted(partner, kes(100), "2023-07-31")).await), "no_tariff");
}

#[tokio::test]
async fn a_partners_own_tariff_beats_the_general_one_and_the_latest_beats_the_earlier() {
    let house = house().await;
    let (a, b) = (house.partner("Umoja").await.id, house.partner("Harambee").await.id);
    tariff(&house, None, "2026-06-01", None, 20).await;
    tariff(&house, None, "2027-01-01", None, 99).await;
    tariff(&house, Some(a), "2024-01-01", Some("2026-10-31"), 1).await;
    tariff(&house, Some(a), "2026-03-01", Some("2026-10-31"), 2).await;
    let mut tx = house.engine.begin().await.unwrap();
    let asked = [
        wanted(a, kes(200), "2025-01-01"),
        wanted(a, kes(200), "2026-10-31"),
        wanted(a, kes(200), "2026-11-01"),
        wanted(b, kes(200), "2026-10-31"),
        wanted(b, kes(200), "2026-05-31"),
        QuoteFor { rail: "airtel".into(), ..wanted(b, kes(200), "2026-05-31") },
    ];
    let quotes = quotes_in_tx(tx.conn(), &asked).await.unwrap();
    let tariffs: Vec<Option<Money>> = quotes.iter().map(|q| q.as_ref().ok().map(|q| q.tariff)).collect();
    assert_eq!(tariffs, [Some(kes(1)), Some(kes(2)), Some(kes(20)), Some(kes(20)), Some(kes(5)), None]);
    assert_eq!(quotes_in_tx(tx.conn(), &[]).await.unwrap().len(), 0);
}
