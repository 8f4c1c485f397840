//! What must hold after every run, by the phones' and the simulators' own books.

use std::collections::BTreeMap;

use pv_database::Db;
use pv_sandbox::daraja::PaymentState;
use pv_vault::{VaultError, reconciliation::verify};
use sqlx::FromRow;
use uuid::Uuid;

use crate::house::Town;

/// What was found.
#[derive(Debug, Default)]
pub struct Books {
    /// Violations.
    pub violations: Vec<String>,
    /// Loans made.
    pub loans: usize,
    /// Loans paid.
    pub paid: usize,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    core_id: Option<Uuid>,
    loan_id: Option<String>,
    state: String,
    reason: Option<String>,
    receipt: Option<String>,
    amount_minor: Option<i64>,
    gross_minor: Option<i64>,
    msisdn: Option<String>,
    booking: Option<String>,
    items: i64,
}

/// Checks everything.
pub async fn check(db: &Db, town: &Town) -> Result<Books, VaultError> {
    let partners: Vec<Uuid> = town.houses.iter().map(|h| h.partner.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "select d.id, d.core_id, d.loan_id, d.state, d.reason, d.receipt, d.amount_minor, d.gross_minor, d.msisdn, b.state as booking,
             (select count(*) from items i where i.closed_at is null and (i.subject = d.id or i.subject in (select p.id from payouts p where p.disbursement_id = d.id)
                  or i.subject in (select p.credential_id from payouts p where p.disbursement_id = d.id))) as items
         from disbursements d left join bookings b on b.disbursement_id = d.id where d.partner_id = any($1)",
    )
    .bind(&partners)
    .fetch_all(db.worker())
    .await?;
    let payouts: Vec<(String, Uuid, String, Option<String>)> =
        sqlx::query_as("select rail_id, disbursement_id, state, receipt from payouts where partner_id = any($1)")
            .bind(&partners)
            .fetch_all(db.worker())
            .await?;
    let mut books =
        Books { loans: town.houses.iter().map(|h| h.loans.len()).sum(), paid: rows.iter().filter(|r| r.state == "paid").count(), ..Books::default() };
    money(&mut books, town, &rows, &payouts);
    proofs(db, &mut books, town).await?;
    core(&mut books, town, &rows);
    rest(&mut books, &rows, &payouts);
    texts(db, &mut books, town, &rows).await?;
    let Some(process) = town.processes.first() else { return Ok(books) };
    for finding in verify::verify(&process.quick).await?.findings {
        books.violations.push(format!("verify: {finding:?}"));
    }
    Ok(books)
}

