//! `GET /api/partners`.

use axum::extract::State;
use pv_vault::partner;
use utoipa_axum::routes;

use super::PartnerAnswer;
use crate::{
    endpoint::{Access, Endpoint},
    extract::Caller,
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The partners that the caller may see, by name: all of them for the platform (with `partners.read`), its own for a partner.
#[utoipa::path(get, path = "/api/partners", tag = "Partners", operation_id = "listPartners",
    responses((status = 200, description = "The partners.", body = ListOf<PartnerAnswer>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller) -> Result<Answer, ApiError> {
    let partners = partner::list(&api.engine, &actor).await?;
    Ok(Answer::list(super::with_mifos(&api, &actor, partners).await?))
}

/// The route. Everybody of a partner may read what his partner is; the use case asks the platform's people for `partners.read`.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::AnyKey, routes!(list))
}
