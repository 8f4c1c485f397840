//! What we tell the person who must act. Every problem answers three questions: did money move, what do we do next,
//! what can you do. The API writes it as an RFC 9457 document, the console as a box, the command line as three lines.

use std::borrow::Cow;

use serde::Serialize;

/// Did money move?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MoneyMoved {
    /// No money moved because of this request.
    No,
    /// Money moved.
    Yes,
    /// It is not known yet; it is on the list and is being asked.
    NotYetKnown,
}

/// A problem with a stable code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    /// Stable machine name, for example `amount_has_cents`. Never renamed once published.
    pub code: &'static str,
    /// The HTTP status it becomes.
    pub status: u16,
    /// What happened, in one sentence for a person.
    pub detail: Cow<'static, str>,
    /// Did money move?
    pub money_moved: MoneyMoved,
    /// What we do next.
    pub we_do: Cow<'static, str>,
    /// What you can do.
    pub you_can: Cow<'static, str>,
    /// The member of the request that is wrong, as a JSON pointer (`/amount`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Seconds after which a repeat makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The id of something that the problem is about (an earlier payment, an item).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<String>,
}

impl Problem {
    /// A refusal before anything was done: no money moved, nothing follows on our side.
    pub fn refused(code: &'static str, status: u16, detail: impl Into<Cow<'static, str>>, you_can: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status,
            detail: detail.into(),
            money_moved: MoneyMoved::No,
            we_do: Cow::Borrowed("Nothing: the request was not carried out."),
            you_can: you_can.into(),
            pointer: None,
            retry_after: None,
            related: None,
        }
    }

    /// A member of the request is wrong.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut p = Self::refused("invalid_request", 422, detail, "Correct the named member and send the request again.");
        p.pointer = Some(pointer.into());
        p
    }

    /// There is no such thing, or it is not yours; we do not say which.
    pub fn not_found(what: &str) -> Self {
        Self::refused("not_found", 404, format!("There is no such {what}."), "Check the id. A key sees only its own partner's rows.")
    }

    /// Something broke on our side before the request was carried out.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        let mut p = Self::refused(
            "unavailable",
            503,
            detail,
            "Send the same request again in a few seconds, with the same Idempotency-Key: it can have no second effect.",
        );
        p.retry_after = Some(5);
        p
    }

    /// Adds what we do next.
    #[must_use]
    pub fn we_do(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.we_do = text.into();
        self
    }

    /// Adds whether money moved.
    #[must_use]
    pub fn money(mut self, moved: MoneyMoved) -> Self {
        self.money_moved = moved;
        self
    }

    /// Adds the id of what it is about.
    #[must_use]
    pub fn about(mut self, related: impl Into<String>) -> Self {
        self.related = Some(related.into());
        self
    }
}
