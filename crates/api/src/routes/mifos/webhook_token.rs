//! `POST /api/mifos/partners/{id}/webhook-token`.

use axum::extract::State;
use chrono::{DateTime, Utc};
use pv_vault::{audit::Permission, partner::webhook};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A token just made: shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookTokenAnswer {
    /// The token: `webhookToken` of the documented payload. `null` when the answer repeats an earlier one.
    #[schema(example = "0123456789abcdef0123456789abcdef")]
    pub token: Option<String>,
    /// Where the documented webhook is sent.
    #[schema(example = "https://vault.example.co.ke/api/mifos/webhook/loan-approval")]
    pub webhook_url: Option<String>,
    /// The payload URL for a hook of a stock host; carries the token. `null` when a stock host could not keep it (100 characters).
    pub hook_url: Option<String>,
    /// The token before is good until then.
    pub previous_until: Option<DateTime<Utc>>,
}

/// Makes the token of a connection's webhook, or a new one. It is shown once; the one before stays good for a day.
#[utoipa::path(post, path = "/api/mifos/partners/{id}/webhook-token", tag = "Mifos X", operation_id = "rotateWebhookToken",
    params(("id" = Uuid, Path, description = "The connection.")),
    responses((status = 201, description = "The token.", body = WebhookTokenAnswer)))]
async fn rotate(State(api): State<ApiState>, Caller(actor): Caller, Id(id): Id, key: IdempotencyKey) -> Result<Answer, ApiError> {
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/mifos/partners/{id}/webhook-token", key, need: KeyUse::Required };
    let outcome = once
        .run(&id, move |engine, actor| async move {
            let made = webhook::make_token(&engine, &actor, id.into()).await?;
            Ok(Effect::created(id, made))
        })
        .await?;
    let made = outcome.extra.as_ref();
    let answer = WebhookTokenAnswer {
        token: made.map(|m| m.token.expose_secret().to_owned()),
        webhook_url: made.map(|m| m.webhook_url.clone()),
        hook_url: made.and_then(|m| m.hook_url.as_ref()).map(|u| u.expose_secret().to_owned()),
        previous_until: made.and_then(|m| m.previous_until),
    };
    Ok(Answer::new(outcome.status, &answer).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(rotate)).keyed(KeyUse::Required)
}
