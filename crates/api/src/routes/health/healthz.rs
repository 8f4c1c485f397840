//! `GET /healthz`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    endpoint::{Access, Endpoint},
    schema::Answer,
};

/// The process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
}

/// The process lives and answers. Asks nothing else.
#[utoipa::path(get, path = "/healthz", tag = "Health", operation_id = "health", responses((status = 200, description = "It lives.", body = Health)))]
async fn health() -> Answer {
    Answer::ok(&Health { status: "ok".to_owned() })
}

/// The route.
pub fn endpoint() -> Endpoint {
    Endpoint::new(Access::Public, routes!(health))
}
