//! What the engine costs, on this machine's CPU: the overhead of the reducer at one rank, the share of communication that
//! overlaps with the backward pass, and the bytes that ranks send.
//!
//! `cargo bench -p topk-distributed --profile dev`; libtorch, which does the work, is the same in every profile.
//! `OMP_NUM_THREADS` sets libtorch's threads for the overhead; the ranks have one thread each.

mod overhead;
mod ranks;
mod training;

fn main() {
    // Cargo passes `--bench`; as a test, it is enough to have built it.
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(network) = ranks::network_of_this_rank() {
        ranks::be_a_rank(&network);
    } else if arguments.iter().any(|argument| argument == "--bench") {
        let chosen = |name: &str| {
            let parts = ["overhead", "ranks"];
            let any = parts
                .iter()
                .any(|part| arguments.iter().any(|argument| argument == part));
            !any || arguments.iter().any(|argument| argument == name)
        };
        if chosen("overhead") {
            overhead::measure();
        }
        if chosen("ranks") {
            ranks::measure();
        }
    }
}
