//! `POST /api/mifos/test-connection` (requirement L1).

use axum::extract::State;
use pv_kernel::{
    core_banking::{ConnectionReport, CoreLink},
    ids::CoreId,
    problem::Problem,
};
use pv_vault::{
    Engine, VaultError,
    audit::{Actor, Permission},
    partner::{
        core_link::{self, DEFAULT_ENDPOINT},
        host_url::{HostRules, checked_path, checked_url},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::HostProfile;
use crate::{
    endpoint::{Access, Endpoint},
    extract::{Caller, Json, Secret, one_line_if_any},
    once::spawned,
    problem::ApiError,
    schema::{Answer, Shillings},
    state::ApiState,
};

/// Which connection: a kept one by `id`, or one that is only being thought about, by its members.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, garde::Validate)]
#[serde(deny_unknown_fields, default)]
#[garde(allow_unvalidated)]
pub struct ConnectionTestRequest {
    /// A kept connection. Then nothing else is given.
    #[schema(value_type = Option<Uuid>)]
    pub id: Option<CoreId>,
    /// The host.
    #[garde(length(min = 8, max = 500))]
    #[schema(min_length = 8, max_length = 500, example = "https://mifos.example.co.ke")]
    pub mifos_host_url: Option<String>,
    /// The integration user.
    #[garde(length(chars, min = 1, max = 255), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 255, example = "payvault")]
    pub mifos_username: Option<String>,
    /// Its password.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 4096)]
    pub mifos_password: Option<Secret>,
    /// The tenant.
    #[garde(length(min = 1, max = 100), custom(one_line_if_any))]
    #[schema(min_length = 1, max_length = 100, example = "default")]
    pub mifos_tenant_id: Option<String>,
    /// The path of the API; left out: that of a stock host.
    #[garde(length(max = 500), custom(one_line_if_any))]
    #[schema(max_length = 500)]
    pub mifos_api_endpoint: Option<String>,
    /// An extra certificate authority, PEM.
    #[garde(length(max = 60_000))]
    #[schema(max_length = 60000)]
    pub ca_pem: Option<String>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckAnswer {
    /// Its stable name: `reachable`, `tenant`, `credentials`, `permissions`, `version`, `loan_products`, `payment_type`, `clock`, `business_date`.
    #[schema(example = "credentials")]
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was found, and what to do about it.
    pub detail: String,
}

/// A product as the host shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostProduct {
    /// The host's id.
    pub product_id: String,
    /// Its name.
    pub name: String,
    /// Active there.
    pub active: bool,
    /// ISO currency code.
    pub currency: String,
    /// Smallest principal.
    pub min: Option<Shillings>,
    /// Largest principal.
    pub max: Option<Shillings>,
    /// May be disbursed more than once: never paid by itself.
    pub several_disbursements: bool,
    /// The disbursement date must equal the expected one.
    pub date_must_match: bool,
}

/// A payment type as the host shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostPaymentType {
    /// The host's id: what `payment_type_id` of a connection names.
    pub id: String,
    /// Its name.
    pub name: String,
    /// A cash type, which needs an open teller session.
    pub cash: bool,
}

/// What a test found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionTestAnswer {
    /// All checks passed.
    pub ok: bool,
    /// One row per check, in order.
    pub checks: Vec<CheckAnswer>,
    /// What detection found.
    pub profile: Option<HostProfile>,
    /// Products the user can read.
    pub products: Vec<HostProduct>,
    /// Payment types the user can read.
    pub payment_types: Vec<HostPaymentType>,
}

#[derive(Serialize)]
struct Tested {
    ok: bool,
    #[serde(flatten)]
    report: ConnectionReport,
}

impl ConnectionTestRequest {
    fn inline_link(self, rules: HostRules) -> Result<CoreLink, Box<Problem>> {
        let needed = |pointer: &'static str| Box::new(Problem::invalid(pointer, "Needed, unless a kept connection is named by its id."));
        let host = checked_url("/mifos_host_url", &self.mifos_host_url.ok_or_else(|| needed("/mifos_host_url"))?, 500, rules)?;
        let path = checked_path("/mifos_api_endpoint", self.mifos_api_endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT), 500)?;
        let host = if path.is_empty() { host.as_str() } else { host.strip_suffix(path.as_str()).unwrap_or(&host) };
        let tenant = self.mifos_tenant_id.ok_or_else(|| needed("/mifos_tenant_id"))?;
        if !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(Box::new(Problem::invalid("/mifos_tenant_id", "A tenant is written with letters, digits, - _ and .")));
        }
        Ok(CoreLink {
            core_id: CoreId(Uuid::nil()),
            base_url: format!("{host}{path}"),
            tenant,
            username: self.mifos_username.ok_or_else(|| needed("/mifos_username"))?,
            password: self.mifos_password.ok_or_else(|| needed("/mifos_password"))?.into_inner(),
            trust: self.ca_pem,
            profile: None,
        })
    }

    fn names_nothing_else(&self) -> bool {
        let texts = [&self.mifos_host_url, &self.mifos_username, &self.mifos_tenant_id, &self.mifos_api_endpoint, &self.ca_pem];
        texts.iter().all(|t| t.is_none()) && self.mifos_password.is_none()
    }
}

/// Tests a connection: host, tenant, user and rights, version, products, payment type, clock. What is found about a kept connection is
/// kept with it. The answer is 200 whatever was found; `ok` says whether all is well.
#[utoipa::path(post, path = "/api/mifos/test-connection", tag = "Mifos X", operation_id = "testMifosConnection", request_body = ConnectionTestRequest,
    responses((status = 200, description = "The report.", body = ConnectionTestAnswer)))]
async fn test(State(api): State<ApiState>, Caller(actor): Caller, Json(body): Json<ConnectionTestRequest>) -> Result<Answer, ApiError> {
    let engine = api.engine.clone();
    let report = match body.id {
        Some(id) if body.names_nothing_else() => spawned(async move { kept(&engine, &actor, id).await }).await??,
        Some(_) => return Err(Problem::invalid("/id", "Name a kept connection, or give its members; not both.").into()),
        None => {
            let link = body.inline_link(api.host_rules)?;
            spawned(async move { engine.core.test(&link, engine.now()).await }).await?
        }
    };
    Ok(Answer::ok(&Tested { ok: report.checks.iter().all(|c| c.ok), report }))
}

async fn kept(engine: &Engine, actor: &Actor, id: CoreId) -> Result<ConnectionReport, VaultError> {
    let settings = core_link::load_for(engine, actor, id).await?;
    let report = engine.core.test(&settings.link, engine.now()).await;
    if let Some(profile) = &report.profile {
        // A host that does not answer this leaves what is known.
        let business_date = engine.core.business_date(&settings.link).await.ok().map(|day| day.is_some());
        let mut tx = engine.begin().await?;
        core_link::store_profile_in_tx(tx.conn(), id, profile, business_date, engine.now()).await?;
        tx.commit().await?;
    }
    Ok(report)
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Needs(Permission::ConnectionsWrite), routes!(test))
}
