//! `PATCH /api/mifos/products/{id}`.

use axum::extract::State;
use pv_kernel::Money;
use pv_vault::{
    audit::Permission,
    engine::Step,
    partner::{
        DisbursementRules,
        product::{self, ProductPatch},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{LoanProduct, ProductRules};
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Id, Json, given},
    once::spawned,
    problem::ApiError,
    schema::{Amount, Answer},
    state::ApiState,
};

/// What is to be changed; what is left out stays, `null` takes a limit away.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields, default)]
#[garde(allow_unvalidated)]
pub struct ProductPatchRequest {
    /// Its loans are paid by themselves, from the moment it is switched on.
    pub is_auto_disbursement_enabled: Option<bool>,
    /// Largest amount paid by itself.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub max_disbursement_amount: Option<Option<Money>>,
    /// Smallest amount paid by itself.
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub min_disbursement_amount: Option<Option<Money>>,
    /// Its rules, all of them.
    #[schema(value_type = Option<ProductRules>)]
    pub disbursement_rules: Option<DisbursementRules>,
    /// Texts about its loans.
    pub sms_notifications_enabled: Option<bool>,
}

/// Changes the switch, the limits and the rules of a loan product.
#[utoipa::path(patch, path = "/api/mifos/products/{id}", tag = "Mifos X", operation_id = "updateProduct", request_body = ProductPatchRequest,
    params(("id" = Uuid, Path, description = "The product: our id of it.")),
    responses((status = 200, description = "The product.", body = LoanProduct)))]
async fn update(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, Json(body): Json<ProductPatchRequest>) -> Result<Answer, ApiError> {
    let patch = ProductPatch {
        is_auto_disbursement_enabled: body.is_auto_disbursement_enabled,
        max_disbursement_amount: body.max_disbursement_amount,
        min_disbursement_amount: body.min_disbursement_amount,
        disbursement_rules: body.disbursement_rules,
        sms_notifications_enabled: body.sms_notifications_enabled,
    };
    let engine = api.engine.clone();
    let view = spawned(async move { product::update(&engine, &actor, id, patch).await }).await??;
    api.wake(&[Step::Intake, Step::Pay]);
    Ok(Answer::ok(&view))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(update))
}
