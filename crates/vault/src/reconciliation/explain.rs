//! The path of anything: intent, ledger transfers, payouts with everything that was said about them, receipt, booking, messages, texts,
//! open items, and a verdict in one sentence. `payvault explain RECEIPT|PHONE|LOAN|ID` prints it.
//!
//! Bodies of messages are never part of a path, and phones are masked.

mod render;
mod rows;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use pv_database::PgConnection;
use pv_kernel::{Money, Msisdn, ids::PartnerId};
use serde::Serialize;
use uuid::Uuid;

use crate::{Engine, VaultError};

/// At most this many paths are shown for one needle, newest first.
pub const PATHS_CAP: i64 = 50;
/// The longest needle that is looked for.
const NEEDLE_CAP: usize = 200;

/// What is known about a path as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every amount is in a final place, or no money moved.
    Explained,
    /// A person has it on a list.
    OnTheList,
    /// Money may have moved, or is moving.
    NotYetKnown,
}

/// Everything about one decision to pay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Path {
    /// Who asked for what.
    pub intent: Intent,
    /// What is known about the whole.
    pub verdict: Verdict,
    /// In one sentence.
    pub sentence: String,
    /// The receipt, once paid.
    pub receipt: Option<String>,
    /// Its payouts, oldest first.
    pub payouts: Vec<PayoutPart>,
    /// Its booking in the core.
    pub booking: Option<BookingPart>,
    /// Ledger transfers of disbursement and payouts, in the order in which they were written.
    pub transfers: Vec<TransferLine>,
    /// Messages sent and received, oldest first.
    pub messages: Vec<MessageLine>,
    /// Texts about it.
    pub texts: Vec<TextLine>,
    /// The timeline.
    pub timeline: Vec<EventLine>,
    /// Items about it, open ones first.
    pub items: Vec<ItemLine>,
}

/// Who asked for what, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Intent {
    /// The disbursement.
    pub disbursement_id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// The partner's name.
    pub partner: String,
    /// The connection to the core.
    pub core_id: Option<Uuid>,
    /// Its label.
    pub core: Option<String>,
    /// The loan.
    pub loan_id: Option<String>,
    /// The business reference of a payment without a loan.
    pub reference: Option<String>,
    /// First way in.
    pub origin: String,
    /// All ways in by which it was seen, first one first.
    pub ways: Vec<String>,
    /// When it was seen first.
    pub first_seen_at: Option<DateTime<Utc>>,
    /// Who asked.
    pub created_by: String,
    /// When it became a decision.
    pub created_at: DateTime<Utc>,
    /// The borrower.
    pub client_name: Option<String>,
    /// His phone, masked.
    #[sqlx(rename = "msisdn")]
    pub phone: Option<String>,
    /// The product.
    pub product_name: Option<String>,
    /// What is paid out, minor units.
    pub amount_minor: Option<i64>,
    /// What is booked, minor units.
    pub gross_minor: Option<i64>,
    /// Day of approval.
    pub approved_on: Option<NaiveDate>,
    /// The fine state.
    pub state: String,
    /// In the five words.
    pub status: String,
    /// Why it waits, is held, was refused.
    pub reason: Option<String>,
    /// In words.
    pub reason_detail: Option<String>,
    /// What became of the charges.
    pub charges: String,
    /// When the money moved.
    pub paid_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub(super) receipt: Option<String>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PayoutPart {
    /// The payout.
    #[serde(flatten)]
    pub payout: PayoutLine,
    /// Requests on the wire.
    pub submissions: Vec<SubmissionLine>,
    /// The proof that it moved no money.
    pub proof: Option<ProofLine>,
    /// Questions to the rail about it.
    pub questions: Vec<QuestionLine>,
}

