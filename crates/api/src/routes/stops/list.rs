//! `GET /api/stop`.

use axum::extract::State;
use pv_vault::{audit::Permission, stop};
use utoipa_axum::routes;

use super::Stop;
use crate::{
    endpoint::{Access, Endpoint},
    extract::Caller,
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The stops, those in force first.
#[utoipa::path(get, path = "/api/stop", tag = "Stop", operation_id = "listStops", responses((status = 200, description = "The stops.", body = ListOf<Stop>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller) -> Result<Answer, ApiError> {
    Ok(Answer::list(stop::list(&api.engine, &actor).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(list))
}
