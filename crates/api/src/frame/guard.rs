//! The door of a route: who is asking, how often, and may he.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, header};
use pv_kernel::problem::Problem;
use pv_vault::{audit::Actor, partner::api_key};
use uuid::Uuid;

use super::limit::Limiter;
use crate::{endpoint::Access, extract::Caller, problem::ApiError, state::ApiState};

/// The id of the running request, set by the outer frame.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The address of the client, set by the outer frame.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddress(pub Option<IpAddr>);

/// The buckets of all keys.
#[derive(Debug, Clone)]
pub struct KeyLimiter(Arc<Limiter<Uuid>>);

impl KeyLimiter {
    /// New buckets.
    pub fn new(state: &ApiState) -> Self {
        Self(Arc::new(Limiter::new("key", state.limits.per_key, state.engine.clock.clone())))
    }
}

/// What the guard of one route needs.
#[derive(Debug, Clone)]
pub struct Door {
    /// The house.
    pub state: ApiState,
    /// What the route needs.
    pub access: Access,
    /// The buckets.
    pub limiter: KeyLimiter,
}

/// Lets in whom the route lets in. Nothing of the body is read before.
pub async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    if door.access == Access::Public {
        return next.run(request).await;
    }
    // The request itself is not held over the question: its body cannot be shared between threads.
    let (headers, address) = (request.headers().clone(), request.extensions().get::<ClientAddress>().and_then(|a| a.0));
    let id = request.extensions().get::<RequestId>().cloned();
    let actor = match who(&door, &headers, address, id).await {
        Ok(actor) => actor,
        Err(error) => return error.into_response(),
    };
    let left = match door.limiter.0.take(&actor.id) {
        Ok(left) => left,
        Err((left, problem)) => {
            let mut response = ApiError::from(problem).into_response();
            left.write(response.headers_mut());
            return response;
        }
    };
    let mut response = match door.access {
        Access::Needs(permission) if !actor.may(permission) => match actor.require(permission) {
            Err(problem) => ApiError::from(problem).into_response(),
            Ok(()) => ApiError::from(Problem::unavailable("The permission could not be decided.")).into_response(),
        },
        _ => {
            tracing::Span::current().record("actor", tracing::field::display(actor.id));
            request.extensions_mut().insert(Caller(actor));
            next.run(request).await
        }
    };
    left.write(response.headers_mut());
    response
}

async fn who(door: &Door, headers: &HeaderMap, address: Option<IpAddr>, id: Option<RequestId>) -> Result<Actor, ApiError> {
    let actor = api_key::authenticate(&door.state.engine, key_of(headers)?, address).await?;
    if actor.environment != door.state.environment {
        let detail = format!("This key is for {}, and this installation is {}.", actor.environment, door.state.environment);
        return Err(Problem::refused("wrong_environment", 403, detail, "Use a key of this environment, or call the other installation.").into());
    }
    Ok(match id {
        Some(RequestId(id)) => actor.with_request(id),
        None => actor,
    })
}

fn key_of(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = || {
        ApiError::from(Problem::refused(
            "not_authenticated",
            401,
            "The API key is missing, wrong or has ended.",
            "Send a valid key as Authorization: Bearer …, or as X-API-Key.",
        ))
    };
    let bearer = headers.get(header::AUTHORIZATION).map(|value| {
        let text = value.to_str().unwrap_or_default();
        let (scheme, key) = text.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") { key.trim() } else { "" }
    });
    let own = headers.get("x-api-key").map(|value| value.to_str().unwrap_or_default().trim());
    match (bearer, own) {
        // Two different keys in one request: we do not guess which is meant.
        (Some(a), Some(b)) if a != b => Err(missing()),
        (Some(key), _) | (None, Some(key)) if !key.is_empty() => Ok(key),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let map: HeaderMap = headers.iter().map(|(n, v)| (n.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(v))).collect();
        key_of(&map).ok().map(str::to_owned)
    }

    #[test]
    fn a_key_comes_in_one_of_two_headers() {
        assert_eq!(key(&[("authorization", "Bearer k")]).as_deref(), Some("k"));
        assert_eq!(key(&[("authorization", "bearer  k ")]).as_deref(), Some("k"));
        assert_eq!(key(&[("x-api-key", "k")]).as_deref(), Some("k"));
        assert_eq!(key(&[("x-api-key", "k"), ("authorization", "Bearer k")]).as_deref(), Some("k"));
        for none in [
            &[][..],
            &[("authorization", "k")],
            &[("authorization", "Basic k")],
            &[("authorization", "Bearer ")],
            &[("x-api-key", "")],
            &[("x-api-key", "a"), ("authorization", "Bearer b")],
            &[("x-api-key", "a"), ("authorization", "Basic b")],
        ] {
            assert_eq!(key(none), None, "{none:?}");
        }
    }
}
