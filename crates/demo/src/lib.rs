//! The demo: brings up `examples/two-tier.yaml` with the `atoll` binary and tries what its rules promise, with real
//! traffic between real processes.
//!
//! It is a user like any other: it knows the command line and the API and links none of Atoll's rooms. Each file in
//! [`checks`] is one story; an [`Observation`] is one thing tried. A drop counts only when the packet's absence was
//! seen, the live plane named its stage, and `atoll trace` names the same one.
#![forbid(unsafe_code)]

pub mod api;
pub mod checks;
pub mod report;
pub mod traffic;
pub mod world;

/// What goes wrong around a check: the world did not do what it was told, as a sentence.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One thing tried.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The number of the check it belongs to.
    pub check: u8,
    /// What was tried.
    pub tried: String,
    /// What should be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// For a drop: stage, component and rule.
    pub dropped_by: Option<String>,
    /// Whether expectation and sight agree.
    pub holds: bool,
}
