//! `GET /api/sentence`: is all money explained?

use axum::extract::State;
use chrono::{DateTime, Utc};
use pv_kernel::ids::PartnerId;
use pv_vault::{audit::Permission, reconciliation::sentence};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, OfPartner, Shillings},
    state::ApiState,
};

/// One reason why money is not at rest, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenReason {
    /// Why: `not_yet_known`, `not_booked`, `on_its_way`, `rail_drift`, …
    #[schema(example = "not_yet_known")]
    pub kind: String,
    /// How many payouts, loans, shortcodes or rows.
    pub count: i64,
    /// How much.
    pub amount: Shillings,
    /// Since when.
    pub oldest: Option<DateTime<Utc>>,
    /// Where to look.
    pub link: String,
    /// Every part of it is on somebody's list.
    pub listed: bool,
    /// The shortcode, for a difference at the rail.
    #[serde(default)]
    pub shortcode: Option<String>,
}

/// Open items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenItems {
    /// How many.
    pub count: i64,
    /// Since when.
    pub oldest: Option<DateTime<Utc>>,
}

/// One shortcode at the rail and in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RailFigures {
    /// The number.
    pub shortcode: String,
    /// Whose.
    pub partner: Uuid,
    /// Available in the utility account as last reported.
    pub available: Option<Shillings>,
    /// What the ledger has posted there.
    pub ledger_posted: Shillings,
    /// What is prepared, on its way or not known.
    pub in_flight: Shillings,
    /// Whether the last figure lies inside the ledger's band.
    pub inside_band: Option<bool>,
    /// What cannot be explained; negative: missing.
    pub unexplained: Shillings,
    /// When the last figure was asked for.
    pub as_of: Option<DateTime<Utc>>,
}

/// Bookings in the cores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CoreFigures {
    /// Loans booked.
    pub booked: i64,
    /// Of them, read back within the last day.
    pub checked: i64,
    /// Of them, not as they were booked.
    pub differing: i64,
}

/// What was paid since midnight in Nairobi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaidTodayFigures {
    /// How many payments.
    pub count: i64,
    /// How much.
    pub amount: Shillings,
}

/// The sentence, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SentenceAnswer {
    /// As of when.
    pub at: DateTime<Utc>,
    /// Whether no amount is outside a final path or an open item.
    pub all_explained: bool,
    /// In words.
    #[schema(example = "All money explained as of 10:42:07.")]
    pub text: String,
    /// What is not at rest, worst first.
    pub open: Vec<OpenReason>,
    /// What is on the list.
    pub items: OpenItems,
    /// Shortcodes.
    pub rail: Vec<RailFigures>,
    /// Bookings.
    pub core: CoreFigures,
    /// Paid today.
    pub paid_today: PaidTodayFigures,
    /// When the verifier last ran.
    pub verified_at: Option<DateTime<Utc>>,
}

/// Is all money explained? One sentence, and the figures behind it. The platform may name a partner; a partner's key sees its own.
#[utoipa::path(get, path = "/api/sentence", tag = "Knowing", operation_id = "readSentence", params(OfPartner),
    responses((status = 200, description = "The sentence.", body = SentenceAnswer)))]
async fn sentence(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<OfPartner>) -> Result<Answer, ApiError> {
    let named = q.partner_id.map(PartnerId);
    let partner = if actor.is_platform() { named } else { Some(actor.partner_for(named)?) };
    Ok(Answer::ok(&sentence::sentence(&api.engine, partner).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(sentence))
}
