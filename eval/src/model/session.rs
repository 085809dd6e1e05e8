//! Sessions of ONNX Runtime, and what they tell about a model.

use std::path::Path;

use ort::session::Session;
use ort::value::Outlet;
use topk_native::Runtime;
use topk_onnx::proto::ModelProto;
use topk_onnx::{Ending, ModelCard, ancestors, ending};

use super::{Execution, ModelError, ModelOptions};
use crate::assignment::RECORD;
use crate::plugin;
use crate::provider::dispatch;
use crate::signature::{
    EXPECTED_INPUT, ExpectedClasses, ImageInput, Output, OutputError, ScoreOutput, image_input,
    score_output,
};
use crate::tensorrt::EngineCache;

/// The input for images, and its name.
pub(super) fn find_input(
    path: &Path,
    session: &Session,
) -> Result<(String, ImageInput), ModelError> {
    let signature = |reason| ModelError::Signature {
        path: path.to_owned(),
        reason,
    };
    let [input] = session.inputs() else {
        let names: Vec<_> = session.inputs().iter().map(Outlet::name).collect();
        return Err(signature(format!(
            "expected 1 input, got {} {names:?}",
            names.len()
        )));
    };
    let found = image_input(input.dtype()).ok_or_else(|| {
        let (name, found) = (input.name(), input.dtype());
        signature(format!(
            "expected `{name}` to be {EXPECTED_INPUT}, got {found}"
        ))
    })?;
    Ok((input.name().to_owned(), found))
}

/// The output with the scores.
pub(super) fn find_output(
    path: &Path,
    session: &Session,
    graph: Option<&ModelProto>,
    input: &ImageInput,
    options: &ModelOptions,
) -> Result<ScoreOutput, ModelError> {
    let outputs: Vec<Output> = session
        .outputs()
        .iter()
        .map(|output| Output {
            name: output.name(),
            value: output.dtype(),
            ancestors: graph
                .map(|graph| ancestors(graph, output.name()))
                .unwrap_or_default(),
            activated: graph.is_some_and(|graph| ending(graph, output.name()) != Ending::Other),
        })
        .collect();
    let requested = options.output.as_deref();
    let expected = ExpectedClasses::of(options.classes.as_ref(), options.label_offset);
    score_output(&outputs, input.batch, requested, &expected).map_err(|error| {
        let path = path.to_owned();
        match error {
            OutputError::None(reason) => ModelError::Signature { path, reason },
            OutputError::Requested(reason) => ModelError::Output {
                path,
                output: requested.unwrap_or_default().to_owned(),
                reason,
            },
        }
    })
}

pub(super) fn open_session(
    runtime: &Runtime,
    path: &Path,
    execution: Execution,
    cache: &Option<EngineCache>,
    profile: Option<&Path>,
    is_ort: bool,
) -> Result<Session, ModelError> {
    let provider = execution.provider;
    let missing = |reason: String| ModelError::Provider {
        provider,
        // ONNX Runtime's messages end with a full stop, but this sentence continues.
        reason: reason.trim_end_matches(['.', ' ']).to_owned(),
    };
    let plugin = plugin::device(runtime, provider).map_err(missing)?;
    let providers = match plugin {
        Some(_) => Vec::new(),
        None => dispatch(runtime, &execution, cache.as_ref()).map_err(missing)?,
    };
    let load = |error: ort::Error| load_error(path, error);
    let mut builder = Session::builder(runtime.environment())
        // Spinning threads would slow down decoding.
        .and_then(|builder| Ok(builder.with_intra_op_spinning(execution.spinning)?))
        .and_then(|builder| Ok(builder.with_config_entry(RECORD, "1")?))
        .map_err(load)?;
    if is_ort {
        // Otherwise the file's name would decide.
        let with_format = builder.with_config_entry("session.load_model_format", "ORT");
        builder = with_format.map_err(|error| load_error(path, error))?;
    }
    let sessions = execution.sessions.unwrap_or(1);
    if execution.threads.is_some() || sessions > 1 {
        let share = (execution.all_threads() / sessions).max(1);
        let with_threads = builder.with_intra_threads(share);
        builder = with_threads.map_err(|error| load_error(path, error))?;
    }
    if !providers.is_empty() {
        let with_providers = builder.with_execution_providers(providers);
        builder = with_providers.map_err(|error| missing(error.to_string()))?;
    }
    if let Some(plugin) = plugin {
        let with_device = builder.with_devices([plugin.into_inner()], None);
        builder = with_device.map_err(|error| missing(error.to_string()))?;
    }
    if let Some(file) = profile {
        let with_profile = builder.with_profiling(file);
        builder = with_profile.map_err(|error| load_error(path, error))?;
    }
    builder.commit_from_file(path).map_err(load)
}

pub(super) fn load_error(path: &Path, reason: impl ToString) -> ModelError {
    ModelError::Load {
        path: path.to_owned(),
        reason: without_path(reason.to_string()),
    }
}

/// ONNX Runtime's message without the path, which the error contains already: `Load model from PATH failed:REASON`.
fn without_path(message: String) -> String {
    let rest = message.strip_prefix("Load model from ");
    match rest.and_then(|rest| rest.split_once(" failed:")) {
        Some((_, reason)) => reason.trim_start().to_owned(),
        None => message,
    }
}

pub(super) fn read_card(session: &Session, path: &Path) -> Result<Option<ModelCard>, ModelError> {
    let failed = |error: ort::Error| load_error(path, error);
    let metadata = session.metadata().map_err(failed)?;
    let entries: Vec<(String, String)> = metadata
        .custom_keys()
        .map_err(failed)?
        .into_iter()
        .filter_map(|key| metadata.custom(&key).map(|value| (key, value)))
        .collect();
    ModelCard::from_metadata(
        entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
    .map_err(|error| ModelError::Card {
        path: path.to_owned(),
        error,
    })
}
