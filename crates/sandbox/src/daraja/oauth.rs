//! The token endpoint, and tokens at the door of every other endpoint (M-Pesa contract 1).

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use http::header::AUTHORIZATION;

use super::gateway::{answer, bearer, error, json_answer};
use super::names::access_token;
use super::options::Product;
use super::{DarajaSim, OutageForm};
use crate::random::Chance;
use crate::wire::{Reply, Request, Response};

/// Live tokens: the app's consumer key and the moment it ends.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<String, (String, DateTime<Utc>)>);

impl Tokens {
    fn end_all_of(&mut self, consumer_key: &str) {
        self.0.retain(|_, (owner, _)| owner != consumer_key);
    }
}

/// Who is at the door.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub consumer_key: String,
    pub token: String,
}

impl DarajaSim {
    /// `GET /oauth/v1/generate?grant_type=client_credentials`.
    pub(super) fn issue_token(&mut self, now: DateTime<Utc>, request: &Request) -> Reply {
        let response = self.token_response(now, request);
        let delay = self.options.answer_delay + self.faults.draw_slow(&mut self.chance);
        Reply { response: Some(response), delay }
    }

    fn token_response(&mut self, now: DateTime<Utc>, request: &Request) -> Response {
        if request.method() != Method::GET {
            return error(&mut self.chance, 404, "404.001.04", "Invalid Authentication Header");
        }
        let Some((key, secret)) = basic(request) else {
            return error(&mut self.chance, 400, "400.008.01", "Invalid Authentication passed");
        };
        if self.options.other_environment_keys.contains(&key) {
            return answer(400, "application/json", "");
        }
        let mut apps = self.options.apps.iter();
        if !apps.any(|app| app.consumer_key == key && app.consumer_secret == secret) {
            return error(&mut self.chance, 400, "400.008.01", "Invalid Authentication passed");
        }
        let mut parameters = request.uri().query().unwrap_or_default().split('&');
        if !parameters.any(|parameter| parameter == "grant_type=client_credentials") {
            return error(&mut self.chance, 400, "400.008.02", "Invalid grant type passed");
        }
        self.tokens.0.retain(|_, (_, ends)| *ends > now);
        if self.options.new_token_ends_old {
            self.tokens.end_all_of(&key);
        }
        let token = access_token(&mut self.chance);
        let ends = now + TimeDelta::seconds(i64::from(self.options.token_seconds));
        self.tokens.0.insert(token.clone(), (key, ends));
        let seconds = self.options.token_seconds.to_string();
        if self.chance.per_mille(self.options.loose_typing_per_mille) {
            let body = format!("{{\"access_token\":\"{token}\",\"expires_in\":{seconds}}}");
            return answer(200, "application/json", body);
        }
        json_answer(200, &[("access_token", &token), ("expires_in", &seconds)])
    }

    /// Lets a caller with a live token of an app that has the product in, or says what the gateway answers.
    pub(super) fn admit(&mut self, now: DateTime<Utc>, request: &Request, product: Product) -> Result<Caller, Box<Response>> {
        let Some(token) = bearer(request) else {
            return Err(Box::new(error(&mut self.chance, 404, "404.001.04", "Invalid Authentication Header")));
        };
        let owner = self.tokens.0.get(token).filter(|(_, ends)| *ends > now).map(|(owner, _)| owner.clone());
        let Some(consumer_key) = owner else {
            return Err(Box::new(invalid_token(&mut self.chance, product, token)));
        };
        let app = self.options.apps.iter().find(|app| app.consumer_key == consumer_key);
        if !app.is_some_and(|app| app.products.contains(&product)) {
            return Err(Box::new(self.product_missing(product, token)));
        }
        Ok(Caller { consumer_key, token: token.to_owned() })
    }

    /// A fresh token that the API does not take: the app lacks the product.
    fn product_missing(&mut self, product: Product, token: &str) -> Response {
        if self.chance.coin() {
            return invalid_token(&mut self.chance, product, token);
        }
        error(&mut self.chance, 401, "401.002.01", "Invalid API call as no apiproduct match found")
    }

    /// Whether the app may speak for the shortcode.
    pub(super) fn speaks_for(&self, caller: &Caller, shortcode: &str) -> bool {
        let app = self.options.apps.iter().find(|app| app.consumer_key == caller.consumer_key);
        let named = app.is_some_and(|app| app.shortcodes.iter().any(|number| number == shortcode));
        named && self.book.tills.contains_key(shortcode)
    }

    /// Ends all tokens of the caller's app and answers as for an invalid one.
    pub(super) fn revoke(&mut self, caller: &Caller, product: Product) -> Response {
        self.tokens.end_all_of(&caller.consumer_key);
        invalid_token(&mut self.chance, product, &caller.token)
    }

    /// Ends all tokens of all apps, as after a deployment at Safaricom.
    pub fn revoke_all_tokens(&mut self) {
        self.tokens.0.clear();
    }

    /// The outage of the request's shortcode, as a reply.
    pub(super) fn shortcode_outage(&mut self, now: DateTime<Utc>, shortcode: &str) -> Option<Reply> {
        let form: OutageForm = self.outage_form(now, Some(shortcode))?;
        Some(self.outage_reply(form))
    }
}

/// The code for an expired or invalid token depends on the API (M-Pesa contract 1).
fn invalid_token(chance: &mut Chance, product: Product, token: &str) -> Response {
    match product {
        Product::Status => error(chance, 400, "400.003.01", "Invalid Access Token"),
        Product::B2c | Product::Balance => error(chance, 401, "401.002.01", &format!("Error Occurred - Invalid Access Token - {token}")),
    }
}

fn basic(request: &Request) -> Option<(String, String)> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (key, secret) = decoded.split_once(':')?;
    Some((key.to_owned(), secret.to_owned()))
}
