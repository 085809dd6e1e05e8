//! The CUDA kernels, executed on the CPU with sanitizers, a race detector and several orders of the threads.

mod faults;
mod golden;
mod options;
mod problem;
mod program;
mod random;
