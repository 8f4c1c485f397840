//! `GET /api/partners/{id}/shortcodes`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::shortcode};
use utoipa_axum::routes;

use super::Shortcode;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The shortcodes of a partner with their last balances, the default one first.
#[utoipa::path(get, path = "/api/partners/{id}/shortcodes", tag = "M-Pesa connections", operation_id = "listShortcodes", params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 200, description = "The shortcodes.", body = ListOf<Shortcode>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    let partner = actor.partner_for(Some(id.into()))?;
    Ok(Answer::list(shortcode::list(&api.engine, &actor, Some(partner)).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsRead), routes!(list))
}
