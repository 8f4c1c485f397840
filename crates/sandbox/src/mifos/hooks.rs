//! Webhooks: how they are set up and what they post (Mifos X contract, section 7).
//!
//! One attempt each, no order, no memory. A delivery is put into the bank's outbox with the moment it leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use rand::RngExt;
use serde_json::Value;

use super::bank::{Bank, User};
use super::body::Body;
use super::book::Hook;
use super::commands::Done;
use super::json::Json;
use super::orders::Order;
use super::refusal::Refusal;
use crate::wire::{Delivery, Request};

/// Column width of a config value: the whole address with its secret.
const LONGEST_URL: usize = 100;
/// Column width of the label.
const LONGEST_LABEL: usize = 45;

/// What a body says about a hook; members that are absent stay `None`.
#[derive(Default)]
struct HookRequest {
    display_name: Option<String>,
    is_active: Option<bool>,
    url: Option<String>,
    content_type: Option<String>,
    events: Option<BTreeSet<(String, String)>>,
}

impl HookRequest {
    fn read(body: &Body) -> Result<Self, Refusal> {
        body.only(&["name", "displayName", "isActive", "config", "events", "templateId"])?;
        let display_name = body.filled("displayName");
        if display_name.as_ref().is_some_and(|name| name.chars().count() > LONGEST_LABEL) {
            return Err(Refusal::integrity("error.msg.data.integrity.issue"));
        }
        let (url, content_type) = match body.raw("config") {
            Some(raw) => Self::config(raw)?,
            None => (None, None),
        };
        let events = match body.raw("events") {
            Some(raw) => Some(Self::events(raw)?),
            None => None,
        };
        Ok(Self { display_name, is_active: body.truth("isActive"), url, content_type, events })
    }

    fn config(raw: &str) -> Result<(Option<String>, Option<String>), Refusal> {
        let config: std::collections::BTreeMap<String, String> = serde_json::from_str(raw).map_err(|_| Refusal::body())?;
        if config.keys().any(|name| name != "Payload URL" && name != "Content Type") {
            return Err(Refusal::invalid("validation.msg.hook.config.invalid", Some("config"), None));
        }
        let url = config.get("Payload URL").cloned();
        let content_type = config.get("Content Type").cloned();
        if content_type.as_ref().is_some_and(|kind| !matches!(kind.as_str(), "json" | "form")) {
            return Err(Refusal::invalid("validation.msg.hook.content.type.must.be.json.or.form", Some("Content Type"), content_type));
        }
        if url.as_ref().is_some_and(|url| url.chars().count() > LONGEST_URL) {
            return Err(Refusal::integrity("error.msg.data.integrity.issue"));
        }
        Ok((url, content_type))
    }

    fn events(raw: &str) -> Result<BTreeSet<(String, String)>, Refusal> {
        let list: Vec<Value> = serde_json::from_str(raw).map_err(|_| Refusal::body())?;
        let part = |event: &Value, name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let events: Option<BTreeSet<_>> = list.iter().map(|event| Some((part(event, "entityName")?, part(event, "actionName")?))).collect();
        let events = events.ok_or_else(|| Refusal::invalid("validation.msg.hook.events.invalid", Some("events"), None))?;
        if events.is_empty() {
            return Err(Refusal::invalid("validation.msg.hook.registered.events.cannot.be.empty", Some("events"), None));
        }
        Ok(events)
    }
}

/// Whether the host can post there: an absolute address, and a path, if there is one, that ends with `/`.
fn postable(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    // The client library forgets credentials and the query.
    let place = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, place)| place);
    uri.path().ends_with('/').then(|| format!("{scheme}://{place}{}", uri.path()))
}

