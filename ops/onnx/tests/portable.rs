//! The losses as functions of standard operators, in the runtimes that are installed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use topk_ops::Reduction;
use topk_ops::operator::LossOperator;
use topk_ops_node_test::{Case, Engine, run_cases};
use topk_ops_onnx::{FUNCTION_OPSET, Form, MAX_OPSET, MIN_OPSET, OnnxLoss};
use topk_testing::{Environment, Site, browse, golden, python, run};

/// Largest errors that are allowed: of the loss, relative to max(1, loss), and of entries of the other
/// outputs.
const BARS: [f64; 3] = [1e-6, 1e-6, 1e-6];

/// The runtimes, with the forms that they know.
const ENGINES: [(Environment, Engine, &[Form]); 4] = [
    (
        Environment::Onnx,
        Engine::Reference,
        &[Form::Function, Form::Inline],
    ),
    (
        Environment::OnnxRuntime,
        Engine::OnnxRuntime,
        &[Form::Function, Form::Inline],
    ),
    (
        Environment::OnnxRuntimeNewest,
        Engine::OnnxRuntime,
        &[Form::Function, Form::Inline],
    ),
    // It does not know functions.
    (Environment::OpenVino, Engine::OpenVino, &[Form::Inline]),
];

/// Runs the cases in all engines.
fn check(cases: &BTreeMap<String, Case>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, form: Form| folder.path().join(format!("{name}.{form:?}"));
    for (name, case) in cases {
        for form in [Form::Function, Form::Inline] {
            case.write(&path(name, form), form);
        }
    }
    for (environment, engine, forms) in ENGINES {
        let Some(mut python) = python(environment) else {
            continue;
        };
        let folders: Vec<PathBuf> = forms
            .iter()
            .flat_map(|form| cases.keys().map(|name| path(name, *form)))
            .collect();
        let errors = run_cases(&mut python, engine, &folders);
        let names = folders.iter().map(|folder| folder.display().to_string());
        check_errors(&format!("{environment:?}"), names.zip(errors));
    }
}

/// Checks the errors of each output of each case, and prints the largest.
fn check_errors(engine: &str, cases: impl IntoIterator<Item = (String, Vec<f64>)>) {
    let (mut count, mut largest) = (0, [0f64; 3]);
    for (name, errors) in cases {
        assert!(errors.len() >= 2);
        for (i, &error) in errors.iter().enumerate() {
            assert!(
                error <= BARS[i],
                "{engine}: {name}: output {i} is wrong by {error:e}"
            );
            largest[i] = error.max(largest[i]);
        }
        count += 1;
    }
    assert!(count > 0);
    let [loss, grad, prob] = largest;
    println!("{engine}: {count} models, largest errors {loss:e} {grad:e} {prob:e}");
}

/// The available golden values, by number.
fn golden_cases() -> BTreeMap<String, Case> {
    let cases = Case::golden(&golden()).unwrap();
    let names = (0..).map(|i| format!("{i:03}"));
    names.zip(cases).collect()
}

#[test]
fn golden_values() {
    check(&golden_cases());
}

/// The versions of ONNX's operators that the runtimes have.
const OPSETS: [(Environment, RangeInclusive<i64>); 4] = [
    // It does not have `Scatter`.
    (Environment::Onnx, 11..=MAX_OPSET),
    (Environment::OnnxRuntime, MIN_OPSET..=26),
    (Environment::OnnxRuntimeNewest, MIN_OPSET..=26),
    (Environment::OpenVino, MIN_OPSET..=26),
];

