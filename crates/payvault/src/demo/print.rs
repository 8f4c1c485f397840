//! The evidence, for people.

use pv_kernel::ids::PartnerId;
use pv_sandbox::mifos::LoanStatus;
use pv_vault::reconciliation::{explain, sentence::Sentence, verify};

use super::{
    Payments,
    cases::{Case, HOUSES, Way},
    check::{Checks, RailRow, digits},
    play::Cast,
    stage::{Product, World},
};
use crate::failure::Result;

/// KES cents as people write them.
fn kes(cents: i64) -> String {
    pv_kernel::Money::from_minor(cents).grouped()
}

/// The five words as people say them.
fn said(status: &str) -> String {
    status.replace('_', " ")
}

/// One row per payment, and under it its path in one line.
pub async fn table(product: &Product, cast: &Cast, payments: &Payments) -> Result<()> {
    println!("\nEvery payment\n");
    println!(
        "{:<6} {:<10} {:<16} {:>10}  {:<9} {:<8} {:<11} {:<12} {:>2}/{:<2}  what went wrong",
        "", "loan", "borrower", "KES", "way in", "verdict", "receipt", "booking", "at", "rq"
    );
    for (case, place) in cast {
        let house = HOUSES.get(case.house).map_or("", |h| h.short_name);
        let Some(p) = payments.get(place) else {
            println!("{house:<6} {:<10} {:<16} nothing is known of it", place.1, case.name());
            continue;
        };
        let requests: i64 = p.payouts.iter().map(|p| p.submissions).sum();
        let booking = match (p.booking.as_deref(), p.booking_detail.as_ref().and_then(|b| b.transaction_id.as_deref())) {
            (Some(state), Some(transaction)) => format!("{state} {transaction}"),
            (Some(state), None) => state.to_owned(),
            (None, _) => if case.way == Way::Pay { "no loan" } else { "-" }.to_owned(),
        };
        println!(
            "{house:<6} {:<10} {:<16} {:>10}  {:<9} {:<8} {:<11} {booking:<12} {:>2}/{requests:<2}  {}",
            place.1,
            case.name(),
            kes(case.net()),
            case.way.word(),
            said(&p.status),
            p.receipt.as_deref().unwrap_or("-"),
            p.attempts,
            case.trouble,
        );
        println!("       {}", path(product, case, &p.id).await?);
    }
    println!("\nat/rq: attempts and requests on the wire. An attempt has one id for ever; a request that is repeated carries the same id.");
    Ok(())
}

/// The path in one line: what was seen first to last, and the sentence.
async fn path(product: &Product, case: &Case, id: &str) -> Result<String> {
    let paths = explain::explain(&product.engine, id, None::<PartnerId>).await?;
    let Some(path) = paths.first() else { return Ok(format!("{}: nothing explains it", case.key)) };
    let ways = match (case.way, path.intent.ways.first()) {
        (Way::All, _) => format!("seen by {} · ", path.intent.ways.join(", ")),
        (_, Some(first)) => format!("first seen by {first} · "),
        (_, None) => String::new(),
    };
    Ok(format!("{ways}{}", path.sentence))
}

/// The most interesting receipt, in full.
pub async fn explained(product: &Product, cast: &Cast, payments: &Payments) -> Result<()> {
    let receipt = cast.iter().find(|(case, _)| case.key == "unknown").and_then(|(_, place)| payments.get(place)).and_then(|p| p.receipt.clone());
    let Some(receipt) = receipt else { return Ok(()) };
    println!("\npayvault explain {receipt}\n");
    for path in explain::explain(&product.engine, &receipt, None).await? {
        for line in path.render().lines() {
            println!("    {line}");
        }
    }
    Ok(())
}

/// Our books beside those of the outside.
pub fn books(world: &World, cast: &Cast, payments: &Payments, rail: &[RailRow], verified: &verify::Report) {
    println!("\nThe books\n");
    println!("    {:<10} {:>16} {:>16} {:>18} {:>18} {:>7}", "shortcode", "we call paid", "on the phones", "M-Pesa statement", "our ledger", "lines");
    for row in rail {
        println!(
            "    {:<10} {:>16} {:>16} {:>18} {:>18} {:>7}",
            row.shortcode,
            kes(row.called_paid),
            kes(row.on_phones),
            kes(row.statement),
            kes(row.ledger),
            row.lines
        );
    }
    println!();
    for (n, house) in HOUSES.iter().enumerate() {
        let Some(host) = world.hosts.get(n) else { continue };
        let host = host.lock();
        let active = host.bank().loans().filter(|l| l.status == LoanStatus::Active).count();
        let all = host.bank().loans().count();
        let booked = cast
            .iter()
            .filter(|(c, place)| c.house == n && payments.get(place).is_some_and(|p| matches!(p.booking.as_deref(), Some("booked" | "adopted"))))
            .count();
        println!("    Mifos X {:<5} {} loans, {active} disbursed there; {booked} booked by us", house.release, all);
    }
    if let Some((case, _)) = cast.iter().find(|(c, _)| c.key == "unknown") {
        inbox(world, &format!("Texts to {} ({})", case.name(), digits(case.phone)), &digits(case.phone), 6);
    }
    if let Some(house) = HOUSES.first() {
        inbox(world, &format!("Texts to the staff of {} ({}), the last", house.short_name, house.staff), house.staff, 5);
    }
    println!("\npayvault verify\n");
    for line in verified.render().lines() {
        println!("    {line}");
    }
}

/// What a person must settle, from the API.
pub async fn list(product: &Product) -> Result<()> {
    let items = product.platform.get("/api/items?limit=50").await?;
    let items = items.get("items").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    println!("\nOn somebody's list: {}\n", items.len());
    for item in items {
        let text = |name: &str| item.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        println!("    {:<18} {}", text("kind"), text("detail"));
        println!("    {:<18} {}", "", text("suggested_action"));
    }
    Ok(())
}

fn inbox(world: &World, title: &str, phone: &str, most: usize) {
    let texts = world.phones.inbox(phone);
    println!("\n    {title}: {} in all", texts.len());
    for sms in texts.iter().skip(texts.len().saturating_sub(most)) {
        println!("      {:<7} {}", sms.sender, sms.text);
    }
}

/// The sentence, or what differs.
pub fn verdict(checks: &Checks, said: &Sentence) {
    println!("\n{} facts compared with the phones, M-Pesa's statements, both Mifos X hosts, the inboxes and the ledger.", checks.compared);
    if checks.differences.is_empty() {
        println!("\n{}", said.text);
        return;
    }
    println!(
        "\nNOT EVERYTHING IS EXPLAINED: {} {}",
        checks.differences.len(),
        if checks.differences.len() == 1 { "difference" } else { "differences" }
    );
    for difference in &checks.differences {
        println!("  - {difference}");
    }
    println!("\nThe product itself says: {}", said.text);
}