impl Bank {
    pub(crate) fn create_hook(&mut self, now: DateTime<Utc>, body: &Body) -> Result<Done, Refusal> {
        let request = HookRequest::read(body)?;
        let template = body.filled("name").unwrap_or_default();
        if !["Web", "SMS Bridge", "Elastic Search", "Message Gateway"].contains(&template.as_str()) {
            return Err(Refusal::not_found("error.msg.template.not.found", template));
        }
        if template != "Web" && self.hooks.values().any(|hook| hook.template == template) {
            return Err(Refusal::integrity("error.msg.hook.duplicate.name"));
        }
        let Some(events) = request.events else {
            return Err(Refusal::invalid("validation.msg.hook.registered.events.cannot.be.empty", Some("events"), None));
        };
        let (Some(url), Some(content_type)) = (request.url, request.content_type) else {
            return Err(Refusal::invalid("validation.msg.hook.required.config.field.not.provided", Some("config"), None));
        };
        let target = postable(&url).ok_or_else(|| Refusal::server("baseUrl must end in /"))?;
        if self.options.hooks.unreachable.iter().any(|prefix| url.starts_with(prefix.as_str())) {
            return Err(Refusal::invalid("validation.msg.hook.url.invalid", Some("Payload URL"), Some(url)));
        }
        self.probe(now, &target);
        let id = self.hooks.keys().next_back().map_or(1, |last| last + 1);
        let today = self.today(now);
        let hook = Hook {
            id,
            display_name: request.display_name.unwrap_or_else(|| template.clone()),
            template,
            is_active: request.is_active.unwrap_or(false),
            url,
            content_type,
            events,
            created_at: today,
            updated_at: today,
        };
        self.hooks.insert(id, hook);
        Ok(Done { resource_id: Some(id), ..Done::default() })
    }

    pub(crate) fn update_hook(&mut self, now: DateTime<Utc>, id: u64, body: &Body) -> Result<Done, Refusal> {
        let request = HookRequest::read(body)?;
        let today = self.today(now);
        let hook = self.hooks.get_mut(&id).ok_or_else(|| Refusal::not_found("error.msg.hook.identifier.not.found", id))?;
        let mut changes = Json::map([]);
        if let Some(name) = request.display_name.filter(|name| *name != hook.display_name) {
            changes.put("displayName", &name);
            hook.display_name = name;
        }
        if let Some(active) = request.is_active.filter(|active| *active != hook.is_active) {
            changes.put("isActive", active);
            hook.is_active = active;
        }
        if let Some(url) = request.url.filter(|url| *url != hook.url) {
            changes.put("config", Json::map([("Payload URL", (&url).into())]));
            hook.url = url;
        }
        if let Some(kind) = request.content_type {
            hook.content_type = kind;
        }
        if let Some(events) = request.events.filter(|events| *events != hook.events) {
            changes.put("events", events_json(&events));
            hook.events = events;
        }
        hook.updated_at = today;
        Ok(Done { resource_id: Some(id), changes: Some(changes), ..Done::default() })
    }

    pub(crate) fn delete_hook(&mut self, id: u64) -> Result<Done, Refusal> {
        self.hooks.remove(&id).ok_or_else(|| Refusal::not_found("error.msg.hook.identifier.not.found", id))?;
        Ok(Done { resource_id: Some(id), ..Done::default() })
    }

    /// The event of a command that succeeded. `lag`: the change can be read only so much later (1.8).
    pub(crate) fn emit_done(&mut self, now: DateTime<Utc>, user: &User, order: &Order, done: &Done, lag: Option<Duration>) {
        if !self.anybody_listens(order) {
            return;
        }
        let mut event = head(user, order);
        event.put("officeId", done.office_id);
        event.put("clientId", done.client_id);
        event.put("groupId", done.group_id);
        event.put("request", order.body.with_doubles());
        event.put("response", done.to_json(self.options.profile, false));
        event.put("timestamp", now.to_rfc3339_opts(SecondsFormat::Micros, true));
        self.post(now, order, &event, lag);
    }

