//! One authorised POST to Daraja, and what its answer says. Shared by payments and questions.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use pv_kernel::{
    rail::{RailAccount, WireTrace},
    transport::{Call, CallError, NotSent, TokenError, TokenStore, Transport},
};
use secrecy::ExposeSecret;

use crate::{
    codes::{self, Endpoint, Meaning},
    limits,
    loose::Object,
    redact::{redact_body, redact_sentence},
    token::{self, TokenRequest},
};

/// One request to be made.
pub(crate) struct Post<'a> {
    pub(crate) purpose: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) write_before: Option<Duration>,
    pub(crate) account: &'a RailAccount,
}

/// What became of it, before anybody asks what it means for money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// HTTP 200 with `ResponseCode` 0.
    Accepted {
        conversation_id: String,
        /// Our id, as echoed.
        rail_id: Option<String>,
    },
    /// Any other answer, with its meaning.
    Answer(Meaning),
    /// The bearer token was refused although it was new, or the credentials for it were.
    TokenRefused,
    /// The bearer token was refused, and a new one is there. A payment is not sent again here: it goes back through its claim (rule A4).
    Renewed,
    /// Nothing was sent.
    NotSent(Duration),
    /// No answer, or one that cannot be read: it may have been taken.
    Lost,
    /// The simulation ends the process here.
    Crashed,
}

/// The parts of an answer that are kept or decided upon.
struct Answer {
    status: u16,
    code: Option<String>,
    message: String,
    body: String,
    reply: Reply,
}

/// The lane of a shortcode: rate, concurrency and circuit are kept per shortcode and host (M-Pesa contract 8.2).
pub(crate) fn lane(account: &RailAccount) -> String {
    let host = account.base_url.split("://").nth(1).unwrap_or(&account.base_url);
    format!("mpesa:{}:{}", host.trim_end_matches('/'), account.shortcode)
}

/// An absolute URL under the account's base URL.
pub(crate) fn url(account: &RailAccount, path: &str) -> String {
    format!("{}{path}", account.base_url.trim_end_matches('/'))
}

/// Sends it with the shared token. When the token is refused, it is renewed once. A question is then asked once more; a payment (with
/// `write_before`) is not: it goes back through its claim, where STOP, the fence and the loan are read again (rule A4). Never a third time.
pub(crate) async fn post(transport: &Arc<dyn Transport>, tokens: &Arc<dyn TokenStore>, post: &Post<'_>) -> (Reply, WireTrace) {
    let credential = post.account.security_credential.expose_secret();
    let mut known = vec![credential.to_owned(), post.account.consumer_secret.expose_secret().to_owned()];
    let body = String::from_utf8_lossy(&post.body);
    let mut trace = WireTrace { request: redact_body(&body, &[credential]), ..WireTrace::default() };
    let key = token::key(post.account);
    let fetch = TokenRequest { transport, account: post.account };
    let mut token = match tokens.current(&key).await {
        Some(token) => token,
        None => match tokens.renew(&key, None, &fetch).await {
            Ok(token) => token,
            Err(error) => return without_token(error, trace),
        },
    };
    for last in [false, true] {
        // Each sending leaves its own trace: a refused first token must not stand beside a lost second answer.
        trace = WireTrace { request: trace.request, ..WireTrace::default() };
        let answer = match send(transport, post, &token).await {
            Ok(answer) => answer,
            Err(error) => return without_answer(error, trace),
        };
        known.push(token.clone());
        let secrets: Vec<&str> = known.iter().map(String::as_str).collect();
        trace.http_status = Some(answer.status);
        trace.code = answer.code;
        trace.message = redact_sentence(&answer.message, &secrets);
        // Cut first, shortened afterwards: half a secret would not be found.
        trace.response = redact_body(&answer.body, &secrets).chars().take(limits::MAX_TRACE).collect();
        if answer.reply != Reply::Answer(Meaning::Token) {
            return (answer.reply, trace);
        }
        if last {
            break;
        }
        token = match tokens.renew(&key, Some(&token), &fetch).await {
            Ok(token) => token,
            Err(error) => return without_token(error, trace),
        };
        if post.write_before.is_some() {
            return (Reply::Renewed, trace);
        }
    }
    trace.message = format!("{} (a renewed token was refused as well: does the app have this API product?)", trace.message);
    (Reply::TokenRefused, trace)
}

