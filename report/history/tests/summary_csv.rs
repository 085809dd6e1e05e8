//! `summary.csv`.

mod synthetic;

use synthetic::Plan;
use topk_history::{Accuracy, CorrectAt, RawValidation, run_csv};

#[test]
fn rows_have_what_was_measured() {
    let plan = Plan {
        loss: "svm",
        noise: 0.0,
        seed: 1,
        epochs: 3,
    };
    let mut run = plan.run(3);
    let columns = "epoch,train_loss,eval_loss,eval_top1,eval_top5,lr,train_top1,train_top5";
    let csv = run_csv(&run);
    assert_eq!(csv.lines().next(), Some(columns));
    assert_eq!(csv.lines().count(), 4);
    assert_eq!(csv.matches("\r\n").count(), 4);

    let accuracy = |top1_correct, topk_correct| Accuracy {
        images: 8,
        top1_correct,
        topk_correct,
    };
    let at = |correct| vec![CorrectAt { k: 3, correct }];
    run.epochs[0].loss = f64::NAN;
    run.epochs[0].val = Accuracy::of(&[], 1);
    run.epochs[1] = topk_history::Epoch {
        lr: 0.25,
        loss: 1.5,
        tau: Some(0.5),
        train: accuracy(1, 7),
        val: accuracy(2, 6),
        val_loss: Some(1.75),
        val_correct: at(4),
        raw: Some(RawValidation {
            val: accuracy(3, 5),
            val_loss: None,
            val_correct: at(1),
        }),
        ..run.epochs[1].clone()
    };
    let csv = run_csv(&run);
    let mut lines = csv.lines();
    let more = ",eval_top3,raw_loss,raw_top1,raw_top5,raw_top3,tau";
    assert_eq!(lines.next(), Some(&*format!("{columns}{more}")));
    assert!(lines.next().unwrap().starts_with("1,,,,,0.1,"));
    assert_eq!(
        lines.next(),
        Some("2,1.5,1.75,25,75,0.25,12.5,87.5,50,,37.5,62.5,12.5,0.5")
    );
}

#[test]
fn the_first_columns_are_timms() {
    let recorded = include_str!("../../../tests/data/validation.json");
    let recorded: serde_json::Value = serde_json::from_str(recorded).unwrap();
    let timms = recorded["summary"].as_str().unwrap();
    let plan = Plan {
        loss: "svm",
        noise: 0.0,
        seed: 1,
        epochs: 4,
    };
    let mut run = plan.run(2);
    let rows = [(2.5, 2.25, 1, 4, 0.1), (1.5, 1.75, 3, 7, 0.01)];
    for (epoch, (loss, val_loss, top1_correct, topk_correct, lr)) in run.epochs.iter_mut().zip(rows)
    {
        epoch.loss = loss;
        epoch.val_loss = Some(val_loss);
        epoch.lr = lr;
        epoch.val = Accuracy {
            images: 8,
            top1_correct,
            topk_correct,
        };
    }
    let cells = |csv: &str| -> Vec<Vec<String>> {
        let lines = csv.split_terminator("\r\n");
        lines
            .map(|line| {
                let cells = line.split(',').take(6);
                // Python writes 50.0 where Rust writes 50.
                cells
                    .map(|cell| cell.trim_end_matches(".0").to_owned())
                    .collect()
            })
            .collect()
    };
    assert_eq!(cells(&run_csv(&run)), cells(timms));
}
