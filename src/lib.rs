//! Trains image classifiers for top-k accuracy.
