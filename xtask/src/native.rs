//! The native libraries: the wheels that contain them, and their installation in `.native`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use topk_testing::root;

use crate::wheel::Wheel;

/// The folder for the libraries; `.cargo/config.toml` points there.
pub(crate) fn dir() -> PathBuf {
    root().join(".native")
}

/// libtorch for the CPU, and the CUDA runtime libraries that it loads even without a GPU.
const LIBTORCH: [Wheel; 3] = [
    Wheel {
        file: "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        sha256: "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
        wanted: |path| libtorch(path) && !libtorch_cuda(path),
        part: "",
    },
    Wheel {
        file: "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        wanted: library,
        part: "",
    },
];

const ONNXRUNTIME: [Wheel; 1] = [Wheel {
    file: "onnxruntime-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
    wanted: onnxruntime,
    part: "",
}];

/// Headers that compiling against libtorch's NCCL part needs, beside those in the wheels of `LIBTORCH_CUDA`.
const CUDA_HEADERS: [Wheel; 3] = [
    Wheel {
        wanted: header,
        part: "headers",
        ..LIBTORCH[1]
    },
    Wheel {
        file: "nvidia_cuda_crt-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
        wanted: header,
        part: "",
    },
    Wheel {
        file: "nvidia_cuda_cccl-13.0.85-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
        wanted: header,
        part: "",
    },
];

/// libtorch's CUDA part, and the CUDA libraries that its wheel requires.
const LIBTORCH_CUDA: [Wheel; 14] = [
    Wheel {
        wanted: |path| libtorch(path) && libtorch_cuda(path),
        part: "cuda",
        ..LIBTORCH[0]
    },
    Wheel {
        file: "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        sha256: "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        wanted: library_or_header,
        part: "with-headers",
    },
    Wheel {
        file: "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        sha256: "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        sha256: "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        wanted: library_or_header,
        part: "with-headers",
    },
    Wheel {
        file: "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        wanted: library_or_header,
        part: "with-headers",
    },
    Wheel {
        file: "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        sha256: "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        sha256: "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        wanted: library_or_header,
        part: "with-headers",
    },
    Wheel {
        file: "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256: "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256: "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        wanted: library,
        part: "",
    },
    Wheel {
        file: "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        sha256: "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        wanted: library,
        part: "",
    },
];

const ONNXRUNTIME_GPU: [Wheel; 1] = [Wheel {
    file: "onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
    wanted: onnxruntime,
    part: "",
}];

fn library(path: &str) -> bool {
    path.contains("/lib/") && path.contains(".so")
}

fn header(path: &str) -> bool {
    path.contains("/include/")
}

fn library_or_header(path: &str) -> bool {
    library(path) || header(path)
}

fn libtorch(path: &str) -> bool {
    path.starts_with("torch/include/")
        || (path.starts_with("torch/lib/") && library(path) && !path.contains("python"))
}

fn libtorch_cuda(path: &str) -> bool {
    library(path)
        && ["_cuda", "nvrtc", "nvshmem"]
            .iter()
            .any(|part| path.contains(part))
}

/// Whether ONNX Runtime's CUDA provider needs the libraries in a wheel.
fn needed_by_onnxruntime(wheel: &Wheel) -> bool {
    let names = [
        "nvidia_cuda_runtime-",
        "nvidia_cublas-",
        "nvidia_cuda_nvrtc-",
        "nvidia_cudnn_",
        "nvidia_cufft-",
        "nvidia_curand-",
    ];
    names.iter().any(|name| wheel.file.starts_with(name))
}

fn onnxruntime(path: &str) -> bool {
    path.starts_with("onnxruntime/capi/libonnxruntime") && !path.contains("tensorrt")
}

/// The libraries to install, besides ONNX Runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Libraries {
    pub(crate) libtorch: bool,
    /// Whether the libraries should support CUDA.
    pub(crate) cuda: bool,
}

impl Libraries {
    /// All libraries, for the CPU.
    pub(crate) const CPU: Self = Self {
        libtorch: true,
        cuda: false,
    };
}

/// Installs libraries that are missing, except those that the user's environment points to.
pub(crate) fn set_up(Libraries { libtorch, cuda }: Libraries) -> Result<()> {
    let dir = dir();
    // The CPU and CUDA builds of ONNX Runtime have the same file name: keep the installed one.
    let cuda = cuda || ONNXRUNTIME_GPU[0].is_installed(&dir);
    let mut wheels: Vec<&Wheel> = Vec::new();
    if !libtorch {
        let wanted = |wheel: &&Wheel| cuda && needed_by_onnxruntime(wheel);
        wheels.extend(LIBTORCH.iter().chain(&LIBTORCH_CUDA).filter(wanted));
    } else if let Some(name) =
        chosen_by_user("LIBTORCH", &dir).or_else(|| set("LIBTORCH_USE_PYTORCH"))
    {
        println!("libtorch: using {name}");
    } else {
        wheels.extend(&LIBTORCH);
        wheels.extend(LIBTORCH_CUDA.iter().chain(&CUDA_HEADERS).filter(|_| cuda));
    }
    if let Some(name) = chosen_by_user("ORT_DYLIB_PATH", &dir) {
        println!("ONNX Runtime: using {name}");
    } else {
        wheels.extend(if cuda { &ONNXRUNTIME_GPU } else { &ONNXRUNTIME });
    }
    if !wheels.is_empty() && !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!(
            "libraries can be downloaded for Linux on x86-64 only. On other systems, set LIBTORCH to \
             the folder of libtorch {} and ORT_DYLIB_PATH to the library file of ONNX Runtime {}",
            topk_native::torch::VERSION,
            topk_native::onnxruntime::VERSION
        );
    }
    for wheel in wheels {
        wheel.install(&dir)?;
    }
    Ok(())
}

/// What a `topk-train` that is built here cannot do on GPUs.
pub(crate) fn without_nccl() -> Option<&'static str> {
    let libtorch = env::var_os("LIBTORCH").map_or_else(|| dir().join("torch"), PathBuf::from);
    let has_cuda = libtorch.join("lib/libtorch_cuda.so").is_file();
    (!has_cuda).then_some(
        "topk-train without NCCL: a run uses one GPU at most. For several, run `cargo xtask setup --cuda` before this",
    )
}

/// The variable and its value, if the user set it: `.cargo/config.toml` sets it to a path in `dir`.
fn chosen_by_user(variable: &str, dir: &Path) -> Option<String> {
    let value = env::var_os(variable)?;
    (!Path::new(&value).starts_with(dir)).then(|| format!("{variable}={}", value.display()))
}

fn set(variable: &str) -> Option<String> {
    env::var_os(variable).map(|value| format!("{variable}={}", value.display()))
}
