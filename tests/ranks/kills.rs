//! Ranks that are killed at random moments, and restarted by `torchrun`.
//!
//! `TOPK_SEED` repeats the moments of a seed that was printed.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::processes::{Case, LIMIT, Processes, send, torchrun};
use crate::results::results;

const KILLS: usize = 10;

const FLAGS: [&str; 10] = [
    "--model=basic-4",
    "--val-size=50",
    "--epochs=12",
    "--batch-size=6",
    "--lr=0.01",
    "--model-ema-decay=0.9",
    "--on-nan=skip",
    "--device=cpu",
    "--recovery-interval=1",
    "--dist-timeout=30",
];

/// Whether the log has the end of the run.
fn has_ended(case: &Case, out: &str) -> bool {
    let log = fs::read_to_string(case.path(out).join("log.jsonl")).unwrap_or_default();
    log.contains(r#"{"event":"end""#)
}

#[test]
fn a_run_whose_ranks_are_killed_ends_as_if_they_were_not() {
    let seed =
        std::env::var("TOPK_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("TOPK_SEED={seed}");
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let case = Case::new(350, &FLAGS);
    case.finish_ranks("whole", 2, &[]);
    let (mut killed, mut midway, mut runs) = (0, 0, 0);
    while killed < KILLS {
        let out = format!("killed{runs}");
        let ids = case.path(&format!("ids{runs}"));
        fs::create_dir(&ids).unwrap();
        // Tells the number of the process of each rank and attempt; `$$` would be a macro of torchrun.
        let script = r#"read -r id rest < /proc/self/stat && echo $id > "$0/new.$RANK" &&
            mv "$0/new.$RANK" "$0/$TORCHELASTIC_RESTART_COUNT.$RANK" && exec "$@""#;
        let program = case.command(&out, &[]);
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", script]).arg(&ids);
        wrapped.arg(program.get_program()).args(program.get_args());
        let restarts = format!("--max-restarts={KILLS}");
        let Some(torchrun) = torchrun(&[&restarts, "--monitor-interval=0.05"], &wrapped) else {
            return;
        };
        let mut run = Processes::start(vec![torchrun]);
        for attempt in 0.. {
            if killed == KILLS {
                break;
            }
            let rank = generator.random_range(0..2);
            let id = ids.join(format!("{attempt}.{rank}"));
            while !id.exists() && run.are_running() {
                sleep(Duration::from_millis(2));
            }
            sleep(Duration::from_secs_f64(generator.random_range(0.0..2.5)));
            if !id.exists() || has_ended(&case, &out) || !run.are_running() {
                break;
            }
            let text = fs::read_to_string(&id).unwrap();
            let id: i32 = match text.trim().parse() {
                Ok(id) => id,
                Err(error) => panic!("{}: {text:?}: {error}", id.display()),
            };
            // SAFETY: `kill` has no preconditions. The process may have ended meanwhile.
            if unsafe { libc::kill(id, 0) } != 0 {
                break;
            }
            midway += usize::from(case.path(&out).join("state.safetensors").exists());
            send(id, libc::SIGKILL);
            killed += 1;
        }
        let [end] = &run.wait(2 * LIMIT)[..] else {
            unreachable!("one process was started")
        };
        assert!(end.status.success(), "{end:?}");
        let found = results(&case.path(&out));
        for (name, bytes) in results(&case.path("whole")) {
            assert!(found[name] == bytes, "{name} of {out} differs");
        }
        runs += 1;
    }
    println!("{midway} of {killed} kills were after a state was saved, in {runs} runs");
    assert!(midway > 0);
}
