/// How the losses of a batch are combined.
///
/// With the feature `clap` it is a `clap::ValueEnum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Reduction {
    /// One loss per sample
    None,
    /// Sum over the batch
    Sum,
    /// Mean over the batch, weighted by the class weights of the labels
    #[default]
    Mean,
}

impl Reduction {
    /// All reductions.
    pub const ALL: [Self; 3] = [Self::None, Self::Sum, Self::Mean];

    /// The name on command lines and in ONNX files: `none`, `sum` or `mean`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sum => "sum",
            Self::Mean => "mean",
        }
    }
}
