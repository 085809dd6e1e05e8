//! The parameter of the kernels.

use std::ffi::c_void;

/// `Arguments` in `kernels/arguments.h`, which describes the fields.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Arguments {
    pub(crate) scores: *const c_void,
    pub(crate) labels: *const i64,
    pub(crate) class_weights: *const f32,
    pub(crate) upstream: *const f32,
    pub(crate) gradient: *mut c_void,
    pub(crate) values: *mut f32,
    pub(crate) weights: *mut f64,
    pub(crate) result: *mut f32,
    pub(crate) samples: i64,
    pub(crate) scores_stride: i64,
    pub(crate) gradient_stride: i64,
    pub(crate) upstream_stride: i64,
    pub(crate) ignore_index: i64,
    pub(crate) tau: f64,
    pub(crate) alpha: f64,
    pub(crate) per_score: f64,
    pub(crate) classes: i32,
    pub(crate) k: i32,
    pub(crate) score_type: i32,
    pub(crate) reduction: i32,
    pub(crate) has_ignore_index: i32,
    pub(crate) skip_if_one: i32,
    pub(crate) loss: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::Module;

    #[test]
    fn the_layout_is_that_of_the_kernels() {
        let size = size_of::<Arguments>();
        for module in Module::ALL {
            let ptx = module.ptx().unwrap();
            for line in ptx.lines().filter(|line| line.starts_with(".param ")) {
                assert!(line.starts_with(".param .align 8 .b8 "), "{line}");
                assert!(line.ends_with(&format!("[{size}]")), "{size}: {line}");
            }
        }
        // Names, and sizes by the types, in order.
        let header = include_str!("../kernels/arguments.h");
        let fields = header.split("struct Arguments {").nth(1).unwrap();
        let theirs = fields.lines().filter_map(|line| {
            let (kind, name) = line.trim().strip_suffix(';')?.rsplit_once(' ')?;
            let pointer = name.starts_with('*');
            let name = name.trim_start_matches('*');
            let name = if name == "type" { "score_type" } else { name };
            let wide = pointer || kind == "long long" || kind == "double";
            Some((name.to_owned(), if wide { 8 } else { 4 }))
        });
        let source = include_str!("arguments.rs");
        let fields = source.split("struct Arguments {").nth(1).unwrap();
        let ours = fields
            .lines()
            .take_while(|line| *line != "}")
            .filter_map(|line| {
                let (name, kind) = line
                    .trim()
                    .trim_start_matches("pub(crate) ")
                    .split_once(": ")?;
                Some((name.to_owned(), if kind == "i32," { 4 } else { 8 }))
            });
        assert_eq!(ours.collect::<Vec<_>>(), theirs.collect::<Vec<_>>());
    }
}
