//! Several processes that evaluate together, started with the variables of a launcher or by `torchrun`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use topk_testing::{Environment, python};

use super::calibration::random_case;
use super::case::{CLASSES, Case, card, linear, slow_case};
use super::folders;

/// Longer than a test takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The time-out in tests in which a rank dies, in seconds.
const TIMEOUT: &str = "4";

/// The ranks of a run, which are killed at the end of the test.
struct Run(Vec<Child>);

/// How a rank has ended.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The error of a rank that must fail without results.
    fn error(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        self.stderr
            .split_once("error: ")
            .expect(&self.stderr)
            .1
            .trim_end()
    }
}

fn rank(mut command: Command, rank: usize, world_size: usize) -> Command {
    command
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", world_size.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", "29500")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Run {
    fn new(commands: impl IntoIterator<Item = Command>) -> Self {
        let spawned = commands
            .into_iter()
            .map(|mut command| command.spawn().unwrap());
        Self(spawned.collect())
    }

    /// Ranks with the same flags.
    fn start(case: &Case, world_size: usize, flags: &[&str]) -> Self {
        let commands = (0..world_size).map(|at| rank(case.command(flags), at, world_size));
        Self::new(commands)
    }

    fn signal(&self, rank: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.0[rank]), signal).unwrap();
    }

    /// Waits for the end of a rank.
    fn end(&mut self, rank: usize) -> Ended {
        let start = Instant::now();
        let child = &mut self.0[rank];
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "rank {rank} does not end");
            thread::sleep(Duration::from_millis(10));
        };
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        Ended {
            status,
            stdout,
            stderr,
        }
    }

    fn end_all(mut self) -> Vec<Ended> {
        (0..self.0.len()).map(|rank| self.end(rank)).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a folder has a file whose name has this prefix and suffix.
fn wait_for(folder: &Path, prefix: &str, suffix: &str) {
    let start = Instant::now();
    loop {
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        if names.any(|name| name.starts_with(prefix) && name.ends_with(suffix)) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{prefix}*{suffix} does not appear");
        thread::sleep(Duration::from_millis(5));
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a result file but for times and machines.
fn lines(path: &Path) -> Vec<String> {
    let mut results = read(path);
    let top = results.as_object_mut().unwrap();
    assert!(top.remove("started").is_some() && top.remove("environments").is_some());
    for model in top["models"].as_array_mut().unwrap() {
        assert!(model.as_object_mut().unwrap().remove("timing").is_some());
    }
    let text = serde_json::to_string_pretty(&results).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The paths of the results of a single process, and of ranks.
fn outputs(case: &Case) -> (PathBuf, PathBuf) {
    (case.path("whole.json"), case.path("ranks.json"))
}

/// The folder of the ranks, beside their output.
fn folder(case: &Case) -> PathBuf {
    case.path("ranks.json.ranks")
}

fn to(path: &Path) -> [&str; 4] {
    ["--json", path.to_str().unwrap(), "--topk", "2"]
}

/// Evaluates with a single process, and checks that the ranks' results are the same.
fn assert_as_one(case: &Case, flags: &[&str]) {
    let (whole, ranks) = outputs(case);
    let output = case.run(&[flags, &to(&whole)].concat());
    assert!(output.status.success(), "{output:?}");
    let (found, expected) = (lines(&ranks), lines(&whole));
    let mut pairs = found.iter().zip(&expected);
    // The files are too long to print.
    assert_eq!(pairs.find(|(found, expected)| found != expected), None);
    assert_eq!(found.len(), expected.len());
    let left = fs::read_dir(folder(case)).into_iter().flatten();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!folder(case).exists(), "files are left: {left:?}");
}

#[test]
fn ranks_give_the_results_of_one_process() {
    let case = Case::new();
    let ranks = case.path("ranks.json");
    for (world_size, images, flags) in [
        (2, 10, &["--batch-size", "3"][..]),
        (
            3,
            10,
            &["--device", "cpu", "--batch-size", "1", "--workers", "1"],
        ),
        (2, 7, &["--limit", "7", "--seed", "3"]),
    ] {
        let ended = Run::start(&case, world_size, &[flags, &to(&ranks)].concat()).end_all();
        for (rank, ended) in ended.iter().enumerate() {
            assert!(ended.status.success(), "{}", ended.stderr);
            // Only rank 0 prints.
            assert_eq!(ended.stdout.is_empty(), rank > 0, "{}", ended.stdout);
            assert_eq!(ended.stderr.is_empty(), rank > 0, "{}", ended.stderr);
        }
        let described = format!("{world_size} ranks, each with 1/{world_size} of {images} images");
        assert!(ended[0].stderr.contains(&described), "{}", ended[0].stderr);
        assert_as_one(&case, flags);
    }
}

#[test]
fn logits_of_ranks_give_the_calibration_of_one_process() {
    let case = random_case();
    fs::copy(case.path("model.onnx"), case.path("again.onnx")).unwrap();
    let (again, logits) = (case.path("again.onnx"), case.path("logits.npz"));
    let [again, logits] = [&again, &logits].map(|path| path.to_str().unwrap());
    let (_, ranks) = outputs(&case);
    for (flags, files) in [
        (&["--calibrate"][..], &[][..]),
        (&["--calibrate", "--logits", logits], &["logits.npz"]),
        (
            &["--model", again, "--logits", logits],
            &["logits-model.npz", "logits-again.npz"],
        ),
    ] {
        let flags = [flags, &["--batch-size", "8"]].concat();
        let ended = Run::start(&case, 3, &[&flags[..], &to(&ranks)].concat()).end_all();
        for ended in ended {
            assert!(ended.status.success(), "{}", ended.stderr);
        }
        let read = || files.iter().map(|name| fs::read(case.path(name)).unwrap());
        let found: Vec<_> = read().collect();
        assert_as_one(&case, &flags);
        assert!(read().eq(found), "{files:?}");
        for name in files {
            assert!(!case.path(&format!("{name}.part")).exists());
            fs::remove_file(case.path(name)).unwrap();
        }
    }
    // Without other outputs, they meet beside the logits.
    let flags = ["--calibrate", "--logits", logits];
    let ended = Run::start(&case, 2, &flags).end_all();
    assert!(
        ended[0].stderr.contains("logits.npz.ranks"),
        "{}",
        ended[0].stderr
    );
    assert!(!case.path("logits.npz.ranks").exists());
}

#[test]
fn a_rank_may_have_no_images() {
    let case = Case::new();
    case.write_records(&[3, 1]);
    let ranks = case.path("ranks.json");
    for ended in Run::start(&case, 3, &to(&ranks)).end_all() {
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    assert_as_one(&case, &[]);
}

#[test]
fn without_an_output_the_folder_is_temporary() {
    let case = Case::new();
    let temporary = tempfile::tempdir().unwrap();
    let commands = (0..2).map(|at| {
        let mut command = rank(case.command(&[]), at, 2);
        command.env("TMPDIR", temporary.path());
        command
    });
    let ended = Run::new(commands).end_all();
    assert!(
        ended.iter().all(|ended| ended.status.success()),
        "{}",
        ended[0].stderr
    );
    let place = temporary.path().join("topk-eval-");
    let told = ended[0].stderr.replace("\n  ", " ");
    assert!(told.contains(place.to_str().unwrap()), "{told}");
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none());

    // Ranks of other machines would not see it.
    let commands = (0..2).map(|at| {
        let mut command = rank(case.command(&[]), at, 2);
        command.env("MASTER_ADDR", "node-0").env("LOCAL_RANK", "0");
        command
    });
    for ended in Run::new(commands).end_all() {
        assert!(
            ended.error().contains("pass --rendezvous-dir DIR"),
            "{}",
            ended.stderr
        );
    }
    let shared = case.path("shared");
    let commands = (0..2).map(|at| {
        let flags = ["--rendezvous-dir", shared.to_str().unwrap()];
        let mut command = rank(case.command(&flags), at, 2);
        command.env("MASTER_ADDR", "node-0").env("LOCAL_RANK", "0");
        command
    });
    for ended in Run::new(commands).end_all() {
        assert!(ended.status.success(), "{}", ended.stderr);
    }
}

/// `torchrun` with two ranks; none, after a call of `skip`, if PyTorch is not installed.
fn torchrun(case: &Case, temporary: &Path, options: &[&str], flags: &[&str]) -> Option<Command> {
    let mut torchrun = python(Environment::PyTorch)?;
    let command = case.command(flags);
    torchrun
        .args(["-m", "torch.distributed.run", "--no-python"])
        .args(["--standalone", "--nproc-per-node", "2"])
        .args(options)
        .arg(command.get_program())
        .args(command.get_args())
        .env("TMPDIR", temporary)
        .current_dir(temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(torchrun)
}

#[test]
fn torchrun_starts_the_ranks() {
    let case = Case::new();
    let ranks = case.path("ranks.json");
    let temporary = tempfile::tempdir().unwrap();
    let start = |flags: &[&str]| {
        let torchrun = torchrun(&case, temporary.path(), &[], flags)?;
        Run::new([torchrun]).end_all().pop()
    };
    let Some(Ended {
        status,
        stdout,
        stderr,
    }) = start(&to(&ranks))
    else {
        return;
    };
    assert!(status.success(), "{stderr}");
    assert_eq!(stdout.matches("top-2 %").count(), 1, "{stdout}");
    assert_as_one(&case, &[]);

    // The second half of the images is rank 1's.
    let root = folders(&case, &["5-1.jpg"]);
    let ended = start(&["--data", root.to_str().unwrap(), "--resize", "32"]).unwrap();
    assert!(!ended.status.success());
    let stderr = ended.stderr;
    // torchrun's summary shows what the ranks have left in their error files.
    let (_, summary) = stderr.split_once("Root Cause").expect(&stderr);
    assert!(summary.contains("1 image cannot be evaluated"), "{stderr}");
    assert!(stderr.contains("[rank 1] error: "), "{stderr}");
}

/// The process whose arguments contain a text, and whose environment has a variable.
fn process(argument: &str, variable: &str) -> Option<Pid> {
    let has = |id: &str, file: &str, what: &dyn Fn(&[u8]) -> bool| {
        let list = fs::read(Path::new("/proc").join(id).join(file)).unwrap_or_default();
        list.split(|&byte| byte == 0).any(what)
    };
    fs::read_dir("/proc").unwrap().find_map(|entry| {
        let id = entry.unwrap().file_name().into_string().ok()?;
        let raw: i32 = id.parse().ok()?;
        let found = has(&id, "cmdline", &|part| part == argument.as_bytes())
            && has(&id, "environ", &|part| part == variable.as_bytes());
        found.then(|| Pid::from_raw(raw)).flatten()
    })
}

#[test]
fn torchrun_restarts_ranks_of_which_one_was_killed() {
    let case = slow_case();
    let ranks = case.path("ranks.json");
    let temporary = tempfile::tempdir().unwrap();
    let flags = ["--device", "cpu", "--batch-size", "4"];
    let more = ["--resume", "--save-interval", "0.05"];
    let all = [&flags[..], &more, &to(&ranks)].concat();
    let options = ["--max-restarts", "2"];
    let Some(torchrun) = torchrun(&case, temporary.path(), &options, &all) else {
        return;
    };
    let mut run = Run::new([torchrun]);
    // Results of both have been saved.
    wait_for(case.folder.path(), "ranks.json", ".json");
    let killed = process(ranks.to_str().unwrap(), "RANK=1").expect("rank 1 runs");
    kill_process(killed, Signal::KILL).unwrap();
    let ended = run.end(0);
    assert!(ended.status.success(), "{}", ended.stderr);
    // The second time, there is less to evaluate.
    let starts: Vec<&str> = ended.stderr.matches("2 ranks, each with 1/2 of").collect();
    assert!(starts.len() >= 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("1/2 of 401 images"),
        "{}",
        ended.stderr
    );
    assert_as_one(&case, &flags);
}

#[test]
fn the_error_of_a_rank_ends_all_and_names_it() {
    let case = Case::new();
    let root = folders(&case, &["5-1.jpg"]);
    let flags = ["--data", root.to_str().unwrap(), "--resize", "32"];
    let ended = Run::start(&case, 3, &flags).end_all();
    let errors: Vec<&str> = ended.iter().map(Ended::error).collect();
    assert!(
        errors[0].starts_with("rank 2 failed: 1 image cannot be evaluated"),
        "{}",
        errors[0]
    );
    assert!(errors[0].contains("class 5/5-1.jpg"), "{}", errors[0]);
    assert!(
        errors[1].contains("rank 0 ended the run: rank 2 failed"),
        "{}",
        errors[1]
    );
    assert!(
        ended[1].stderr.starts_with("[rank 1] error: "),
        "{}",
        ended[1].stderr
    );
    assert!(
        errors[2].starts_with("1 image cannot be evaluated"),
        "{}",
        errors[2]
    );
}

#[test]
fn a_rank_that_evaluates_something_else_is_refused() {
    let case = Case::new();
    fs::copy(case.path("model.onnx"), case.path("first.onnx")).unwrap();
    case.write_model(&linear(32, vec![1.0; CLASSES]), Some(&card()));
    let other_model = case.path("model.onnx");
    let other = Case::new();
    other.write_records(&[1; 10]);
    let ranks = case.path("ranks.json");
    let first = ["--model", case.path("first.onnx").to_str().unwrap()].map(str::to_owned);
    let data = |case: &Case| {
        [
            "--data".to_owned(),
            case.folder.path().display().to_string(),
        ]
    };
    for (own, what) in [
        (&["--topk".to_owned(), "3".to_owned()][..], "`settings.topk"),
        (
            &["--mean", "0,0,0", "--std", "1,1,1"].map(str::to_owned),
            "`models[0].normalization",
        ),
        (&data(&other), "`data."),
        (
            &["--model".to_owned(), other_model.display().to_string()],
            "`models",
        ),
    ] {
        let commands = (0..2).map(|at| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_topk-eval"));
            command
                .env_clear()
                .args(&first)
                .args(data(&case))
                .args(to(&ranks));
            if at == 1 {
                command.args(own);
            }
            rank(command, at, 2)
        });
        let ended = Run::new(commands).end_all();
        let [zero, one] = [&ended[0], &ended[1]].map(Ended::error);
        let expected = format!("rank 1 does not belong to the run of rank 0: {what}");
        assert!(zero.starts_with(&expected), "{zero}");
        assert!(one.contains(&expected), "{one}");
        assert!(!ranks.exists());
        assert!(!folder(&case).exists());
    }
}

#[test]
fn wrong_ranks_are_refused() {
    let case = Case::new();
    let ranks = case.path("ranks.json");
    let start = |numbers: &[[usize; 2]], flags: &[&str]| {
        let flags = [&to(&ranks)[..], flags].concat();
        let commands = numbers
            .iter()
            .map(|&[at, of]| rank(case.command(&flags), at, of));
        Run::new(commands).end_all()
    };
    let timeout = ["--dist-timeout", TIMEOUT];
    let ended = start(&[[0, 2], [1, 3]], &[]);
    let expected = "rank 1 has WORLD_SIZE=3, but rank 0 has 2";
    assert!(
        ended[0].error().starts_with(expected),
        "{}",
        ended[0].stderr
    );
    assert!(ended[1].error().contains(expected), "{}", ended[1].stderr);

    let ended = start(&[[0, 4], [1, 4]], &timeout);
    let error = ended[0].error();
    assert!(
        error.starts_with("ranks 2 and 3 did not sign in at "),
        "{error}"
    );
    assert!(
        ended[1].error().contains("ranks 2 and 3"),
        "{}",
        ended[1].stderr
    );

    let error = &start(&[[1, 2]], &timeout)[0];
    assert!(
        error.error().starts_with("rank 0 did not sign in at "),
        "{}",
        error.stderr
    );

    for (flags, expected) in [
        (
            ["--shard", "1/2"],
            "--shard 1/2 cannot be combined with RANK=1 and WORLD_SIZE=2",
        ),
        (
            ["--devices", "cpu,cpu"],
            "--devices cpu,cpu is for a single process",
        ),
    ] {
        let error = &start(&[[1, 2]], &flags)[0];
        assert!(error.error().starts_with(expected), "{}", error.stderr);
        assert!(error.stderr.starts_with("[rank 1] "), "{}", error.stderr);
    }
    let output = rank(case.command(&[]), 2, 2).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("RANK is 2, but WORLD_SIZE is 2"), "{error}");
    assert!(!ranks.exists());
}

#[test]
fn two_processes_with_the_same_rank_are_refused() {
    let case = slow_case();
    let ranks = case.path("ranks.json");
    let flags = [&to(&ranks)[..], &["--device", "cpu"]].concat();
    let mut run = Run::start(&case, 2, &flags);
    wait_for(&folder(&case), "rank-1.", ".alive");
    // They do not disturb those that came first.
    for (at, expected) in [(1, "two processes have RANK=1"), (0, "another run gathers")] {
        let more = Run::new([rank(case.command(&flags), at, 2)]).end_all();
        assert!(more[0].error().starts_with(expected), "{}", more[0].stderr);
    }
    for at in 0..2 {
        let ended = run.end(at);
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    assert_as_one(&case, &["--device", "cpu"]);
}

#[test]
fn the_others_end_when_a_rank_dies_or_hangs() {
    for signal in [Signal::KILL, Signal::STOP] {
        let case = slow_case();
        let ranks = case.path("ranks.json");
        let flags = ["--device", "cpu", "--batch-size", "4"];
        let more = ["--dist-timeout", TIMEOUT, "--save-interval", "0.05"];
        let mut run = Run::start(&case, 3, &[&flags[..], &more, &to(&ranks)].concat());
        // It has joined, and evaluates.
        wait_for(&folder(&case), "rank-1.", ".partial");
        run.signal(1, signal);
        let start = Instant::now();
        let (zero, two) = (run.end(0), run.end(2));
        assert!(start.elapsed() < LIMIT / 2);
        let expected = format!(
            "rank 1 has given no sign of life in {}",
            folder(&case).display()
        );
        assert!(zero.error().starts_with(&expected), "{}", zero.stderr);
        assert!(two.error().contains(&expected), "{}", two.stderr);
        drop(run);
        // What was evaluated is not lost.
        assert!(
            zero.stderr.contains("run the same command with --resume"),
            "{}",
            zero.stderr
        );
        assert!(
            !read(&ranks)["images"]["indices"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        let resume = [&flags[..], &["--resume"], &to(&ranks)].concat();
        for ended in Run::start(&case, 2, &resume).end_all() {
            assert!(ended.status.success(), "{}", ended.stderr);
        }
        assert_as_one(&case, &flags);
    }
}

#[test]
fn files_of_a_run_that_was_killed_are_never_merged() {
    let case = slow_case();
    let ranks = case.path("ranks.json");
    let flags = ["--device", "cpu", "--batch-size", "4"];
    let all = [&flags[..], &to(&ranks)].concat();
    let run = Run::start(&case, 2, &all);
    wait_for(&folder(&case), "rank-1.", ".alive");
    run.signal(0, Signal::STOP);
    wait_for(&folder(&case), "rank-1.", ".results");
    run.signal(1, Signal::KILL);
    run.signal(0, Signal::KILL);
    drop(run);
    assert!(folder(&case).exists());

    // The same command with other data, whose results do not fit those that were left.
    case.write_records(&[5, 4, 3, 2, 1, 0, 5, 4]);
    let ended = Run::start(&case, 2, &all).end_all();
    for ended in &ended {
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    let told = "files of an earlier run, which had not ended, were ignored and removed";
    assert!(ended[0].stderr.contains(told), "{}", ended[0].stderr);
    assert_as_one(&case, &flags);
}

#[test]
fn the_others_end_when_rank_0_dies() {
    let case = slow_case();
    let ranks = case.path("ranks.json");
    let flags = [
        &to(&ranks)[..],
        &["--device", "cpu", "--dist-timeout", TIMEOUT],
    ]
    .concat();
    let mut run = Run::start(&case, 3, &flags);
    wait_for(&folder(&case), "rank-1.", ".alive");
    wait_for(&folder(&case), "rank-2.", ".alive");
    run.signal(0, Signal::KILL);
    for at in [1, 2] {
        let ended = run.end(at);
        assert!(
            ended
                .error()
                .starts_with("rank 0 has given no sign of life"),
            "{}",
            ended.stderr
        );
    }
    assert!(!ranks.exists());
}

#[test]
fn interrupted_ranks_leave_their_results_and_resume() {
    let case = slow_case();
    let ranks = case.path("ranks.json");
    // Small batches, for which the model is slowest: a fast machine must not be done before the signal.
    let logits = case.path("logits.npz");
    let logits = ["--calibrate", "--logits", logits.to_str().unwrap()];
    let flags = [&["--device", "cpu", "--batch-size", "1"], &logits[..]].concat();
    let mut run = Run::start(
        &case,
        2,
        &[&flags[..], &["--save-interval", "0.05"], &to(&ranks)].concat(),
    );
    wait_for(
        &case.folder.path().join("ranks.json.ranks"),
        "rank-1.",
        ".partial",
    );
    // After the first save of both, which rank 0 merges.
    wait_for(case.folder.path(), "ranks.json", ".json");
    for at in 0..2 {
        run.signal(at, Signal::TERM);
    }
    let (zero, one) = (run.end(0), run.end(1));
    assert_eq!(zero.status.code(), Some(130), "{}", zero.stderr);
    assert_eq!(one.status.code(), Some(130), "{}", one.stderr);
    assert_eq!(one.stderr, "");
    assert!(zero.stdout.contains("PARTIAL: "), "{}", zero.stdout);
    let partial = read(&ranks);
    assert_eq!(partial["complete"], false);
    assert!(!folder(&case).exists());
    let all = [&flags[..], &to(&ranks)].concat();
    let resume = [&all[..], &["--resume"]].concat();
    // The rest can only be divided if all know what it is.
    let commands = [&resume, &all].map(|flags| case.command(flags));
    let commands = commands.into_iter().enumerate();
    let ended = Run::new(commands.map(|(at, command)| rank(command, at, 2))).end_all();
    let error = ended[0].error();
    assert!(error.starts_with("rank 1 has other images left"), "{error}");
    let ended = Run::start(&case, 3, &resume).end_all();
    assert!(
        ended.iter().all(|ended| ended.status.success()),
        "{}",
        ended[0].stderr
    );
    assert_as_one(&case, &flags);
    // Nothing is left to do, for any number of ranks.
    let again = Run::start(&case, 2, &resume).end_all();
    assert!(
        again.iter().all(|ended| ended.status.success()),
        "{}",
        again[0].stderr
    );
    assert!(
        again[0].stderr.contains("nothing to do"),
        "{}",
        again[0].stderr
    );
}
