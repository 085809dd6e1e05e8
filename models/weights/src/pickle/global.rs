use crate::tensor::Dtype;

/// The globals that a pickle may name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`: a dictionary.
    OrderedDict,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor`, and `_v2`, which has more arguments.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: the type of the elements is an argument.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter`: a tensor that trains.
    RebuildParameter,
    /// `torch.serialization._get_layout`: the name of a layout.
    Layout,
    /// `torch.FloatStorage` and so on; bytes if it has no type.
    Storage(Option<Dtype>),
    /// `torch.float32` and so on.
    Dtype(Dtype),
}

impl Global {
    /// The global of this name, if a state_dict may need it.
    pub(crate) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch.serialization", "_get_layout") => Self::Layout,
            ("torch", "UntypedStorage")
            | ("torch.storage", "UntypedStorage" | "_UntypedStorage" | "TypedStorage") => {
                Self::Storage(None)
            }
            ("torch", _) => match name.strip_suffix("Storage") {
                Some(element) => Self::Storage(Some(storage_dtype(element)?)),
                None => Self::Dtype(dtype(name)?),
            },
            _ => return None,
        })
    }
}

fn storage_dtype(element: &str) -> Option<Dtype> {
    Some(match element {
        "Double" => Dtype::F64,
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::Bf16,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::Bool,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::Bf16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}
