//! M-Pesa shortcodes: what a partner pays from.

pub mod create;
pub mod funding;
pub mod list;
pub mod release;
pub mod update;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{endpoint::Endpoint, schema::Shillings};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), create::endpoint(), update::endpoint(), release::endpoint(), funding::endpoint()]
}

/// A shortcode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Shortcode {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// The number.
    #[schema(example = "600111")]
    pub shortcode: String,
    /// `sandbox` or `production`.
    #[schema(example = "sandbox")]
    pub environment: String,
    /// Base URL of the API.
    #[schema(example = "https://sandbox.safaricom.co.ke")]
    pub base_url: String,
    /// Who pays Safaricom's tariff: `rail` or `platform`.
    #[schema(example = "rail")]
    pub tariff_payer: String,
    /// Requests per second that it may make.
    pub requests_per_second: i32,
    /// In use.
    pub is_active: bool,
    /// Pays when none is named.
    pub is_default: bool,
    /// Sending is off since then, until a person releases it.
    pub quarantined_at: Option<DateTime<Utc>>,
    /// The float, as M-Pesa last reported it.
    pub utility: Option<Shillings>,
    /// The working account.
    pub working: Option<Shillings>,
    /// The charges account.
    pub charges: Option<Shillings>,
    /// When they were reported.
    pub balances_at: Option<DateTime<Utc>>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}
