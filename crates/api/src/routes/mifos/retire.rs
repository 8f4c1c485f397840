//! `POST /api/mifos/partners/{id}/retire`.

use axum::extract::State;
use pv_vault::{audit::Permission, partner::core_link};
use utoipa_axum::routes;

use super::MifosConnection;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// Gives a connection up for good. It is kept, because its loans were paid over it; nothing of it may be under way.
#[utoipa::path(post, path = "/api/mifos/partners/{id}/retire", tag = "Mifos X", operation_id = "retireMifosConnection", request_body = Why,
    params(("id" = Uuid, Path, description = "The connection.")),
    responses((status = 200, description = "The connection.", body = MifosConnection)))]
async fn retire(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let view = spawned(async move { core_link::retire(&engine, &actor, id.into(), &why.reason).await }).await??;
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(retire))
}
