//! A connection as it comes in and as it is shown.

use chrono::{DateTime, Utc};
use pv_kernel::{
    Money, Msisdn,
    core_banking::CoreProfile,
    ids::{CoreId, PartnerId},
};
use secrecy::SecretString;
use serde::Serialize;

/// A connection to be made.
#[derive(Debug, Clone)]
pub struct NewCore {
    /// For people.
    pub label: String,
    /// `https://mifos.example.co.ke`; the endpoint may be part of it.
    pub mifos_host_url: String,
    /// The integration user.
    pub mifos_username: String,
    /// Its password.
    pub mifos_password: SecretString,
    /// The tenant, `default` on a stock host.
    pub mifos_tenant_id: String,
    /// The path of the API; `None`: [`super::DEFAULT_ENDPOINT`].
    pub mifos_api_endpoint: Option<String>,
    /// An extra certificate authority, PEM.
    pub ca_pem: Option<String>,
    /// IANA name of the tenant's zone; `None`: Africa/Nairobi.
    pub zone: Option<String>,
    /// The payment type that carries the receipt (Mifos X contract 3.6).
    pub payment_type_id: Option<String>,
    /// Approved loans are paid by themselves from now on (rule A16).
    pub mifos_auto_disbursement_enabled: bool,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Money>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Money>,
    /// Texts about loans of this connection.
    pub sms_notifications_enabled: bool,
    /// Who is told, besides the partner's own phones.
    pub sms_phone_numbers: Vec<Msisdn>,
    /// Seconds between two sweeps, 1 to 86400 (requirement L4: 300 to 900).
    pub poll_seconds: i32,
    /// Becomes the one that is meant when none is named. The first always does.
    pub is_default: bool,
}

impl NewCore {
    /// A connection with the defaults: automatic payment off, a sweep every ten minutes.
    pub fn new(host_url: impl Into<String>, tenant: impl Into<String>, username: impl Into<String>, password: SecretString) -> Self {
        Self {
            label: "Mifos X".into(),
            mifos_host_url: host_url.into(),
            mifos_username: username.into(),
            mifos_password: password,
            mifos_tenant_id: tenant.into(),
            mifos_api_endpoint: None,
            ca_pem: None,
            zone: None,
            payment_type_id: None,
            mifos_auto_disbursement_enabled: false,
            mifos_max_disbursement_amount: None,
            mifos_min_disbursement_amount: None,
            sms_notifications_enabled: true,
            sms_phone_numbers: Vec::new(),
            poll_seconds: 600,
            is_default: false,
        }
    }
}

/// What is to be changed of a connection; `None` leaves it, `Some(None)` empties it. Another host, tenant or user needs the
/// password again, so that a kept password is never sent to a place its owner did not mean.
#[derive(Debug, Clone, Default)]
pub struct CorePatch {
    /// For people.
    pub label: Option<String>,
    /// The host.
    pub mifos_host_url: Option<String>,
    /// The integration user.
    pub mifos_username: Option<String>,
    /// Its password.
    pub mifos_password: Option<SecretString>,
    /// The tenant.
    pub mifos_tenant_id: Option<String>,
    /// The path of the API.
    pub mifos_api_endpoint: Option<String>,
    /// An extra certificate authority, PEM.
    pub ca_pem: Option<Option<String>>,
    /// The tenant's zone.
    pub zone: Option<String>,
    /// The payment type that carries the receipt.
    pub payment_type_id: Option<Option<String>>,
    /// Approved loans are paid by themselves. Switching it on counts from this moment (rule A16).
    pub mifos_auto_disbursement_enabled: Option<bool>,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Option<Money>>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Option<Money>>,
    /// Texts about loans of this connection.
    pub sms_notifications_enabled: Option<bool>,
    /// Who is told.
    pub sms_phone_numbers: Option<Vec<Msisdn>>,
    /// Seconds between two sweeps.
    pub poll_seconds: Option<i32>,
    /// In use: hooks are heard and loans are swept.
    pub is_active: Option<bool>,
    /// `true` makes it the default.
    pub is_default: Option<bool>,
}

/// A connection as shown. The password and tokens are never among it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoreView {
    /// Its id: `core_id` of rule A1.
    pub id: CoreId,
    /// Whose.
    pub partner_id: PartnerId,
    /// For people.
    pub label: String,
    /// Always true here; see [`MifosFields`] for a partner without a connection.
    pub is_mifos_configured: bool,
    /// The host.
    pub mifos_host_url: String,
    /// The integration user.
    pub mifos_username: String,
    /// The tenant.
    pub mifos_tenant_id: String,
    /// The path of the API.
    pub mifos_api_endpoint: String,
    /// Where the documented webhook is sent; `None`: no token was made yet.
    pub mifos_webhook_url: Option<String>,
    /// Whether a token was made. It is shown once, when it is made.
    pub has_webhook_secret_token: bool,
    /// The token before is good until then.
    pub webhook_previous_until: Option<DateTime<Utc>>,
    /// Whether an HMAC key is set.
    pub has_webhook_hmac_key: bool,
    /// Approved loans are paid by themselves.
    pub mifos_auto_disbursement_enabled: bool,
    /// Only those approved after this moment (rule A16).
    pub auto_since: Option<DateTime<Utc>>,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Money>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Money>,
    /// Texts about loans of this connection.
    pub sms_notifications_enabled: bool,
    /// Who is told.
    pub sms_phone_numbers: Vec<Msisdn>,
    /// In use.
    pub is_active: bool,
    /// Meant when none is named.
    pub is_default: bool,
    /// Whether an extra certificate authority is trusted.
    pub has_ca: bool,
    /// What detection found.
    pub profile: Option<CoreProfile>,
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

/// The `mifos_*` fields of a partner's default connection, under the names of the fifth source document (requirement L1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MifosFields {
    /// Whether there is a connection.
    pub is_mifos_configured: bool,
    /// Approved loans are paid by themselves.
    pub mifos_auto_disbursement_enabled: bool,
    /// The host.
    pub mifos_host_url: Option<String>,
    /// The integration user.
    pub mifos_username: Option<String>,
    /// The tenant.
    pub mifos_tenant_id: Option<String>,
    /// The path of the API.
    pub mifos_api_endpoint: Option<String>,
    /// Where the documented webhook is sent.
    pub mifos_webhook_url: Option<String>,
    /// Largest amount paid by itself.
    pub mifos_max_disbursement_amount: Option<Money>,
    /// Smallest amount paid by itself.
    pub mifos_min_disbursement_amount: Option<Money>,
}

impl From<Option<&CoreView>> for MifosFields {
    fn from(view: Option<&CoreView>) -> Self {
        view.map_or_else(Self::default, |view| Self {
            is_mifos_configured: true,
            mifos_auto_disbursement_enabled: view.mifos_auto_disbursement_enabled,
            mifos_host_url: Some(view.mifos_host_url.clone()),
            mifos_username: Some(view.mifos_username.clone()),
            mifos_tenant_id: Some(view.mifos_tenant_id.clone()),
            mifos_api_endpoint: Some(view.mifos_api_endpoint.clone()),
            mifos_webhook_url: view.mifos_webhook_url.clone(),
            mifos_max_disbursement_amount: view.mifos_max_disbursement_amount,
            mifos_min_disbursement_amount: view.mifos_min_disbursement_amount,
        })
    }
}
