//! Compares what the product says with what really is: phones, M-Pesa's statements, the loans at the hosts, the texts. Every difference is
//! a line; no line is the proof.

use std::collections::BTreeMap;

use pv_kernel::Money;
use pv_sandbox::{
    daraja::PaymentState,
    mifos::LoanStatus,
    phones::{Phone, Sms},
};
use pv_vault::reconciliation::sentence::Sentence;

use super::{
    board::{Payment, Place, title},
    cases::{Case, End, HOUSES, Way},
    play::Cast,
    stage::World,
};

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Checks {
    /// In words, for people.
    pub differences: Vec<String>,
    /// Facts that were compared.
    pub compared: usize,
}

impl Checks {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: impl FnOnce() -> String, ours: &T, theirs: &T) {
        self.compared += 1;
        if ours != theirs {
            self.differences.push(format!("{}: we say {ours:?}, outside it is {theirs:?}", what()));
        }
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.differences.push(what());
        }
    }
}

/// Twelve digits, as M-Pesa writes a phone; digits only for others.
pub fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

/// Each payment: its end, its phone, its loan, its texts.
pub fn payments(checks: &mut Checks, world: &World, cast: &Cast, payments: &BTreeMap<Place, Payment>) {
    for (case, place) in cast {
        let Some(payment) = payments.get(place) else {
            checks.must(false, || format!("{} ({}) is not there at all", title(place), case.key));
            continue;
        };
        as_expected(checks, case, place, payment);
        at_mpesa(checks, world, case, place, payment);
        if case.way != Way::Pay {
            at_the_core(checks, world, case, place, payment);
        }
        in_the_inbox(checks, world, case, place, payment);
    }
    checks.same(|| "payments listed".to_owned(), &payments.len(), &cast.len());
    for way in ["mifos_hook", "mifos_webhook", "mifos_poll", "api", "manual"] {
        checks.must(payments.values().any(|p| p.origin == way), || format!("nothing came by {way}"));
    }
}

fn as_expected(checks: &mut Checks, case: &Case, place: &Place, payment: &Payment) {
    let wanted = match case.end {
        End::Paid => "paid",
        End::NotPaid => "not_paid",
        End::Refused => "refused",
    };
    checks.must(payment.state == wanted, || {
        format!("{} ({}) should end {wanted}; it is {} ({:?})", title(place), case.key, payment.state, payment.reason)
    });
    let ways = case.way.seen_as();
    if !ways.is_empty() {
        let origin = payment.origin.trim_start_matches("mifos_");
        // A sweep may be a moment faster than what is on its way to us; nothing else may.
        checks.must(ways.contains(&origin) || origin == "poll", || {
            format!("{} ({}) should come by {ways:?}; it came by {origin}", title(place), case.key)
        });
    }
    let most = if case.key == "locked" { 2 } else { 1 };
    checks.must(payment.attempts <= most, || format!("{} ({}) took {} attempts", title(place), case.key, payment.attempts));
}

/// The phone and M-Pesa's own books.
fn at_mpesa(checks: &mut Checks, world: &World, case: &Case, place: &Place, payment: &Payment) {
    let msisdn = digits(case.phone);
    let phone = world.phones.phone(&msisdn);
    let received: Vec<(String, i64)> = phone
        .as_ref()
        .map(|p| p.received.iter().filter(|m| m.sent_back.is_none()).map(|m| (m.receipt.clone(), m.cents)).collect())
        .unwrap_or_default();
    let ours: Vec<(String, i64)> = payment.receipt.iter().filter(|_| payment.status == "paid").map(|r| (r.clone(), case.net())).collect();
    checks.same(|| format!("{} ({}): money on the phone of {}", title(place), case.key, case.name()), &ours, &received);
    let said = payment.amount.as_deref().map(|a| a.replace([',', ' '], ""));
    if payment.status == "paid" {
        checks.same(
            || format!("{}: the amount", title(place)),
            &said.as_deref().and_then(|a| Money::parse(a).ok()).map(Money::minor),
            &Some(case.net()),
        );
    }
    let mpesa = world.mpesa.lock();
    let at_rail: Vec<(String, bool)> =
        mpesa.payments().filter(|p| p.msisdn == msisdn).map(|p| (p.originator_conversation_id.clone(), p.state == PaymentState::Paid)).collect();
    drop(mpesa);
    let known: Vec<&str> = payment.payouts.iter().map(|p| p.rail_id.as_str()).collect();
    checks.must(at_rail.iter().all(|(id, _)| known.contains(&id.as_str())), || {
        format!("{}: M-Pesa has a payment that is none of ours: {at_rail:?}", title(place))
    });
    let paid = at_rail.iter().filter(|(_, paid)| *paid).count();
    checks.same(|| format!("{} ({}): paid so many times", title(place), case.key), &usize::from(payment.status == "paid"), &paid);
    if case.end == End::Refused {
        checks.must(at_rail.is_empty(), || format!("{} was refused by our checks, and M-Pesa has {at_rail:?}", title(place)));
    }
}