/// A payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct PayoutLine {
    /// Its id.
    pub id: Uuid,
    #[serde(skip)]
    pub(super) disbursement_id: Uuid,
    /// 1 for the first.
    pub attempt: i32,
    /// `OriginatorConversationID`.
    pub rail_id: String,
    /// The paying shortcode.
    pub shortcode: String,
    /// Minor units.
    pub amount_minor: i64,
    /// The receiver, masked.
    #[sqlx(rename = "msisdn")]
    pub phone: String,
    /// Its state.
    pub state: String,
    /// The rail's conversation.
    pub conversation_id: Option<String>,
    /// The receipt.
    pub receipt: Option<String>,
    /// The name under which the rail knows the receiver.
    pub party_name: Option<String>,
    /// The last code.
    pub result_code: Option<String>,
    /// Its words.
    pub result_detail: Option<String>,
    /// Another attempt was paid too.
    pub double_paid: bool,
    /// Sent back by the rail.
    pub returned_at: Option<DateTime<Utc>>,
    /// Written.
    pub prepared_at: DateTime<Utc>,
    /// First sent.
    pub first_sent_at: Option<DateTime<Utc>>,
    /// Ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A request on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct SubmissionLine {
    #[serde(skip)]
    pub(super) payout_id: Uuid,
    /// 1 for the first.
    pub number: i32,
    /// What became of it.
    pub state: String,
    /// When it left.
    pub started_at: DateTime<Utc>,
    /// When it was answered.
    pub answered_at: Option<DateTime<Utc>>,
    /// HTTP status.
    pub http_status: Option<i32>,
    /// The rail's code.
    pub code: Option<String>,
    /// The rail's words.
    pub message: Option<String>,
}

/// A proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ProofLine {
    #[serde(skip)]
    pub(super) payout_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// How good.
    pub grade: String,
    /// Of which kind.
    pub source: String,
    /// In words.
    pub detail: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A question to the rail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct QuestionLine {
    #[serde(skip)]
    pub(super) payout_id: Option<Uuid>,
    /// Why it was asked.
    pub purpose: String,
    /// What became of it.
    pub state: String,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// When it was answered.
    pub answered_at: Option<DateTime<Utc>>,
    /// The code.
    pub code: Option<String>,
    /// The answer, as understood.
    pub answer: Option<String>,
}

/// The booking in the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct BookingPart {
    #[serde(skip)]
    pub(super) disbursement_id: Uuid,
    /// Its state.
    pub state: String,
    /// The core's transaction.
    pub transaction_id: Option<String>,
    /// The receipt that was booked.
    pub receipt: String,
    /// Minor units.
    pub gross_minor: i64,
    /// The day that was booked.
    pub book_on: Option<NaiveDate>,
    /// When.
    pub booked_at: Option<DateTime<Utc>>,
    /// When it was last read again.
    pub checked_at: Option<DateTime<Utc>>,
    /// How it ended.
    pub outcome: Option<String>,
    /// The last words of the core.
    pub last_error: Option<String>,
}

/// A ledger transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct TransferLine {
    /// Its id.
    pub id: Uuid,
    #[serde(skip)]
    pub(super) subject: Uuid,
    /// What it does.
    pub movement: String,
    /// Posted, pending, post or void.
    pub kind: String,
    /// `P` or `M:{partner}`.
    pub book: String,
    /// The account that is debited.
    pub debit: String,
    /// The account that is credited.
    pub credit: String,
    /// Minor units.
    pub amount_minor: i64,
    /// It already happened outside.
    pub fact: bool,
    /// When.
    pub at: DateTime<Utc>,
    #[serde(skip)]
    pub(super) open: bool,
}

/// A message, without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct MessageLine {
    #[serde(skip)]
    pub(super) disbursement_id: Option<Uuid>,
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// `in` or `out`.
    pub direction: String,
    /// With whom.
    pub party: String,
    /// What.
    pub kind: String,
    /// HTTP status.
    pub http_status: Option<i32>,
    /// Stored, weighed, unmatched or parked.
    pub state: String,
    /// What it meant.
    pub outcome: Option<String>,
}