/// No loan is paid twice, no money moves that we do not know of, and what we call paid or not paid is so at the rail.
fn money(books: &mut Books, town: &Town, rows: &[Row], payouts: &[(String, Uuid, String, Option<String>)]) {
    let w = town.world.lock();
    let of_payout: BTreeMap<&str, &(String, Uuid, String, Option<String>)> = payouts.iter().map(|p| (p.0.as_str(), p)).collect();
    let by_id: BTreeMap<Uuid, &Row> = rows.iter().map(|r| (r.id, r)).collect();
    let mut paid_of: BTreeMap<Uuid, Vec<&str>> = BTreeMap::new();
    let mut received: BTreeMap<&str, i64> = BTreeMap::new();
    for p in w.daraja.payments() {
        let moved = p.state == PaymentState::Paid;
        let Some((rail_id, disbursement, state, receipt)) = of_payout.get(p.originator_conversation_id.as_str()).copied() else {
            books.violations.push(format!("M-Pesa has a payment {} that no payout of ours explains", p.originator_conversation_id));
            continue;
        };
        if moved {
            paid_of.entry(*disbursement).or_default().push(rail_id);
            *received.entry(p.msisdn.as_str()).or_default() += p.cents;
        }
        let Some(row) = by_id.get(disbursement) else { continue };
        match (moved, state.as_str()) {
            (true, "paid") if receipt.as_deref() != p.receipt.as_deref() => {
                books.violations.push(format!("{rail_id} is paid under {:?}; we say {receipt:?}", p.receipt));
            }
            (true, "not_paid") => books.violations.push(format!("{rail_id} was paid and is called not paid")),
            (true, "prepared" | "sending" | "accepted" | "unknown") if row.items == 0 => {
                books.violations.push(format!("{rail_id} was paid, is {state} here and on nobody's list"));
            }
            (false, "paid") => books.violations.push(format!("{rail_id} is called paid and M-Pesa did not pay it ({:?})", p.state)),
            _ => {}
        }
        if p.msisdn.as_str() != row.msisdn.as_deref().unwrap_or_default() && moved && state == "paid" {
            books.violations.push(format!("{rail_id} went to another phone than the disbursement names"));
        }
    }
    for (disbursement, ids) in &paid_of {
        if ids.len() > 1 {
            books.violations.push(format!("disbursement {disbursement} was paid {} times: {ids:?}", ids.len()));
        }
    }
    let mut loans: BTreeMap<(Uuid, &str), usize> = BTreeMap::new();
    for (disbursement, ids) in &paid_of {
        if let Some(row) = by_id.get(disbursement)
            && let (Some(core), Some(loan)) = (row.core_id, row.loan_id.as_deref())
        {
            *loans.entry((core, loan)).or_default() += ids.len();
        }
    }
    for ((_, loan), n) in loans {
        if n > 1 {
            books.violations.push(format!("loan {loan} was paid {n} times"));
        }
    }
    // The phones themselves: what they hold is what we call paid.
    let numbers: Vec<String> = town.houses.iter().map(|h| h.number.clone()).collect();
    let on_phones: i64 = numbers.iter().map(|n| w.phones.total_received_from(n)).sum();
    let by_payments: i64 = received.values().sum();
    let called_paid: i64 = rows.iter().filter(|r| r.state == "paid").filter_map(|r| r.amount_minor).sum();
    if on_phones != by_payments {
        books.violations.push(format!("the phones hold {on_phones} cents and M-Pesa paid {by_payments}"));
    }
    let open: i64 =
        payouts.iter().filter(|p| !matches!(p.2.as_str(), "paid" | "not_paid")).filter_map(|p| by_id.get(&p.1)).filter_map(|r| r.amount_minor).sum();
    if called_paid > on_phones || called_paid + open < on_phones {
        books.violations.push(format!("the phones hold {on_phones} cents, we call {called_paid} paid and {open} not yet known"));
    }
}

/// A proof that a payout moved no money is never wrong: M-Pesa does not call final what it pays later (rule A7).
async fn proofs(db: &Db, books: &mut Books, town: &Town) -> Result<(), VaultError> {
    let partners: Vec<Uuid> = town.houses.iter().map(|h| h.partner.uuid()).collect();
    let proofs: Vec<(String, String, String)> = sqlx::query_as(
        "select p.rail_id, r.source, r.detail from payout_proofs r join payouts p on p.id = r.payout_id where r.partner_id = any($1) and r.grade = 'rail'",
    )
    .bind(&partners)
    .fetch_all(db.worker())
    .await?;
    let w = town.world.lock();
    for (rail_id, source, detail) in proofs {
        if w.daraja.payment(&rail_id).is_some_and(|p| p.state == PaymentState::Paid) {
            books.violations.push(format!("{rail_id} was paid, and a proof says it was not ({source}: {detail})"));
        }
    }
    Ok(())
}

