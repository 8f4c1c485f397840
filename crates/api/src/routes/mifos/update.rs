//! `PATCH /api/mifos/partners/{id}`.

use axum::extract::State;
use pv_kernel::{ids::CoreId, problem::Problem};
use pv_vault::{audit::Permission, engine::Step, partner::core_link};
use utoipa_axum::routes;

use super::{MifosConnection, create::MifosConnectionRequest};
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// Changes a connection; what is left out stays. Its id, and with it the identity of its loans, stays too.
#[utoipa::path(patch, path = "/api/mifos/partners/{id}", tag = "Mifos X", operation_id = "updateMifosConnection", request_body = MifosConnectionRequest,
    params(("id" = Uuid, Path, description = "The connection.")),
    responses((status = 200, description = "The connection.", body = MifosConnection)))]
async fn update(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    Json(body): Json<MifosConnectionRequest>,
) -> Result<Answer, ApiError> {
    if body.id.is_some_and(|named| named != CoreId(id)) {
        return Err(Problem::invalid("/id", "The id of a connection does not change.").into());
    }
    if let Some(partner) = body.partner_id {
        super::the_core(&api.engine, &actor, Some(CoreId(id)), Some(partner)).await?;
    }
    let (engine, rules, patch) = (api.engine.clone(), api.host_rules, body.patch());
    let view = spawned(async move { core_link::update(&engine, &actor, id.into(), patch, rules).await }).await??;
    api.wake(&[Step::Poll, Step::Intake]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(update))
}
