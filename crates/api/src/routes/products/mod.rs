//! Loan products of a connection (requirement L2).

pub mod fetch;
pub mod list;
pub mod update;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    endpoint::Endpoint,
    routes::partners::Hours,
    schema::{Amount, Shillings},
};

/// The endpoints of this noun.
pub fn endpoints() -> Vec<Endpoint> {
    vec![list::endpoint(), fetch::endpoint(), update::endpoint()]
}

/// Rules of one product; what is left out has its default. Unknown members are refused.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
pub struct ProductRules {
    /// When its loans are paid by themselves.
    pub hours: Option<Hours>,
    /// Most payouts in a Nairobi day.
    #[schema(minimum = 0)]
    pub daily_count: Option<u32>,
    /// Most that goes out in a Nairobi day.
    #[schema(value_type = Option<Amount>)]
    pub daily_amount: Option<Shillings>,
    /// Most that goes to one phone in a Nairobi day.
    #[schema(value_type = Option<Amount>)]
    pub per_client_cap: Option<Shillings>,
    /// Above this a person decides.
    #[schema(value_type = Option<Amount>)]
    pub person_above: Option<Shillings>,
    /// Whether the receiver's name is compared.
    pub name_check: Option<bool>,
    /// What happens with cents: `refuse` or `floor`.
    #[schema(pattern = "^(refuse|floor)$")]
    pub cents: Option<String>,
}

/// A loan product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoanProduct {
    /// Our id of it.
    pub id: Uuid,
    /// Whose.
    pub partner_id: Uuid,
    /// Of which connection.
    pub mifos_partner_id: Uuid,
    /// The core's id.
    #[schema(example = "4")]
    pub mifos_product_id: String,
    /// Its name.
    pub product_name: String,
    /// Its loans are paid by themselves.
    pub is_auto_disbursement_enabled: bool,
    /// Only those approved after this moment.
    pub auto_since: Option<DateTime<Utc>>,
    /// Largest amount paid by itself.
    pub max_disbursement_amount: Option<Shillings>,
    /// Smallest amount paid by itself.
    pub min_disbursement_amount: Option<Shillings>,
    /// Smallest principal, as the core says.
    pub core_min: Option<Shillings>,
    /// Largest principal, as the core says.
    pub core_max: Option<Shillings>,
    /// Active in the core, when last fetched.
    pub core_active: bool,
    /// ISO currency code.
    pub currency: String,
    /// May be disbursed more than once: never paid by itself.
    pub several_disbursements: bool,
    /// The disbursement date must equal the expected one.
    pub date_must_match: bool,
    /// Its rules.
    #[schema(value_type = ProductRules)]
    pub disbursement_rules: serde_json::Value,
    /// Texts about its loans.
    pub sms_notifications_enabled: bool,
    /// When the core was last asked.
    pub fetched_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
}
