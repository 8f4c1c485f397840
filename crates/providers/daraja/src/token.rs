//! The bearer token (M-Pesa contract 1). One token per environment and consumer key is shared by all processes; a new one
//! makes the old one invalid. Sharing and locking are the token store's; here is only the request for a new one.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use pv_kernel::{
    crypto::sha256,
    rail::RailAccount,
    transport::{Call, CallError, TokenError, TokenFetch, Transport},
};
use secrecy::ExposeSecret;

use crate::{limits, loose::Object, wire};

/// The name under which the token is shared: environment and a hash of the consumer key.
pub fn key(account: &RailAccount) -> String {
    format!("{}|{}", account.environment, hex::encode(sha256(account.consumer_key.as_bytes())))
}

/// A request for a new token.
pub(crate) struct TokenRequest<'a> {
    pub(crate) transport: &'a Arc<dyn Transport>,
    pub(crate) account: &'a RailAccount,
}

#[async_trait]
impl TokenFetch for TokenRequest<'_> {
    async fn fetch(&self) -> Result<(String, u32), TokenError> {
        let account = self.account;
        let pair = format!("{}:{}", account.consumer_key, account.consumer_secret.expose_secret());
        let unusable = |_| TokenError::Refused("the consumer key or the base URL cannot be used".to_owned());
        let mut basic = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
            .map_err(|_| TokenError::Refused("the consumer key cannot stand in a header".to_owned()))?;
        basic.set_sensitive(true);
        let request = Request::get(wire::url(account, "/oauth/v1/generate?grant_type=client_credentials"))
            .header(header::AUTHORIZATION, basic)
            .body(Bytes::new())
            .map_err(unusable)?;
        let call = Call {
            purpose: "mpesa.token",
            request,
            timeout: limits::TOKEN_TIMEOUT,
            write_before: None,
            trust: None,
            lane: wire::lane(account),
            rate: Some(account.rate),
        };
        match self.transport.call(call).await {
            Ok(response) => read(response.status().as_u16(), response.body()),
            Err(CallError::Crashed) => Err(TokenError::Crashed),
            Err(error) => Err(TokenError::Unavailable(error.to_string())),
        }
    }
}

/// Reads the answer of the token endpoint.
fn read(status: u16, body: &[u8]) -> Result<(String, u32), TokenError> {
    let object = Object::from_body(body).ok();
    if status == 200 {
        let token = object.as_ref().and_then(|o| o.filled("access_token")).filter(|t| t.len() <= 4096 && t.bytes().all(|b| b.is_ascii_graphic()));
        let life = object.as_ref().and_then(|o| o.filled("expires_in")).and_then(|t| t.trim().parse::<u32>().ok()).filter(|s| *s > 0);
        return match (token, life) {
            (Some(token), Some(life)) => Ok((token, life.min(3600))),
            _ => Err(TokenError::Unavailable("the answer holds no token and life that can be read".to_owned())),
        };
    }
    let code = object.as_ref().and_then(|o| o.filled("errorCode"));
    let text = object.as_ref().and_then(|o| o.text("errorMessage")).unwrap_or_default();
    match (status, code.as_deref()) {
        (400, Some(code @ ("400.008.01" | "400.008.02"))) => Err(TokenError::Refused(format!("{code} {text}"))),
        (400, None) if body.iter().all(u8::is_ascii_whitespace) => {
            Err(TokenError::Refused("an empty 400: are these sandbox credentials on the production host, or the reverse?".to_owned()))
        }
        (401, _) => Err(TokenError::Refused(format!("HTTP 401 {text}"))),
        (status, code) => Err(TokenError::Unavailable(format!("HTTP {status} {} {text}", code.unwrap_or_default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_token_is_a_number_or_a_string() {
        for body in [r#"{"access_token":"Qz7x","expires_in":"3599"}"#, r#"{"access_token":"Qz7x","expires_in":3599}"#] {
            assert_eq!(read(200, body.as_bytes()), Ok(("Qz7x".to_owned(), 3599)));
        }
        assert_eq!(read(200, br#"{"access_token":"a","expires_in":999999}"#), Ok(("a".to_owned(), 3600)));
    }

    #[test]
    fn refused_credentials_and_a_host_in_trouble_are_told_apart() {
        let refused = |status, body: &str| matches!(read(status, body.as_bytes()), Err(TokenError::Refused(_)));
        assert!(refused(400, r#"{"requestId":"1","errorCode":"400.008.01","errorMessage":"Invalid Authentication passed"}"#));
        assert!(refused(400, r#"{"requestId":"1","errorCode":"400.008.02","errorMessage":"Invalid grant type passed"}"#));
        assert!(refused(400, ""));
        assert!(refused(401, "<html>"));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, r#"{"access_token":"","expires_in":1}"#),
            (200, r#"{"access_token":"a\nb","expires_in":1}"#),
            (200, r#"{"access_token":"a","expires_in":-1}"#),
            (400, "<html>"),
            (500, ""),
            (503, "{}"),
            (403, ""),
        ] {
            assert!(matches!(read(status, body.as_bytes()), Err(TokenError::Unavailable(_))), "{status} {body}");
        }
    }
}
