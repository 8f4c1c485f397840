//! `POST /api/mifos/partners/{id}/products/fetch`.

use axum::extract::State;
use pv_vault::{
    Engine,
    audit::{Actor, Permission},
    partner::{
        core_link,
        product::{self, ProductSettings},
    },
};
use utoipa_axum::routes;
use uuid::Uuid;

use super::LoanProduct;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id},
    once::spawned,
    problem::ApiError,
    routes::mifos::core_problem,
    schema::{Answer, ListOf},
    state::ApiState,
};

/// Fetches the loan products of a connection with their limits. Our switches, limits and rules stay as they are.
#[utoipa::path(post, path = "/api/mifos/partners/{id}/products/fetch", tag = "Mifos X", operation_id = "fetchProducts", params(("id" = Uuid, Path, description = "The connection.")),
    responses((status = 200, description = "The products.", body = ListOf<LoanProduct>)))]
async fn fetch(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    Ok(Answer::list(spawned(async move { fetched(&engine, &actor, id).await }).await??))
}

async fn fetched(engine: &Engine, actor: &Actor, id: Uuid) -> Result<Vec<ProductSettings>, ApiError> {
    let settings = core_link::load_for(engine, actor, id.into()).await?;
    let products = engine.core.products(&settings.link).await.map_err(|error| core_problem(&error))?;
    Ok(product::store_fetched(engine, actor, settings.link.core_id, &products).await?)
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(fetch))
}
