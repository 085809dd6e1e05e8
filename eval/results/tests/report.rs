//! The HTML report.

mod synthetic;

use synthetic::{SKILLS, Size, run};
use topk_results::{Comparison, Results};
use topk_testing::{Site, browse_alone};

const EVIL: &str = "<script>alert('\"&')</script>";

fn results() -> Results {
    let size = Size {
        images: 600,
        classes: 12,
    };
    let mut results = run(size, &SKILLS, None);
    results.class_names[3] = EVIL.to_owned();
    results.data.path = EVIL.to_owned();
    results.failures[0].message = EVIL.to_owned();
    results.models[0].model.path = format!("{EVIL}.onnx");
    results.models[1].model.preprocessing_settings["note"] = EVIL.into();
    results.environments[0].cpu = EVIL.to_owned();
    for image in &mut results.images {
        image.name += EVIL;
    }
    results.recompute().unwrap()
}

fn report() -> (Results, String) {
    let results = results();
    let comparison = Comparison::new((&results, 0), (&results, 1)).unwrap();
    let jpeg = |_| Some(vec![0xff, 0xd8, 0xff, 0xe0]);
    let html = results.to_html(&[comparison], jpeg).unwrap();
    (results, html)
}

/// The text of the cells of the first table with a CSS class, by row.
fn table(html: &str, class: &str) -> Vec<Vec<String>> {
    let start = html.find(&format!("<table class=\"{class}\">")).unwrap();
    let table = &html[start..][..html[start..].find("</table>").unwrap()];
    let rows = table.split("<tr>").skip(1);
    rows.map(|row| {
        let cells = row.split("</t").filter(|cell| cell.contains("<t"));
        cells
            .map(|cell| text(&cell[cell.find("<t").unwrap()..]))
            .collect()
    })
    .collect()
}

/// HTML without tags.
fn text(html: &str) -> String {
    let texts = html.split('<').filter_map(|part| part.split_once('>'));
    texts.map(|(_, text)| text).collect()
}

#[test]
fn numbers_match_the_metrics() {
    let (results, html) = report();
    let rows = table(&html, "metrics");
    let percent = |part: f64| format!("{:.2}", 100.0 * part);
    for (at, model) in results.models.iter().enumerate() {
        let cell = |title: &str| {
            let row = rows.iter().find(|row| row[0] == title);
            row.unwrap_or_else(|| panic!("no row {title}"))[at + 1].clone()
        };
        let metrics = &model.metrics;
        for accuracy in &metrics.topk {
            let [low, high] = [accuracy.low, accuracy.high].map(percent);
            assert_eq!(
                cell(&format!("top-{} accuracy", accuracy.k)),
                format!(
                    "{} % ({low} to {high})",
                    percent(accuracy.accuracy.unwrap())
                )
            );
        }
        assert_eq!(
            cell("cross-entropy"),
            format!("{:.4}", metrics.cross_entropy.unwrap())
        );
        let error = percent(metrics.calibration_error.unwrap());
        assert_eq!(cell("expected calibration error"), format!("{error} %"));
        let adaptive = percent(metrics.adaptive_calibration_error.unwrap());
        assert_eq!(cell("adaptive calibration error"), format!("{adaptive} %"));
        assert_eq!(
            cell("Brier score"),
            format!("{:.4}", metrics.brier_score.unwrap())
        );
        let average = metrics.macro_avg.as_ref().unwrap();
        let f1 = percent(average.f1);
        assert_eq!(cell("F1, macro average"), format!("{f1} %"));
        let severity = metrics.severity.as_ref().unwrap();
        assert_eq!(
            cell("severity of mistakes (WordNet)"),
            format!("{:.2}", severity.mistake_severity.unwrap())
        );
        let row = &table(&html, "coverage by-k")[3];
        let accuracy = percent(metrics.coverage[2].accuracy.unwrap());
        assert_eq!(row[0], "90 %");
        assert_eq!(row[at + 1], format!("{accuracy} %"));
        assert_eq!(cell("images evaluated"), "600");
    }
    let by_k = table(&html, "by-k");
    assert_eq!(by_k.len(), 11);
    for k in [1, 5] {
        for (at, model) in results.models.iter().enumerate() {
            let accuracy = model.metrics.topk(k).unwrap().accuracy.unwrap();
            assert_eq!(by_k[k][at + 1], format!("{} %", percent(accuracy)));
        }
    }
    let worst = results.class_rows(0).into_iter();
    let worst = worst.map(|row| row.top1()).fold(1.0, f64::min);
    assert_eq!(
        table(&html, "classes")[1][2],
        format!("{:.1}", 100.0 * worst)
    );
    let confusion = results.confusions(0)[0];
    assert_eq!(
        table(&html, "confusions")[1][2],
        confusion.images.to_string()
    );
}

#[test]
fn names_cannot_become_markup() {
    let (_, html) = report();
    assert!(!html.contains(EVIL));
    // One for each field that contains it, in addition to the images.
    let escaped = "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;";
    assert!(html.matches(escaped).count() > 10);
    assert_eq!(html.matches("<script").count(), 1);
}

