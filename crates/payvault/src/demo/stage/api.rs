//! A partner's own program: it knows an address and a key, and speaks JSON.

use std::time::Duration;

use pv_kernel::{Ids as _, SystemIds};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// Calls to the public API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    /// With the address of the product and a key.
    pub fn new(base: &str, key: &str) -> Result<Self> {
        Ok(Self { client: client()?, base: base.to_owned(), key: key.to_owned() })
    }

    /// The same with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self { client: self.client.clone(), base: self.base.clone(), key: key.to_owned() }
    }

    /// The address of the product.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The HTTP client, for what is not the API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `GET`; anything but success is an error with the words of the problem.
    pub async fn get(&self, path: &str) -> Result<Value> {
        good(path, self.send(Method::GET, path, None, None).await?)
    }

    /// `POST` with an idempotency key of its own.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        good(path, self.send(Method::POST, path, Some(body), Some(&SystemIds.hex_token())).await?)
    }

    /// `PATCH`.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        good(path, self.send(Method::PATCH, path, Some(body), None).await?)
    }

    /// Sends, and gives status and body as they are.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>, once: Option<&str>) -> Result<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        let answer = request.send().await.map_err(|error| Failure::from(error).while_(format_args!("calling {path}")))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok((status, value))
    }
}

fn good(path: &str, (status, value): (u16, Value)) -> Result<Value> {
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let detail = value.get("detail").and_then(Value::as_str).map_or_else(|| value.to_string(), str::to_owned);
    let errors = value.get("errors").filter(|e| e.as_array().is_some_and(|a| !a.is_empty())).map(|e| format!(" {e}")).unwrap_or_default();
    Err(Failure::new(format!("{path} was answered with {status}: {detail}{errors}")))
}

/// A plain client of the outside: no proxy, no redirects, short waits.
pub fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(30)).build()?)
}

/// A text member of an answer.
pub fn text(value: &Value, name: &str) -> Result<String> {
    match value.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        other => Err(Failure::new(format!("the answer has no text {name:?}: {other:?}"))),
    }
}

/// A text member that may be missing or null.
pub fn text_if_any(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}
