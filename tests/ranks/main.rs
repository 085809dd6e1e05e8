//! Runs of several processes on this machine: that they compute what one process does, and how they fail.

#[path = "../sample/results.rs"]
mod results;
#[path = "../sample/mod.rs"]
mod sample;

mod equality;
mod faults;
mod kills;
mod namespaces;
mod processes;
mod refusals;
mod resuming;
mod skipped;