    /// The event of a command that was refused or parked, in the form of the release (Mifos X contract 7.2).
    pub(crate) fn emit_failed(&mut self, now: DateTime<Utc>, user: &User, order: &Order, refusal: &Refusal) {
        if !self.anybody_listens(order) {
            return;
        }
        let mut event = head(user, order);
        event.put("request", order.body.with_doubles());
        if self.is_old() {
            event.put("status", "Exception");
            let mut response = refusal.to_json();
            response.put("errorCode", i64::from(refusal.status));
            response.put("statusCode", i64::from(refusal.status));
            event.put("response", response);
        }
        event.put("timestamp", now.to_rfc3339_opts(SecondsFormat::Micros, true));
        self.post(now, order, &event, None);
    }

    fn anybody_listens(&self, order: &Order) -> bool {
        self.hooks.values().any(|hook| wants(hook, order))
    }

    fn post(&mut self, now: DateTime<Utc>, order: &Order, event: &Json, lag: Option<Duration>) {
        let targets: Vec<(String, bool)> = self
            .hooks
            .values()
            .filter(|hook| wants(hook, order))
            .filter_map(|hook| postable(&hook.url).map(|url| (url, hook.content_type == "json")))
            .collect();
        for (url, is_json) in targets {
            let body = if is_json { event.render() } else { form(event) };
            if self.happens(self.options.hooks.lost) {
                self.hook_log.lost += 1;
                continue;
            }
            let copies = if self.happens(self.options.hooks.doubled) { 2 } else { 1 };
            for _ in 0..copies {
                let at = now + self.way(lag);
                let what = format!("{} {} to {url}", order.entity, order.action);
                if let Some(request) = self.hook_request(&url, order, is_json, body.clone()) {
                    self.dispatch(at, request, what);
                }
            }
        }
    }

