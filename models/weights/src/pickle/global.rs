use super::tensors::{Elements, Unsupported};
use crate::tensor::Dtype;

/// The globals that a pickle may name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`: a dictionary.
    OrderedDict,
    /// `collections.defaultdict`: a dictionary; its factory is not needed.
    DefaultDict,
    /// `torch.Size`: a tuple.
    Size,
    /// `torch._utils._rebuild_tensor`, and `_v2`, which has more arguments.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: the type of the elements is an argument.
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter`, and `_with_state`, which has attributes: a tensor that trains.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with a type and attributes of its own.
    RebuildFromType,
    /// `torch.Tensor`, `torch.nn.Parameter` and so on, as such a type.
    TensorType,
    /// `torch.serialization._get_layout`: the name of a layout.
    Layout,
    /// `torch.FloatStorage` and so on.
    Storage(Elements),
    /// `torch.float32` and so on.
    Dtype(Dtype),
}

/// Modules whose functions run commands or programs: a checkpoint that names one is malicious.
const COMMAND_MODULES: [&str; 13] = [
    "code",
    "commands",
    "ctypes",
    "importlib",
    "nt",
    "os",
    "posix",
    "pty",
    "runpy",
    "shutil",
    "socket",
    "subprocess",
    "sys",
];

/// Functions of Python itself that run code, or open files.
const COMMANDS: [&str; 7] = [
    "__import__",
    "compile",
    "eval",
    "exec",
    "execfile",
    "input",
    "open",
];

/// Plain values, which may be anywhere: also in a state_dict they are left out without a word.
const PLAIN: [&str; 15] = [
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "__builtin__.bytearray",
    "__builtin__.bytes",
    "__builtin__.complex",
    "__builtin__.frozenset",
    "__builtin__.set",
    "collections.Counter",
    "torch.device",
];

impl Global {
    /// The global of this name, if a state_dict may need it.
    pub(crate) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "defaultdict") => Self::DefaultDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch" | "torch._tensor", "Tensor")
            | ("torch.nn.parameter", "Parameter" | "Buffer") => Self::TensorType,
            ("torch.serialization", "_get_layout") => Self::Layout,
            ("torch", "UntypedStorage")
            | ("torch.storage", "UntypedStorage" | "_UntypedStorage" | "TypedStorage") => {
                Self::Storage(Elements::Bytes)
            }
            ("torch", _) => match name.strip_suffix("Storage") {
                Some(element) => Self::Storage(storage_elements(element)?),
                None => Self::Dtype(dtype(name)?),
            },
            _ => return None,
        })
    }

    /// Whether objects of another global are skipped where they are not part of the weights. Those that would
    /// run something are an error everywhere.
    pub(crate) fn skips(module: &str, name: &str) -> bool {
        let package = module.split('.').next().unwrap_or(module);
        let builtin = matches!(package, "builtins" | "__builtin__");
        !(COMMAND_MODULES.contains(&package) || builtin && COMMANDS.contains(&name))
    }

    /// Whether the objects of a skipped global are plain values, such as sets.
    pub(crate) fn is_plain(full_name: &str) -> bool {
        PLAIN.contains(&full_name)
    }
}

fn storage_elements(element: &str) -> Option<Elements> {
    Some(match element {
        "ComplexDouble" => Elements::Other(Unsupported::Complex128),
        "ComplexFloat" => Elements::Other(Unsupported::Complex64),
        "QInt8" => Elements::Other(Unsupported::QInt8),
        "QUInt8" => Elements::Other(Unsupported::QUInt8),
        "QInt32" => Elements::Other(Unsupported::QInt32),
        _ => Elements::Typed(storage_dtype(element)?),
    })
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
