//! The SQL of paths: from a needle to disbursements, and everything about those.

use pv_database::PgConnection;
use pv_kernel::Msisdn;
use uuid::Uuid;

use super::{
    BookingPart, EventLine, Intent, ItemLine, MessageLine, PATHS_CAP, PayoutLine, ProofLine, QuestionLine, SubmissionLine, TextLine, TransferLine,
};
use crate::VaultError;

/// The disbursements that a needle names, newest first.
pub(super) async fn find_in_tx(conn: &mut PgConnection, needle: &str, partner: Option<Uuid>) -> Result<Vec<Uuid>, VaultError> {
    let id: Option<Uuid> = needle.parse().ok();
    let phone = Msisdn::parse(needle).ok().map(|m| m.to_string());
    // A core shows the loan's id, filled up with zeros, as its account number (Mifos X contract 3.1).
    let digits = !needle.is_empty() && needle.bytes().all(|b| b.is_ascii_digit());
    let loan = if digits { needle.trim_start_matches('0') } else { needle };
    // Receipts are written in capitals; people type them as they like.
    let receipt = needle.to_uppercase();
    let found: Vec<Uuid> = sqlx::query_scalar(
        "with named as (
             select d.id from disbursements d
             where d.id = $1 or d.msisdn = $3 or d.receipt = $4 or d.receipt = $5 or d.loan_id = $5 or d.loan_id = $6 or d.reference = $5
             union
             select p.disbursement_id from payouts p
             where p.id = $1 or p.msisdn = $3 or p.receipt = $4 or p.receipt = $5 or p.rail_id = $5 or p.rail_id = lower($5) or p.conversation_id = $5
             union
             select coalesce(p.disbursement_id, d.id) from items i left join payouts p on p.id = i.subject left join disbursements d on d.id = i.subject where i.id = $1
             union
             select coalesce(m.disbursement_id, p.disbursement_id) from messages m left join payouts p on p.id = m.payout_id where m.id = $1
             union
             select p.disbursement_id from rail_queries q join payouts p on p.id = q.payout_id where q.id = $1 or q.receipt = $4
             union
             select n.disbursement_id from sms_notifications n where n.id = $1
             union
             select f.disbursement_id from payout_proofs f where f.id = $1
             union
             select s.disbursement_id from loan_sightings s where s.id = $1
             union
             select b.disbursement_id from bookings b where b.transaction_id = $5 or b.external_id = $5 or b.receipt = $4
             union
             select coalesce(p.disbursement_id, d.id) from ledger_transfers t left join payouts p on p.id = t.subject left join disbursements d on d.id = t.subject where t.id = $1
         )
         select d.id from disbursements d join named n on n.id = d.id
         where $2::uuid is null or d.partner_id = $2
         order by d.created_at desc, d.id desc limit $7",
    )
    .bind(id)
    .bind(partner)
    .bind(phone)
    .bind(receipt)
    .bind(needle)
    .bind(loan)
    .bind(PATHS_CAP)
    .fetch_all(conn)
    .await?;
    Ok(found)
}

/// Everything about some disbursements.
pub(super) struct Parts {
    pub intents: Vec<Intent>,
    pub payouts: Vec<PayoutLine>,
    pub submissions: Vec<SubmissionLine>,
    pub proofs: Vec<ProofLine>,
    pub questions: Vec<QuestionLine>,
    pub bookings: Vec<BookingPart>,
    pub transfers: Vec<TransferLine>,
    pub messages: Vec<MessageLine>,
    pub texts: Vec<TextLine>,
    pub timeline: Vec<EventLine>,
    pub items: Vec<ItemLine>,
}

