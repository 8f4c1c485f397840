//! Versions of the M-Pesa credentials of a shortcode. Nothing secret comes out.

pub mod activate;
pub mod create;
pub mod lift_halt;
pub mod list;
pub mod retire;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), create::endpoint(), activate::endpoint(), lift_halt::endpoint(), retire::endpoint()]
}

/// A version of credentials, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// Of which shortcode.
    pub shortcode_id: Uuid,
    /// 1, 2, …
    pub version: i32,
    /// Name of the API operator.
    #[schema(example = "vaultapi")]
    pub initiator: String,
    /// Whether a passkey is kept.
    pub has_passkey: bool,
    /// When the initiator's password was set.
    pub password_set_on: Option<NaiveDate>,
    /// New payouts use it.
    pub is_active: bool,
    /// Stopped since then by a code that means this credential.
    pub halted_at: Option<DateTime<Utc>>,
    /// The code.
    pub halt_code: Option<String>,
    /// One send at a time until one succeeds.
    pub careful: bool,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// Given up for good.
    pub retired_at: Option<DateTime<Utc>>,
}
