//! Operations on tokens, `[tokens, features]`.

use super::Builder;
use crate::op::{Dims, Op, Value};

impl Builder {
    fn tokens(&self, x: Value) -> [usize; 2] {
        self.shape(x).try_into().unwrap_or_else(|_| {
            panic!(
                "{}: expected tokens, found {}",
                self.name,
                Dims(self.shape(x))
            )
        })
    }

    /// Prepends a parameter to the tokens.
    pub(crate) fn class_token(
        &mut self,
        name: impl Into<String>,
        x: Value,
        parameter: impl Into<String>,
    ) -> Value {
        let [tokens, features] = self.tokens(x);
        let parameter = parameter.into();
        let op = Op::ClassToken {
            parameter,
            features,
        };
        self.push(name, op, &[x], &[tokens + 1, features])
    }

    /// Adds a parameter that has the tokens' shape.
    pub(crate) fn position_embedding(
        &mut self,
        name: impl Into<String>,
        x: Value,
        parameter: impl Into<String>,
    ) -> Value {
        let [tokens, features] = self.tokens(x);
        let parameter = parameter.into();
        let op = Op::PositionEmbedding {
            parameter,
            tokens,
            features,
        };
        self.same_shape(name, op, x)
    }

    /// Multi-head self-attention.
    pub(crate) fn attention(&mut self, name: impl Into<String>, x: Value, heads: usize) -> Value {
        let [_, features] = self.tokens(x);
        assert!(features.is_multiple_of(heads));
        self.same_shape(name, Op::MultiheadAttention { features, heads }, x)
    }

    /// The first token alone.
    pub(crate) fn first_token(&mut self, name: impl Into<String>, x: Value) -> Value {
        let [_, features] = self.tokens(x);
        self.push(name, Op::FirstToken, &[x], &[features])
    }
}
