//! Runs that are stopped and resumed, with the same or another number of ranks.

use std::fs;
use topk_testing::free_port;

use crate::processes::{Case, LIMIT, Processes};
use crate::results::results;

const FLAGS: [&str; 9] = [
    "--model=basic-4",
    "--val-size=50",
    "--epochs=4",
    "--lr=0.01",
    "--model-ema-decay=0.9",
    "--grad-accum-steps=2",
    "--on-nan=skip",
    "--device=cpu",
    "--seed=3",
];

/// Stops two ranks by a signal to one of them after the first state was saved.
fn stop(case: &Case, out: &str, rank: usize, signal: i32) {
    let flags = ["--batch-size=6", "--recovery-interval=1"];
    let commands = (0..2).map(|_| case.command(out, &flags)).collect();
    let mut ranks = Processes::ranks(commands, free_port());
    ranks.wait_for(&case.path(out).join("state.safetensors"));
    ranks.signal(rank, signal);
    for (rank, end) in ranks.wait(LIMIT).into_iter().enumerate() {
        assert_eq!(end.status.code(), Some(130), "{end:?}");
        assert_eq!(end.printed.is_empty(), rank > 0, "{end:?}");
        let hint = end.errors.contains("Run the same command to resume");
        assert_eq!(hint, rank == 0, "{end:?}");
    }
    assert!(case.events(out, "end").is_empty());
}

#[test]
fn ranks_stop_together_and_resume_bit_for_bit() {
    let case = Case::new(250, &FLAGS);
    case.finish_ranks("whole", 2, &["--batch-size=6"]);
    for (out, rank, signal) in [("first", 0, libc::SIGINT), ("second", 1, libc::SIGTERM)] {
        stop(&case, out, rank, signal);
        case.finish_ranks(out, 2, &["--batch-size=6"]);
        let found = results(&case.path(out));
        for (name, bytes) in results(&case.path("whole")) {
            assert!(found[name] == bytes, "{name} differs");
        }
    }
}

#[test]
fn a_run_resumes_with_another_number_of_ranks() {
    let case = Case::new(250, &FLAGS);
    stop(&case, "out", 0, libc::SIGINT);
    // The batch size per rank is that of two ranks.
    let ends = {
        let commands = (0..3)
            .map(|_| case.command("out", &["--batch-size=6"]))
            .collect();
        Processes::ranks(commands, free_port()).wait(LIMIT)
    };
    for end in ends {
        assert_eq!(end.status.code(), Some(1), "{end:?}");
        assert!(
            end.errors
                .contains("give --global-batch-size 12 in place of --batch-size"),
            "{end:?}"
        );
    }
    case.finish_ranks("out", 3, &["--global-batch-size=12"]);
    let [change] = &case.events("out", "change")[..] else {
        panic!("one change is logged")
    };
    let decisions = change["decisions"].to_string();
    assert!(decisions.contains("3 ranks instead of 2"), "{decisions}");
    // Finished runs are not trained again, by any number of ranks.
    let log = fs::read(case.path("out/log.jsonl")).unwrap();
    case.finish_ranks("out", 2, &["--global-batch-size=12"]);
    case.finish(case.command("out", &["--batch-size=12"]));
    assert!(fs::read(case.path("out/log.jsonl")).unwrap() == log);
    // All images of each epoch count once.
    for epoch in case.events("out", "epoch") {
        assert_eq!(epoch["train"]["images"], 200, "{epoch}");
        assert_eq!(epoch["val"]["images"], 50, "{epoch}");
    }
}
