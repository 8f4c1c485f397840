//! The circuit breaker of a lane, over tower-resilience-circuitbreaker. That crate is young and changes every month, so
//! nothing of it is seen outside this file.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use pv_kernel::transport::{CallError, NotSent};
use tower::{Layer, Service, ServiceExt};
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerError, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, FailureClassifier, SlidingWindowType,
};

use crate::options::BreakerOptions;

/// The result of one call.
pub(crate) type Outcome = Result<http::Response<Bytes>, CallError>;
/// One call, not yet begun.
pub(crate) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The service under the breaker: it does the work that it is handed.
#[derive(Clone, Copy)]
struct Doing;

/// Work under a name of its own: the compiler cannot prove a boxed future `'static` through tower's generics.
struct Job(Work);

impl Service<Job> for Doing {
    type Response = http::Response<Bytes>;
    type Error = CallError;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Work {
        job.0
    }
}

/// Whether a lane calls its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// Calls go out.
    Closed,
    /// Too many failures just now: calls are refused until the pause is over.
    Open,
    /// A few probes are let through.
    HalfOpen,
    /// A person has stopped the lane; it stays so until a person resumes it.
    Paused,
}

/// Failures are silence, no connection, and 5xx. An answer of any other kind shows that the host works, and a refusal of
/// our own says nothing about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostFailed;

impl FailureClassifier<http::Response<Bytes>, CallError> for HostFailed {
    fn classify(&self, outcome: &Outcome) -> bool {
        match outcome {
            Ok(answer) => answer.status().is_server_error(),
            Err(CallError::NoAnswer(_) | CallError::NotSent(NotSent::NoConnection(_))) => true,
            Err(_) => false,
        }
    }
}

/// One breaker.
pub(crate) struct Breaker {
    service: CircuitBreaker<Doing, HostFailed>,
    handle: CircuitBreakerHandle<HostFailed>,
}

impl Breaker {
    /// Fails on options that make no sense (a rate above 1, a window of 0).
    pub(crate) fn new(options: BreakerOptions) -> Result<Self, String> {
        let (layer, handle) = CircuitBreakerLayer::builder()
            .sliding_window_type(SlidingWindowType::CountBased)
            .sliding_window_size(options.window)
            .minimum_number_of_calls(options.minimum_calls)
            .failure_rate_threshold(options.failure_rate)
            .wait_duration_in_open(options.open_for)
            .permitted_calls_in_half_open(options.probes)
            .failure_classifier_type(HostFailed)
            .build_with_handle()
            .map_err(|e| e.to_string())?;
        Ok(Self { service: layer.layer(Doing), handle })
    }

    /// Does the work if the circuit lets it through.
    pub(crate) async fn run(&self, work: Work) -> Outcome {
        match self.service.clone().oneshot(Job(work)).await {
            Ok(answer) => Ok(answer),
            Err(CircuitBreakerError::OpenCircuit) => Err(CallError::NotSent(NotSent::CircuitOpen)),
            Err(CircuitBreakerError::Inner(error)) => Err(error),
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> LaneState {
        match self.handle.state() {
            CircuitState::Closed => LaneState::Closed,
            CircuitState::Open => LaneState::Open,
            CircuitState::HalfOpen => LaneState::HalfOpen,
        }
    }

    /// Closes it and forgets what was counted.
    pub(crate) async fn reset(&self) {
        self.handle.force_closed().await;
    }
}
