//! `GET /api/items`.

use axum::extract::State;
use pv_vault::{audit::Permission, item};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Item;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// What to list.
#[derive(Debug, Clone, Deserialize, IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[garde(allow_unvalidated)]
pub struct ItemsQuery {
    /// Only this partner (for the platform).
    partner_id: Option<Uuid>,
    /// Only this kind.
    #[garde(length(max = 60))]
    #[param(max_length = 60)]
    kind: Option<String>,
    /// At most so many, 1 to 500; 100 when left out.
    #[garde(range(min = 1, max = 500))]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
}

/// Open items: urgent ones first, then the oldest.
#[utoipa::path(get, path = "/api/items", tag = "Items", operation_id = "listItems", params(ItemsQuery),
    responses((status = 200, description = "The open items.", body = ListOf<Item>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<ItemsQuery>) -> Result<Answer, ApiError> {
    Ok(Answer::list(item::list(&api.engine, &actor, q.partner_id, q.kind.as_deref(), q.limit.unwrap_or(100)).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ItemsRead), routes!(list))
}
