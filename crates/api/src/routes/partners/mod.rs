//! Partners: the tenants of the platform.

pub mod create;
pub mod list;
pub mod read;
pub mod set_status;
pub mod update;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    endpoint::Endpoint,
    schema::{Amount, Shillings},
};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), create::endpoint(), read::endpoint(), update::endpoint(), set_status::endpoint()]
}

/// Hours in which payouts start by themselves, in the partner's zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// First minute.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", example = "08:00")]
    pub from: String,
    /// First minute after.
    #[schema(pattern = "^[0-2][0-9]:[0-5][0-9]$", example = "17:30")]
    pub to: String,
    /// Days: `mon` … `sun`.
    #[schema(min_items = 1, max_items = 7, example = json!(["mon", "tue", "wed", "thu", "fri"]))]
    pub days: Vec<String>,
}

/// Limits and switches of a partner; what is left out has its default. Unknown members are refused.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct Policy {
    /// Payouts above this wait for a second person. Default: 50,000.
    #[schema(value_type = Option<Amount>)]
    pub approval_ceiling: Option<Shillings>,
    /// A success above this is confirmed by a status query before it is booked.
    #[schema(value_type = Option<Amount>)]
    pub confirm_above: Option<Shillings>,
    /// Most that goes out in a Nairobi day.
    #[schema(value_type = Option<Amount>)]
    pub daily_cap: Option<Shillings>,
    /// Most that goes to one phone in a Nairobi day.
    #[schema(value_type = Option<Amount>)]
    pub per_client_daily_cap: Option<Shillings>,
    /// Most payouts in a Nairobi day.
    #[schema(minimum = 0)]
    pub daily_count: Option<u32>,
    /// A phone changed in the core within so many hours holds the payout. Default: 72.
    #[schema(minimum = 0, maximum = 2160)]
    pub phone_change_hold_hours: Option<u32>,
    /// When payouts start by themselves. Default: always.
    pub working_hours: Option<Hours>,
    /// What happens with cents: `refuse` (default) or `floor`.
    #[schema(pattern = "^(refuse|floor)$")]
    pub cents_policy: Option<String>,
    /// Whether the receiver's name is compared with the client's. Default: yes.
    pub name_check: Option<bool>,
}

/// A partner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerAnswer {
    /// Its id.
    pub id: Uuid,
    /// Its whole name.
    #[schema(example = "Umoja SACCO Society Ltd")]
    pub name: String,
    /// As in texts and remarks.
    #[schema(example = "Umoja SACCO")]
    pub short_name: String,
    /// `active`, `suspended`, `closing` or `closed`.
    #[schema(example = "active")]
    pub status: String,
    /// IANA name of its zone.
    #[schema(example = "Africa/Nairobi")]
    pub zone: String,
    /// Its limits and switches.
    #[schema(value_type = Policy)]
    pub policy: serde_json::Value,
    /// Who is told about wallet and failures.
    #[schema(example = json!(["254712345678"]))]
    pub notification_phones: Vec<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// Whether it has a connection to Mifos X.
    pub is_mifos_configured: bool,
    /// Approved loans of the default connection are paid by themselves.
    pub mifos_auto_disbursement_enabled: bool,
    /// Host of the default connection.
    pub mifos_host_url: Option<String>,
    /// Its user.
    pub mifos_username: Option<String>,
    /// Its tenant.
    pub mifos_tenant_id: Option<String>,
    /// Path of its API.
    pub mifos_api_endpoint: Option<String>,
    /// Where its webhook is sent.
    pub mifos_webhook_url: Option<String>,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Shillings>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Shillings>,
}

/// A partner with the `mifos_*` fields of its default connection (requirement L1).
#[derive(Serialize)]
pub(crate) struct WithMifos {
    #[serde(flatten)]
    partner: pv_vault::partner::Partner,
    #[serde(flatten)]
    mifos: pv_vault::partner::core_link::MifosFields,
}

/// Adds the `mifos_*` fields, as far as the caller may read connections.
pub(crate) async fn with_mifos(
    api: &crate::state::ApiState,
    actor: &pv_vault::audit::Actor,
    partners: Vec<pv_vault::partner::Partner>,
) -> Result<Vec<WithMifos>, crate::problem::ApiError> {
    use pv_vault::{audit::Permission, partner::core_link};
    let only = partners.first().filter(|_| partners.len() == 1).map(|p| p.id);
    let cores = if actor.may(Permission::ConnectionsRead) { core_link::list(&api.engine, actor, only).await? } else { Vec::new() };
    let fields = |id| cores.iter().find(|c| c.partner_id == id && c.is_default && c.retired_at.is_none()).into();
    Ok(partners.into_iter().map(|partner| WithMifos { mifos: fields(partner.id), partner }).collect())
}

/// One partner with its `mifos_*` fields.
pub(crate) async fn one_with_mifos(
    api: &crate::state::ApiState,
    actor: &pv_vault::audit::Actor,
    partner: pv_vault::partner::Partner,
) -> Result<WithMifos, crate::problem::ApiError> {
    let all = with_mifos(api, actor, vec![partner]).await?;
    all.into_iter().next().ok_or_else(|| crate::problem::internal(false).into())
}
