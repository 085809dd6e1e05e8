//! Several ranks as processes on this machine: the test binary starts itself again.

mod batch_norm;
mod collectives;
mod faults;
mod namespaces;
mod processes;
mod reducer;
mod torchrun;
