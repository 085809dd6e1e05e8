use std::net::TcpListener;

/// A port of this machine that is free now.
///
/// # Panics
/// If all are taken.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("this machine has a free port");
    let address = listener.local_addr();
    address.expect("a listener has an address").port()
}
