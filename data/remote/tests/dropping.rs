//! In a process of its own, because it counts the panics of all threads.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use topk_remote::{Client, Options};
use topk_testing::{Fault, ObjectServer};

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_client_may_be_dropped_while_it_reads_ahead() {
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let server = ObjectServer::start();
    server.put("files/x", vec![7; 20_000]);
    server.fail(|_| Some(Fault::Slow(1000, Duration::from_millis(10))));
    let client = Client::new(Options {
        block: 10_000,
        ..Options::default()
    })
    .unwrap();
    let address = format!("{}/files/x", server.endpoint());
    let object = client.open(Path::new(&address)).unwrap();
    object.read_ahead(std::iter::once(0..20_000));
    drop((client, object));
    while server.sent() < 20_000 {
        thread::sleep(Duration::from_millis(10));
    }
    // The last block has been sent, and its task ends.
    thread::sleep(Duration::from_millis(200));
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}
