//! Shared by the fuzz targets.

use topk_weights::{Loaded, ReadOptions, StateDict, Tensor};

/// Reads a file. If that succeeds, writes it in both formats, and checks that it reads back unchanged.
pub fn read(file: &[u8]) {
    let _ = Loaded::from_bytes(file, ReadOptions { use_ema: true });
    let Ok(mut weights) = StateDict::from_bytes(file) else {
        return;
    };
    let bytes: usize = weights
        .tensors
        .values()
        .map(|tensor| tensor.bytes().len())
        .sum();
    // Of each entry 32 times its bytes, and of each storage four times that.
    assert!(bytes <= 4 * (32 * file.len() + (1 << 16)) + 1024 * weights.tensors.len());
    for tensor in weights.tensors.values() {
        let _ = tensor.to_f32();
        let _ = tensor.to_i64();
    }
    weights.metadata.clear();
    // Limits of the pickles alone.
    let fits =
        |(name, tensor): (&String, &Tensor)| name.len() <= 1024 && tensor.shape().len() <= 16;
    if weights.tensors.is_empty() || !weights.tensors.iter().all(fits) {
        return;
    }
    let mut zip = std::io::Cursor::new(Vec::new());
    weights.write_pth(&mut zip).unwrap();
    assert_eq!(StateDict::from_bytes(zip.get_ref()).unwrap(), weights);
    let mut safetensors = Vec::new();
    weights.write_safetensors(&mut safetensors).unwrap();
    assert_eq!(StateDict::from_bytes(&safetensors).unwrap(), weights);
}
