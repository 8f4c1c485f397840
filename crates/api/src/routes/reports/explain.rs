//! `GET /api/explain`: the path of anything.

use axum::extract::State;
use pv_kernel::Money;
use pv_vault::{audit::Permission, reconciliation::explain};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Query, one_line},
    problem::{ApiError, internal},
    schema::{Answer, ListOf},
    state::ApiState,
};

/// What to explain.
#[derive(Debug, Clone, Deserialize, IntoParams, garde::Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// A receipt, a phone in any form, a loan, a reference, a rail id, or the id of anything of ours.
    #[garde(length(chars, min = 1, max = 200), custom(one_line))]
    #[param(min_length = 1, max_length = 200, example = "SKJ3ZX19AB")]
    q: String,
}

/// Intent, ledger transfers, receipt and booking of one decision to pay, with everything sent and heard about it. Amounts are decimal
/// strings in shillings; phones are masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PathAnswer {
    /// Who asked for what.
    #[schema(value_type = Object)]
    pub intent: Value,
    /// `explained`, `on_the_list` or `not_yet_known`.
    #[schema(example = "explained")]
    pub verdict: String,
    /// In one sentence.
    pub sentence: String,
    /// The receipt, once paid.
    pub receipt: Option<String>,
    /// Its payouts, each with its requests, its proof and the questions about it.
    #[schema(value_type = Vec<Object>)]
    pub payouts: Vec<Value>,
    /// Its booking in the core.
    #[schema(value_type = Option<Object>)]
    pub booking: Option<Value>,
    /// Ledger transfers, in the order in which they were written.
    #[schema(value_type = Vec<Object>)]
    pub transfers: Vec<Value>,
    /// Messages sent and received, without their bodies.
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<Value>,
    /// Texts about it, without their words.
    #[schema(value_type = Vec<Object>)]
    pub texts: Vec<Value>,
    /// The timeline.
    #[schema(value_type = Vec<Object>)]
    pub timeline: Vec<Value>,
    /// Items about it, open ones first.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Value>,
}

/// The path of anything: intent, ledger transfers, receipt and booking, newest first, at most 50. An empty list: nothing was found.
#[utoipa::path(get, path = "/api/explain", tag = "Knowing", operation_id = "explain", params(ExplainQuery),
    responses((status = 200, description = "The paths.", body = ListOf<PathAnswer>)))]
async fn explain(State(api): State<ApiState>, Caller(actor): Caller, Query(q): Query<ExplainQuery>) -> Result<Answer, ApiError> {
    let paths = explain::explain(&api.engine, &q.q, actor.partner).await?;
    let mut paths = serde_json::to_value(&paths).map_err(|_| internal(false))?;
    in_shillings(&mut paths);
    let Value::Array(items) = paths else { return Err(internal(false).into()) };
    Ok(Answer::list(items))
}

/// Inside, amounts are minor units (`amount_minor`); answers of this API carry decimal strings (`amount`).
fn in_shillings(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(in_shillings),
        Value::Object(members) => {
            let minor: Vec<String> = members.keys().filter(|name| name.ends_with("_minor")).cloned().collect();
            for name in minor {
                let amount = members.remove(&name).and_then(|v| v.as_i64()).map(|minor| Money::from_minor(minor).to_decimal());
                members.insert(name.trim_end_matches("_minor").to_owned(), amount.map_or(Value::Null, Value::String));
            }
            members.values_mut().for_each(in_shillings);
        }
        _ => {}
    }
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::DisbursementsRead), routes!(explain))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_leave_as_decimal_strings() {
        let mut value = json!([{ "intent": { "amount_minor": 150_005, "gross_minor": null }, "payouts": [{ "amount_minor": -1 }], "count": 3 }]);
        in_shillings(&mut value);
        assert_eq!(value, json!([{ "intent": { "amount": "1500.05", "gross": null }, "payouts": [{ "amount": "-0.01" }], "count": 3 }]));
    }
}
