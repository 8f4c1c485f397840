//! `POST /api/loans/disbursements/{id}/approve`.

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

/// Lets the reason pass for which a disbursement is held. Who ordered it cannot approve it.
#[utoipa::path(post, path = "/api/loans/disbursements/{id}/approve", tag = "Disbursements", operation_id = "approveDisbursement", request_body = Why,
    params(("id" = Uuid, Path, description = "The disbursement.")),
    responses((status = 202, description = "It goes on, through all other checks.", body = DisbursementDetail)))]
async fn approve(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(why): Json<Why>,
) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/loans/disbursements/{id}/approve", key, need: KeyUse::Optional };
    let reason = why.reason.clone();
    let outcome = once
        .run(&(id, why), move |engine, actor| async move {
            let done = commands::approve(&engine, &actor, id.into(), &reason).await?;
            Ok(Effect::accepted(Some(id), matches!(done, Done::AlreadyApplied(_)), ()))
        })
        .await?;
    api.wake(&[Step::Pay]);
    Ok(Answer::new(outcome.status, &view::get(&api.engine, &actor, id.into()).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsApprove), routes!(approve)).keyed(KeyUse::Optional)
}
