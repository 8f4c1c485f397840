//! API keys.

pub mod create;
pub mod list;
pub mod revoke;
pub mod rotate;

use chrono::{DateTime, Utc};
use pv_vault::partner::api_key::{KeyView, MadeKey};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    endpoint::Endpoint,
    schema::{Amount, Shillings},
};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), create::endpoint(), rotate::endpoint(), revoke::endpoint()]
}

/// What a key may do at most, besides its role.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct KeyLimitsRequest {
    /// Most of one payment.
    #[schema(value_type = Option<Amount>)]
    pub per_payment: Option<Shillings>,
    /// Most of all payments of a Nairobi day.
    #[schema(value_type = Option<Amount>)]
    pub per_day: Option<Shillings>,
}

/// A key, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// Whose; none: the platform's.
    pub partner_id: Option<Uuid>,
    /// For people.
    #[schema(example = "Core banking, Nairobi")]
    pub label: String,
    /// `sandbox` or `production`.
    #[schema(example = "sandbox")]
    pub environment: String,
    /// How it begins.
    #[schema(example = "pv_test_7Kd2Qa")]
    pub prefix: String,
    /// What it may do.
    #[schema(example = "maker")]
    pub role: String,
    /// From where; empty: from everywhere.
    pub addresses: Vec<String>,
    /// At most.
    #[schema(value_type = KeyLimitsRequest)]
    pub limits: serde_json::Value,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was ended.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// A key just made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MadeApiKey {
    /// What is kept of it.
    #[serde(flatten)]
    pub view: ApiKey,
    /// The key itself, shown this once. `null` when the answer repeats an earlier one: we keep no copy.
    #[schema(example = "pv_test_7Kd2QaXw5rT9uYb3nM8cLe6vHj4gFs1zQmPk2xRt")]
    pub key: Option<String>,
}

/// A made key as it is written, the only time with its text.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    view: KeyView,
    key: Option<String>,
}

impl Shown {
    /// Fresh.
    pub(crate) fn once(made: &MadeKey) -> Self {
        Self { view: made.view.clone(), key: Some(made.key.expose_secret().to_owned()) }
    }

    /// Again, without the key: nobody has it any more.
    pub(crate) fn again(view: KeyView) -> Self {
        Self { view, key: None }
    }
}
