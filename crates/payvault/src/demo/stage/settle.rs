//! A partner moves in, over the public API: first the platform makes it and a key for it, then it connects itself with its own key:
//! shortcode, credentials, Mifos X (tested before it is kept), webhook token, hook at the host, products, texts.

use pv_sandbox::{
    damza::DamzaAccount,
    daraja::{App, Shortcode, encrypt_credential},
    mifos::ProductSpec,
};
use serde_json::{Value, json};

use super::{World, api, api::Api};
use crate::failure::{Failure, Result};

/// What the simulated API operators use.
const OPERATOR: &str = "vaultapi";
/// Public on purpose.
const OPERATOR_PASSWORD: &str = "Sandbox#2026";
/// The integration user of every simulated host.
const HOST_USER: (&str, &str) = ("pv-integration", "s3cret");

/// What a partner is made of.
#[derive(Debug, Clone)]
pub struct PartnerPlan {
    /// Its name.
    pub name: String,
    /// As in texts; also its sender id.
    pub short_name: String,
    /// The phone of its staff.
    pub staff: String,
    /// Its B2C shortcode.
    pub shortcode: String,
    /// KES cents in its utility account.
    pub float: i64,
    /// Which host of the world.
    pub host: usize,
    /// Which tenant there.
    pub tenant: String,
    /// Products at the host; the first is paid by itself, others are listed.
    pub products: Vec<&'static str>,
    /// Seconds between two sweeps.
    pub poll_seconds: i64,
    /// Requests per second at M-Pesa.
    pub requests_per_second: i64,
    /// Our hook is registered at the host.
    pub hook: bool,
}

/// A partner that has moved in.
pub struct Settled {
    /// Its id.
    pub id: String,
    /// The API with its own key.
    pub api: Api,
    /// Its shortcode: our id of it.
    pub shortcode: String,
    /// The token of its documented webhook.
    pub webhook_token: String,
    /// Products at the host, in the order of the plan.
    pub core_products: Vec<u64>,
    /// What the connection test said, for people.
    pub report: String,
}

/// What is there before the partner comes: products and a payment type at the host, a shortcode with float, an account at the gateway.
fn outside(world: &World, plan: &PartnerPlan) -> Result<Vec<u64>> {
    {
        let mut mpesa = world.mpesa.lock();
        mpesa.add_shortcode(Shortcode::b2c(&plan.shortcode, &plan.name.to_uppercase(), plan.float));
        mpesa.add_app(App::new(&consumer_key(plan), &consumer_secret(plan), &[&plan.shortcode]));
    }
    world.sms.lock().add_account(DamzaAccount::new(&sms_user(plan), &sms_password(plan), &sms_key(plan)));
    let mut host = world.host(plan.host)?.lock();
    let bank = host.bank_of_mut(&plan.tenant).ok_or_else(|| Failure::new(format!("the host has no tenant {}", plan.tenant)))?;
    bank.add_payment_type("M-Pesa", false);
    Ok(plan.products.iter().map(|name| bank.add_product(ProductSpec::simple(name))).collect())
}

fn consumer_key(plan: &PartnerPlan) -> String {
    format!("key-{}", plan.shortcode)
}

fn consumer_secret(plan: &PartnerPlan) -> String {
    format!("secret-{}", plan.shortcode)
}

fn sms_user(plan: &PartnerPlan) -> String {
    format!("sms-{}", plan.shortcode)
}

fn sms_password(plan: &PartnerPlan) -> String {
    format!("password-{}", plan.shortcode)
}

fn sms_key(plan: &PartnerPlan) -> String {
    format!("sms-key-{}", plan.shortcode)
}

/// Moves a partner in.
pub async fn settle(world: &World, platform: &Api, plan: &PartnerPlan) -> Result<Settled> {
    let core_products = outside(world, plan)?;
    let new = json!({ "name": plan.name, "short_name": plan.short_name, "notification_phones": [plan.staff] });
    let id = api::text(&platform.post("/api/partners", &new).await?, "id")?;
    let key = json!({ "label": "Its own program", "environment": "sandbox", "role": "partner_admin" });
    let own = platform.with_key(&api::text(&platform.post(&format!("/api/partners/{id}/keys"), &key).await?, "key")?);
    let shortcode = connect_mpesa(world, &own, &id, plan).await?;
    let (core, webhook_token, report) = connect_core(world, &own, plan).await?;
    switch_on(&own, &core, plan, &core_products).await?;
    let texts = json!({
        "damza_base_url": world.sms.url, "damza_api_key": sms_key(plan), "damza_sender_id": plan.short_name, "damza_username": sms_user(plan),
        "damza_password": sms_password(plan), "sms_enabled": true,
    });
    own.post("/api/sms/settings", &texts).await?;
    Ok(Settled { id, api: own, shortcode, webhook_token, core_products, report })
}