    /// How long the next post travels; before the commit if there is a lag.
    fn way(&mut self, lag: Option<Duration>) -> Duration {
        let dials = &self.options.hooks;
        let (shortest, longest) = match lag {
            Some(lag) => (Duration::ZERO, lag / 2),
            None => (dials.shortest, dials.longest.max(dials.shortest)),
        };
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.random_range(millis(shortest)..=millis(longest)))
    }

    fn hook_request(&self, url: &str, order: &Order, is_json: bool, body: String) -> Option<Request> {
        let mut request = http::Request::post(url).body(Bytes::from(body)).ok()?;
        let kind = if is_json { "application/json; charset=UTF-8" } else { "application/x-www-form-urlencoded" };
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(HeaderName::from_static("x-fineract-entity"), HeaderValue::from_static(order.entity));
        headers.insert(HeaderName::from_static("x-fineract-action"), HeaderValue::from_static(order.action));
        if let Ok(tenant) = HeaderValue::from_str(&self.options.tenant) {
            headers.insert(HeaderName::from_static("fineract-platform-tenantid"), tenant);
        }
        if let Some(endpoint) = self.endpoint.as_ref().and_then(|endpoint| HeaderValue::from_str(endpoint).ok()) {
            headers.insert(HeaderName::from_static("x-fineract-endpoint"), endpoint);
        }
        Some(request)
    }

    /// The GET that a new hook's address gets; whatever it answers is ignored.
    fn probe(&mut self, now: DateTime<Utc>, url: &str) {
        if let Ok(request) = http::Request::get(url).body(Bytes::new()) {
            self.dispatch(now, request, format!("probe of {url}"));
        }
    }

    fn dispatch(&mut self, at: DateTime<Utc>, request: Request, what: String) {
        let id = self.delivery_id();
        self.outbox.insert((at, id), Delivery { id, at, request, what });
    }

    /// A hook as it is read: config as an array of pairs.
    pub(crate) fn hook_json(hook: &Hook) -> Json {
        let field = |name: &'static str, value: &String| Json::map([("fieldName", name.into()), ("fieldValue", value.into())]);
        Json::map([
            ("id", hook.id.into()),
            ("name", (&hook.template).into()),
            ("displayName", (&hook.display_name).into()),
            ("isActive", hook.is_active.into()),
            ("createdAt", hook.created_at.into()),
            ("updatedAt", hook.updated_at.into()),
            ("templateId", 1_i64.into()),
            ("templateName", (&hook.template).into()),
            ("events", events_json(&hook.events)),
            ("config", Json::List(vec![field("Content Type", &hook.content_type), field("Payload URL", &hook.url)])),
        ])
    }

    /// `GET /hooks/template`.
    pub(crate) fn hook_template_json() -> Json {
        let field = |name: &'static str| Json::map([("fieldName", name.into()), ("fieldType", "string".into()), ("optional", false.into())]);
        let template = |id: i64, name: &'static str, fields: &[&'static str]| {
            Json::map([("id", id.into()), ("name", name.into()), ("schema", Json::List(fields.iter().map(|&name| field(name)).collect()))])
        };
        let entity = |name: &'static str, actions: &[&'static str]| {
            Json::map([("name", name.into()), ("actions", Json::List(actions.iter().map(|&action| action.into()).collect()))])
        };
        let loan = entity(
            "LOAN",
            &[
                "CREATE",
                "UPDATE",
                "APPROVE",
                "APPROVALUNDO",
                "REJECT",
                "WITHDRAW",
                "DISBURSE",
                "DISBURSETOSAVINGS",
                "DISBURSALUNDO",
                "REPAYMENT",
                "ADJUST",
                "RECOVERYPAYMENT",
                "CREDITBALANCEREFUND",
                "WRITEOFF",
            ],
        );
        let savings = entity("SAVINGSACCOUNT", &["CREATE", "APPROVE", "ACTIVATE", "DEPOSIT", "WITHDRAWAL", "UNDOTRANSACTION"]);
        let grouping = |name: &'static str, entities: Vec<Json>| Json::map([("name", name.into()), ("entities", entities.into())]);
        Json::map([
            (
                "templates",
                Json::List(vec![
                    template(1, "Web", &["Content Type", "Payload URL"]),
                    template(2, "SMS Bridge", &["Payload URL", "SMS Provider", "Phone Number"]),
                    template(3, "Elastic Search", &["Payload URL"]),
                    template(4, "Message Gateway", &["Payload URL", "SMS Provider Id"]),
                ]),
            ),
            (
                "groupings",
                Json::List(vec![
                    grouping("transaction_loan", vec![loan]),
                    grouping("transaction_savings", vec![savings]),
                    grouping("portfolio", vec![entity("CLIENT", &["CREATE", "ACTIVATE", "UPDATE"])]),
                ]),
            ),
        ])
    }
}

fn wants(hook: &Hook, order: &Order) -> bool {
    hook.is_active && hook.template == "Web" && hook.events.iter().any(|(entity, action)| entity == order.entity && action == order.action)
}

fn head(user: &User, order: &Order) -> Json {
    Json::map([
        ("entityName", order.entity.into()),
        ("actionName", order.action.into()),
        ("createdBy", user.id.into()),
        ("createdByName", (&user.options.name).into()),
        ("createdByFullName", (&user.options.full_name).into()),
    ])
}

fn events_json(events: &BTreeSet<(String, String)>) -> Json {
    Json::List(events.iter().map(|(entity, action)| Json::map([("actionName", action.into()), ("entityName", entity.into())])).collect())
}

/// A form carries only what is not nested.
fn form(event: &Json) -> String {
    let Json::Map(members) = event else {
        return String::new();
    };
    let escape = |text: &str| -> String {
        text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
    };
    let pairs: Vec<String> = members
        .iter()
        .filter_map(|(name, value)| match value {
            Json::Text(text) => Some(format!("{name}={}", escape(text))),
            Json::Int(number) => Some(format!("{name}={number}")),
            _ => None,
        })
        .collect();
    pairs.join("&")
}
