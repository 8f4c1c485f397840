//! Connections to Mifos X (requirement L1).

pub mod create;
pub mod list;
pub mod retire;
pub mod test_connection;
pub mod update;
pub mod webhook_token;

use chrono::{DateTime, Utc};
use pv_kernel::{
    core_banking::CoreError,
    ids::{CoreId, PartnerId},
    problem::Problem,
};
use pv_vault::{Engine, audit::Actor, partner::core_link};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{endpoint::Endpoint, problem::ApiError, schema::Shillings};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), create::endpoint(), update::endpoint(), retire::endpoint(), test_connection::endpoint(), webhook_token::endpoint()]
}

/// What detection found about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostProfile {
    /// `1.8` or `1.9+`.
    #[schema(example = "1.9+")]
    pub line: String,
    /// Honours `Idempotency-Key` and reads by external id.
    pub idempotency: bool,
}

/// A connection. Its password and tokens are never among it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MifosConnection {
    /// Its id, for ever.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// For people.
    #[schema(example = "Mifos X")]
    pub label: String,
    /// Always true.
    pub is_mifos_configured: bool,
    /// The host.
    #[schema(example = "https://mifos.example.co.ke")]
    pub mifos_host_url: String,
    /// The integration user.
    #[schema(example = "payvault")]
    pub mifos_username: String,
    /// The tenant.
    #[schema(example = "default")]
    pub mifos_tenant_id: String,
    /// The path of the API.
    #[schema(example = "/fineract-provider/api/v1")]
    pub mifos_api_endpoint: String,
    /// Where the documented webhook is sent.
    pub mifos_webhook_url: Option<String>,
    /// Whether a token was made.
    pub has_webhook_secret_token: bool,
    /// The token before is good until then.
    pub webhook_previous_until: Option<DateTime<Utc>>,
    /// Whether an HMAC key is set.
    pub has_webhook_hmac_key: bool,
    /// Approved loans are paid by themselves.
    pub mifos_auto_disbursement_enabled: bool,
    /// Only those approved after this moment.
    pub auto_since: Option<DateTime<Utc>>,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Shillings>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Shillings>,
    /// Texts about loans of this connection.
    pub sms_notifications_enabled: bool,
    /// Who is told, besides the partner's own phones.
    pub sms_phone_numbers: Vec<String>,
    /// In use.
    pub is_active: bool,
    /// Meant when none is named.
    pub is_default: bool,
    /// Whether an extra certificate authority is trusted.
    pub has_ca: bool,
    /// What detection found.
    pub profile: Option<HostProfile>,
    /// The tenant's zone.
    pub zone: String,
    /// The tenant keeps a business date.
    pub business_date: bool,
    /// The payment type that carries the receipt.
    pub payment_type_id: Option<String>,
    /// Seconds between two sweeps.
    pub poll_seconds: i32,
    /// Last sweep.
    pub last_poll_at: Option<DateTime<Utc>>,
    /// Last time the host answered well.
    pub last_ok_at: Option<DateTime<Utc>>,
    /// What it answered badly.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<DateTime<Utc>>,
    /// Given up for good.
    pub retired_at: Option<DateTime<Utc>>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}

/// The connection that is meant: the named one, or the default one of the partner.
pub(crate) async fn the_core(engine: &Engine, actor: &Actor, named: Option<CoreId>, partner: Option<PartnerId>) -> Result<CoreId, ApiError> {
    if let Some(core) = named {
        let view = core_link::get(engine, actor, core).await?;
        if partner.is_some_and(|p| p != view.partner_id) {
            return Err(Problem::not_found("connection").into());
        }
        return Ok(core);
    }
    let partner = actor.partner_for(partner)?;
    let cores = core_link::list(engine, actor, Some(partner)).await?;
    let default = cores.iter().find(|c| c.is_default && c.retired_at.is_none());
    default.map(|c| c.id).ok_or_else(|| {
        Problem::refused("no_connection", 409, "This partner has no connection to a core-banking system.", "Make one: POST /api/mifos/partners.")
            .into()
    })
}

/// A core that could not be read: no money moved, and it may be asked again.
pub(crate) fn core_problem(error: &CoreError) -> ApiError {
    let mut problem = Problem::refused(
        "core_unavailable",
        503,
        format!("The core-banking system could not be read: {error}."),
        "Test the connection, mend what it shows, then send the request again.",
    );
    problem.retry_after = Some(30);
    problem.into()
}
