//! What the emulation notices in small kernels.

use std::process::Command;

use topk_testing::Emulation;

/// The text that the program prints, from either output.
fn run(kernel: &str, order: &str) -> Option<String> {
    let program = Emulation::Faults.build()?;
    let output = Command::new(program)
        .args([kernel, order])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8(text).unwrap())
}

const ORDERS: [&str; 3] = ["ascending", "descending", "random"];

/// Asserts that a kernel's fault is found in each order of the threads.
#[track_caller]
fn faulty(kernel: &str, expected: &str) {
    for order in ORDERS {
        let Some(text) = run(kernel, order) else {
            return;
        };
        assert!(text.contains(expected), "{kernel}, {order}: {text}");
    }
}

/// Asserts that a kernel without a fault gives the same numbers in each order of the threads.
#[track_caller]
fn right(kernel: &str, expected: impl Fn(u32) -> f64) {
    let numbers: Vec<String> = (0..64).map(|thread| expected(thread).to_string()).collect();
    for order in ORDERS {
        let Some(text) = run(kernel, order) else {
            return;
        };
        assert_eq!(text.trim_end(), numbers.join(" "), "{kernel}, {order}");
    }
}

#[test]
fn races_are_found() {
    // In some orders, the read comes before the first write.
    faulty("missing_barrier", "of the shared memory `numbers`, which ");
    faulty(
        "barrier_of_one_warp",
        "of the shared memory `numbers`, which ",
    );
    faulty(
        "shuffles_order_nothing",
        "of the shared memory `numbers`, which ",
    );
    faulty("write_after_read", "without a barrier in between");
    faulty("two_writers", "without a barrier in between");
    faulty("count", "without a barrier in between");
    if let Some(text) = run("write_after_read", "ascending") {
        let expected = "kernel write_after_read, block 0, thread 63: writes byte 0 of the shared memory `number`, \
                        which thread 0 read without a barrier in between\n";
        assert_eq!(text, expected);
    }
}

#[test]
fn barriers_and_atomic_operations_prevent_races() {
    right("barrier", |thread| f64::from((thread + 1) % 64));
    right("barrier_in_a_warp", |thread| f64::from(thread ^ 1));
    right("write_after_barrier", |_| 1.0);
    right("atomic_count", |_| 64.0);
    right("dynamic", |_| 1.0);
}

#[test]
fn accesses_beyond_the_end_and_before_the_first_write_are_found() {
    faulty(
        "unwritten",
        "of the shared memory `numbers`, which no thread of the block has written",
    );
    faulty(
        "beyond_shared",
        "uses elements 64 to 64 of the shared memory `numbers`, which has 64",
    );
    faulty("beyond_slice", "which has 32");
    faulty(
        "beyond_dynamic",
        "uses 260 bytes of dynamic shared memory, but the launch has 256",
    );
    faulty("beyond_global", "heap-buffer-overflow");
    faulty("overflow", "signed integer overflow");
}

#[test]
fn collectives_that_not_all_threads_call_are_found() {
    faulty("diverging", ": shuffle_xor (faults.cpp:");
    faulty("diverging", ": ballot (faults.cpp:");
    faulty("different_masks", ", mask 2)");
    faulty("different_lines", "threads wait for different collectives");
    faulty("left_early", "thread 3: returned");
    faulty("barrier_without_a_warp", "threads 32 to 63: returned");
    faulty("wrong_lane", "shuffles from lane ");
}

#[test]
fn collectives_give_each_lane_its_result() {
    right("collectives", |thread| {
        let third = thread / 32 * 32 + 3;
        0.5 + f64::from(third) + f64::from(thread ^ 1) + 16.0
    });
}

#[test]
fn orders_differ() {
    let texts = ORDERS.map(|order| run("order", order));
    if let [Some(ascending), Some(descending), Some(random)] = texts {
        assert!(ascending.starts_with("0 1 2 "), "{ascending}");
        assert!(descending.starts_with("63 62 61 "), "{descending}");
        assert!(random != ascending && random != descending, "{random}");
    }
}
