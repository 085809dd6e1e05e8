//! Models at addresses, with the files that belong to them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use topk_data::remote;
use topk_onnx::proto::ModelProto;
use topk_onnx::{ModelCard, external_files, read_without_weights};

use crate::model::inside;
use crate::preset::{CONFIGURATIONS, MODELS};

/// A copy on this machine of the model at an address, in a folder with its files of weights and, if `with_configuration`,
/// those that may prescribe its preprocessing. They are looked for where they are beside a file on disk.
///
/// # Errors
/// If the model or its weights cannot be downloaded.
pub(super) fn copy(address: &Path, with_configuration: bool) -> Result<PathBuf> {
    let model = remote::local(address)?;
    // What is wrong with a model is reported when it is opened.
    let graph = read_without_weights(&model).ok();
    let (Some(graph), Some(name), Some(folder)) =
        (graph, address.file_name(), remote::parent(address))
    else {
        return Ok(model);
    };
    let above = remote::parent(&folder).filter(|_| folder.ends_with(MODELS));
    // Where the copies are, relative to a folder that they share.
    let at = match &above {
        Some(_) => Path::new(MODELS),
        None => Path::new(""),
    };
    let mut copies = vec![(at.join(name), model.clone())];
    for file in external_files(&graph) {
        let Some(location) = inside(&file.location) else {
            return Ok(model);
        };
        let weights = folder.join(&location);
        remote::share_query(address, &weights);
        let copy = remote::local(&weights).with_context(|| {
            format!(
                "{} has weights in {location}, which must be beside it",
                address.display()
            )
        })?;
        copies.push((at.join(location), copy));
    }
    if with_configuration && !has_card(&graph) {
        let above = above.as_deref().map(|above| (above, Path::new("")));
        let folders = [Some((folder.as_path(), at)), above];
        for (folder, at) in folders.into_iter().flatten() {
            for name in CONFIGURATIONS {
                let configuration = folder.join(name);
                remote::share_query(address, &configuration);
                let copy = remote::local_if_found(&configuration)?;
                copies.extend(copy.map(|copy| (at.join(name), copy)));
            }
        }
    }
    match &copies[..] {
        [_] => Ok(model),
        [(name, _), ..] => Ok(remote::gather(&copies)?.join(name)),
        [] => unreachable!("the model is one of them"),
    }
}

/// Whether the model's metadata has its preprocessing.
fn has_card(graph: &ModelProto) -> bool {
    let entries = graph.metadata_props.iter();
    let entries = entries.map(|entry| (entry.key.as_str(), entry.value.as_str()));
    !matches!(ModelCard::from_metadata(entries), Ok(None))
}
