//! How a call to a host is made: address, tenant header, Basic credentials, lane and time-outs (Mifos X contract 1.1 to 1.4).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use pv_kernel::{
    core_banking::{CoreError, CoreLink},
    transport::{Call, CallError, NotSent},
};
use secrecy::ExposeSecret as _;

use crate::{Fineract, errors::read_error};

/// How long a read may take.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a booking may take: long enough that most late answers still come.
pub(crate) const BOOKING_TIMEOUT: Duration = Duration::from_secs(30);

/// Rows asked for per page of a list (Mifos X contract 1.9).
pub(crate) const PAGE: usize = 100;

/// The tenant goes along with every call (Mifos X contract 1.3).
const TENANT_HEADER: &str = "Fineract-Platform-TenantId";
/// The name of the idempotency header where the host has not changed it (Mifos X contract 1.8).
const KEY_HEADER: &str = "Idempotency-Key";

/// One request to a host.
pub(crate) struct Ask<'a> {
    /// For metrics and limits, without an id in it.
    pub purpose: &'static str,
    /// Method.
    pub method: Method,
    /// Path and query after the base URL, beginning with `/`.
    pub path: String,
    /// Body; empty for a read.
    pub body: String,
    /// Idempotency key of a command.
    pub key: Option<&'a str>,
    /// How long to wait.
    pub timeout: Duration,
}

impl Ask<'_> {
    /// A read.
    pub(crate) fn get(purpose: &'static str, path: impl Into<String>) -> Self {
        Self { purpose, method: Method::GET, path: path.into(), body: String::new(), key: None, timeout: READ_TIMEOUT }
    }
}

/// An id as it may stand in a path: digits only, so that no id from outside can lead to another address.
pub(crate) fn path_id<'a>(id: &'a str, what: &str) -> Result<&'a str, CoreError> {
    if id.is_empty() || id.len() > 19 || !id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CoreError::Unreadable(format!("not an id of a {what}: {}", crate::wire::excerpt(id))));
    }
    Ok(id)
}

/// What a missing answer means for a read.
pub(crate) fn no_read(error: CallError) -> CoreError {
    match error {
        CallError::Crashed => CoreError::Crashed,
        other => CoreError::Down(other.to_string()),
    }
}

impl Fineract {
    /// Sends one request and gives back whatever is answered.
    pub(crate) async fn ask(&self, link: &CoreLink, ask: Ask<'_>) -> Result<Response<Bytes>, CallError> {
        let call = Call {
            purpose: ask.purpose,
            timeout: ask.timeout,
            request: request(link, ask).map_err(|why| CallError::NotSent(NotSent::Refused(why)))?,
            write_before: None,
            trust: link.trust.clone(),
            lane: format!("core:{}", link.core_id),
            rate: None,
        };
        self.transport.call(call).await
    }

    /// Reads: the answer when it is 200, else what its refusal means.
    pub(crate) async fn read(&self, link: &CoreLink, purpose: &'static str, path: impl Into<String>) -> Result<Response<Bytes>, CoreError> {
        let response = self.ask(link, Ask::get(purpose, path)).await.map_err(no_read)?;
        if response.status() == http::StatusCode::OK { Ok(response) } else { Err(read_error(&response)) }
    }
}

fn request(link: &CoreLink, ask: Ask<'_>) -> Result<Request<Bytes>, String> {
    let uri = format!("{}{}", link.base_url.trim_end_matches('/'), ask.path);
    let credentials = STANDARD.encode(format!("{}:{}", link.username, link.password.expose_secret()));
    let mut authorization = HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_| "the credentials make no header".to_owned())?;
    authorization.set_sensitive(true);
    let mut builder = Request::builder()
        .method(ask.method)
        .uri(uri)
        .header(TENANT_HEADER, HeaderValue::try_from(&link.tenant).map_err(|_| "the tenant makes no header".to_owned())?)
        .header(header::AUTHORIZATION, authorization)
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = ask.key {
        builder = builder.header(KEY_HEADER, HeaderValue::try_from(key).map_err(|_| "the key makes no header".to_owned())?);
    }
    builder.body(Bytes::from(ask.body)).map_err(|e| format!("the address cannot be used: {e}"))
}
