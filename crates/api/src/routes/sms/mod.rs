//! The partner's account at the SMS gateway.

pub mod read_settings;
pub mod write_settings;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{endpoint::Endpoint, schema::Shillings};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![read_settings::endpoint(), write_settings::endpoint()]
}

/// The settings, without their secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SmsSettingsAnswer {
    /// Whose.
    pub partner_id: Uuid,
    /// Base URL of the gateway.
    #[schema(example = "https://sms.example.co.ke")]
    pub damza_base_url: String,
    /// Sender id.
    #[schema(example = "UMOJA")]
    pub damza_sender_id: String,
    /// User name.
    pub damza_username: String,
    /// Give this address to the gateway: it sends the delivery reports of this account there.
    #[schema(example = "https://vault.example.co.ke/h/0f3a…/sms/damza/0f3a…")]
    pub report_url: String,
    /// Texts go out; one-time passwords go out anyway.
    pub sms_enabled: bool,
    /// The wallet is low below this.
    pub low_balance_threshold: Shillings,
    /// Who is told.
    pub notification_phone_numbers: Vec<String>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}