fn without_token(error: TokenError, mut trace: WireTrace) -> (Reply, WireTrace) {
    trace.message = error.to_string();
    let reply = match error {
        TokenError::Refused(_) => Reply::TokenRefused,
        TokenError::Unavailable(_) => Reply::NotSent(limits::AFTER_NOT_SENT),
        TokenError::Crashed => Reply::Crashed,
    };
    (reply, trace)
}

fn without_answer(error: CallError, mut trace: WireTrace) -> (Reply, WireTrace) {
    trace.message = error.to_string();
    let reply = match error {
        CallError::NotSent(NotSent::Refused(_)) => Reply::NotSent(limits::AFTER_MISCONFIGURED),
        CallError::NotSent(_) => Reply::NotSent(limits::AFTER_NOT_SENT),
        CallError::NoAnswer(_) => Reply::Lost,
        CallError::Crashed => Reply::Crashed,
    };
    (reply, trace)
}

async fn send(transport: &Arc<dyn Transport>, post: &Post<'_>, token: &str) -> Result<Answer, CallError> {
    let refused = |why: &str| CallError::NotSent(NotSent::Refused(why.to_owned()));
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| refused("the token cannot stand in a header"))?;
    bearer.set_sensitive(true);
    let request = Request::post(url(post.account, post.path))
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(post.body.clone()))
        .map_err(|_| refused("the base URL of this shortcode cannot be read"))?;
    let call = Call {
        purpose: post.purpose,
        request,
        timeout: post.timeout,
        write_before: post.write_before,
        trust: None,
        lane: lane(post.account),
        rate: Some(post.account.rate),
    };
    transport.call(call).await.map(|response| read(response.status().as_u16(), response.body()))
}

/// Reads an answer: acknowledgement, error envelope, or the gateway's own fault form (M-Pesa contract 2.3, 7.1).
fn read(status: u16, body: &[u8]) -> Answer {
    let kept = body.get(..body.len().min(limits::MAX_TRACE)).unwrap_or_default();
    let kept = String::from_utf8_lossy(kept).into_owned();
    let answer = |code, message, reply| Answer { status, code, message, body: kept.clone(), reply };
    let Ok(object) = Object::from_body(body) else {
        let meaning = codes::gateway_meaning(Endpoint::Initiator, status, None, "");
        let reply = if status == 200 { Reply::Lost } else { Reply::Answer(meaning) };
        return answer(None, format!("HTTP {status} without a readable body"), reply);
    };
    if status == 200
        && let Some(code) = object.text("ResponseCode")
    {
        let text = object.text("ResponseDescription").unwrap_or_default();
        let reply = acknowledgement(&object, &code, &text);
        return answer(Some(code), text, reply);
    }
    let (code, message) = error_of(&object);
    let meaning = codes::gateway_meaning(Endpoint::Initiator, status, code.as_deref(), &message);
    answer(code, message, Reply::Answer(meaning))
}

fn acknowledgement(object: &Object, code: &str, text: &str) -> Reply {
    if code != "0" {
        return Reply::Answer(codes::response_meaning(code, text));
    }
    // Without a conversation id there is nothing to match the result with: it was taken or it was not.
    object
        .filled("ConversationID")
        .map_or(Reply::Lost, |conversation_id| Reply::Accepted { conversation_id, rail_id: object.filled("OriginatorConversationID") })
}

/// Code and text of the error envelope or of the fault form.
fn error_of(object: &Object) -> (Option<String>, String) {
    if let Some(fault) = object.object("fault") {
        let code = fault.object("detail").and_then(|d| d.filled("errorcode"));
        return (code, fault.text("faultstring").unwrap_or_default());
    }
    (object.filled("errorCode"), object.text("errorMessage").or_else(|| object.text("ResponseDescription")).unwrap_or_default())
}
