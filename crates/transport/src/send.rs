//! One exchange: a request out, a bounded answer in, and the judgement when none came.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use pv_kernel::transport::{Call, CallError, NotSent};
use reqwest::{Body, Client, Request, Response};

use crate::{
    TransportOptions,
    address::NotAllowed,
    breaker::Outcome,
    clients::Clients,
    gate::{CloseOnDrop, Departure, Gate, GatedBody},
};

/// A call that was looked over and can be sent.
pub(crate) struct Errand {
    client: Client,
    request: Request,
    /// `None` when there is no body; then only the kind of error tells what happened.
    gate: Option<Arc<Gate>>,
    max_answer: usize,
}

impl Errand {
    /// Refuses what is not to be sent at all.
    pub(crate) fn prepare(call: Call, clients: &Clients, options: &TransportOptions) -> Result<Self, NotSent> {
        let refused = |why: &str| NotSent::Refused(why.to_owned());
        let pair = clients.for_trust(call.trust.as_deref()).map_err(NotSent::Refused)?;
        let money = call.write_before.is_some();
        let (parts, bytes) = call.request.into_parts();
        if money && bytes.is_empty() {
            return Err(refused("a deadline for the write needs a body: it is checked when the body is written"));
        }
        let gate = (!bytes.is_empty()).then(|| Gate::new(Arc::clone(&options.clock), call.write_before));
        let body = gate.as_ref().map_or_else(Body::default, |gate| Body::wrap(GatedBody::new(Arc::clone(gate), bytes)));
        let mut request = Request::try_from(http::Request::from_parts(parts, body)).map_err(|_| refused("the URL cannot be read"))?;
        *request.version_mut() = http::Version::HTTP_11;
        check_url(&request, options)?;
        Ok(Self { client: if money { pair.money } else { pair.other }, request, gate, max_answer: options.max_answer })
    }

    /// Sends it and waits for the whole answer, at most for `left`.
    pub(crate) async fn run(self, left: Duration) -> Outcome {
        let gate = self.gate;
        // Also on cancellation: the connection is a task of its own, and must not write what nobody waits for.
        let _closed_at_the_end = gate.clone().map(CloseOnDrop);
        match tokio::time::timeout(left, exchange(self.client, self.request, self.max_answer)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(judge(gate.as_deref(), &failure)),
            Err(_) => Err(judge(gate.as_deref(), &Failure::TimedOut)),
        }
    }
}

/// Only HTTP and HTTPS, no credentials in the URL, and no address of the inside. reqwest has normalised the host by now
/// (`2130706433` and `0x7f.1` have become `127.0.0.1`).
fn check_url(request: &Request, options: &TransportOptions) -> Result<(), NotSent> {
    let url = request.url();
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NotSent::Refused("only http and https are called".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(NotSent::Refused("a URL must not carry credentials".to_owned()));
    }
    let host = url.host_str().ok_or_else(|| NotSent::Refused("the URL has no host".to_owned()))?;
    options.addresses.check_literal(host).map_err(|e| NotSent::Refused(e.to_string()))
}

enum Failure {
    TimedOut,
    TooLarge(usize),
    Http(reqwest::Error),
}

async fn exchange(client: Client, request: Request, max_answer: usize) -> Result<http::Response<Bytes>, Failure> {
    let response = client.execute(request).await.map_err(Failure::Http)?;
    let status = response.status();
    let headers = response.headers().clone();
    let body = read_bounded(response, max_answer).await?;
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

async fn read_bounded(mut response: Response, max: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::Http)? {
        if body.len() + chunk.len() > max {
            return Err(Failure::TooLarge(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What the failure means for the request. With a body the gate knows; without one only errors of connecting are certain.
fn judge(gate: Option<&Gate>, failure: &Failure) -> CallError {
    let departure = match (gate, failure) {
        (Some(gate), _) => gate.close(),
        (None, Failure::Http(error)) if error.is_connect() || error.is_builder() => Departure::NeverLeft,
        (None, _) => Departure::MayHaveArrived,
    };
    match (departure, failure) {
        (Departure::TooLate, _) => CallError::NotSent(NotSent::TooLate),
        (Departure::NeverLeft, failure) => CallError::NotSent(unsent(failure)),
        (Departure::MayHaveArrived, failure) => CallError::NoAnswer(words(failure)),
    }
}

fn unsent(failure: &Failure) -> NotSent {
    match failure {
        Failure::Http(error) => match find::<NotAllowed>(error) {
            Some(refused) => NotSent::Refused(refused.to_string()),
            None => NotSent::NoConnection(root(error)),
        },
        other => NotSent::NoConnection(words(other)),
    }
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::TimedOut => "timed out".to_owned(),
        Failure::TooLarge(max) => format!("the answer is larger than {max} bytes"),
        Failure::Http(error) => root(error),
    }
}

/// The innermost cause. The outer layers of a reqwest error repeat the URL, which may hold an id.
fn root(error: &reqwest::Error) -> String {
    let mut innermost: &(dyn Error + 'static) = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".to_owned(),
        None => innermost.to_string(),
    }
}

fn find<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}