#[test]
fn reports_have_what_reproduces_the_run() {
    let (results, html) = report();
    let facts = table(&html, "facts");
    let fact = |title: &str| facts.iter().find(|row| row[0] == title).unwrap()[1].clone();
    assert_eq!(fact("data: sha256"), results.data.sha256);
    assert_eq!(fact("settings: topk"), "[1,5]");
    assert_eq!(fact("machine: onnxruntime"), "1.31.1");
    // Not 0.48500001430511475, which is the exact value of the f32.
    assert!(html.contains("[0.485,0.456,0.406]"));
}

#[test]
fn every_tag_is_closed() {
    let (results, html) = report();
    let alone = Comparison::new((&results, 0), (&results, 2))
        .unwrap()
        .to_html();
    for html in [html, alone] {
        let body = &html[html.find("<body>").unwrap()..html.find("<script>").unwrap()];
        let mut open = Vec::new();
        for tag in body.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap();
            let name = tag.split_whitespace().next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if ["br", "img", "wbr"].contains(&name) || tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
        assert_eq!(open, ["body"]);
    }
}

#[test]
fn reports_are_self_contained() {
    let (_, html) = report();
    for address in ["http:", "https:", "url(", "@import", "href="] {
        assert!(!html.contains(address), "{address}");
    }
    let sources = html.split(" src=\"").skip(1);
    assert!(sources.clone().count() > 0);
    for source in sources {
        assert!(source.starts_with("data:image/jpeg;base64,/9j/4A==\""));
    }
}

#[test]
fn thumbnails_show_the_most_confident_mistakes() {
    let results = results();
    let indices = results.thumbnail_indices();
    assert!(indices.len() > 12 && indices.is_sorted());
    let mut asked = Vec::new();
    let html = results.to_html(&[], |index| {
        asked.push(index);
        None
    });
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, indices);
    assert_eq!(html.unwrap().matches("no image").count(), 36);
    let outcomes = &results.models[1].outcomes;
    let wrong = outcomes.iter().enumerate().filter_map(|(index, outcome)| {
        let outcome = outcome.as_ref().filter(|outcome| outcome.rank > 0)?;
        Some((outcome.confidence, index))
    });
    let (_, surest) = wrong.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert!(indices.contains(&surest));
    let error = results
        .to_html(&[], |_| Some(b"GIF89a".to_vec()))
        .unwrap_err();
    assert!(
        error.to_string().ends_with("is neither PNG nor JPEG"),
        "{error}"
    );
}

#[test]
fn a_run_without_images_has_a_report() {
    let mut results = results();
    results.images.clear();
    results.failures.clear();
    for model in &mut results.models {
        model.outcomes.clear();
    }
    let html = results.recompute().unwrap().to_html(&[], |_| None).unwrap();
    assert!(html.contains("PARTIAL: 600 images not evaluated"));
    assert!(!html.contains("NaN") && !html.contains("inf "));
}

/// A page that shows the report in a frame and tests it.
const VISIT: &str = r#"<!doctype html>
<script type="module">
const post = (path, body) => fetch(path, { method: "POST", body });
const frame = document.createElement("iframe");
const faults = [];
frame.style.width = "420px";
frame.src = "/report.html";
frame.onload = async () => {
  const page = frame.contentDocument;
  const scripts = page.createElement("script");
  scripts.textContent = "document.title = 'injected'";
  page.addEventListener("securitypolicyviolation", (event) => faults.push(event.violatedDirective));
  page.body.append(scripts);
  await new Promise((done) => setTimeout(done, 100));
  const table = page.querySelector("table.classes");
  const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent);
  const press = (n) => table.tHead.rows[0].cells[n].firstChild.click();
  const sorts = [];
  for (const n of [2, 2, 0]) {
    press(n);
    sorts.push([table.tHead.rows[0].cells[n].getAttribute("aria-sort"), column(n)]);
  }
  post("/result", JSON.stringify({
    title: page.title,
    faults,
    sorts,
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    pictures: [...page.images].length,
  }));
};
document.documentElement.append(frame);
</script>"#;

#[test]
fn in_a_browser_tables_are_sorted_and_no_other_script_runs() {
    let (results, html) = report();
    let site = Site::new()
        .file("/index.html", VISIT)
        .file("/report.html", html);
    let Some(found) = browse_alone(site, "/index.html") else {
        return;
    };
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["title"], "Top-k accuracy of 3 models");
    assert_eq!(found["faults"], serde_json::json!(["script-src-elem"]));
    assert_eq!(found["overflow"], 0);
    assert_eq!(found["pictures"], 36);
    let sorted = |at: usize| -> (String, Vec<String>) {
        serde_json::from_value(found["sorts"][at].clone()).unwrap()
    };
    let mut accuracies: Vec<f64> = results.class_rows(0).iter().map(|row| row.top1()).collect();
    accuracies.sort_by(f64::total_cmp);
    let mut accuracies: Vec<String> = accuracies
        .iter()
        .map(|accuracy| format!("{:.1}", 100.0 * accuracy))
        .collect();
    assert_eq!(sorted(0), ("ascending".to_owned(), accuracies.clone()));
    accuracies.reverse();
    assert_eq!(sorted(1), ("descending".to_owned(), accuracies));
    let (order, names) = sorted(2);
    assert_eq!(order, "ascending");
    let plain: Vec<&String> = names
        .iter()
        .filter(|name| name.starts_with("amber"))
        .collect();
    assert_eq!(plain.len(), 11);
    assert!(plain.is_sorted());
}
