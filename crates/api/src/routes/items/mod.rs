//! Items: what a person must settle.

pub mod close;
pub mod list;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), close::endpoint()]
}

/// Something that a person must settle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its id.
    pub id: Uuid,
    /// Whose; none: the platform's.
    pub partner_id: Option<Uuid>,
    /// Its kind.
    #[schema(example = "unknown_payout")]
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
    #[schema(example = "1500.00")]
    pub amount: Option<String>,
    /// `watch` or `page`.
    #[schema(example = "watch")]
    pub urgency: String,
    /// Who owns it.
    pub owner: String,
    /// Since when.
    pub opened_at: DateTime<Utc>,
}