async fn connect_mpesa(world: &World, own: &Api, id: &str, plan: &PartnerPlan) -> Result<String> {
    let new = json!({
        "shortcode": plan.shortcode, "environment": "sandbox", "base_url": world.mpesa.url, "tariff_payer": "rail",
        "requests_per_second": plan.requests_per_second, "is_default": true,
    });
    let shortcode = api::text(&own.post(&format!("/api/partners/{id}/shortcodes"), &new).await?, "id")?;
    let sealed = encrypt_credential(OPERATOR_PASSWORD).ok_or_else(|| Failure::new("the operator's password could not be encrypted"))?;
    let credential = json!({
        "consumer_key": consumer_key(plan), "consumer_secret": consumer_secret(plan), "initiator": OPERATOR, "security_credential": sealed, "activate": true,
    });
    own.post(&format!("/api/shortcodes/{shortcode}/credentials"), &credential).await?;
    Ok(shortcode)
}

/// Tests the connection first; what the test finds names the payment type that carries the receipt. Then keeps it, makes a token, and
/// registers our hook at the host, as the host's administrator would.
async fn connect_core(world: &World, own: &Api, plan: &PartnerPlan) -> Result<(String, String, String)> {
    let url = &world.host(plan.host)?.url;
    let members = json!({ "mifos_host_url": url, "mifos_username": HOST_USER.0, "mifos_password": HOST_USER.1, "mifos_tenant_id": plan.tenant });
    let tested = own.post("/api/mifos/test-connection", &members).await?;
    let mpesa = rows(&tested, "payment_types").iter().find(|t| t.get("name").and_then(Value::as_str) == Some("M-Pesa"));
    let payment_type = api::text(mpesa.ok_or_else(|| Failure::new(format!("the connection test did not find the payment type: {tested}")))?, "id")?;
    let mut new = members;
    for (name, value) in [
        ("label", json!("Mifos X")),
        ("zone", json!("Africa/Nairobi")),
        ("payment_type_id", json!(payment_type)),
        ("mifos_auto_disbursement_enabled", json!(true)),
        ("poll_seconds", json!(plan.poll_seconds)),
        ("is_default", json!(true)),
    ] {
        if let Some(members) = new.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    }
    let core = api::text(&own.post("/api/mifos/partners", &new).await?, "id")?;
    // The kept connection is tested as well, so that its release line is known from the start.
    let tested = own.post("/api/mifos/test-connection", &json!({ "id": core })).await?;
    let token = own.post(&format!("/api/mifos/partners/{core}/webhook-token"), &json!({})).await?;
    if plan.hook {
        register_hook(own, url, &plan.tenant, &api::text(&token, "hook_url")?).await?;
    }
    Ok((core, api::text(&token, "token")?, report(&tested)))
}

fn rows<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `line 1.8, 9 of 9 checks good`, and what is not.
fn report(tested: &Value) -> String {
    let checks = rows(tested, "checks");
    let good = |check: &&Value| check.get("ok").and_then(Value::as_bool) == Some(true);
    let bad: Vec<String> = checks
        .iter()
        .filter(|c| !good(c))
        .map(|c| format!("{}: {}", api::text_if_any(c, "name").unwrap_or_default(), api::text_if_any(c, "detail").unwrap_or_default()))
        .collect();
    let line = tested.get("profile").and_then(|p| p.get("line")).and_then(Value::as_str).unwrap_or("unknown");
    let but = if bad.is_empty() { String::new() } else { format!(" ({})", bad.join("; ")) };
    format!("line {line}, {} of {} checks good{but}", checks.iter().filter(good).count(), checks.len())
}

/// What the administrator of a stock host does in its web interface.
async fn register_hook(own: &Api, host: &str, tenant: &str, hook_url: &str) -> Result<()> {
    let events = ["APPROVE", "APPROVALUNDO", "DISBURSE"].map(|action| json!({ "entityName": "LOAN", "actionName": action }));
    let body = json!({
        "name": "Web", "displayName": "Payment Vault", "isActive": true, "config": { "Payload URL": hook_url, "Content Type": "json" },
        "events": events,
    });
    let request = own.client().post(format!("{host}/fineract-provider/api/v1/hooks"));
    let answer = request.basic_auth(HOST_USER.0, Some(HOST_USER.1)).header("fineract-platform-tenantid", tenant).json(&body).send().await?;
    if !answer.status().is_success() {
        return Err(Failure::new(format!("the host did not take our hook: {} {}", answer.status(), answer.text().await?)));
    }
    Ok(())
}

/// Fetches the products and switches the first of the plan to automatic.
async fn switch_on(own: &Api, core: &str, plan: &PartnerPlan, core_products: &[u64]) -> Result<()> {
    let fetched = own.post(&format!("/api/mifos/partners/{core}/products/fetch"), &json!({})).await?;
    let Some(first) = core_products.first() else { return Ok(()) };
    let wanted = first.to_string();
    let product = rows(&fetched, "items").iter().find(|p| p.get("mifos_product_id").and_then(Value::as_str) == Some(&wanted));
    let product = product.ok_or_else(|| Failure::new(format!("product {wanted} of {} was not fetched: {fetched}", plan.name)))?;
    own.patch(&format!("/api/mifos/products/{}", api::text(product, "id")?), &json!({ "is_auto_disbursement_enabled": true })).await?;
    Ok(())
}
