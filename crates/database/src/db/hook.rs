//! The fault points of a commit, through which the simulation crashes the process before or after it.

/// The process "crashed" here. In the simulation nothing after it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash;

/// Is asked around each commit. The product's own hook does nothing.
pub trait CommitHook: Send + Sync {
    /// Before `COMMIT` is sent. `Err` rolls the transaction back and tells the caller [`super::DbError::Crashed`].
    ///
    /// # Errors
    /// [`Crash`] to crash here.
    fn before_commit(&self, label: &'static str) -> Result<(), Crash>;

    /// After the server has confirmed the commit. `Err`: it is written, and the caller learns only [`super::DbError::Crashed`].
    ///
    /// # Errors
    /// [`Crash`] to crash here.
    fn after_commit(&self, label: &'static str) -> Result<(), Crash>;
}

/// Never crashes.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl CommitHook for NoFaults {
    fn before_commit(&self, _label: &'static str) -> Result<(), Crash> {
        Ok(())
    }

    fn after_commit(&self, _label: &'static str) -> Result<(), Crash> {
        Ok(())
    }
}
