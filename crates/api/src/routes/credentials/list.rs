//! `GET /api/shortcodes/{id}/credentials`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::credential};
use utoipa_axum::routes;

use super::Credential;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The versions of a shortcode, newest first, without their secrets.
#[utoipa::path(get, path = "/api/shortcodes/{id}/credentials", tag = "M-Pesa connections", operation_id = "listCredentials", params(("id" = Uuid, Path, description = "The shortcode.")),
    responses((status = 200, description = "The versions.", body = ListOf<Credential>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    Ok(Answer::list(credential::list(&api.engine, &actor, id.into()).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsRead), routes!(list))
}
