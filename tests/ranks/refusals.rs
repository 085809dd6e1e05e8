//! Ranks that do not fit together, or settings that do not fit several ranks.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};
use topk_testing::free_port;

use crate::processes::{Case, End, LIMIT, Processes, set_variables};

const FLAGS: [&str; 3] = ["--model=basic-4", "--val-size=50", "--epochs=2"];

/// Fails unless all processes failed with this text in their messages, each with its rank except for rank 0.
fn assert_refused(ends: &[End], text: &str) {
    for (rank, end) in ends.iter().enumerate() {
        assert_eq!(end.status.code(), Some(1), "{end:?}");
        assert!(end.errors.contains(text), "{end:?}");
        // libtorch may have written lines before.
        let prefix = format!("[rank {rank}] error: ");
        assert_eq!(end.errors.contains(&prefix), rank > 0, "{end:?}");
    }
}

fn refused(case: &Case, flags: [&[&str]; 2], text: &str) {
    let commands = flags.map(|flags| case.command("out", flags)).into();
    let ends = Processes::ranks(commands, free_port()).wait(LIMIT);
    assert_refused(&ends, text);
    assert!(!case.path("out").exists(), "{text}");
}

#[test]
fn other_settings_are_refused_by_name() {
    let case = Case::new(150, &FLAGS);
    refused(
        &case,
        [&["--lr=0.1"], &["--lr=0.2"]],
        "rank 1 has other settings: --lr is 0.2, and 0.1 on rank 0. Start all ranks with the same settings",
    );
    refused(
        &case,
        [&["--recovery-interval=3"], &[]],
        "rank 1 has other settings: --recovery-interval is not set, and 3 on rank 0",
    );
    refused(
        &case,
        [&["--cuda-graphs"], &["--cuda-graphs"]],
        "--cuda-graphs must be used with one rank, got --cuda-graphs with 2 ranks",
    );
    refused(
        &case,
        [&["--mix=mixup:1", "--on-bad-image=skip"]; 2],
        "--mix must be used with --on-bad-image fail if there are several ranks",
    );
    refused(
        &case,
        [&["--global-batch-size=1"]; 2],
        "--global-batch-size must be at least the number of ranks, got 1 for 2 ranks",
    );
}

#[test]
fn other_images_are_refused_by_name() {
    let case = Case::new(150, &FLAGS);
    let other = Case::new(160, &FLAGS);
    let data = format!("--data={}", other.path("").display());
    refused(
        &case,
        [&[], &[&data]],
        "rank 1 reads other images than rank 0: ",
    );
}

#[test]
fn a_rank_that_cannot_read_its_images_ends_the_others() {
    let case = Case::new(150, &FLAGS);
    let commands = vec![
        case.command("out", &[]),
        case.command("out", &["--data=/missing"]),
    ];
    let ends = Processes::ranks(commands, free_port()).wait(LIMIT);
    assert!(ends[0].errors.contains("rank 1 failed: "), "{ends:?}");
    assert!(ends[0].errors.contains("/missing"), "{ends:?}");
    assert_refused(&ends, "/missing");
}

#[test]
fn ranks_that_are_not_started_are_named() {
    let case = Case::new(150, &FLAGS);
    let port = free_port();
    let commands = (0..2).map(|rank| {
        let mut command = case.command("out", &["--dist-timeout=5"]);
        set_variables(&mut command, rank, 3, port);
        command
    });
    let ends = Processes::start(commands.collect()).wait(LIMIT);
    assert_refused(&ends, "rank 2 did not join");
}

#[test]
fn a_taken_port_is_named() {
    let case = Case::new(150, &FLAGS);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = case.command("out", &["--dist-timeout=5"]);
    set_variables(&mut command, 0, 2, port);
    let start = Instant::now();
    let ends = Processes::start(vec![command]).wait(LIMIT);
    assert_refused(&ends, &format!("port {port} is taken"));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn incomplete_variables_are_named() {
    let case = Case::new(150, &FLAGS);
    let error = |set: &dyn Fn(&mut Command)| {
        let mut command = case.command("out", &[]);
        set(&mut command);
        let ends = Processes::start(vec![command]).wait(LIMIT);
        assert_eq!(ends[0].status.code(), Some(1), "{ends:?}");
        ends.into_iter().next().unwrap().errors
    };
    let without_size = error(&|command| {
        command.env("RANK", "0");
    });
    assert!(without_size.contains("RANK is set, but WORLD_SIZE is not"));
    let too_large = error(&|command| set_variables(command, 2, 2, 1234));
    assert!(too_large.contains("RANK is 2, but WORLD_SIZE is 2"));
}

#[test]
fn commands_of_one_process_are_refused() {
    let case = Case::new(150, &FLAGS);
    let mut dry_run = case.command("out", &["--dry-run"]);
    set_variables(&mut dry_run, 0, 2, free_port());
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_topk-train"));
    sweep.args(["sweep", "plan.toml", "--out", "out"]);
    set_variables(&mut sweep, 0, 2, free_port());
    for (command, text) in [
        (
            dry_run,
            "--dry-run runs in one process, but the launcher started 2",
        ),
        (
            sweep,
            "topk-train sweep runs in one process, but the launcher started 2",
        ),
        (
            case.command("out", &["--devices=0,0"]),
            "the GPU 0 occurs more than once",
        ),
    ] {
        let ends = Processes::start(vec![command]).wait(LIMIT);
        assert!(!ends[0].status.success(), "{ends:?}");
        assert!(ends[0].errors.contains(text), "{ends:?}");
    }
}
