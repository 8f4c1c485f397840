//! `POST /api/items/{id}/close`.

use axum::extract::State;
use pv_vault::{audit::Permission, item};
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

/// A closed item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemClosed {
    /// The item.
    pub id: Uuid,
    /// Always true.
    pub closed: bool,
}

/// Closes an item by a person's word. Items about money that is not explained close themselves, when the fact is there.
#[utoipa::path(post, path = "/api/items/{id}/close", tag = "Items", operation_id = "closeItem", request_body = Why,
    params(("id" = Uuid, Path, description = "The item.")),
    responses((status = 200, description = "It is closed.", body = ItemClosed)))]
async fn close(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(why): Json<Why>,
) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/items/{id}/close", key, need: KeyUse::Optional };
    let reason = why.reason.clone();
    let outcome = once
        .run(&(id, why), move |engine, actor| async move {
            item::close(&engine, &actor, id, &reason).await?;
            Ok(Effect::done(Some(id), false, ()))
        })
        .await?;
    Ok(Answer::new(outcome.status, &ItemClosed { id, closed: true }).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ItemsAct), routes!(close)).keyed(KeyUse::Optional)
}