impl Parts {
    /// Loads, set-based.
    pub async fn load_in_tx(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Self, VaultError> {
        let intents = sqlx::query_as(
            "select d.id as disbursement_id, d.partner_id, p.name as partner, d.core_id, c.label as core, d.loan_id, d.reference, d.origin,
                    coalesce(s.ways, '{}') as ways, s.first_seen_at, d.created_by, d.created_at, d.client_name, d.msisdn, d.product_name, d.amount_minor,
                    d.gross_minor, d.approved_on, d.state, d.status, d.reason, d.reason_detail, d.charges, d.paid_at, d.receipt
             from disbursements d
             join partners p on p.id = d.partner_id
             left join mifos_partners c on c.id = d.core_id
             left join loan_sightings s on s.core_id = d.core_id and s.loan_id = d.loan_id
             where d.id = any($1)",
        )
        .bind(ids)
        .fetch_all(&mut *conn)
        .await?;
        let payouts: Vec<PayoutLine> = sqlx::query_as(
            "select p.id, p.disbursement_id, p.attempt, p.rail_id, s.shortcode, p.amount_minor, p.msisdn, p.state, p.conversation_id, p.receipt, p.party_name,
                    p.result_code, p.result_detail, p.double_paid, p.returned_at, p.prepared_at, p.first_sent_at, p.ended_at
             from payouts p join mpesa_shortcodes s on s.id = p.shortcode_id where p.disbursement_id = any($1) order by p.disbursement_id, p.attempt",
        )
        .bind(ids)
        .fetch_all(&mut *conn)
        .await?;
        let of: Vec<Uuid> = payouts.iter().map(|p| p.id).collect();
        let submissions = sqlx::query_as(
            "select payout_id, number, state, started_at, answered_at, http_status, code, message from submissions where payout_id = any($1) order by payout_id, number",
        )
        .bind(&of)
        .fetch_all(&mut *conn)
        .await?;
        let proofs = sqlx::query_as("select payout_id, id, grade, source, detail, at from payout_proofs where payout_id = any($1)")
            .bind(&of)
            .fetch_all(&mut *conn)
            .await?;
        let questions = sqlx::query_as(
            "select payout_id, purpose, state, asked_at, answered_at, code, answer from rail_queries where payout_id = any($1) order by asked_at, id",
        )
        .bind(&of)
        .fetch_all(&mut *conn)
        .await?;
        let bookings = sqlx::query_as(
            "select disbursement_id, state, transaction_id, receipt, gross_minor, book_on, booked_at, checked_at, outcome, last_error
             from bookings where disbursement_id = any($1)",
        )
        .bind(ids)
        .fetch_all(&mut *conn)
        .await?;
        let subjects: Vec<Uuid> = ids.iter().chain(&of).copied().collect();
        let transfers = sqlx::query_as(
            "select t.id, t.subject, t.movement, t.kind, t.book, a.name as debit, c.name as credit, t.amount as amount_minor, t.fact, t.at,
                    t.kind = 'pending' and not exists (select from ledger_transfers r where r.resolves = t.id) as open
             from ledger_transfers t join ledger_accounts a on a.id = t.debit join ledger_accounts c on c.id = t.credit
             where t.subject = any($1) order by t.recorded_at, t.id",
        )
        .bind(&subjects)
        .fetch_all(&mut *conn)
        .await?;
        let messages = sqlx::query_as(
            "select coalesce(m.disbursement_id, p.disbursement_id, r.disbursement_id) as disbursement_id, m.id, m.at, m.direction, m.party, m.kind, m.http_status, m.state, m.outcome
             from messages m
             left join payouts p on p.id = m.payout_id
             left join rail_queries q on q.id = m.query_id
             left join payouts r on r.id = q.payout_id
             where m.disbursement_id = any($1) or m.payout_id = any($2) or m.query_id in (select k.id from rail_queries k where k.payout_id = any($2))
             order by m.at, m.id",
        )
        .bind(ids)
        .bind(&of)
        .fetch_all(&mut *conn)
        .await?;
        let texts = sqlx::query_as(
            "select disbursement_id, message_type, recipient_phone, status, state, created_at, delivered_at
             from sms_notifications where disbursement_id = any($1) order by created_at, id",
        )
        .bind(ids)
        .fetch_all(&mut *conn)
        .await?;
        let timeline = sqlx::query_as(
            "select disbursement_id, at, lane, what, detail from disbursement_events where disbursement_id = any($1) order by disbursement_id, id",
        )
        .bind(ids)
        .fetch_all(&mut *conn)
        .await?;
        let items = sqlx::query_as(
            "select coalesce(p.disbursement_id, i.subject) as disbursement_id, i.id, i.kind, i.title, i.detail, i.suggested_action, i.opened_at, i.closed_at
             from items i left join payouts p on p.id = i.subject
             where i.subject = any($1) order by (i.closed_at is not null), i.opened_at, i.id",
        )
        .bind(&subjects)
        .fetch_all(conn)
        .await?;
        Ok(Self { intents, payouts, submissions, proofs, questions, bookings, transfers, messages, texts, timeline, items })
    }
}
