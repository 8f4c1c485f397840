//! The reqwest clients: one for money calls and one for all others, and the same pair for each extra certificate
//! authority.
//!
//! # No replay (rule A4)
//!
//! What reqwest 0.13, hyper-util 0.1 and hyper 1 would do by themselves, and what is done about it:
//!
//! - reqwest retries "protocol nacks" by default. They exist in HTTP/2 and HTTP/3 only, which are not compiled in; the
//!   policy is set to `never` all the same.
//! - reqwest follows redirects by default: switched off. A redirect is an answer like any other.
//! - hyper-util repeats a request on a new connection when the pooled connection that it was given turned out to be
//!   closed. It does so only when hyper hands the request back unstarted, before its head was written and its body
//!   polled, so the other side has seen nothing of it. That is no repeat of a submission, but reqwest has no switch for
//!   it, and a reused connection that dies *after* the write makes a payout "not yet known" for no good reason. So money
//!   calls (those with a `write_before`) get a client without a pool: each has a connection of its own, and hyper-util
//!   never repeats on a fresh one. All other calls may reuse connections.
//! - Whatever these crates do, the body of a request is a value that is moved once and passes its gate once (see `gate`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pv_kernel::crypto::sha256;
use reqwest::{Certificate, Client, redirect::Policy};

use crate::{TransportOptions, address::GuardedResolver};

/// Most certificate authorities whose clients are kept; beyond it all are made anew.
const MAX_AUTHORITIES: usize = 256;
/// Idle connections kept per host for calls that are no money calls.
const IDLE_PER_HOST: usize = 8;
/// How long an idle connection is kept: shorter than what servers and firewalls usually allow.
const IDLE_FOR: Duration = Duration::from_secs(20);

/// A client for money calls and one for the others.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) money: Client,
    pub(crate) other: Client,
}

pub(crate) struct Clients {
    connect_timeout: Duration,
    resolver: GuardedResolver,
    plain: Pair,
    by_authority: Mutex<HashMap<[u8; 32], Pair>>,
}

impl Clients {
    /// Fails when the platform's certificates cannot be read.
    pub(crate) fn new(options: &TransportOptions) -> Result<Self, String> {
        let resolver = GuardedResolver(options.addresses.clone());
        let plain = pair(options.connect_timeout, &resolver, &[])?;
        Ok(Self { connect_timeout: options.connect_timeout, resolver, plain, by_authority: Mutex::default() })
    }

    /// The clients that trust this certificate authority too. Fails on a text that is no PEM certificate.
    pub(crate) fn for_trust(&self, pem: Option<&str>) -> Result<Pair, String> {
        let Some(pem) = pem else {
            return Ok(self.plain.clone());
        };
        let key = sha256(pem.as_bytes());
        if let Some(pair) = self.by_authority.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(pair.clone());
        }
        let certificates =
            Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| "the extra certificate authority is not a PEM certificate".to_owned())?;
        if certificates.is_empty() {
            return Err("the extra certificate authority holds no certificate".to_owned());
        }
        let made = pair(self.connect_timeout, &self.resolver, &certificates)?;
        let mut known = self.by_authority.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_AUTHORITIES {
            known.clear();
        }
        known.insert(key, made.clone());
        Ok(made)
    }
}

fn pair(connect_timeout: Duration, resolver: &GuardedResolver, authorities: &[Certificate]) -> Result<Pair, String> {
    let client = |idle: usize| {
        Client::builder()
            .http1_only()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            // Proxies of the environment are not used: they would see past the address policy, and settings are read at
            // the edge of the program only.
            .no_proxy()
            .referer(false)
            .user_agent(concat!("payvault/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .dns_resolver(Arc::new(resolver.clone()))
            .pool_max_idle_per_host(idle)
            .pool_idle_timeout(IDLE_FOR)
            .tls_certs_merge(authorities.iter().cloned())
            .build()
            .map_err(|e| format!("the HTTP client cannot be made: {e:?}"))
    };
    Ok(Pair { money: client(0)?, other: client(IDLE_PER_HOST)? })
}
