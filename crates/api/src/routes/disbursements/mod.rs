//! Disbursements: lists, one with its timeline, and what people do with them.

pub mod approve;
pub mod cancel;
pub mod list;
pub mod new_generation;
pub mod read;
pub mod resolve;
pub mod retry;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{endpoint::Endpoint, routes::items::Item, schema::Shillings};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        list::endpoint(),
        read::endpoint(),
        retry::endpoint(),
        cancel::endpoint(),
        approve::endpoint(),
        resolve::endpoint(),
        new_generation::endpoint(),
    ]
}

/// The charges of one payment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Charges {
    /// The rail's tariff.
    pub tariff: Shillings,
    /// The system fee.
    pub fee: Shillings,
    /// The texts.
    pub sms: Shillings,
    /// Tax on the fee.
    pub tax: Shillings,
    /// Who pays the tariff: `rail` (taken from the partner's account there) or `platform`.
    #[schema(example = "rail")]
    pub tariff_payer: String,
    /// What is taken from the wallet.
    pub from_wallet: Shillings,
    /// The tariff it was read from.
    pub tariff_id: Uuid,
    /// The charge rule it was read from.
    pub rule_id: Uuid,
}

/// A disbursement: one decision to pay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disbursement {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// The connection, where there is a loan.
    pub core_id: Option<Uuid>,
    /// The core's id of the loan.
    #[schema(example = "4711")]
    pub loan_id: Option<String>,
    /// 1 for the first approval.
    pub generation: i32,
    /// `mifos_webhook`, `mifos_hook`, `mifos_poll`, `api` or `manual`.
    #[schema(example = "manual")]
    pub origin: String,
    /// Your own reference.
    #[schema(example = "REFUND-2026-0042")]
    pub reference: Option<String>,
    /// The receiver's name.
    pub client_name: Option<String>,
    /// The receiver; masked for roles that do not pay.
    #[schema(example = "254712345678")]
    pub phone: Option<String>,
    /// The product's name.
    pub product_name: Option<String>,
    /// What is paid out.
    pub amount: Option<Shillings>,
    /// What is booked.
    pub gross_amount: Option<Shillings>,
    /// ISO code.
    #[schema(example = "KES")]
    pub currency: String,
    /// `to_do`, `on_its_way`, `paid`, `not_paid` or `not_yet_known`.
    #[schema(example = "on_its_way")]
    pub status: String,
    /// The finer truth.
    #[schema(example = "paying")]
    pub state: String,
    /// Why it waits, is held, was refused: `waiting_wallet`, `waiting_float`, `refused_limit`, …
    pub reason: Option<String>,
    /// In words.
    pub reason_detail: Option<String>,
    /// The M-Pesa receipt.
    #[schema(example = "SKJ3ZX19AB")]
    pub receipt: Option<String>,
    /// When the money moved.
    pub paid_at: Option<DateTime<Utc>>,
    /// State of its booking in the core.
    pub booking: Option<String>,
    /// Payouts made so far.
    pub attempts: i32,
    /// The charges locked for it.
    pub charges: Option<Charges>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// One attempt to pay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Payout {
    /// Its id.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TimelineEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `us`, `person`, `M-Pesa`, `Mifos X`.
    pub lane: String,
    /// What.
    pub what: String,
    /// More.
    pub detail: Option<String>,
    /// The message behind it.
    pub message_id: Option<Uuid>,
}

/// The booking in the core.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Booking {
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

/// A text about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextMessage {
    /// Its id.
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

/// A disbursement with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DisbursementDetail {
    /// As in lists.
    #[serde(flatten)]
    pub disbursement: Disbursement,
    /// Its attempts.
    pub payouts: Vec<Payout>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// Its booking.
    pub booking_detail: Option<Booking>,
    /// Texts about it.
    pub texts: Vec<TextMessage>,
    /// Open items about it.
    pub items: Vec<Item>,
}
