//! The page of a run.

mod synthetic;

use synthetic::{Plan, opened_and_closed};
use topk_history::{Accuracy, End, RawValidation, Run, run_page};
use topk_testing::{Site, browse_alone};

fn plan(epochs: usize) -> Plan {
    Plan {
        loss: "svm",
        noise: 0.6,
        seed: 1,
        epochs,
    }
}

/// The page without style sheet and script.
fn body(run: &Run) -> String {
    let page = run_page(run);
    let start = page.find("<body>").unwrap();
    page[start..page.rfind("<script>").unwrap()].to_owned()
}

#[test]
fn numbers_match_the_checkpoints() {
    let run = plan(30).run(30);
    let body = body(&run);
    for name in ["best1", "bestk"] {
        let checkpoint = run.checkpoint(name).unwrap();
        let (val, test) = (checkpoint.val, checkpoint.test.unwrap());
        let cells: String = [val.top1(), val.topk(), test.top1(), test.topk()]
            .iter()
            .map(|part| format!("<td class=\"n\">{:.2}</td>", 100.0 * part))
            .collect();
        let row = format!(
            "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td>{cells}\
             <td class=\"path\">{name}.safetensors, {name}.onnx</td></tr>",
            checkpoint.epoch
        );
        assert!(body.contains(&row), "{row}");
    }
    for (name, best) in [
        ("top-1", run.best1().unwrap()),
        ("top-5", run.bestk().unwrap()),
    ] {
        let card = &body[body.find(&format!("<h2>Best {name}</h2>")).unwrap()..];
        let card = &card[..card.find("</article>").unwrap()];
        let after = format!("epoch {}, the best {name} validation accuracy", best.epoch);
        assert!(card.contains(&after), "{card}");
    }
    assert_ne!(run.best1().unwrap().epoch, run.bestk().unwrap().epoch);
    assert!(
        body.contains("30 epochs, 45,000 images of 100 classes for training, 5,000 for validation")
    );
    assert!(body.contains("<th scope=\"row\">batch-size</th><td>64</td>"));
    assert!(!body.contains("class=\"warn\""));
}

#[test]
fn runs_of_any_length_have_a_page() {
    for (epochs, after) in [(300, 0), (300, 1), (300, 2), (1, 1), (1000, 1000)] {
        let run = plan(epochs).run(after);
        let body = body(&run);
        opened_and_closed(&body);
        for word in ["NaN", "inf", "undefined"] {
            assert!(!body.contains(word), "{word} after {after} of {epochs}");
        }
        assert_eq!(
            body.contains(&format!(
                "The run is unfinished (epoch {after} of {epochs})"
            )),
            run.end.is_none()
        );
        assert!(run_page(&run).len() < 1 << 20);
    }
}

#[test]
fn problems_are_reported() {
    let mut run = plan(30).run(12);
    for at in [6, 7] {
        run.epochs[at].loss = f64::NAN;
        run.epochs[at].skipped_steps = 700;
    }
    for at in [1, 4] {
        run.epochs[at].skipped_images = 1 + at;
        run.epochs[at].skipped_val_images = 1;
    }
    run.times[3] = None;
    run.epochs[2].val.images = 0;
    run.epochs[2].val.top1_correct = 0;
    run.epochs[2].val.topk_correct = 0;
    let body = body(&run);
    assert!(!body.contains("NaN"));
    assert!(body.contains("The loss is not finite in 2 epochs, first in epoch 7."));
    assert!(
        body.contains("1,400 steps were skipped because the loss or the gradient was not finite.")
    );
    assert!(body.contains("5 training images were left out as unreadable."));
    assert!(body.contains("1 validation image was left out as unreadable."));
    // The line has a gap.
    let loss = &body[body.find("id=\"curve-loss\"").unwrap()..];
    let loss = &loss[..loss.find("</svg>").unwrap()];
    assert_eq!(loss.matches("<path class=\"line\"").count(), 2);
}

#[test]
fn available_curves_are_drawn() {
    let mut run = plan(30).run(30);
    let curves = |run: &Run| -> Vec<String> {
        let ids = body(run);
        let ids = ids.split("<svg id=\"curve-").skip(1);
        ids.map(|rest| rest[..rest.find('"').unwrap()].to_owned())
            .collect()
    };
    let all = [
        "top-5",
        "top-1",
        "loss",
        "learning-rate",
        "speed",
        "seconds",
    ];
    assert_eq!(curves(&run), all);
    for epoch in &mut run.epochs {
        epoch.tau = Some(1.0 / epoch.epoch as f64);
    }
    run.times = vec![None; 30];
    assert_eq!(
        curves(&run),
        ["top-5", "top-1", "loss", "learning-rate", "τ"]
    );
    run.start.config.insert("topk".to_owned(), 1.into());
    assert_eq!(curves(&run)[..2], ["top-1", "loss"]);
}

