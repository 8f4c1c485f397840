//! `POST /api/loans/disbursements/{id}/new-generation` (rule A1).

use axum::extract::State;
use pv_vault::{audit::Permission, disbursement::commands};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    schema::{Answer, Why},
    state::ApiState,
};

/// What a second person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// The request: `POST /api/requests/{id}/decide`, by somebody else.
    pub request: Uuid,
}

/// Asks for a new generation of a loan: it was undone and approved again, or its money came back.
///
/// Only for a loan whose earlier disbursement is proven not paid, cancelled or returned. Nothing is made before a second person agrees.
#[utoipa::path(post, path = "/api/loans/disbursements/{id}/new-generation", tag = "Disbursements", operation_id = "askNewGeneration", request_body = Why,
    params(("id" = Uuid, Path, description = "The earlier disbursement.")),
    responses((status = 202, description = "A second person decides.", body = Requested)))]
async fn new_generation(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(why): Json<Why>,
) -> Result<Answer, ApiError> {
    let once =
        Once { api: &api, actor: &actor, partner: None, route: "POST /api/loans/disbursements/{id}/new-generation", key, need: KeyUse::Optional };
    let reason = why.reason.clone();
    let outcome = once
        .run(&(id, why), move |engine, actor| async move {
            let request = commands::ask_generation(&engine, &actor, id.into(), &reason).await?;
            Ok(Effect::accepted(Some(request), false, ()))
        })
        .await?;
    Ok(Answer::new(outcome.status, &Requested { request: outcome.made()? }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsResolve), routes!(new_generation)).keyed(KeyUse::Optional)
}