/// The core's own books: each paid loan is booked once, with our amount and receipt, or on somebody's list.
fn core(books: &mut Books, town: &Town, rows: &[Row]) {
    let w = town.world.lock();
    for h in &town.houses {
        let Some(m) = w.mifos.get(&h.host) else { continue };
        for loan in &h.loans {
            let Some(l) = m.bank().loan(*loan) else { continue };
            let live: Vec<_> = l.disbursements().filter(|t| t.reversed_on.is_none()).collect();
            let row = rows.iter().find(|r| r.core_id == Some(h.core.uuid()) && r.loan_id.as_deref() == Some(&loan.to_string()));
            let ours = live
                .iter()
                .filter(|t| row.is_some_and(|r| r.receipt.is_some() && t.payment.as_ref().map(|p| p.receipt_number.as_str()) == r.receipt.as_deref()))
                .count();
            if ours > 1 {
                books.violations.push(format!("loan {loan} at {} is booked {ours} times", h.host));
            }
            let Some(row) = row else { continue };
            let booked = matches!(row.booking.as_deref(), Some("booked" | "adopted"));
            if booked && ours == 0 {
                books.violations.push(format!("loan {loan} at {} is called booked and the core does not show it", h.host));
            }
            if row.state == "paid" && ours == 0 && row.items == 0 {
                books.violations.push(format!("loan {loan} at {} is paid, not booked ({:?}), and on nobody's list", h.host, row.booking));
            }
            if let (1, Some(t)) = (ours, live.first())
                && Some(t.amount) != row.gross_minor
                && row.items == 0
            {
                books.violations.push(format!("loan {loan} is booked with {} cents where {:?} are owed", t.amount, row.gross_minor));
            }
        }
    }
}

/// Everything is at rest: final, waiting for a stated reason, or on somebody's list.
fn rest(books: &mut Books, rows: &[Row], payouts: &[(String, Uuid, String, Option<String>)]) {
    for r in rows {
        let listed = r.items > 0;
        let fine = match r.state.as_str() {
            "paid" => matches!(r.booking.as_deref(), Some("booked" | "adopted")) || listed,
            "cancelled" | "returned" => true,
            "held" | "refused" | "not_paid" => {
                listed || matches!(r.reason.as_deref(), Some("auto_off" | "old_approval" | "refused_by_rail" | "attempts_exhausted"))
            }
            "waiting" => listed || r.reason.as_deref() == Some("waiting_date"),
            _ => listed,
        };
        if !fine {
            books.violations.push(format!("disbursement {} does not come to rest: {} ({:?})", r.id, r.state, r.reason));
        }
    }
    for (rail_id, disbursement, state, _) in payouts {
        let listed = rows.iter().any(|r| r.id == *disbursement && r.items > 0);
        if !matches!(state.as_str(), "paid" | "not_paid") && !listed {
            books.violations.push(format!("payout {rail_id} does not come to rest: {state}"));
        }
    }
}

/// A borrower is told of a payment once, and only of one that was made.
async fn texts(db: &Db, books: &mut Books, town: &Town, rows: &[Row]) -> Result<(), VaultError> {
    let partners: Vec<Uuid> = town.houses.iter().map(|h| h.partner.uuid()).collect();
    let told: Vec<(Option<Uuid>, i64)> = sqlx::query_as(
        "select disbursement_id, count(*) from sms_notifications where partner_id = any($1) and message_type = 'payment_receipt' group by 1",
    )
    .bind(&partners)
    .fetch_all(db.worker())
    .await?;
    for (disbursement, n) in told {
        let row = rows.iter().find(|r| Some(r.id) == disbursement);
        if !row.is_some_and(|r| matches!(r.state.as_str(), "paid" | "returned")) {
            books.violations.push(format!("a borrower was told of a payment that was not made: {disbursement:?}"));
        }
        if n > 1 {
            books.violations.push(format!("a borrower was told {n} times of one payment"));
        }
    }
    let w = town.world.lock();
    for r in rows.iter().filter(|r| r.state == "paid") {
        let (Some(receipt), Some(msisdn)) = (&r.receipt, &r.msisdn) else { continue };
        let inbox = w.phones.inbox(msisdn);
        let n = inbox.iter().filter(|s| s.sender != "MPESA" && s.text.contains(receipt.as_str())).count();
        if n != 1 {
            books.violations.push(format!("the phone of disbursement {} got {n} texts with receipt {receipt}", r.id));
        }
    }
    Ok(())
}
