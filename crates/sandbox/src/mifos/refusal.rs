//! Errors as Fineract answers them (Mifos X contract 1.7): which code stands outside, which inside, and in what body.

use super::json::Json;

/// One entry of `errors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub(crate) code: String,
    pub(crate) parameter: Option<String>,
    pub(crate) value: Option<String>,
}

impl FieldError {
    pub(crate) fn new(code: impl Into<String>, parameter: Option<&str>, value: Option<String>) -> Self {
        Self { code: code.into(), parameter: parameter.map(str::to_owned), value }
    }
}

/// What body a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The envelope of 1.7.
    Envelope,
    /// One object without `errors`.
    Single,
    /// The servlet container's own page.
    Container,
    /// `{"Exception": "text"}`.
    Exception,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) errors: Vec<FieldError>,
    form: Form,
}

impl Refusal {
    fn envelope(status: u16, outer: &str, errors: Vec<FieldError>) -> Self {
        Self { status, code: outer.to_owned(), errors, form: Form::Envelope }
    }

    /// 400 with one error per field.
    pub(crate) fn validation(errors: Vec<FieldError>) -> Self {
        Self::envelope(400, "validation.msg.validation.errors.exist", errors)
    }

    /// 400 with one specific code.
    pub(crate) fn invalid(code: impl Into<String>, parameter: Option<&str>, value: Option<String>) -> Self {
        Self::validation(vec![FieldError::new(code, parameter, value)])
    }

    /// 400: the state of the account forbids the command.
    pub(crate) fn state(code: &str) -> Self {
        Self::invalid(code, None, None)
    }

    /// 400 for a `command=` that does not exist.
    pub(crate) fn unknown_command(command: &str) -> Self {
        Self::invalid("error.msg.query.parameter.value.unsupported", Some("command"), Some(command.to_owned()))
    }

    /// 400 for a body that is missing or not JSON.
    pub(crate) fn body() -> Self {
        Self { status: 400, code: "error.msg.invalid.request.body".to_owned(), errors: Vec::new(), form: Form::Single }
    }

    /// 403 of a business rule.
    pub(crate) fn rule(code: &str) -> Self {
        Self::envelope(403, "validation.msg.domain.rule.violation", vec![FieldError::new(code, None, None)])
    }

    /// 403 of a database constraint: the specific code stands outside.
    pub(crate) fn integrity(code: &str) -> Self {
        Self::envelope(403, code, vec![FieldError::new(code, None, None)])
    }

    /// 403 for a missing right.
    pub(crate) fn not_authorized() -> Self {
        Self::integrity("error.msg.not.authorized")
    }

    /// 404 of an unknown id.
    pub(crate) fn not_found(code: &str, id: impl std::fmt::Display) -> Self {
        Self::envelope(404, "error.msg.resource.not.found", vec![FieldError::new(code, Some("id"), Some(id.to_string()))])
    }

    /// 404 of an address that does not exist; the body is the container's.
    pub(crate) fn no_such_address() -> Self {
        Self { status: 404, code: "Not Found".to_owned(), errors: Vec::new(), form: Form::Container }
    }

    /// 405 of the container.
    pub(crate) fn method() -> Self {
        Self { status: 405, code: "Method Not Allowed".to_owned(), errors: Vec::new(), form: Form::Container }
    }

    /// 415 of the container.
    pub(crate) fn media_type() -> Self {
        Self { status: 415, code: "Unsupported Media Type".to_owned(), errors: Vec::new(), form: Form::Container }
    }

    /// 400 of the security filter: tenant missing or unknown.
    pub(crate) fn tenant() -> Self {
        Self { status: 400, code: "Bad Request".to_owned(), errors: Vec::new(), form: Form::Container }
    }

    /// 401 of the security filter.
    pub(crate) fn credentials() -> Self {
        Self { status: 401, code: "Unauthorized".to_owned(), errors: Vec::new(), form: Form::Container }
    }

    /// 401 from `/authentication`.
    pub(crate) fn not_authenticated() -> Self {
        Self::envelope(401, "error.msg.not.authenticated", vec![FieldError::new("error.msg.not.authenticated", None, None)])
    }

    /// 409: the close-of-business job holds the loan.
    pub(crate) fn locked() -> Self {
        Self { status: 409, code: "error.msg.loan.locked".to_owned(), errors: Vec::new(), form: Form::Single }
    }

    /// 409: two writers met.
    pub(crate) fn conflict(kind: &str) -> Self {
        let code = format!("error.msg.platform.service.{kind}.conflict");
        Self::envelope(409, &code, vec![FieldError::new(code.clone(), None, None)])
    }

    /// 503 with a specific code.
    pub(crate) fn unavailable(code: &str) -> Self {
        Self::envelope(503, "error.msg.platform.service.unavailable", vec![FieldError::new(code, None, None)])
    }

    /// 500.
    pub(crate) fn server(text: &str) -> Self {
        Self { status: 500, code: text.to_owned(), errors: Vec::new(), form: Form::Exception }
    }

    /// The code that a client branches on.
    pub(crate) fn inner(&self) -> &str {
        self.errors.first().map_or(self.code.as_str(), |error| error.code.as_str())
    }

    /// Whether the container or the security filter answered (then `WWW-Authenticate` goes along).
    pub(crate) fn asks_credentials(&self) -> bool {
        self.form == Form::Container && matches!(self.status, 400 | 401)
    }

    /// The body, and whether it is JSON.
    pub(crate) fn body_text(&self) -> (String, bool) {
        match self.form {
            Form::Envelope => (self.to_json().render(), true),
            Form::Single => {
                let single = Json::map([
                    ("developerMessage", format!("The request was refused: {}", self.code).into()),
                    ("httpStatusCode", self.status.to_string().into()),
                    ("defaultUserMessage", format!("The request was refused: {}", self.code).into()),
                    ("userMessageGlobalisationCode", (&self.code).into()),
                ]);
                // The lock answer of the filter may come without a JSON content type.
                (single.render(), self.status != 409)
            }
            Form::Exception => (Json::map([("Exception", (&self.code).into())]).render(), true),
            Form::Container => (
                format!(
                    "<!doctype html><html lang=\"en\"><head><title>HTTP Status {0} \u{2013} {1}</title></head><body><h1>HTTP Status {0} \u{2013} {1}</h1></body></html>",
                    self.status, self.code
                ),
                false,
            ),
        }
    }

    /// The envelope.
    pub(crate) fn to_json(&self) -> Json {
        let errors = self.errors.iter().map(|error| {
            Json::map([
                ("developerMessage", format!("Refused with {}", error.code).into()),
                ("defaultUserMessage", format!("Refused with {}", error.code).into()),
                ("userMessageGlobalisationCode", (&error.code).into()),
                ("parameterName", error.parameter.as_ref().map_or_else(|| "id".into(), Into::into)),
                ("value", error.value.as_ref().into()),
                ("args", Json::List(error.value.iter().map(|value| Json::map([("value", value.into())])).collect())),
            ])
        });
        Json::map([
            ("developerMessage", "The request caused a data integrity, validation or domain rule issue.".into()),
            ("httpStatusCode", self.status.to_string().into()),
            ("defaultUserMessage", "Errors exist.".into()),
            ("userMessageGlobalisationCode", (&self.code).into()),
            ("errors", Json::List(errors.collect())),
        ])
    }
}
