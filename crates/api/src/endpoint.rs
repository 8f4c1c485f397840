//! How an endpoint names what it needs. There is no way to add a route without saying so: [`Endpoint::new`] takes the access first.

use axum::{middleware, routing::MethodRouter};
use pv_vault::audit::Permission;
use utoipa::openapi::{
    ObjectBuilder, Ref, RefOr, Required, Type,
    extensions::ExtensionsBuilder,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem, Paths},
    schema::Schema,
    security::SecurityRequirement,
};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::{frame::guard, state::ApiState};

/// What a caller of a route must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: open to everybody.
    Public,
    /// Any valid key; the use case decides about the rest.
    AnyKey,
    /// A key with this permission. The use case requires it too.
    Needs(Permission),
}

impl Access {
    /// As `x-permission` in the OpenAPI document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::AnyKey => "any key",
            Self::Needs(permission) => permission.as_str(),
        }
    }
}

/// Whether a command takes an `Idempotency-Key` (rule D3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// It creates nothing.
    None,
    /// Taken; without one, the command has an identity of its own (a reference, a loan, a number).
    Optional,
    /// Needed.
    Required,
}

/// One route as the table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// `/api/partners/{id}`.
    pub path: String,
    /// What it needs.
    pub access: Access,
    /// Whether it takes an `Idempotency-Key`.
    pub key: KeyUse,
}

/// One route: its handler, its text and what it needs.
pub struct Endpoint {
    access: Access,
    key: KeyUse,
    schemas: Vec<(String, RefOr<Schema>)>,
    paths: Paths,
    methods: MethodRouter<ApiState>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("access", &self.access).field("routes", &self.infos()).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// From the `routes!` of its handler.
    pub fn new(access: Access, (schemas, paths, methods): UtoipaMethodRouter<ApiState>) -> Self {
        Self { access, key: KeyUse::None, schemas, paths, methods }
    }

    /// Takes an `Idempotency-Key`.
    #[must_use]
    pub fn keyed(mut self, key: KeyUse) -> Self {
        self.key = key;
        self
    }

    /// Its rows of the table.
    pub fn infos(&self) -> Vec<RouteInfo> {
        let row = |path: &String, item: &PathItem| {
            let (path, access, key) = (path.clone(), self.access, self.key);
            methods_of(item).map(move |method| RouteInfo { method, path: path.clone(), access, key }).collect::<Vec<_>>()
        };
        self.paths.paths.iter().flat_map(|(path, item)| row(path, item)).collect()
    }

    /// With its text completed: what it needs, the refusals that every route may answer.
    pub(crate) fn documented(mut self) -> UtoipaMethodRouter<ApiState> {
        let (access, key) = (self.access, self.key);
        for item in self.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete].into_iter().flatten() {
                complete(operation, access, key);
            }
        }
        (self.schemas, self.paths, self.methods)
    }

    /// The same behind the guard.
    pub(crate) fn guarded(self, state: &ApiState, limits: &guard::KeyLimiter) -> UtoipaMethodRouter<ApiState> {
        let door = guard::Door { state: state.clone(), access: self.access, limiter: limits.clone() };
        let (schemas, paths, methods) = self.documented();
        (schemas, paths, methods.route_layer(middleware::from_fn_with_state(door, guard::guard)))
    }
}

fn methods_of(item: &PathItem) -> impl Iterator<Item = &'static str> {
    let present = [
        ("GET", item.get.is_some()),
        ("POST", item.post.is_some()),
        ("PATCH", item.patch.is_some()),
        ("PUT", item.put.is_some()),
        ("DELETE", item.delete.is_some()),
    ];
    present.into_iter().filter(|(_, there)| *there).map(|(name, _)| name)
}

fn complete(operation: &mut Operation, access: Access, key: KeyUse) {
    let mut extensions = operation.extensions.take().unwrap_or_default();
    extensions.merge(ExtensionsBuilder::new().add("x-permission", access.word()).build());
    operation.extensions = Some(extensions);
    let mut statuses = vec!["429", "500", "503"];
    if access == Access::Public {
        operation.security = Some(vec![SecurityRequirement::default()]);
    } else {
        operation.security =
            Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new()), SecurityRequirement::new("x_api_key", Vec::<String>::new())]);
        statuses.extend(["401", "403"]);
    }
    let in_path = operation.parameters.iter().flatten().any(|p| matches!(p, RefOr::T(p) if matches!(p.parameter_in, ParameterIn::Path)));
    let in_query = operation.parameters.iter().flatten().any(|p| matches!(p, RefOr::T(p) if matches!(p.parameter_in, ParameterIn::Query)));
    if in_path {
        statuses.extend(["400", "404"]);
    }
    if in_query {
        statuses.extend(["400", "404", "422"]);
    }
    if operation.request_body.is_some() {
        statuses.extend(["400", "404", "409", "413", "415", "422"]);
    }
    let parameters = operation.parameters.get_or_insert_default();
    if key != KeyUse::None {
        statuses.extend(["400", "409", "422"]);
        parameters.push(RefOr::T(idempotency_header(key)));
    }
    parameters.push(RefOr::T(request_id_header()));
    for status in statuses {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(format!("Problem{status}"))));
    }
}

fn idempotency_header(key: KeyUse) -> Parameter {
    let text = match key {
        KeyUse::Required => {
            "A text of your own for this one request, kept with your record of it (a UUID). The same key with the same body has one effect; the answer is then marked `Idempotency-Replayed: true`."
        }
        _ => "As for other commands; may be left out here, because the command carries an identity of its own.",
    };
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(if key == KeyUse::Required { Required::True } else { Required::False })
        .description(Some(text))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255))))
        .example(Some("0f9b7a52-7d5e-4b8e-9c39-0c1f3f6a2f11".into()))
        .build()
}

fn request_id_header() -> Parameter {
    ParameterBuilder::new()
        .name("X-Request-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("Your id of the request; comes back in the answer and stands in our logs. Left out or malformed, we make one."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(100)).pattern(Some("^[A-Za-z0-9._:-]+$"))))
        .build()
}

/// Every route of the API, in the order of the document.
pub fn route_table() -> Vec<RouteInfo> {
    crate::routes::all().iter().flat_map(Endpoint::infos).collect()
}
