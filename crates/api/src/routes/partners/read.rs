//! `GET /api/partners/{id}`.

use axum::extract::State;
use pv_vault::partner;
use utoipa_axum::routes;

use super::PartnerAnswer;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// One partner.
#[utoipa::path(get, path = "/api/partners/{id}", tag = "Partners", operation_id = "readPartner", params(("id" = Uuid, Path, description = "The partner.")),
    responses((status = 200, description = "The partner.", body = PartnerAnswer)))]
async fn read(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    let partner = partner::get(&api.engine, &actor, id.into()).await?;
    Ok(Answer::ok(&super::one_with_mifos(&api, &actor, partner).await?))
}

/// The route. Everybody of a partner may read what his partner is; the use case asks the platform's people for `partners.read`.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::AnyKey, routes!(read))
}
