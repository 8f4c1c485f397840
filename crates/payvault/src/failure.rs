//! Why a command of the command line ended without success: one line for the person at the terminal, with the reasons behind it.

use std::{error::Error, fmt};

/// What commands answer with.
pub type Result<T> = std::result::Result<T, Failure>;

/// A command did not do what it was asked for.
pub struct Failure(String);

impl Failure {
    /// With these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// With what was being done before the reason.
    #[must_use]
    pub fn while_(self, doing: impl fmt::Display) -> Self {
        Self(format!("{doing}: {}", self.0))
    }
}

/// Any error, with its sources behind it. A source whose words stand in the sentence already is not said twice.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

impl Failure {
    /// The words of an error and of its sources.
    pub fn of(error: &dyn Error) -> Self {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(reason) = source {
            let more = reason.to_string();
            if !words.contains(&more) {
                words = format!("{words}: {more}");
            }
            source = reason.source();
        }
        Self(words)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_names_every_reason_once() {
        let failure = Failure::from(Outer(std::io::Error::other("inner"))).while_("reading");
        assert_eq!(failure.to_string(), "reading: outer: inner");
    }
}
