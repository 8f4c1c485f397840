//! `POST /api/mifos/loans/disburse` (requirement L11).

use axum::extract::State;
use pv_kernel::ids::{CoreId, PartnerId};
use pv_vault::{audit::Permission, disbursement::commands, engine::Step};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, IdempotencyKey, Json},
    once::{Effect, Once},
    problem::ApiError,
    routes::mifos::the_core,
    schema::Answer,
    state::ApiState,
};

/// Which loan.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct DisburseLoanRequest {
    /// The core's id of the loan: 1 to 60 letters, digits and dashes.
    #[schema(min_length = 1, max_length = 60, pattern = "^[A-Za-z0-9-]{1,60}$", example = "4711")]
    pub loan_id: String,
    /// The connection; left out: the partner's default one.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub core_id: Option<CoreId>,
    /// The partner whose default is meant. Implied by a partner's key.
    #[schema(value_type = Option<Uuid>)]
    #[serde(default)]
    pub partner_id: Option<PartnerId>,
}

/// A loan that is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LoanStarted {
    /// The loan.
    pub loan_id: String,
    /// The connection.
    pub core_id: Uuid,
    /// Where its disbursement will be found.
    #[schema(example = "/api/loans/disbursements?core_id=019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10&loan_id=4711")]
    pub link: String,
}

/// Starts a listed approval: the loan is read from the core and goes through all checks.
///
/// Amount, phone and state come from the core. A loan is paid once: starting it again only looks at it again.
#[utoipa::path(post, path = "/api/mifos/loans/disburse", tag = "Loans", operation_id = "disburseLoan", request_body = DisburseLoanRequest,
    responses((status = 202, description = "The loan is looked at.", body = LoanStarted)))]
async fn disburse(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    key: IdempotencyKey,
    Json(body): Json<DisburseLoanRequest>,
) -> Result<Answer, ApiError> {
    let core = the_core(&api.engine, &actor, body.core_id, body.partner_id).await?;
    let once = Once { api: &api, actor: &actor, partner: body.partner_id, route: "POST /api/mifos/loans/disburse", key, need: KeyUse::Optional };
    let loan = body.loan_id.clone();
    let outcome = once
        .run(&body, move |engine, actor| async move {
            commands::start_loan(&engine, &actor, core, &loan).await?;
            Ok(Effect::accepted(None, false, ()))
        })
        .await?;
    api.wake(&[Step::Intake, Step::Pay]);
    let link = format!("/api/loans/disbursements?core_id={core}&loan_id={}", body.loan_id);
    Ok(Answer::new(outcome.status, &LoanStarted { loan_id: body.loan_id, core_id: core.uuid(), link }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsCreate), routes!(disburse)).keyed(KeyUse::Optional)
}
