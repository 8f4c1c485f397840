//! The OpenAPI document, and the pages that show it.

use axum::{Router, http::HeaderValue, middleware, response::Response};
use http::header;
use utoipa::{
    OpenApi as _,
    openapi::{
        ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    routes,
    schema::{ProblemDocument, ProblemMember},
    state::ApiState,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Payment Vault",
        description = "Pays approved loans by M-Pesa, books them in the core-banking system, and explains every shilling.\n\n\
            Amounts in requests are numbers or decimal strings in shillings, read exactly; amounts in answers are decimal strings. \
            Times are RFC 3339. Errors are RFC 9457 problem documents with a stable `code` and three answers: did money move, what do we do next, what can you do. \
            Lists have a cursor. Another partner's rows do not exist for a partner's key (404). What a route needs stands in `x-permission`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "M-Pesa", description = "Paying without a loan, and asking about any payment."),
        (name = "Disbursements", description = "Decisions to pay: lists, timelines, and what people do with them."),
        (name = "Loans", description = "Approved loans of the core."),
        (name = "Four eyes", description = "What one person asked for and another decides."),
        (name = "Items", description = "What a person must settle."),
        (name = "Stop", description = "Stopping new sends, at once."),
        (name = "Wallet", description = "The prepaid account that pays the charges."),
        (name = "Partners", description = "The tenants of the platform."),
        (name = "API keys", description = "Keys for machines."),
        (name = "M-Pesa connections", description = "Shortcodes and their credentials."),
        (name = "Mifos X", description = "Connections to core-banking systems, and their loan products."),
        (name = "SMS", description = "The account at the SMS gateway."),
        (name = "Knowing", description = "The sentence, the path of anything, the audit trail."),
        (name = "Health", description = "For load balancers and monitors.")
    ),
    components(schemas(ProblemDocument, ProblemMember))
)]
struct Base;

/// Status, what it means, and an example: its code and detail.
const PROBLEMS: &[(&str, &str, &str, &str)] = &[
    (
        "400",
        "The request cannot be read: no JSON, or a bad or missing Idempotency-Key.",
        "invalid_json",
        "The body is not JSON: EOF while parsing an object at line 1 column 1",
    ),
    ("401", "The API key is missing, wrong or has ended.", "not_authenticated", "The API key is missing, wrong or has ended."),
    (
        "403",
        "The key may not do this, or not from there.",
        "not_permitted",
        "This needs the permission stop.set, which the role viewer does not have.",
    ),
    ("404", "There is no such thing, or it is another partner's; we do not say which.", "not_found", "There is no such disbursement."),
    ("409", "The state of things does not allow it.", "wrong_state", "A disbursement that is paid cannot be cancelled."),
    ("413", "The body is too large.", "body_too_large", "The body is too large."),
    ("415", "The body is not declared as JSON.", "unsupported_media_type", "The body is not declared as JSON."),
    ("422", "A member is wrong, or a rule refuses it; `errors` points at the member.", "amount_has_cents", "M-Pesa moves whole shillings only."),
    ("429", "Too many requests; `Retry-After` says when to come again.", "too_many_requests", "More than 6000 requests in a minute (key)."),
    (
        "500",
        "A fault on our side. `money_moved` says what is known about the effect.",
        "internal_error",
        "The request broke because of a fault on our side.",
    ),
    (
        "503",
        "Not available now; `Retry-After` says when to come again.",
        "unavailable",
        "The request could not be carried out because of a fault on our side.",
    ),
];

/// The document, put together from the endpoints.
pub fn openapi() -> OpenApi {
    let mut base = Base::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut base.info.version);
    let components = base.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("pv_test_… or pv_live_…").description(Some("Your API key.")).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme(
        "x_api_key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-API-Key", "The same key, in a header of its own."))),
    );
    for (status, description, code, detail) in PROBLEMS {
        let example = serde_json::json!({
            "type": format!("{}{code}", crate::problem::TYPES), "title": code.replace('_', " "), "status": status.parse::<u16>().unwrap_or(500), "detail": detail, "code": code,
            "money_moved": if *status == "500" { "not_yet_known" } else { "no" }, "what_we_do": "Nothing: the request was not carried out.", "what_you_can_do": "See the detail.",
            "request_id": "019aa0c4-9d1c-7a53-b6cf-2f2a3a0f6f10"
        });
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).example(Some(example)).build();
        let response = ResponseBuilder::new().description(*description).content("application/problem+json", content).build();
        components.responses.insert(format!("Problem{status}"), RefOr::T(response));
    }
    let router =
        routes::all().into_iter().fold(OpenApiRouter::<ApiState>::with_openapi(base), |router, endpoint| router.routes(endpoint.documented()));
    router.into_openapi()
}

/// The document and its live reference: `/api/openapi.json`, `/api/docs`. Open to everybody; everything in them is public.
pub(crate) fn pages() -> Router {
    let config =
        Config::from("/api/openapi.json").try_it_out_enabled(true).persist_authorization(false).display_request_duration(true).validator_url("none");
    Router::from(SwaggerUi::new("/api/docs").config(config).url("/api/openapi.json", openapi())).layer(middleware::map_response(own_policy))
}

/// The reference page brings its own scripts and styles, and nothing from elsewhere.
async fn own_policy(mut response: Response) -> Response {
    let policy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
