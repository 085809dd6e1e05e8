//! What `topk-train` does with other people's files. One module per theme; inputs are made here.

mod data;
