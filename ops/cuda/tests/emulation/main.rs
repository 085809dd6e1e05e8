//! The CUDA kernels, executed on the CPU with sanitizers, a race detector and several orders of the threads.

mod faults;
mod function;
mod golden;
mod kind;
mod options;
mod problem;
mod program;
mod random;
mod sweep;
