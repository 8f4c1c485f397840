//! Disbursements as people and programs see them: lists with filters and a cursor, and one with its timeline. Read in the web role: another
//! partner's rows are not there.

use chrono::{DateTime, NaiveDate, Utc};
use pv_kernel::{
    Money, Msisdn,
    ids::{DisbursementId, PartnerId},
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use sqlx::{QueryBuilder, types::Json};
use uuid::Uuid;

use crate::{
    Engine, VaultError,
    audit::{Actor, Permission},
    wallet::quote::Quote,
};

/// A disbursement in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DisbursementView {
    /// The disbursement.
    pub id: DisbursementId,
    /// The partner.
    pub partner_id: PartnerId,
    /// The connection and loan, where there is one.
    pub core_id: Option<Uuid>,
    /// The core's id of the loan.
    pub loan_id: Option<String>,
    /// 1 for the first approval.
    pub generation: i32,
    /// `mifos_webhook`, `mifos_hook`, `mifos_poll`, `api` or `manual`.
    pub origin: String,
    /// The partner's own reference.
    pub reference: Option<String>,
    /// The borrower's name.
    pub client_name: Option<String>,
    /// The receiver; masked for roles that do not need it.
    pub phone: Option<String>,
    /// The product's name.
    pub product_name: Option<String>,
    /// What is paid out, shillings.
    pub amount: Option<Money>,
    /// What is booked.
    pub gross_amount: Option<Money>,
    /// ISO code.
    pub currency: String,
    /// The five words: `to_do`, `on_its_way`, `paid`, `not_paid`, `not_yet_known`.
    pub status: String,
    /// The finer truth.
    pub state: String,
    /// Why it waits, is held, was refused.
    pub reason: Option<String>,
    /// In words.
    pub reason_detail: Option<String>,
    /// The M-Pesa receipt.
    pub receipt: Option<String>,
    /// When the money moved.
    pub paid_at: Option<DateTime<Utc>>,
    /// State of its booking in the core, where there is one.
    pub booking: Option<String>,
    /// Payouts made so far.
    pub attempts: i32,
    /// The charges locked for it.
    pub charges: Option<Quote>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct ListRow {
    id: Uuid,
    partner_id: Uuid,
    core_id: Option<Uuid>,
    loan_id: Option<String>,
    generation: i32,
    origin: String,
    reference: Option<String>,
    client_name: Option<String>,
    msisdn: Option<String>,
    product_name: Option<String>,
    amount_minor: Option<i64>,
    gross_minor: Option<i64>,
    currency: String,
    status: String,
    state: String,
    reason: Option<String>,
    reason_detail: Option<String>,
    receipt: Option<String>,
    paid_at: Option<DateTime<Utc>>,
    booking: Option<String>,
    attempts: i32,
    quote: Option<Json<Quote>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl ListRow {
    fn view(self, actor: &Actor) -> DisbursementView {
        DisbursementView {
            id: DisbursementId(self.id),
            partner_id: PartnerId(self.partner_id),
            core_id: self.core_id,
            loan_id: self.loan_id,
            generation: self.generation,
            origin: self.origin,
            reference: self.reference,
            client_name: self.client_name,
            phone: self.msisdn.map(|m| phone_for(actor, &m)),
            product_name: self.product_name,
            amount: self.amount_minor.map(Money::from_minor),
            gross_amount: self.gross_minor.map(Money::from_minor),
            currency: self.currency,
            status: self.status,
            state: self.state,
            reason: self.reason,
            reason_detail: self.reason_detail,
            receipt: self.receipt,
            paid_at: self.paid_at,
            booking: self.booking,
            attempts: self.attempts,
            charges: self.quote.map(|q| q.0),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// A phone as a role may see it: whole for those who pay, masked for those who only look (requirement S3).
pub fn phone_for(actor: &Actor, msisdn: &str) -> String {
    let whole = actor.may(Permission::DisbursementsCreate) || actor.may(Permission::DisbursementsResolve);
    if whole { msisdn.to_owned() } else { Msisdn::parse(msisdn).map(Msisdn::masked).unwrap_or_default() }
}

/// Filters of a list; all optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Filter {
    /// Only this partner (the platform names it; a partner's own key sees itself anyway).
    pub partner: Option<Uuid>,
    /// One of the five words.
    pub status: Option<String>,
    /// The finer state.
    pub state: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// A connection.
    pub core: Option<Uuid>,
    /// A loan.
    pub loan_id: Option<String>,
    /// A phone, normalised.
    pub msisdn: Option<String>,
    /// A receipt.
    pub receipt: Option<String>,
    /// A reference.
    pub reference: Option<String>,
    /// Made on or after this day in Nairobi.
    pub from: Option<NaiveDate>,
    /// Made on or before this day in Nairobi.
    pub to: Option<NaiveDate>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The rows, newest first.
    pub items: Vec<T>,
    /// Hand this in to get the next page.
    pub next_cursor: Option<String>,
    /// There is a next page.
    pub has_more: bool,
}

const COLUMNS: &str = "select d.id, d.partner_id, d.core_id, d.loan_id, d.generation, d.origin, d.reference, d.client_name, d.msisdn, d.product_name, d.amount_minor, d.gross_minor,
    d.currency, d.status, d.state, d.reason, d.reason_detail, d.receipt, d.paid_at, b.state as booking, d.attempts, d.quote, d.created_at, d.updated_at
    from disbursements d left join bookings b on b.disbursement_id = d.id where true";

/// Lists. `limit` is cut to 1..=200. Index: `disbursements_list`.
pub async fn list(engine: &Engine, actor: &Actor, filter: &Filter, cursor: Option<&str>, limit: i64) -> Result<Page<DisbursementView>, VaultError> {
    actor.require(Permission::DisbursementsRead)?;
    let limit = limit.clamp(1, 200);
    let cursor = cursor.map(parse_cursor).transpose()?;
    let mut q: QueryBuilder<sqlx::Postgres> = QueryBuilder::new(COLUMNS);
    let partner = actor.partner.map(PartnerId::uuid).or(filter.partner);
    if let Some(partner) = partner {
        q.push(" and d.partner_id = ").push_bind(partner);
    }
    for (column, value) in [
        (" and d.status = ", &filter.status),
        (" and d.state = ", &filter.state),
        (" and d.reason = ", &filter.reason),
        (" and d.loan_id = ", &filter.loan_id),
        (" and d.msisdn = ", &filter.msisdn),
        (" and d.receipt = ", &filter.receipt),
        (" and d.reference = ", &filter.reference),
    ] {
        if let Some(value) = value {
            q.push(column).push_bind(value.clone());
        }
    }
    if let Some(core) = filter.core {
        q.push(" and d.core_id = ").push_bind(core);
    }
    if let Some(from) = filter.from.and_then(start_of_day) {
        q.push(" and d.created_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to.and_then(|d| d.succ_opt()).and_then(start_of_day) {
        q.push(" and d.created_at < ").push_bind(to);
    }
    if let Some((at, id)) = cursor {
        q.push(" and (d.created_at, d.id) < (").push_bind(at).push(", ").push_bind(id).push(")");
    }
    q.push(" order by d.created_at desc, d.id desc limit ").push_bind(limit + 1);
    let mut tx = actor.begin(engine).await?;
    let mut rows: Vec<ListRow> = q.build_query_as().fetch_all(tx.conn()).await?;
    let has_more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(limit).unwrap_or(0));
    let next_cursor = rows.last().filter(|_| has_more).map(|r| write_cursor(r.created_at, r.id));
    Ok(Page { items: rows.into_iter().map(|r| r.view(actor)).collect(), next_cursor, has_more })
}

fn start_of_day(day: NaiveDate) -> Option<DateTime<Utc>> {
    day.and_time(chrono::NaiveTime::MIN).and_local_timezone(pv_kernel::clock::nairobi()).single().map(|t| t.with_timezone(&Utc))
}

fn write_cursor(at: DateTime<Utc>, id: Uuid) -> String {
    format!("{:x}-{}", at.timestamp_micros(), id.simple())
}

fn parse_cursor(text: &str) -> Result<(DateTime<Utc>, Uuid), Box<Problem>> {
    let bad = || Box::new(Problem::invalid("/cursor", "This cursor is not one that we gave out. Start again without it."));
    let (micros, id) = text.split_once('-').ok_or_else(bad)?;
    let micros = i64::from_str_radix(micros, 16).map_err(|_| bad())?;
    let at = DateTime::from_timestamp_micros(micros).ok_or_else(bad)?;
    Ok((at, id.parse().map_err(|_| bad())?))
}

/// A disbursement with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detail {
    /// As in lists.
    #[serde(flatten)]
    pub disbursement: DisbursementView,
    /// Its attempts.
    pub payouts: Vec<PayoutView>,
    /// What happened, in order.
    pub timeline: Vec<TimelineView>,
    /// Its booking.
    pub booking_detail: Option<BookingView>,
    /// Texts about it.
    pub texts: Vec<TextView>,
    /// Open items about it.
    pub items: Vec<ItemView>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct PayoutView {
    /// The payout.
    pub id: Uuid,
    /// 1 for the first.
    pub attempt: i32,
    /// `OriginatorConversationID`.
    pub rail_id: String,
    /// `ConversationID`.
    pub conversation_id: Option<String>,
    /// Its state.
    pub state: String,
    /// Its receipt.
    pub receipt: Option<String>,
    /// The receiver's name as M-Pesa knows it.
    pub party_name: Option<String>,
    /// The last code.
    pub result_code: Option<String>,
    /// Its words.
    pub result_detail: Option<String>,
    /// First send.
    pub first_sent_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Requests on the wire.
    pub submissions: i64,
    /// The source of the proof that it moved no money.
    pub proof: Option<String>,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct TimelineView {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub lane: String,
    /// What.
    pub what: String,
    /// More.
    pub detail: Option<String>,
    /// The message behind it.
    pub message_id: Option<Uuid>,
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct BookingView {
    /// Its state.
    pub state: String,
    /// How it ended.
    pub outcome: Option<String>,
    /// The core's transaction.
    pub transaction_id: Option<String>,
    /// The day booked.
    pub book_on: Option<NaiveDate>,
    /// Tries so far.
    pub tries: i32,
    /// The core's last words.
    pub last_error: Option<String>,
    /// When it was booked.
    pub booked_at: Option<DateTime<Utc>>,
}

/// A text.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct TextView {
    /// The text's id.
    pub id: Uuid,
    /// Its type.
    pub message_type: String,
    /// `pending`, `sent`, `delivered` or `failed`.
    pub status: String,
    /// The finer state.
    pub state: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An amount read from a column of minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[sqlx(transparent)]
#[serde(into = "Money")]
pub struct Shillings(i64);

impl From<Shillings> for Money {
    fn from(s: Shillings) -> Self {
        Self::from_minor(s.0)
    }
}

/// An open item.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct ItemView {
    /// The item.
    pub id: Uuid,
    /// The partner; none: the platform's.
    pub partner_id: Option<Uuid>,
    /// Its kind.
    pub kind: String,
    /// What it is about.
    pub subject: Uuid,
    /// In a few words.
    pub title: String,
    /// What happened.
    pub detail: String,
    /// What to do.
    pub suggested_action: String,
    /// Where.
    pub link: String,
    /// How much money it is about, shillings.
    #[sqlx(rename = "amount_minor")]
    pub amount: Option<Shillings>,
    /// `watch` or `page`.
    pub urgency: String,
    /// Who owns it.
    pub owner: String,
    /// Since when.
    pub opened_at: DateTime<Utc>,
}

/// Reads one with its timeline. Another partner's is not found.
pub async fn get(engine: &Engine, actor: &Actor, id: DisbursementId) -> Result<Detail, VaultError> {
    actor.require(Permission::DisbursementsRead)?;
    let mut tx = actor.begin(engine).await?;
    let mut q: QueryBuilder<sqlx::Postgres> = QueryBuilder::new(COLUMNS);
    q.push(" and d.id = ").push_bind(id.uuid());
    let row: Option<ListRow> = q.build_query_as().fetch_optional(tx.conn()).await?;
    let disbursement = row.ok_or_else(|| Problem::not_found("disbursement"))?.view(actor);
    let payouts: Vec<PayoutView> = sqlx::query_as(
        "select p.id, p.attempt, p.rail_id, p.conversation_id, p.state, p.receipt, p.party_name, p.result_code, p.result_detail, p.first_sent_at, p.ended_at,
             (select count(*) from submissions s where s.payout_id = p.id) as submissions, (select r.source from payout_proofs r where r.payout_id = p.id) as proof
         from payouts p where p.disbursement_id = $1 order by p.attempt",
    )
    .bind(id.uuid())
    .fetch_all(tx.conn())
    .await?;
    let timeline =
        sqlx::query_as("select at, lane, what, detail, message_id from disbursement_events where disbursement_id = $1 order by id limit 500")
            .bind(id.uuid())
            .fetch_all(tx.conn())
            .await?;
    let booking_detail =
        sqlx::query_as("select state, outcome, transaction_id, book_on, tries, last_error, booked_at from bookings where disbursement_id = $1")
            .bind(id.uuid())
            .fetch_optional(tx.conn())
            .await?;
    let texts =
        sqlx::query_as("select id, message_type, status, state, created_at from sms_notifications where disbursement_id = $1 order by id limit 50")
            .bind(id.uuid())
            .fetch_all(tx.conn())
            .await?;
    let mut subjects: Vec<Uuid> = payouts.iter().map(|p| p.id).collect();
    subjects.push(id.uuid());
    let items = sqlx::query_as(
        "select id, partner_id, kind, subject, title, detail, suggested_action, link, amount_minor, urgency, owner, opened_at from items
         where subject = any($1) and closed_at is null order by opened_at limit 50",
    )
    .bind(&subjects)
    .fetch_all(tx.conn())
    .await?;
    Ok(Detail { disbursement, payouts, timeline, booking_detail, texts, items })
}
