//! `/api/mifos/webhook/…`: what Mifos X tells us about loans. Both ways are only hints to read the loan; the loan itself is read from the core.
//!
//! - `…/loan-approval/{token}/`: what a stock host posts, for every entity and action, unsigned, the secret in its path (Mifos X contract 7);
//! - `…/loan-approval`: the documented webhook (requirement L3), the token in its body, an HMAC header where a key is set;
//! - `…/test`: whether the way here works.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    response::Response,
    routing::{get, post},
};
use pv_kernel::problem::Problem;
use pv_vault::{
    VaultError,
    disbursement::sighting::Approval,
    message::Kind,
    partner::webhook::{self, WebhookOwner},
};

use crate::{
    Counted, answer,
    doors::{Arrived, Doors},
    source::Peer,
};

/// The header of the HMAC-SHA256 of the raw body, in hexadecimal, with or without `sha256=` before it.
pub const SIGNATURE: &str = "x-webhook-signature";

const KEPT_OF_HOST: [&str; 6] =
    ["content-type", "user-agent", "x-fineract-entity", "x-fineract-action", "fineract-platform-tenantid", "x-fineract-endpoint"];
const KEPT_OF_WEBHOOK: [&str; 3] = ["content-type", "user-agent", SIGNATURE];

pub(crate) fn router() -> Router<Arc<Doors>> {
    let hook = || post(from_host).get(host_probe);
    Router::new()
        .route("/api/mifos/webhook/loan-approval/{token}/", hook())
        .route("/api/mifos/webhook/loan-approval/{token}", hook())
        .route("/api/mifos/webhook/loan-approval", post(documented).get(documented_probe))
        .route("/api/mifos/webhook/test", get(test))
}

/// A stock host asks once, when its hook is created (Mifos X contract 7.1). It learns nothing about the token.
async fn host_probe(Path(_): Path<String>) -> Response {
    answer::reachable("This is a payload URL for hooks of Mifos X.")
}

async fn documented_probe() -> Response {
    answer::reachable("POST the approval of a loan here, with its webhookToken.")
}

async fn test() -> Response {
    answer::reachable("Payment Vault can be reached from where you are. POST approvals to /api/mifos/webhook/loan-approval.")
}

/// What a stock host posts.
async fn from_host(State(doors): State<Arc<Doors>>, Path(token): Path<String>, request: Request) -> Response {
    let arrived = match admitted(&doors, request).await {
        Ok(arrived) => arrived,
        Err(refusal) => return refusal,
    };
    match owner_of(&doors, &token).await {
        Ok(Some(owner)) => taken(&doors, arrived, Kind::LoanHook, &owner, &KEPT_OF_HOST).await,
        Ok(None) => nobodys(&doors, arrived, Kind::LoanHook, &Problem::not_found("payload URL"), &KEPT_OF_HOST).await,
        Err(problem) => answer::problem(&problem),
    }
}

/// The documented webhook.
async fn documented(State(doors): State<Arc<Doors>>, request: Request) -> Response {
    let arrived = match admitted(&doors, request).await {
        Ok(arrived) => arrived,
        Err(refusal) => return refusal,
    };
    let approval: Approval = match serde_json::from_slice(&arrived.body) {
        Ok(approval) => approval,
        Err(error) => {
            return nobodys(&doors, arrived, Kind::LoanWebhook, &malformed(&format!("not the documented payload: {error}")), &KEPT_OF_WEBHOOK).await;
        }
    };
    let owner = match owner_of(&doors, approval.webhook_token.as_deref().unwrap_or_default()).await {
        Ok(owner) => owner.filter(|owner| speaks_for(owner, &approval, &arrived)),
        Err(problem) => return answer::problem(&problem),
    };
    let Some(owner) = owner else {
        return nobodys(&doors, arrived, Kind::LoanWebhook, &unauthorised(), &KEPT_OF_WEBHOOK).await;
    };
    // Stored also when it cannot be understood: every request is kept. Only the answer differs.
    let understood = approval.understand();
    let stored = taken(&doors, arrived, Kind::LoanWebhook, &owner, &KEPT_OF_WEBHOOK).await;
    match understood {
        Err(why) if stored.status().is_success() => answer::problem(&malformed(&why)),
        _ => stored,
    }
}

/// The partner that it names is the token's, and the signature is right where a key is set.
fn speaks_for(owner: &WebhookOwner, approval: &Approval, arrived: &Arrived) -> bool {
    let named = approval.partner_id.as_deref().is_none_or(|named| named.parse() == Ok(owner.partner_id));
    let signed = owner.hmac_key.as_ref().is_none_or(|key| {
        let header = arrived.headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
        header.is_some_and(|header| webhook::signature_is_right(key, &arrived.body, header))
    });
    named && signed
}

/// Within the limits of its address, and with its body.
async fn admitted(doors: &Doors, request: Request) -> Result<Arrived, Response> {
    let peer: Peer = doors.peer(&request);
    if !doors.buckets.address(peer.address()) {
        doors.count(Counted::Limited);
        return Err(answer::too_many());
    }
    doors.take_in(request, peer).await.map_err(|_| answer::problem(&too_large()))
}

async fn owner_of(doors: &Doors, token: &str) -> Result<Option<WebhookOwner>, Problem> {
    let engine = &doors.state.engine;
    let find = async {
        let mut tx = engine.begin().await?;
        let owner = webhook::find_core_by_token(tx.conn(), &engine.keys, token, engine.now()).await?;
        tx.commit().await?;
        Ok::<_, VaultError>(owner)
    };
    find.await.map_err(|error| {
        doors.count(Counted::Failed);
        error.into_problem()
    })
}

/// Stores what a known connection sent.
async fn taken(doors: &Doors, arrived: Arrived, kind: Kind, owner: &WebhookOwner, keep: &[&str]) -> Response {
    if !doors.buckets.webhook(owner.core_id.uuid()) {
        doors.count(Counted::Limited);
        return answer::too_many();
    }
    if owner.previous {
        tracing::warn!(core = %owner.core_id, "a webhook came with the token before; it ends soon");
    }
    match doors.store(arrived.inbound(kind, owner.core_id.to_string(), true, keep)).await {
        Ok(stored) => answer::stored(stored.id),
        Err(error) => answer::problem(&Problem::unavailable(error.to_string())),
    }
}

/// Keeps what nobody can be held to have sent, within a stranger's limit, and refuses it.
async fn nobodys(doors: &Doors, arrived: Arrived, kind: Kind, refusal: &Problem, keep: &[&str]) -> Response {
    if !doors.buckets.stranger(arrived.peer.address()) {
        doors.count(Counted::Limited);
        return answer::too_many();
    }
    match doors.store(arrived.inbound(kind, String::new(), false, keep)).await {
        Ok(_) => answer::problem(refusal),
        Err(error) => answer::problem(&Problem::unavailable(error.to_string())),
    }
}

fn malformed(why: &str) -> Problem {
    Problem::refused("invalid_request", 422, format!("The body is {}.", why.trim_end_matches('.')), "Send the documented payload as JSON.")
}

/// One answer for all of it: who guesses learns nothing.
fn unauthorised() -> Problem {
    Problem::refused(
        "webhook_not_authenticated",
        401,
        "The webhookToken, the partnerId or the signature is not right.",
        "Send the token of this connection as webhookToken, its partner as partnerId, and sign the raw body where a key is set.",
    )
}

fn too_large() -> Problem {
    Problem::refused("body_too_large", 413, "The body is larger than 256 KiB, or did not arrive whole.", "Send one approval per request.")
}
