//! `POST /api/loans/disbursements/{id}/cancel`.

use axum::extract::State;
use pv_vault::{
    audit::Permission,
    disbursement::{
        commands::{self, Done},
        view,
    },
    engine::Step,
};
use utoipa_axum::routes;

use super::DisbursementDetail;
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// Cancels what has not entered the rail. Its charges are given back.
#[utoipa::path(post, path = "/api/loans/disbursements/{id}/cancel", tag = "Disbursements", operation_id = "cancelDisbursement", request_body = Why,
    params(("id" = Uuid, Path, description = "The disbursement.")),
    responses((status = 200, description = "It is cancelled.", body = DisbursementDetail)))]
async fn cancel(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(why): Json<Why>,
) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/loans/disbursements/{id}/cancel", key, need: KeyUse::Optional };
    let reason = why.reason.clone();
    let outcome = once
        .run(&(id, why), move |engine, actor| async move {
            let done = commands::cancel(&engine, &actor, id.into(), &reason).await?;
            Ok(Effect::done(Some(id), matches!(done, Done::AlreadyApplied(_)), ()))
        })
        .await?;
    api.wake(&[Step::Sequence]);
    Ok(Answer::new(outcome.status, &view::get(&api.engine, &actor, id.into()).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsAct), routes!(cancel)).keyed(KeyUse::Optional)
}