#[test]
fn every_version_of_the_operators() {
    let cases = published();
    let folder = tempfile::tempdir().unwrap();
    let mut folders = Vec::new();
    for opset in MIN_OPSET..=MAX_OPSET {
        for (name, case) in &cases {
            for form in [Form::Function, Form::Inline] {
                if form == Form::Inline || opset >= FUNCTION_OPSET {
                    let path = folder.path().join(format!("{opset}.{name}.{form:?}"));
                    case.write_with(&path, form, opset);
                    folders.push((opset, form, path));
                }
            }
        }
    }
    for (environment, engine, forms) in ENGINES {
        let Some(mut python) = python(environment) else {
            continue;
        };
        let known = OPSETS.iter().find(|(of, _)| *of == environment);
        let (_, known) = known.expect("each runtime is listed");
        let folders: Vec<PathBuf> = folders
            .iter()
            .filter(|(opset, form, _)| known.contains(opset) && forms.contains(form))
            .map(|(_, _, folder)| folder.clone())
            .collect();
        let errors = run_cases(&mut python, engine, &folders);
        let names = folders.iter().map(|folder| folder.display().to_string());
        check_errors(&format!("{environment:?} {known:?}"), names.zip(errors));
    }
}

#[test]
fn other_versions_of_the_operators_are_errors() {
    let (_, case) = case(
        LossOperator::SmoothTopkSvm,
        3,
        10,
        Reduction::Mean,
        true,
        true,
    );
    let error = |form, opset| {
        let model = case.loss.model(form, opset, 10, true, false);
        model.unwrap_err().to_string()
    };
    assert_eq!(
        error(Form::Inline, 8),
        "operator set 8 is not supported: losses can be written with 9 to 28"
    );
    assert_eq!(
        error(Form::Function, 29),
        "operator set 29 is not supported: losses can be written with 9 to 28"
    );
    assert_eq!(
        error(Form::Function, 14),
        "functions need operator set 15 or later, got 14: inline the loss, or write a call of the native operator"
    );
}

#[test]
fn in_a_browser() {
    let mut cases = golden_cases();
    cases.extend(published());
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in &cases {
        case.write(&folder.path().join(name), Form::Function);
    }
    let list: Vec<_> = cases
        .iter()
        .map(|(name, case)| {
            serde_json::json!({
                "name": name,
                "classes": case.classes,
                "scores": case.scores,
                "labels": case.labels,
                "weights": case.weights,
                "outputs": case.outputs,
            })
        })
        .collect();
    let site = Site::new()
        .file("/portable.html", include_str!("portable.html"))
        .file("/cases.json", serde_json::to_vec(&list).unwrap())
        .folder("/models/", folder.path());
    if let Some(printed) = browse(&site, "/portable.html") {
        let errors: Vec<Vec<f64>> = serde_json::from_str(&printed).unwrap();
        assert_eq!(errors.len(), cases.len());
        check_errors("onnxruntime-web", cases.into_keys().zip(errors));
    }
}

/// Scores without ties, in no order.
fn scores(samples: usize, classes: usize) -> Vec<f32> {
    (0..samples * classes)
        .map(|i| ((i * 7919 + 123) % 1009) as f32 / 256.0 - 2.0)
        .collect()
}

/// Three samples of an operator, with the options in a name.
fn case(
    operator: LossOperator,
    k: usize,
    classes: usize,
    reduction: Reduction,
    weighted: bool,
    ignore: bool,
) -> (String, Case) {
    let loss = OnnxLoss {
        loss: operator.loss(k, 0.5, 1.0).unwrap(),
        reduction,
        ignore_index: ignore.then_some(-100),
    };
    let weights = weighted.then(|| (0..classes).map(|class| 0.5 + class as f32 / 4.0).collect());
    let labels = vec![1, if ignore { -100 } else { 1 }, 0];
    let k = match operator.has_k() {
        true => format!("_k{k}"),
        false => String::new(),
    };
    let name = format!(
        "test_{}{k}_c{classes}_{}{}{}",
        operator.name().to_lowercase(),
        format!("{reduction:?}").to_lowercase(),
        if weighted { "_weight" } else { "" },
        if ignore { "_ii" } else { "" },
    );
    (
        name,
        Case::new(loss, classes, scores(3, classes), labels, weights),
    )
}

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

