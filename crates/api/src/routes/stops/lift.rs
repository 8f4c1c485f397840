//! `POST /api/stop/{id}/lift`.

use axum::extract::State;
use pv_vault::{audit::Permission, engine::Step, stop};
use utoipa_axum::routes;

use super::Stop;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json},
    once::spawned,
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// Lifts a stop. What the platform has set, only the platform lifts.
#[utoipa::path(post, path = "/api/stop/{id}/lift", tag = "Stop", operation_id = "liftStop", request_body = Why,
    params(("id" = Uuid, Path, description = "The stop.")),
    responses((status = 200, description = "It is lifted.", body = Stop)))]
async fn lift(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(why): Json<Why>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let stop = spawned(async move { stop::lift(&engine, &actor, id, &why.reason).await }).await??;
    api.wake(&[Step::Pay]);
    Ok(Answer::ok(&stop))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::StopSet), routes!(lift))
}
