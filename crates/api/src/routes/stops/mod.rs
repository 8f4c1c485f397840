//! STOP (rule A20).

pub mod lift;
pub mod list;
pub mod set;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::endpoint::Endpoint;

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), set::endpoint(), lift::endpoint()]
}

/// One stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Its id.
    pub id: Uuid,
    /// Whose; none: the platform's rail or everything.
    pub partner_id: Option<Uuid>,
    /// `all`, `rail`, `shortcode`, `partner` or `product`.
    #[schema(example = "shortcode")]
    pub scope: String,
    /// The rail's name, or the id of the shortcode, partner or product.
    #[serde(default)]
    pub target: Option<String>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub set_by: String,
    /// Since when.
    pub set_at: DateTime<Utc>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// When.
    pub lifted_at: Option<DateTime<Utc>>,
}
