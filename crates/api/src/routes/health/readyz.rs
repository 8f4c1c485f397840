//! `GET /readyz`.

use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint},
    schema::Answer,
    state::ApiState,
};

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadyCheckAnswer {
    /// `database`, `clock`, `migrations`, …
    #[schema(example = "database")]
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What is wrong, in a few words, when it does not.
    pub detail: Option<String>,
}

/// Whether the process should get requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// All checks hold.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<ReadyCheckAnswer>,
}

/// Whether the process should get requests: the database answers, its clock agrees with ours, and what the operator added holds.
#[utoipa::path(get, path = "/readyz", tag = "Health", operation_id = "ready",
    responses((status = 200, description = "It is ready.", body = Readiness), (status = 503, description = "It is not; the checks say why.", body = Readiness)))]
async fn ready(State(api): State<ApiState>) -> Answer {
    let mut checks = database_and_clock(&api).await;
    for check in &api.ready_checks {
        let result = tokio::time::timeout(PATIENCE, (check.run)()).await.unwrap_or_else(|_| Err("it does not answer".to_owned()));
        checks.push(row(check.name, result));
    }
    let ready = checks.iter().all(|c| c.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::new(status, &Readiness { ready, checks })
}

async fn database_and_clock(api: &ApiState) -> Vec<ReadyCheckAnswer> {
    match tokio::time::timeout(PATIENCE, api.engine.db.now()).await {
        Ok(Ok(theirs)) => {
            let skew = (theirs - api.engine.now()).abs();
            let most = chrono::Duration::from_std(api.engine.limits.max_skew).unwrap_or(chrono::Duration::zero());
            let clock = if skew <= most { Ok(()) } else { Err(format!("our clock and the database's differ by {} ms", skew.num_milliseconds())) };
            vec![row("database", Ok(())), row("clock", clock)]
        }
        // The error may name hosts and users; it stands in the log.
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            vec![row("database", Err("the database does not answer".to_owned()))]
        }
        Err(_) => vec![row("database", Err("the database does not answer in time".to_owned()))],
    }
}

fn row(name: &str, result: Result<(), String>) -> ReadyCheckAnswer {
    ReadyCheckAnswer { name: name.to_owned(), ok: result.is_ok(), detail: result.err() }
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Public, routes!(ready))
}
