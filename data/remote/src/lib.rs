//! Objects of S3, Google Cloud Storage, Azure, web servers and the Hugging Face hub, read by ranges.
//!
//! An address such as `s3://bucket/train-{000..127}.tar` is a path, as that of a file. [`admit`] takes what a user
//! typed and keeps its credentials out of everything that follows; [`Client::open`] opens an [`Object`], which stays
//! the same version as long as the process uses it. [`Object::read_exact_at`] and [`Object::read_ahead`] go through
//! blocks in memory, of a bounded size, and through a cache on disk if there is one.
//!
//! Reading blocks the calling thread; the transfers run on threads of the client.

mod blocks;
mod buffers;
mod client;
mod disk;
mod download;
mod error;
mod hub;
mod list;
mod location;
mod object;
mod reader;
mod record;
mod redact;
mod retry;
mod service;
mod statistics;
mod stores;

pub use client::{Client, Options};
pub use download::local;
pub use error::RemoteError;
pub use list::{Kind, Names};
pub use location::{admit, is_remote, parent, share_query};
pub use object::Object;
pub use reader::Reader;
pub use record::Record;
pub use retry::Retries;
pub use statistics::Counts;
