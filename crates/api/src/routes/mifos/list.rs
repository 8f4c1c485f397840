//! `GET /api/mifos/partners`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::core_link};
use utoipa_axum::routes;

use super::MifosConnection;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query},
    problem::ApiError,
    schema::{Answer, ListOf, OfPartner},
    state::ApiState,
};

/// The connections that the caller may see, retired ones last.
#[utoipa::path(get, path = "/api/mifos/partners", tag = "Mifos X", operation_id = "listMifosConnections", params(OfPartner),
    responses((status = 200, description = "The connections.", body = ListOf<MifosConnection>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<OfPartner>) -> Result<Answer, ApiError> {
    Ok(Answer::list(core_link::list(&api.engine, &actor, q.partner_id.map(Into::into)).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsRead), routes!(list))
}