/// With and without classes beyond the 2k highest.
const SIZES: [(usize, usize); 6] = [(1, 2), (1, 10), (2, 3), (2, 5), (2, 6), (3, 10)];

#[test]
fn every_operator_with_every_option() {
    let mut cases = BTreeMap::new();
    for operator in LossOperator::ALL {
        for (k, classes) in SIZES {
            for reduction in REDUCTIONS {
                for (weighted, ignore) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    cases.extend([case(operator, k, classes, reduction, weighted, ignore)]);
                }
            }
        }
    }
    check(&cases);
}

/// The cases that are in the repository for other projects' test suites.
fn published() -> BTreeMap<String, Case> {
    let smooth = |k, classes, reduction, weighted, ignore| {
        case(
            LossOperator::SmoothTopkSvm,
            k,
            classes,
            reduction,
            weighted,
            ignore,
        )
    };
    let mut cases = BTreeMap::from([
        smooth(1, 10, Reduction::Mean, false, false),
        smooth(2, 5, Reduction::None, false, false),
        smooth(3, 10, Reduction::None, false, false),
        smooth(3, 10, Reduction::Sum, true, false),
        smooth(3, 10, Reduction::Mean, true, true),
    ]);
    for operator in &LossOperator::ALL[1..] {
        cases.extend([case(*operator, 3, 10, Reduction::Mean, true, true)]);
    }
    cases
}

#[test]
fn published_cases_are_up_to_date() {
    const WRITE: &str = "TOPK_WRITE_NODE_TESTS";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    if std::env::var_os(WRITE).is_some() {
        let _ = fs::remove_dir_all(&folder);
        for (name, case) in published() {
            case.write(&folder.join(&name), Form::Function);
            case.write(&folder.join(format!("{name}_expanded")), Form::Inline);
        }
    }
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected = Vec::new();
    let written = tempfile::tempdir().unwrap();
    for (name, case) in published() {
        for (name, form) in [
            (name.clone(), Form::Function),
            (name + "_expanded", Form::Inline),
        ] {
            case.write(&written.path().join(&name), form);
            for file in [
                "model.onnx",
                "test_data_set_0/input_0.pb",
                "test_data_set_0/output_1.pb",
            ] {
                let file = Path::new(&name).join(file);
                assert!(
                    fs::read(folder.join(&file)).unwrap()
                        == fs::read(written.path().join(&file)).unwrap(),
                    "{} is not what is written today: run the test with {WRITE}=1",
                    file.display()
                );
            }
            expected.push(name);
        }
    }
    expected.sort();
    assert_eq!(found, expected);
}

/// A model that is called in a way that it was not made for.
const MISUSE: &str = r#"
import sys, numpy, onnx, onnxruntime
model = onnx.load(sys.argv[1])
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
def run(label):
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    scores = numpy.arange(10, dtype=numpy.float32).reshape(1, 10)
    return session.run(None, {"scores": scores, "labels": numpy.array([label])})
assert all(numpy.isfinite(value).all() for value in run(3))
for label in [10, 1 << 40, -1, -10, -100]:
    try:
        run(label)
    except Exception as error:
        assert "Out of range" in str(error), error
    else:
        raise AssertionError(f"label {label} is taken")
next(a for a in model.graph.node[0].attribute if a.name == "k").i = 2
assert all(numpy.isnan(value).any() for value in run(3))
print("done")
"#;

#[test]
fn bad_labels_are_errors_and_another_k_is_nan() {
    let Some(mut python) = python(Environment::OnnxRuntime) else {
        return;
    };
    let (_, case) = case(
        LossOperator::SmoothTopkSvm,
        3,
        10,
        Reduction::None,
        false,
        false,
    );
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path(), Form::Function);
    let model = folder.path().join("model.onnx");
    assert_eq!(run(python.args(["-c", MISUSE]).arg(model)), "done\n");
}
