//! `POST /api/loans/disbursements/{id}/resolve`: a person's ruling with evidence (rule A13).

use axum::extract::State;
use pv_vault::{audit::Permission, engine::Step, payout::ruling};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json, one_line, one_line_if_any},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// What the person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RulingKind {
    /// It was paid under this receipt. M-Pesa is asked, and only its answer counts.
    Receipt,
    /// It was not paid, says the portal. A second person must agree.
    NotPaid,
    /// It was sent back under this receipt. A second person must agree.
    Returned,
}

/// A ruling with its evidence.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct ResolveRequest {
    /// What the person says.
    pub verdict: RulingKind,
    /// The M-Pesa receipt; for `receipt` and `returned`.
    #[garde(length(min = 6, max = 20), custom(one_line_if_any))]
    #[schema(min_length = 6, max_length = 20, example = "SKJ3ZX19AB")]
    #[serde(default)]
    pub receipt: Option<String>,
    /// What was looked at; for `not_paid` and `returned`.
    #[garde(length(chars, min = 3, max = 500), custom(one_line_if_any))]
    #[schema(min_length = 3, max_length = 500, example = "Portal statement of 20 November, exported 14:05, no line for this phone and amount")]
    #[serde(default)]
    pub evidence: Option<String>,
    /// Why, 3 to 500 characters.
    #[garde(length(chars, min = 3, max = 500), custom(one_line))]
    #[schema(min_length = 3, max_length = 500, example = "The branch confirms that the client has no money.")]
    pub reason: String,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ruled {
    /// `asked` (M-Pesa is asked about the receipt), `needs_second_person`, or `done`.
    #[schema(example = "needs_second_person")]
    pub outcome: String,
    /// The question, for `asked`.
    #[serde(default)]
    pub query: Option<Uuid>,
    /// The request that a second person decides (`POST /api/requests/{id}/decide`).
    #[serde(default)]
    pub request: Option<Uuid>,
}

impl ResolveRequest {
    fn ruling(&self) -> Result<ruling::Ruling, ApiError> {
        use pv_kernel::problem::Problem;
        let needed =
            |value: &Option<String>, pointer: &str, text: &'static str| value.clone().ok_or_else(|| ApiError::from(Problem::invalid(pointer, text)));
        let unwanted = |value: &Option<String>, pointer: &str| match value {
            None => Ok(()),
            Some(_) => Err(ApiError::from(Problem::invalid(pointer, "This member does not belong to this verdict."))),
        };
        let receipt = || needed(&self.receipt, "/receipt", "Give the M-Pesa receipt.");
        let evidence = || needed(&self.evidence, "/evidence", "Say what was looked at.");
        Ok(match self.verdict {
            RulingKind::Receipt => {
                unwanted(&self.evidence, "/evidence")?;
                ruling::Ruling::Receipt { receipt: receipt()? }
            }
            RulingKind::NotPaid => {
                unwanted(&self.receipt, "/receipt")?;
                ruling::Ruling::NotPaid { evidence: evidence()? }
            }
            RulingKind::Returned => ruling::Ruling::Returned { receipt: receipt()?, evidence: evidence()? },
        })
    }
}

/// Rules on a disbursement whose fate is not known, with evidence.
///
/// A receipt is checked with M-Pesa. "Not paid" and "returned" need a second person; until he decides, nothing changes.
#[utoipa::path(post, path = "/api/loans/disbursements/{id}/resolve", tag = "Disbursements", operation_id = "resolveDisbursement", request_body = ResolveRequest,
    params(("id" = Uuid, Path, description = "The disbursement.")),
    responses((status = 202, description = "The ruling is kept and goes on.", body = Ruled)))]
async fn resolve(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<ResolveRequest>,
) -> Result<Answer, ApiError> {
    let (ruling, reason) = (body.ruling()?, body.reason.clone());
    // The verdict says which of the two ids the answer carries, also on a replay.
    let asked = body.verdict == RulingKind::Receipt;
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/loans/disbursements/{id}/resolve", key, need: KeyUse::Optional };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            let ruled = ruling::resolve(&engine, &actor, id.into(), &ruling, &reason).await?;
            let resource = match ruled {
                ruling::Ruled::Asked { query } => Some(query),
                ruling::Ruled::NeedsSecondPerson { request } => Some(request),
                ruling::Ruled::Done => None,
            };
            Ok(Effect::accepted(resource, false, ()))
        })
        .await?;
    api.wake(&[Step::Ask]);
    let (query, request) = if asked { (outcome.resource, None) } else { (None, outcome.resource) };
    let word = if asked { "asked" } else { "needs_second_person" };
    Ok(Answer::new(outcome.status, &Ruled { outcome: word.to_owned(), query, request }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsResolve), routes!(resolve)).keyed(KeyUse::Optional)
}
