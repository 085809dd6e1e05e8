//! Several ranks as processes on this machine: the test binary starts itself again.

mod collectives;
mod processes;