/// The loan at its host: disbursed once with our receipt, or untouched.
fn at_the_core(checks: &mut Checks, world: &World, case: &Case, place: &Place, payment: &Payment) {
    let Some(host) = world.hosts.get(case.house) else { return };
    let host = host.lock();
    let Some(loan) = place.1.parse().ok().and_then(|id| host.bank().loan(id)) else {
        return checks.must(false, || format!("{}: the host has no such loan", title(place)));
    };
    let theirs: Vec<(String, i64, String)> = loan
        .disbursements()
        .map(|t| (t.id.to_string(), t.amount, t.payment.as_ref().map(|p| p.receipt_number.clone()).unwrap_or_default()))
        .collect();
    let transaction = payment.booking_detail.as_ref().and_then(|b| b.transaction_id.clone()).unwrap_or_default();
    let ours: Vec<(String, i64, String)> = payment
        .receipt
        .iter()
        .filter(|_| matches!(payment.booking.as_deref(), Some("booked" | "adopted")))
        .map(|r| (transaction.clone(), case.gross(), r.clone()))
        .collect();
    checks.same(|| format!("{} ({}): the booking in Mifos X", title(place), case.key), &ours, &theirs);
    let should = if payment.status == "paid" { LoanStatus::Active } else { LoanStatus::Approved };
    checks.same(|| format!("{} ({}): the loan", title(place), case.key), &should, &loan.status);
}

/// The borrower is told once of money that is there, and never of money that is not.
fn in_the_inbox(checks: &mut Checks, world: &World, case: &Case, place: &Place, payment: &Payment) {
    let inbox = world.phones.inbox(&digits(case.phone));
    let ours: Vec<&Sms> = inbox.iter().filter(|s| s.sender != "MPESA").collect();
    let told = ours.iter().filter(|s| payment.receipt.as_deref().is_some_and(|r| s.text.contains(r))).count();
    checks.same(|| format!("{} ({}): texts to the borrower with the receipt", title(place), case.key), &usize::from(payment.status == "paid"), &told);
    checks.same(|| format!("{} ({}): texts to the borrower", title(place), case.key), &told, &ours.len());
}

/// One shortcode: what stands where.
#[derive(Debug)]
pub struct RailRow {
    /// The number.
    pub shortcode: &'static str,
    /// What we call paid, KES cents.
    pub called_paid: i64,
    /// What the phones hold of it.
    pub on_phones: i64,
    /// The last balance of the utility account on M-Pesa's statement.
    pub statement: i64,
    /// What our ledger says about it.
    pub ledger: i64,
    /// Lines on the statement.
    pub lines: usize,
}

/// Sums: phones, statements, ledger; and every phone for itself.
pub fn totals(checks: &mut Checks, world: &World, cast: &Cast, payments: &BTreeMap<Place, Payment>, sentence: &Sentence) -> Vec<RailRow> {
    let mut rows = Vec::new();
    for (n, house) in HOUSES.iter().enumerate() {
        let paid = cast.iter().filter(|(case, place)| case.house == n && payments.get(place).is_some_and(|p| p.status == "paid"));
        let called_paid = paid.map(|(case, _)| case.net()).sum();
        let on_phones = world.phones.total_received_from(house.shortcode);
        let mpesa = world.mpesa.lock();
        let lines = mpesa.statement(house.shortcode);
        let statement = lines.last().map_or(house.float, |l| l.balance_cents);
        let balance = mpesa.balances(house.shortcode).map_or(0, |b| b.utility_cents);
        let tariffs = mpesa.balances(house.shortcode).map_or(0, |b| b.charges_cents);
        drop(mpesa);
        let line = sentence.rail.iter().find(|l| l.shortcode == house.shortcode);
        let ledger = line.map_or(0, |l| l.ledger_posted.minor());
        checks.same(|| format!("{}: what we call paid, and what the phones hold", house.short_name), &called_paid, &on_phones);
        checks.same(|| format!("{}: our ledger's utility account, and M-Pesa's statement", house.short_name), &ledger, &statement);
        checks.same(|| format!("{}: M-Pesa's statement, and its balance", house.short_name), &statement, &balance);
        checks.must(tariffs < 0, || format!("{}: M-Pesa took no tariff", house.short_name));
        checks.must(line.is_some_and(|l| l.unexplained.is_zero() && l.in_flight.is_zero()), || {
            format!("{}: something is in flight or unexplained: {line:?}", house.short_name)
        });
        rows.push(RailRow { shortcode: house.shortcode, called_paid, on_phones, statement, ledger, lines: lines.len() });
    }
    for phone in world.phones.snapshot() {
        each_phone(checks, &phone);
    }
    checks.must(sentence.all_explained, || format!("the sentence says: {}", sentence.text));
    checks.must(!sentence.open.iter().any(|o| !o.listed), || format!("money is not at rest: {:?}", sentence.open));
    checks.must(sentence.core.differing == 0, || format!("{} bookings differ from the cores", sentence.core.differing));
    rows
}

/// A phone holds what it received, and nothing else.
fn each_phone(checks: &mut Checks, phone: &Phone) {
    let received: i64 = phone.received.iter().filter(|m| m.sent_back.is_none()).map(|m| m.cents).sum();
    checks.same(|| format!("phone {}: what it received, and its balance", phone.msisdn), &received, &phone.balance_cents);
}
