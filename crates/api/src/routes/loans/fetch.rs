//! `POST /api/mifos/loans/fetch` (requirement L4).

use axum::extract::State;
use pv_kernel::ids::{CoreId, PartnerId};
use pv_vault::{audit::Permission, disbursement::commands, engine::Step};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Json},
    once::spawned,
    problem::ApiError,
    routes::mifos::the_core,
    schema::Answer,
    state::ApiState,
};

/// Which connection.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct FetchLoansRequest {
    /// The connection; left out: the partner's default one.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub core_id: Option<CoreId>,
    /// The partner whose default is meant. Implied by a partner's key.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub partner_id: Option<PartnerId>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FetchedLoans {
    /// The connection.
    pub core_id: Uuid,
    /// Approved loans that it shows now, old and new ones. 0 also when it could not be read: then there is an item.
    #[schema(minimum = 0, example = 12)]
    pub approved: usize,
}

/// Reads the approved loans of a connection now, instead of at the next sweep.
///
/// What is new goes through the same checks as always; a loan that is known already is not paid again.
#[utoipa::path(post, path = "/api/mifos/loans/fetch", tag = "Loans", operation_id = "fetchLoans", request_body = FetchLoansRequest,
    responses((status = 200, description = "They were read.", body = FetchedLoans)))]
async fn fetch(State(api): State<ApiState>, Caller(actor): Caller, Json(body): Json<FetchLoansRequest>) -> Result<Answer, ApiError> {
    let core = the_core(&api.engine, &actor, body.core_id, body.partner_id).await?;
    let engine = api.engine.clone();
    let approved = spawned(async move { commands::fetch_loans(&engine, &actor, core).await }).await??;
    api.wake(&[Step::Intake, Step::Pay]);
    Ok(Answer::ok(&FetchedLoans { core_id: core.uuid(), approved }))
}

/// The route. The connection's password is used, so the right to change connections is asked for.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsCreate), routes!(fetch))
}