#[test]
fn validations_are_shown_as_far_as_they_go() {
    let mut run = plan(30).run(30);
    // Every second epoch is validated, and the raw weights too.
    for epoch in &mut run.epochs {
        epoch.val_loss = Some(2.0 + 1.0 / epoch.epoch as f64);
        epoch.raw = Some(RawValidation {
            val: epoch.val,
            val_loss: Some(2.5),
            val_correct: Vec::new(),
        });
        if epoch.epoch % 2 == 1 {
            (epoch.val, epoch.val_loss, epoch.raw) = (Accuracy::of(&[], 1), None, None);
        }
    }
    run.end = Some(End {
        checkpoints: Vec::new(),
        stopped: Some("<it> does not become better".to_owned()),
    });
    let body = body(&run);
    opened_and_closed(&body);
    assert!(!body.contains("NaN"));
    assert!(body.contains("Stopped early: &lt;it&gt; does not become better."));
    for curve in ["loss", "top-1"] {
        let svg = &body[body.find(&format!("id=\"curve-{curve}\"")).unwrap()..];
        let svg = &svg[..svg.find("</svg>").unwrap()];
        // Validation, training, and validation of the raw weights, each without gaps.
        assert_eq!(svg.matches("<path class=\"line\"").count(), 3, "{curve}");
        assert!(svg.contains("validation of the raw weights 2.5") || curve != "loss");
    }
    assert!(body.contains(">validation loss<"));
}

#[test]
fn the_best_epoch_is_marked() {
    let run = plan(30).run(30);
    let mark = |run: &Run| {
        let body = body(run);
        let mark = &body[body.find("<circle class=\"best\"").unwrap()..];
        mark[mark.find("<title>").unwrap() + 7..mark.find("</title>").unwrap()].to_owned()
    };
    let best = run.bestk().unwrap();
    let (epoch, part) = (best.epoch, 100.0 * best.val.topk());
    assert_eq!(mark(&run), format!("best: {part:.2} % after epoch {epoch}"));
}

#[test]
fn names_cannot_become_markup() {
    let evil = "<script>alert('\"&')</script>";
    let mut run = plan(3).run(3);
    run.start.device = evil.to_owned();
    for key in ["model", "loss", evil] {
        run.start.config.insert(key.to_owned(), evil.into());
    }
    for checkpoint in &mut run.end.as_mut().unwrap().checkpoints {
        checkpoint.name = evil.to_owned();
        checkpoint.checkpoint = evil.to_owned();
    }
    let page = run_page(&run);
    assert!(!page.contains(evil));
    assert_eq!(page.matches("<script").count(), 1);
    for address in ["http:", "https:", "url(", "@import", "href="] {
        assert!(!page.contains(address), "{address}");
    }
}

/// Measures a page in a frame as wide as a phone.
const VISIT: &str = r#"<!doctype html>
<script type="module">
const frame = document.createElement("iframe");
frame.style.width = "420px";
frame.src = "/run.html";
frame.onload = () => {
  const page = frame.contentDocument;
  const body = page.querySelector("table.epochs").tBodies[0];
  const first = () => body.rows[0].cells[0].textContent;
  const before = first();
  page.querySelector("table.epochs").tHead.rows[0].cells[0].firstChild.click();
  fetch("/result", { method: "POST", body: JSON.stringify({
    title: page.title,
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    first: [before, first()],
    plots: [...page.querySelectorAll("svg[id]")].map((svg) => svg.getBoundingClientRect().width > 300),
  }) });
};
document.documentElement.append(frame);
</script>"#;

#[test]
fn the_page_fits_a_phone_in_a_browser() {
    let site = Site::new()
        .file("/index.html", VISIT)
        .file("/run.html", run_page(&plan(30).run(30)));
    let Some(found) = browse_alone(site, "/index.html") else {
        return;
    };
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["title"], "densenet40-40, svm, noise 0.6, seed 1");
    assert_eq!(found["overflow"], 0);
    assert_eq!(found["first"], serde_json::json!(["30", "1"]));
    assert_eq!(found["plots"], serde_json::json!(vec![true; 6]));
}
