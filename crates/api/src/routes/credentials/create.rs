//! `POST /api/shortcodes/{id}/credentials`.

use axum::extract::State;
use chrono::NaiveDate;
use pv_kernel::problem::Problem;
use pv_vault::{
    audit::Permission,
    partner::credential::{self, InitiatorSecret, NewCredential},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Credential;
use crate::{
    endpoint::{Access, Endpoint, KeyUse},
    extract::{Caller, Id, IdempotencyKey, Json, Secret, one_line},
    once::{Effect, Once},
    problem::ApiError,
    schema::Answer,
    state::ApiState,
};

/// A new version of credentials.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub struct NewCredentialRequest {
    /// Consumer key of the portal app.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 4096)]
    pub consumer_key: Secret,
    /// Consumer secret of the portal app.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 4096)]
    pub consumer_secret: Secret,
    /// Name of the API operator.
    #[garde(length(chars, min = 1, max = 100), custom(one_line))]
    #[schema(min_length = 1, max_length = 100, example = "vaultapi")]
    pub initiator: String,
    /// The operator's password; encrypted here with `certificate`, and not kept. Either this or `security_credential`.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    #[serde(default)]
    pub initiator_password: Option<Secret>,
    /// The password as the portal encrypted it, base64.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    #[serde(default)]
    pub security_credential: Option<Secret>,
    /// STK passkey, when there is one.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    #[serde(default)]
    pub passkey: Option<Secret>,
    /// Safaricom's certificate of this environment, PEM; needed with a password.
    #[garde(length(max = 20_000))]
    #[schema(max_length = 20000)]
    #[serde(default)]
    pub certificate: Option<String>,
    /// When the operator's password was set: the reminder counts from it.
    #[serde(default)]
    pub password_set_on: Option<NaiveDate>,
    /// Takes over at once; else it waits to be activated.
    #[serde(default)]
    pub activate: bool,
}

impl NewCredentialRequest {
    fn command(&self) -> Result<NewCredential, Box<Problem>> {
        let initiator_secret = match (self.initiator_password.clone(), self.security_credential.clone()) {
            (Some(password), None) => InitiatorSecret::Password(password.into_inner()),
            (None, Some(ready)) => InitiatorSecret::SecurityCredential(ready.into_inner()),
            _ => return Err(Box::new(Problem::invalid("/initiator_password", "Give either the initiator's password or the security credential."))),
        };
        Ok(NewCredential {
            consumer_key: self.consumer_key.clone().into_inner(),
            consumer_secret: self.consumer_secret.clone().into_inner(),
            initiator: self.initiator.clone(),
            initiator_secret,
            passkey: self.passkey.clone().map(Secret::into_inner),
            certificate: self.certificate.clone(),
            password_set_on: self.password_set_on,
            activate: self.activate,
        })
    }
}

/// Adds a version of credentials. The secrets are sealed and never shown again; payouts under way keep the version they were made with.
#[utoipa::path(post, path = "/api/shortcodes/{id}/credentials", tag = "M-Pesa connections", operation_id = "createCredential", request_body = NewCredentialRequest,
    params(("id" = Uuid, Path, description = "The shortcode.")),
    responses((status = 201, description = "The version.", body = Credential)))]
async fn create(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Id(id): Id,
    key: IdempotencyKey,
    Json(body): Json<NewCredentialRequest>,
) -> Result<Answer, ApiError> {
    let new = body.command()?;
    let encrypt = api.encrypt.clone();
    let once = Once { api: &api, actor: &actor, partner: None, route: "POST /api/shortcodes/{id}/credentials", key, need: KeyUse::Required };
    let outcome = once
        .run(&(id, body), move |engine, actor| async move {
            Ok(Effect::created(credential::create(&engine, &actor, id.into(), new, &*encrypt).await?.id, ()))
        })
        .await?;
    let made = outcome.made()?;
    let all = credential::list(&api.engine, &actor, id.into()).await?;
    let view = all.into_iter().find(|c| c.id == made).ok_or_else(|| Problem::not_found("credential"))?;
    Ok(Answer::new(outcome.status, &view).replayed(outcome.replayed))
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(create)).keyed(KeyUse::Required)
}
