//! `POST /api/loans/disbursements/{id}/retry`.

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

/// Retries what was refused, is held, waits, or was not paid.
///
/// It goes through all checks again. Where an attempt lies behind it, M-Pesa is asked about that one first; a new attempt is made only
/// on the stored proof that the old one moved no money.
#[utoipa::path(post, path = "/api/loans/disbursements/{id}/retry", tag = "Disbursements", operation_id = "retryDisbursement", request_body = Why,
    params(("id" = Uuid, Path, description = "The disbursement.")),
    responses((status = 202, description = "It is looked at again.", body = DisbursementDetail)))]
async fn retry(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(why): Json<Why>,
) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/loans/disbursements/{id}/retry", key, need: KeyUse::Optional };
    let reason = why.reason.clone();
    let outcome = once
        .run(&(id, why), move |engine, actor| async move {
            let done = commands::retry(&engine, &actor, id.into(), &reason).await?;
            Ok(Effect::accepted(Some(id), matches!(done, Done::AlreadyApplied(_)), ()))
        })
        .await?;
    api.wake(&[Step::Ask, Step::Pay]);
    Ok(Answer::new(outcome.status, &view::get(&api.engine, &actor, id.into()).await?).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsAct), routes!(retry)).keyed(KeyUse::Optional)
}
