//! `GET /api/mifos/partners/{id}/products`.

use axum::extract::State;
use pv_vault::{
    audit::Permission,
    partner::{core_link, product},
};
use utoipa_axum::routes;

use super::LoanProduct;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    problem::ApiError,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// The loan products of a connection, as last fetched, with our switches, limits and rules.
#[utoipa::path(get, path = "/api/mifos/partners/{id}/products", tag = "Mifos X", operation_id = "listProducts", params(("id" = Uuid, Path, description = "The connection.")),
    responses((status = 200, description = "The products.", body = ListOf<LoanProduct>)))]
async fn list(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    let core = core_link::get(&api.engine, &actor, id.into()).await?;
    Ok(Answer::list(product::list(&api.engine, &actor, core.id).await?))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsRead), routes!(list))
}
