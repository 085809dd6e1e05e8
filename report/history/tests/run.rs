//! Reading the files of a run.

mod synthetic;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use synthetic::{Plan, save};
use tempfile::TempDir;
use topk_history::{Event, LOG, Run, RunError, TIMES};

const PLAN: Plan = Plan {
    loss: "svm",
    noise: 0.6,
    seed: 1,
    epochs: 8,
};

/// The folder of a run after this many epochs.
fn folder(epochs: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    save(&PLAN.run(epochs), folder.path());
    folder
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The error for a log of this many epochs followed by a text, without the path.
fn rejected(epochs: usize, text: &str) -> String {
    let folder = folder(epochs);
    let path = folder.path().join(LOG);
    append(&path, text);
    let message = Run::read(folder.path()).unwrap_err().to_string();
    let path = path.display().to_string();
    message.strip_prefix(&path).expect(&message).to_owned()
}

#[test]
fn runs_round_trip() {
    for epochs in [0, 5, 8] {
        let run = Run::read(folder(epochs).path()).unwrap();
        assert_eq!(run, PLAN.run(epochs));
        assert_eq!(run.end.is_some(), epochs == 8);
    }
    assert_eq!(
        (PLAN.start().k(), PLAN.start().epochs()),
        (Some(5), Some(8))
    );
}

#[test]
fn an_incomplete_last_line_is_ignored() {
    let folder = folder(5);
    let line = Event::Epoch(PLAN.epoch(6)).to_line();
    let log = folder.path().join(LOG);
    for length in 1..line.len() - 1 {
        let before = fs::read(&log).unwrap();
        append(&log, &line[..length]);
        let run = Run::read(folder.path()).unwrap();
        assert_eq!(run.epochs.len(), 5, "{length} bytes");
        fs::write(&log, before).unwrap();
    }
    append(&log, line.trim_end());
    append(&folder.path().join(TIMES), r#"{"epoch":6,"sec"#);
    let run = Run::read(folder.path()).unwrap();
    assert_eq!((run.epochs.len(), run.times[5]), (6, None));
}

#[test]
fn the_last_time_of_an_epoch_counts_and_times_are_optional() {
    let folder = folder(5);
    let times = folder.path().join(TIMES);
    let mut again = PLAN.time(4);
    again.seconds = 77.0;
    append(&times, &again.to_line());
    append(&times, &PLAN.time(9).to_line());
    let run = Run::read(folder.path()).unwrap();
    assert_eq!(run.times[3], Some(again));
    assert_eq!(run.times[4], Some(PLAN.time(5)));
    fs::remove_file(&times).unwrap();
    assert_eq!(Run::read(folder.path()).unwrap().times, [None; 5]);
}

#[test]
fn errors_name_the_file_and_the_line() {
    let epoch = |epoch| Event::Epoch(PLAN.epoch(epoch)).to_line();
    assert_eq!(
        rejected(3, &epoch(3)),
        " line 5: expected epoch 4, found epoch 3"
    );
    assert_eq!(
        rejected(3, &Event::Start(PLAN.start()).to_line()),
        " line 5: second event `start`: is this the log of two runs?"
    );
    assert_eq!(
        rejected(8, &epoch(9)),
        " line 11: line after the end of the run"
    );
    assert!(rejected(0, "{\"event\":\"epoch\"}\n").starts_with(" line 2: missing field `epoch`"));
    let mut wrong = PLAN.epoch(1);
    wrong.val.topk_correct = 6_000;
    let message = rejected(0, &Event::Epoch(wrong).to_line());
    assert!(
        message.ends_with(" and 6000 top-k correct of 5000 images are inconsistent"),
        "{message}"
    );
    let mut end = PLAN.run(8).end.unwrap();
    let expected = " line 8: the checkpoint last is from epoch 7, but the log has 6 epochs";
    end.checkpoints.truncate(1);
    end.checkpoints[0].name = "last".to_owned();
    end.checkpoints[0].epoch = 7;
    let message = rejected(6, &Event::End(end).to_line());
    assert_eq!(message, expected);

    let folder = folder(3);
    append(&folder.path().join(TIMES), "[]\n");
    let error = Run::read(folder.path()).unwrap_err();
    assert!(
        error.to_string().contains("times.jsonl line 4: "),
        "{error}"
    );
}

#[test]
fn a_folder_without_a_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Run::read(folder.path()).unwrap_err();
    assert!(matches!(error, RunError::Read { .. }), "{error}");
    let log = folder.path().join(LOG);
    assert!(error.to_string().contains(&log.display().to_string()));
    fs::write(&log, "").unwrap();
    let error = Run::read(folder.path()).unwrap_err();
    assert!(matches!(error, RunError::Empty { .. }), "{error}");
}

#[test]
fn the_best_epoch_is_the_first_with_the_best_accuracy() {
    let mut run = PLAN.run(6);
    for epoch in &mut run.epochs {
        epoch.val.top1_correct = 10 + usize::from(epoch.epoch >= 3);
        epoch.val.topk_correct = 100 + epoch.epoch % 5;
    }
    assert_eq!(run.best1().unwrap().epoch, 3);
    assert_eq!(run.bestk().unwrap().epoch, 4);
    let mut ended = PLAN.run(8);
    ended.end.as_mut().unwrap().checkpoints[0].epoch = 2;
    assert_eq!(ended.best1().unwrap().epoch, 2);
    run.epochs.clear();
    assert!(run.best1().is_none());
}

#[test]
fn changed_settings_are_those_of_the_run() {
    let folder = folder(5);
    let change = r#"{"event":"change","epoch":6,"batch":3,"settings":[{"setting":"epochs","was":8,"now":9},{"setting":"noise","was":0.6,"now":null}],"decisions":["<b>"]}"#;
    append(&folder.path().join(LOG), &format!("{change}\n"));
    append(
        &folder.path().join(LOG),
        &Event::Epoch(PLAN.epoch(6)).to_line(),
    );
    let run = Run::read(folder.path()).unwrap();
    assert_eq!((run.epochs.len(), run.changes.len()), (6, 1));
    assert_eq!(run.start.epochs(), Some(9));
    assert!(!run.start.config.contains_key("noise"));
    let page = topk_history::run_page(&run);
    let line = "In epoch 6, after batch 3: --epochs was 8, now 9; --noise was 0.6, now not set; &lt;b&gt;.";
    assert!(page.contains(line), "{page}");
}
