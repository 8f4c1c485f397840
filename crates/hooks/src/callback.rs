//! `/h/{token}/…`: what M-Pesa and the SMS gateways post to us.
//!
//! The token is hexadecimal, so that no word that Safaricom forbids can occur in a URL of ours (M-Pesa contract 8.4, rule D2). A message from an
//! address that is not M-Pesa's is stored and answered like any other: it proves nothing, but it is a reason to ask (rule A6).
//!
//! `/api/mpesa/callback` is the documented public name. It is never registered with Safaricom and carries no token, so what comes
//! there belongs to nothing: it is kept for a person and answered.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    response::Response,
    routing::post,
};
use http::StatusCode;
use pv_vault::message::Kind;

use crate::{Counted, answer, doors::Doors};

/// The paths after the token, and what a message there is.
pub const MPESA_PATHS: [(&str, Kind); 6] = [
    ("b2c/result", Kind::B2cResult),
    ("b2c/timeout", Kind::B2cTimeout),
    ("status/result", Kind::StatusResult),
    ("status/timeout", Kind::StatusTimeout),
    ("balance/result", Kind::BalanceResult),
    ("balance/timeout", Kind::BalanceTimeout),
];

/// The documented public name, never registered with Safaricom.
pub const ALIAS: &str = "/api/mpesa/callback";

const KEPT_OF_MPESA: [&str; 2] = ["content-type", "user-agent"];
const KEPT_OF_DAMZA: [&str; 3] = ["content-type", "user-agent", "x-damza-signature"];

/// Longest token; ours have 32 digits.
const LONGEST_TOKEN: usize = 64;

pub(crate) fn router() -> Router<Arc<Doors>> {
    let mut router = Router::new();
    for (path, kind) in MPESA_PATHS {
        let take = move |State(doors): State<Arc<Doors>>, Path(token): Path<String>, request: Request| async move {
            from_mpesa(&doors, kind, token, request).await
        };
        router = router.route(&format!("/h/{{token}}/{path}"), post(take).get(probe));
    }
    let alias = async |State(doors): State<Arc<Doors>>, request: Request| from_mpesa(&doors, Kind::B2cResult, String::new(), request).await;
    router.route("/h/{token}/sms/damza/{secret}", post(damza_report).get(probe)).route(ALIAS, post(alias).get(probe))
}

/// Some providers look whether there is anybody.
async fn probe() -> Response {
    answer::ok()
}

async fn from_mpesa(doors: &Doors, kind: Kind, token: String, request: Request) -> Response {
    let peer = doors.peer(&request);
    let trusted = doors.state.sources.speaks_for_mpesa(peer);
    let token = well_formed(token);
    // M-Pesa's own addresses are refused nothing but the absurd; everybody else has a stranger's share.
    let allowed = (trusted || doors.buckets.stranger(peer.address())) && doors.buckets.callback(&token);
    if !allowed {
        doors.count(Counted::Limited);
        tracing::warn!(%peer, trusted, kind = kind.as_str(), "too many callbacks; not stored");
        return answer::not_taken_from_mpesa(StatusCode::TOO_MANY_REQUESTS);
    }
    let Ok(arrived) = doors.take_in(request, peer).await else {
        return answer::not_taken_from_mpesa(StatusCode::PAYLOAD_TOO_LARGE);
    };
    match doors.store(arrived.inbound(kind, token, trusted, &KEPT_OF_MPESA)).await {
        Ok(_) => answer::accepted_by_mpesa(),
        Err(error) => {
            tracing::error!(%peer, kind = kind.as_str(), %error, "a callback is answered with 500");
            answer::not_taken_from_mpesa(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// Delivery reports of Damza (SMS contract 2.4). The account is found by the last part of the path; whether the signature is that
/// account's is judged when the report is weighed.
async fn damza_report(State(doors): State<Arc<Doors>>, Path((_, secret)): Path<(String, String)>, request: Request) -> Response {
    let peer = doors.peer(&request);
    if !doors.buckets.address(peer.address()) {
        doors.count(Counted::Limited);
        return answer::too_many();
    }
    let Ok(arrived) = doors.take_in(request, peer).await else {
        return answer::not_taken_from_mpesa(StatusCode::PAYLOAD_TOO_LARGE);
    };
    // Nobody lists the addresses of gateways: the path and the signature are the proof.
    match doors.store(arrived.inbound(Kind::SmsReport, well_formed(secret), true, &KEPT_OF_DAMZA)).await {
        Ok(_) => answer::ok(),
        Err(error) => answer::problem(&pv_kernel::problem::Problem::unavailable(error.to_string())),
    }
}

/// A token that cannot be one of ours is none at all: the message then belongs to nothing.
fn well_formed(token: String) -> String {
    let hexadecimal = token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hexadecimal && token.len() <= LONGEST_TOKEN { token } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hexadecimal_is_a_token() {
        assert_eq!(well_formed("00ff".into()), "00ff");
        for bad in ["00FF", "xyz", "0'; drop", &"a".repeat(65), "ä"] {
            assert_eq!(well_formed(bad.to_owned()), "", "{bad}");
        }
    }
}
