//! `topk_cuda.h` compiles as C and as C++, and its declarations are those of the library.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Compiles and links a program with the library, and runs it.
fn run(extension: &str, compiler: &str, options: &[&str], source: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("program").with_extension(extension);
    let program = folder.path().join("program");
    std::fs::write(&file, source).unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let library = library();
    let output = Command::new(compiler)
        .args(options)
        .arg("-I")
        .arg(include)
        .arg(&file)
        .arg("-o")
        .arg(&program)
        .arg(&library)
        .arg("-Wl,-rpath")
        .arg(library.with_file_name(""))
        .output()
        .unwrap_or_else(|error| panic!("{compiler} cannot be started: {error}"));
    assert!(
        output.status.success(),
        "{compiler}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Command::new(program).output().unwrap()
}

/// The library, which cargo built beside the tests.
fn library() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.with_file_name("libtopk_ops_cuda.so")
}

const PROGRAM: &str = r#"
#include <stdio.h>
#include <string.h>
#include "topk_cuda.h"

int main(void) {
    topk_cuda_batch batch;
    size_t bytes = 1;
    int result;
    memset(&batch, 0, sizeof batch);
    printf("[%s]\n", topk_cuda_error());
    batch.loss = TOPK_CUDA_SMOOTH_TOPK_SVM;
    batch.score_type = TOPK_CUDA_BFLOAT16;
    batch.reduction = TOPK_CUDA_MEAN;
    batch.samples = 1000;
    batch.classes = 100;
    batch.scores_stride = 100;
    batch.k = 5;
    batch.tau = 0.5;
    batch.alpha = 1;
    batch.ignore_index = -100;
    batch.has_ignore_index = 1;
    result = topk_cuda_workspace_bytes(&batch, &bytes);
    printf("%d %zu\n", result, bytes);
    batch.reduction = 3;
    result = topk_cuda_workspace_bytes(&batch, &bytes);
    printf("%d %s\n", result, topk_cuda_error());
    batch.reduction = TOPK_CUDA_NONE;
    result = topk_cuda_workspace_bytes(&batch, &bytes);
    printf("%d %zu\n", result, bytes);
    batch.tau = 0;
    result = topk_cuda_prepare(&batch, NULL);
    printf("%d %s\n", result, topk_cuda_error());
    batch.tau = 1;
    batch.scores_stride = 99;
    result = topk_cuda_loss(&batch, NULL, NULL, NULL);
    printf("%d %s\n", result, topk_cuda_error());
    batch.scores_stride = 100;
    result = topk_cuda_loss_and_gradient(&batch, NULL, NULL, 7, NULL, NULL);
    printf("%d %s\n", result, topk_cuda_error());
    result = topk_cuda_gradient(NULL, NULL, 0, 0, NULL, 0, NULL, NULL);
    printf("%d %s\n", result, topk_cuda_error());
    batch.k = -1;
    result = topk_cuda_prepare(&batch, NULL);
    printf("%d %s\n", result, topk_cuda_error());
    batch.loss = TOPK_CUDA_TRUNCATED_TOPK_ENTROPY;
    batch.k = 3;
    result = topk_cuda_workspace_bytes(&batch, &bytes);
    printf("%d\n", result);
    batch.loss = TOPK_CUDA_TRUNCATED_TOPK_ENTROPY + 1;
    result = topk_cuda_workspace_bytes(&batch, &bytes);
    printf("%d %s\n", result, topk_cuda_error());
    return 0;
}
"#;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "links a shared library of Linux")]
fn c_programs_use_the_library() {
    for (extension, compiler, options) in [
        (
            "c",
            "cc",
            &["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"][..],
        ),
        (
            "cpp",
            "c++",
            &["-std=c++11", "-pedantic", "-Wall", "-Wextra", "-Werror"][..],
        ),
    ] {
        let output = run(extension, compiler, options, PROGRAM);
        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "[]",
                "0 4512",
                "1 reduction has the unknown value 3: see topk_cuda.h",
                "0 0",
                "1 tau (temperature) must be a finite number above 0, got 0",
                "1 scores_stride must be at least the number of classes, 100, got 99",
                "1 gradient_stride must be at least the number of classes, 100, got 7",
                "1 batch is NULL",
                "1 k must be at least 0, got -1",
                "0",
                "1 loss has the unknown value 7: see topk_cuda.h",
            ]
        );
    }
}
