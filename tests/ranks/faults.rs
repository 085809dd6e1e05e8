//! Ranks that die or hang: the others end within the time-out, and say which rank it was.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use topk_testing::free_port;

use crate::processes::{Case, End, LIMIT, Processes};

/// Training that does not end by itself during a test.
const FLAGS: [&str; 7] = [
    "--model=basic-4",
    "--val-size=50",
    "--epochs=100000",
    "--batch-size=6",
    "--device=cpu",
    "--recovery-interval=1",
    "--dist-timeout=10",
];

/// Starts ranks, and waits until they train.
fn training(case: &Case, ranks: usize) -> Processes {
    let commands = (0..ranks).map(|_| case.command("out", &[])).collect();
    let mut ranks = Processes::ranks(commands, free_port());
    ranks.wait_for(&case.path("out/state.safetensors"));
    ranks
}

/// Fails unless the ranks that are left name the other one, and its state can be resumed.
fn assert_named(case: &Case, ends: &[End], text: &str) {
    for end in ends {
        assert_eq!(end.status.code(), Some(1), "{end:?}");
        assert!(end.errors.contains(text), "{end:?}");
    }
    let begun = case.events("out", "epoch").len() + 1;
    let epochs = format!("--epochs={begun}");
    case.finish(case.command(
        "out",
        &[&epochs, "--batch-size=18", "--decay-milestones=none"],
    ));
}

#[test]
fn a_killed_rank_is_named() {
    let case = Case::new(150, &FLAGS);
    let ranks = training(&case, 3);
    ranks.signal(1, libc::SIGKILL);
    let start = Instant::now();
    let mut ends = ranks.wait(LIMIT);
    // Its connections are closed, so nobody waits for the time-out.
    assert!(start.elapsed() < Duration::from_secs(10), "{ends:?}");
    ends.remove(1);
    assert_named(&case, &ends, "rank 1 does not respond any more");
}

#[test]
fn a_stopped_rank_is_named_within_the_time_out() {
    let case = Case::new(150, &FLAGS);
    let ranks = training(&case, 3);
    ranks.signal(2, libc::SIGSTOP);
    let start = Instant::now();
    let ends = ranks.wait_without(2, LIMIT);
    // Some time to notice that the state is there, and to end.
    assert!(start.elapsed() < Duration::from_secs(10 + 10), "{ends:?}");
    assert_named(&case, &ends, "rank 2 does not respond any more");
}

#[test]
fn the_end_of_rank_0_is_named() {
    let case = Case::new(150, &FLAGS);
    let ranks = training(&case, 3);
    ranks.signal(0, libc::SIGKILL);
    let mut ends = ranks.wait(LIMIT);
    ends.remove(0);
    assert_named(&case, &ends, "rank 0");
}

#[test]
fn an_image_that_one_rank_cannot_read_ends_all() {
    let case = Case::new(
        150,
        &["--model=basic-4", "--batch-size=4", "--augment=none"],
    );
    let photos = case.path("photos");
    for class in ["a", "b"] {
        fs::create_dir_all(photos.join(class)).unwrap();
        for number in 0..20u32 {
            let image =
                image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([(x * y + number) as u8; 3]));
            image
                .save(photos.join(class).join(format!("{number:02}.bmp")))
                .unwrap();
        }
    }
    fs::write(photos.join("b/13.bmp"), "not an image").unwrap();
    let data = format!("--data={}", photos.display());
    let flags = [&*data, "--val-size=4", "--input-size=32", "--seed=1"];
    let errors = case.path("errors.json");
    let commands = (0..2).map(|rank| {
        let mut command = case.command("out", &flags);
        if rank == 1 {
            command.env("TORCHELASTIC_ERROR_FILE", &errors);
        }
        command
    });
    let ends = Processes::ranks(commands.collect(), free_port()).wait(LIMIT);
    for end in &ends {
        assert_eq!(end.status.code(), Some(1), "{end:?}");
        assert!(
            end.errors.contains("cannot use the image b/13.bmp"),
            "{end:?}"
        );
    }
    // One of them names the other.
    let named = ends.iter().filter(|end| end.errors.contains(" failed: "));
    assert_eq!(named.count(), 1, "{ends:?}");
    let written: Value = serde_json::from_slice(&fs::read(&errors).unwrap()).unwrap();
    let message = written["message"]["message"].as_str().unwrap();
    assert!(
        message.contains("cannot use the image b/13.bmp"),
        "{message}"
    );
}

#[test]
fn a_loss_that_is_not_finite_on_one_rank_is_one_of_all() {
    let case = Case::new(
        150,
        &[
            "--model=basic-4",
            "--val-size=50",
            "--epochs=2",
            "--lr=1e30",
            "--sched=cosine",
        ],
    );
    for (out, flags) in [
        ("own", &["--batch-size=6"][..]),
        ("synchronised", &["--batch-size=6", "--sync-bn"]),
    ] {
        let commands = (0..2).map(|_| case.command(out, flags)).collect();
        for end in Processes::ranks(commands, free_port()).wait(LIMIT) {
            assert_eq!(end.status.code(), Some(1), "{end:?}");
            assert!(
                end.errors.contains("training diverged in epoch 1"),
                "{end:?}"
            );
        }
    }
}