/// A text to a person, without its words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct TextLine {
    #[serde(skip)]
    pub(super) disbursement_id: Option<Uuid>,
    /// Of which type.
    pub message_type: String,
    /// To whom, masked.
    #[sqlx(rename = "recipient_phone")]
    pub recipient: String,
    /// In the four words of the requirements.
    pub status: String,
    /// The fine state.
    pub state: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When it reached the phone.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct EventLine {
    #[serde(skip)]
    pub(super) disbursement_id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub lane: String,
    /// What.
    pub what: String,
    /// More.
    pub detail: Option<String>,
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct ItemLine {
    #[serde(skip)]
    pub(super) disbursement_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// What happened.
    pub detail: String,
    /// What to do.
    pub suggested_action: String,
    /// Since when.
    pub opened_at: DateTime<Utc>,
    /// Until when; `None`: it is open.
    pub closed_at: Option<DateTime<Utc>>,
}

/// The paths of whatever the needle names, newest first, at most [`PATHS_CAP`]: a receipt, a phone in any form, a loan id or account
/// number, the id of a disbursement, payout, item, message, question, text, proof, sighting or transfer, a rail id, the rail's
/// conversation, the core's transaction, a business reference. `scope`: only that partner's; `None`: the whole platform.
/// Nothing found is an empty list.
pub async fn explain(engine: &Engine, needle: &str, scope: Option<PartnerId>) -> Result<Vec<Path>, VaultError> {
    let needle = needle.trim();
    if needle.is_empty() || needle.len() > NEEDLE_CAP || needle.contains('\0') {
        return Ok(Vec::new());
    }
    let mut tx = match scope {
        Some(partner) => engine.begin_for(partner).await?,
        None => engine.begin_platform().await?,
    };
    let ids = rows::find_in_tx(tx.conn(), needle, scope.map(PartnerId::uuid)).await?;
    let paths = paths_in_tx(tx.conn(), &ids).await?;
    tx.rollback().await?;
    Ok(paths)
}

async fn paths_in_tx(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Path>, VaultError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = rows::Parts::load_in_tx(conn, ids).await?;
    let mut intents: BTreeMap<Uuid, Intent> = std::mem::take(&mut parts.intents).into_iter().map(|i| (i.disbursement_id, i)).collect();
    Ok(ids.iter().filter_map(|id| intents.remove(id)).map(|intent| join(intent, &mut parts)).collect())
}

/// Joins the parts of one path and judges it.
fn join(mut intent: Intent, parts: &mut rows::Parts) -> Path {
    let id = intent.disbursement_id;
    intent.phone = intent.phone.as_deref().map(masked);
    let payouts: Vec<PayoutPart> = take(&mut parts.payouts, |p| p.disbursement_id == id)
        .into_iter()
        .map(|mut payout| {
            payout.phone = masked(&payout.phone);
            let of = payout.id;
            PayoutPart {
                submissions: take(&mut parts.submissions, |s| s.payout_id == of),
                proof: take(&mut parts.proofs, |p| p.payout_id == of).pop(),
                questions: take(&mut parts.questions, |q| q.payout_id == Some(of)),
                payout,
            }
        })
        .collect();
    let transfers = take(&mut parts.transfers, |t| t.subject == id || payouts.iter().any(|p| p.payout.id == t.subject));
    let texts = take(&mut parts.texts, |t| t.disbursement_id == Some(id)).into_iter().map(|mut t| {
        t.recipient = masked(&t.recipient);
        t
    });
    let mut path = Path {
        verdict: Verdict::Explained,
        sentence: String::new(),
        receipt: intent.receipt.take(),
        booking: take(&mut parts.bookings, |b| b.disbursement_id == id).pop(),
        messages: take(&mut parts.messages, |m| m.disbursement_id == Some(id)),
        texts: texts.collect(),
        timeline: take(&mut parts.timeline, |e| e.disbursement_id == id),
        items: take(&mut parts.items, |i| i.disbursement_id == id),
        intent,
        payouts,
        transfers,
    };
    (path.verdict, path.sentence) = judge(&path);
    path
}

fn take<T>(from: &mut Vec<T>, wanted: impl Fn(&T) -> bool) -> Vec<T> {
    let (mine, rest) = std::mem::take(from).into_iter().partition(wanted);
    *from = rest;
    mine
}

fn masked(phone: &str) -> String {
    Msisdn::parse(phone).map_or_else(|_| "****".to_owned(), Msisdn::masked)
}

/// The verdict, from the ledger first: pure.
fn judge(path: &Path) -> (Verdict, String) {
    let intent = &path.intent;
    let amount = Money::from_minor(intent.amount_minor.unwrap_or(0));
    let phone = intent.phone.as_deref().unwrap_or("nobody yet");
    if let Some(item) = path.items.iter().find(|i| i.closed_at.is_none()) {
        let more = path.items.iter().filter(|i| i.closed_at.is_none()).count() - 1;
        let others = if more > 0 { format!(", and {more} more") } else { String::new() };
        return (
            Verdict::OnTheList,
            format!("On the list since {}: {}{others}. {}", render::time(item.opened_at), item.title, item.suggested_action),
        );
    }
    let held = path.transfers.iter().find(|t| t.movement == "p1_payout_prepared" && t.open);
    if let Some(hold) = held {
        let payout = path.payouts.iter().find(|p| p.payout.id == hold.subject);
        let state = payout.map_or("nothing", |p| p.payout.state.as_str());
        let amount = Money::from_minor(hold.amount_minor);
        return match state {
            "unknown" => (
                Verdict::NotYetKnown,
                format!("Not yet known: {amount} to {phone} may have been paid; M-Pesa is being asked, and nothing else is sent."),
            ),
            "prepared" | "sending" | "accepted" => {
                (Verdict::NotYetKnown, format!("On its way: {amount} to {phone}; M-Pesa has not said how it ended."))
            }
            other => (Verdict::NotYetKnown, format!("Not explained: {amount} is held for a payout that is called {other}. Run verify.")),
        };
    }
    let moved = path.transfers.iter().any(|t| matches!(t.movement.as_str(), "p3_paid" | "p6_late_success"));
    match (intent.state.as_str(), moved) {
        ("paid" | "returned", true) => of_paid(path, amount, phone),
        ("paid" | "returned", false) => {
            (Verdict::NotYetKnown, "Not explained: it is called paid, and the ledger shows no payment. Run verify.".to_owned())
        }
        (other, true) => {
            (Verdict::NotYetKnown, format!("Not explained: the ledger shows a payment, and it is called {}. Run verify.", other.replace('_', " ")))
        }
        ("not_paid" | "cancelled" | "refused", false) => {
            (Verdict::Explained, format!("Explained: {}; no money moved{}.", intent.state.replace('_', " "), because(intent)))
        }
        (other, false) => (Verdict::Explained, format!("Explained: {}; nothing has been sent{}.", other.replace('_', " "), because(intent))),
    }
}

fn because(intent: &Intent) -> String {
    intent.reason_detail.as_deref().or(intent.reason.as_deref()).map(|r| format!(" ({})", r.trim_end_matches('.'))).unwrap_or_default()
}

fn of_paid(path: &Path, amount: Money, phone: &str) -> (Verdict, String) {
    let receipt = path.receipt.as_deref().unwrap_or("none");
    let at = path.intent.paid_at.map(render::time).unwrap_or_default();
    let undone = path.transfers.iter().filter(|t| t.movement == "p12_undone").count()
        > path.transfers.iter().filter(|t| t.movement == "p12_found_again").count();
    let posted = path.transfers.iter().any(|t| matches!(t.movement.as_str(), "p5_booked" | "p5_nothing_to_book"));
    let paid = format!("{amount} paid to {phone} at {at} under receipt {receipt}");
    match &path.booking {
        _ if undone => (Verdict::NotYetKnown, format!("Not explained: {paid}; the core does not show the booking any more.")),
        Some(b) if posted => {
            let transaction = b.transaction_id.as_deref().unwrap_or("without a number");
            (
                Verdict::Explained,
                format!("Explained: {paid}, booked in {} as transaction {transaction}.", path.intent.core.as_deref().unwrap_or("the core")),
            )
        }
        Some(b) => (Verdict::NotYetKnown, format!("Paid and not yet booked: {paid}; the booking is {}.", b.state.replace('_', " "))),
        None if posted => (Verdict::Explained, format!("Explained: {paid}; there is no core to book it in.")),
        None => (Verdict::NotYetKnown, format!("Not explained: {paid}, and nothing is to be booked. Run verify.")),
    }
}
